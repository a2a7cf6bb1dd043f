//! Subjects that are measured side by side: all of them run, and each round loads one after the
//! other, so that whatever else the machine does falls on all of them.

use std::time::Duration;

use crate::Failure;
use crate::accounting::{CpuTime, forget_peak, peak_rss};
use crate::load::{Clients, LOAD_LIMIT, Loaded};
use crate::report::results::Round;
use crate::rows::{Calls, Scale};
use crate::run::Run;
use crate::script::Script;
use crate::subjects::setup::{Kind, Setup};
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

/// A load, which is put on a subject once a round.
pub(crate) struct Load {
    /// The row that it belongs to.
    pub(crate) row: &'static str,
    /// What each client asks.
    pub(crate) script: Script,
    /// How many clients there are.
    pub(crate) connections: usize,
    /// How many calls make a round.
    pub(crate) calls: u64,
    /// How they follow each other.
    pub(crate) pace: Pace,
}

/// A load on a subject, and what came of it.
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

    /// Starts the subjects of a row, and puts a load on each; those that do not start are noted.
    pub(crate) async fn enter_all(
        &mut self,
        row: &'static str,
        calls: &Calls,
        kinds: &[Kind],
        pace: Pace,
        run: &mut Run,
    ) {
        for kind in kinds {
            let setup = Setup {
                workers: calls.workers,
                ..Setup::of(*kind, run.scale.behind(calls.behind))
            };
            let entered = match self.subject(&run.site, setup).await {
                Ok(subject) => self.enter_calls(row, calls, pace, (subject, run.scale)),
                Err(failure) => Err(failure),
            };
            if let Err(failure) = entered {
                run.absent(row, *kind, &failure);
            }
        }
    }

    fn enter_calls(
        &mut self,
        row: &'static str,
        calls: &Calls,
        pace: Pace,
        (subject, scale): (usize, Scale),
    ) -> Result<(), Failure> {
        let Subject {
            target,
            names,
            setup,
            ..
        } = self.at(subject);
        let called = if calls.in_turn {
            &names[..]
        } else {
            &names[names.len() / 2..][..1]
        };
        let (arguments, result) = (calls.argument_bytes, setup.behind.fake.result_bytes);
        let load = Load {
            row,
            script: target.calls(calls.client, called, arguments, result)?,
            connections: calls.connections,
            calls: scale.calls(calls),
            pace,
        };
        self.enter(subject, load);
        Ok(())
    }

    /// Puts a load on a subject.
    pub(crate) fn enter(&mut self, subject: usize, load: Load) {
        let names = load.script.steps.len() / load.script.steps_per_call.max(1);
        let target = self.at(subject).target.clone();
        self.courses.push(Course {
            row: load.row,
            subject,
            clients: Clients::new(target, load.script, load.connections),
            calls: load.calls,
            // Everything that can be called has been.
            warm_up: load.calls.div_ceil(WARM_UP_PART).max(names as u64),
            pace: load.pace,
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
    pub(crate) async fn close(self, run: &mut Run) {
        for course in self.courses {
            let kind = self.subjects[course.subject].setup.kind;
            match course.failure {
                Some(failure) => run.absent(course.row, kind, &failure),
                None => {
                    let name = run.site.name(kind).to_owned();
                    run.results.rounds(course.row, name, course.rounds);
                }
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
        // Meanwhile a slow subject may have closed those that had nothing to ask.
        self.clients.connect().await?;
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
