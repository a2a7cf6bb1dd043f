//! Subjects that are measured side by side: all of them run, and each round loads one after the
//! other, so that whatever else the machine does falls on all of them.

use std::time::Duration;

use crate::Failure;
use crate::accounting::{CpuTime, forget_peak, peak_rss};
use crate::load::{Clients, LOAD_LIMIT, Loaded};
use crate::report::results::{Results, Round};
use crate::rows::{Calls, Scale};
use crate::script::Script;
use crate::subjects::setup::Setup;
use crate::subjects::{Site, Subject};

/// A round is begun with this part of its calls, uncounted.
const WARM_UP_PART: u64 = 5;

/// How calls follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The next when the last one was answered.
    Closed,
    /// So many a second.
    Rate(f64),
}

/// One load on one subject.
struct Course {
    row: &'static str,
    /// Its place among the subjects.
    subject: usize,
    clients: Clients,
    calls: u64,
    warm_up: u64,
    pace: Pace,
    rounds: Vec<Round>,
    failure: Option<Failure>,
}

/// Subjects and the loads on them.
#[derive(Default)]
pub(crate) struct Field {
    subjects: Vec<Subject>,
    courses: Vec<Course>,
    /// What did not start, so that it is not tried for each of its rows.
    failed: Vec<(Setup, String)>,
}

impl Field {
    /// The place of a subject, which is started if it is not there yet.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn subject(&mut self, site: &Site, setup: Setup) -> Result<usize, Failure> {
        let known = |subject: &Subject| subject.setup == setup;
        if let Some(index) = self.subjects.iter().position(known) {
            return Ok(index);
        }
        if let Some((_, why)) = self.failed.iter().find(|(failed, _)| *failed == setup) {
            return Err(Failure(why.clone()));
        }
        match site.start(setup).await {
            Ok(subject) => Ok(self.add(subject)),
            Err(failure) => {
                self.failed.push((setup, failure.to_string()));
                Err(failure)
            }
        }
    }

    /// Takes a subject that was started elsewhere.
    pub(crate) fn add(&mut self, subject: Subject) -> usize {
        self.subjects.push(subject);
        self.subjects.len() - 1
    }

    /// The subject at a place.
    pub(crate) fn at(&self, subject: usize) -> &Subject {
        &self.subjects[subject]
    }

    /// Starts all subjects of a row, and enters a load on each; those that do not start are noted.
    pub(crate) async fn enter_all(
        &mut self,
        (row, calls): (&'static str, &Calls),
        pace: Pace,
        (site, scale): (&Site, Scale),
        results: &mut Results,
    ) {
        for kind in calls.subjects {
            let setup = Setup {
                kind: *kind,
                behind: scale.behind(calls.behind),
            };
            if let Err(failure) = self
                .enter_one((row, calls), setup, pace, (site, scale))
                .await
            {
                results.absent(row, site.name(*kind), &failure);
            }
        }
    }

    async fn enter_one(
        &mut self,
        (row, calls): (&'static str, &Calls),
        setup: Setup,
        pace: Pace,
        (site, scale): (&Site, Scale),
    ) -> Result<(), Failure> {
        let subject = self.subject(site, setup).await?;
        let result_bytes = setup.behind.fake.result_bytes;
        let script = self.at(subject).target.calls(
            calls.client,
            &self.at(subject).names,
            calls.argument_bytes,
            result_bytes,
        )?;
        self.enter(
            row,
            subject,
            script,
            calls.connections,
            scale.calls(calls),
            pace,
        );
        Ok(())
    }

    /// Enters a load.
    pub(crate) fn enter(
        &mut self,
        row: &'static str,
        subject: usize,
        script: Script,
        connections: usize,
        calls: u64,
        pace: Pace,
    ) {
        let names = script.steps.len() / script.steps_per_call.max(1);
        let target = self.at(subject).target.clone();
        self.courses.push(Course {
            row,
            subject,
            clients: Clients::new(target, script, connections),
            calls,
            // Everything that can be called has been.
            warm_up: calls.div_ceil(WARM_UP_PART).max(names as u64),
            pace,
            rounds: Vec::new(),
            failure: None,
        });
    }

    /// Measures each load once a round, beginning with another one each time.
    pub(crate) async fn measure(&mut self, rounds: usize) {
        let count = self.courses.len();
        for round in 0..rounds {
            for turn in 0..count {
                let course = &mut self.courses[(round + turn) % count];
                if course.failure.is_some() {
                    continue;
                }
                let subject = &mut self.subjects[course.subject];
                match course.round(subject).await {
                    Ok(round) => course.rounds.push(round),
                    Err(failure) => course.failure = Some(subject.explain(failure)),
                }
            }
        }
    }

    /// Writes down what came of it, and ends the subjects.
    pub(crate) async fn close(self, site: &Site, results: &mut Results) {
        for course in self.courses {
            let kind = self.subjects[course.subject].setup.kind;
            match course.failure {
                Some(failure) => results.absent(course.row, site.name(kind), &failure),
                None => results.rounds(course.row, site.name(kind), course.rounds),
            }
        }
        for subject in self.subjects {
            subject.stop().await;
        }
    }
}

impl Course {
    async fn round(&mut self, subject: &Subject) -> Result<Round, Failure> {
        self.clients.connect().await?;
        self.clients.closed_loop(self.warm_up, LOAD_LIMIT).await?;
        forget_peak(subject.pid());
        let before = CpuTime::read(subject.pid());
        let loaded = self.load().await?;
        let used = CpuTime::read(subject.pid()).since(&before);
        let peak = peak_rss(subject.pid());
        Ok(Round::new(self.calls, used, &loaded, peak))
    }

    async fn load(&mut self) -> Result<Loaded, Failure> {
        match self.pace {
            Pace::Closed => self.clients.closed_loop(self.calls, LOAD_LIMIT).await,
            Pace::Rate(rate) => {
                let planned = Duration::from_secs_f64(self.calls as f64 / rate.max(1.0));
                let limit = LOAD_LIMIT + planned;
                self.clients.open_loop(self.calls, rate, limit).await
            }
        }
    }
}
