//! The subjects of a run: processes on loopback that answer calls.

use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use self::command::Place;
use self::scrape::Scraper;
use self::setup::Setup;
use crate::Failure;
use crate::process::Process;
use crate::script::Target;

pub(crate) use self::site::{Site, free_address};

mod command;
pub(crate) mod other;
mod scrape;
pub(crate) mod setup;
mod site;

/// How often a starting subject is asked.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// How long one question to a starting subject may take.
const ASK_LIMIT: Duration = Duration::from_secs(15);

/// A subject that answers.
pub(crate) struct Subject {
    /// Which one, before what.
    pub(crate) setup: Setup,
    /// Where and how it is called.
    pub(crate) target: Target,
    /// What its tools are called, all of which do the same.
    pub(crate) names: Vec<String>,
    /// A folder and addresses of its own.
    pub(crate) place: Place,
    /// How long it took from its start to its first answered call.
    pub(crate) started_in: Duration,
    pid: u32,
    /// None if it is the fake server, which belongs to the site.
    process: Option<Process>,
    _scraper: Option<Scraper>,
}

impl Subject {
    /// Starts a process, and waits until `ask` says that it answers, within `limit`.
    ///
    /// # Errors
    /// If it does not start, ends, or does not answer, with what it said.
    async fn start(
        (setup, names): (Setup, Vec<String>),
        (target, place): (Target, Place),
        command: Command,
        limit: Duration,
        ask: impl AsyncFn(&Target, &Place) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let mut process = Process::start(command, &place.dir.join("log"))?;
        loop {
            let problem = match timeout(ASK_LIMIT, ask(&target, &place)).await {
                Ok(Ok(())) => break,
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => format!("no answer within {ASK_LIMIT:?}"),
            };
            if let Some(ended) = process.ended() {
                return Err(ended);
            }
            if start.elapsed() > limit {
                return Err(Failure(format!(
                    "answered no call within {limit:?} ({problem}): {}",
                    process.last_words()
                )));
            }
            sleep(ASK_EVERY).await;
        }
        Ok(Self {
            setup,
            target,
            names,
            place,
            started_in: start.elapsed(),
            pid: process.pid(),
            process: Some(process),
            _scraper: None,
        })
    }

    /// Why a load failed: what the load saw, and how the subject ended if it has.
    pub(crate) fn explain(&mut self, seen: Failure) -> Failure {
        match self.process.as_mut().and_then(Process::ended) {
            Some(ended) => Failure(format!("{seen}; {ended}")),
            None => seen,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}
