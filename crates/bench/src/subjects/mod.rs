//! The subjects of a run: processes on loopback that answer calls.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{sleep, timeout};

use self::command::{CREDENTIALS, Place};
use self::scrape::Scraper;
use self::setup::{Kind, Setup};
use crate::Failure;
use crate::client::{Client, Connection};
use crate::process::Process;
use crate::script::{Script, Target};
use crate::wire::{Era, PATH, TOOL};

mod command;
mod scrape;
pub(crate) mod setup;

/// How long a subject may take from its start to its first answered call.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often a starting subject is asked.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// A result beyond this many bytes is not asked for while a subject starts: what it makes the subject
/// hold would be there before it is measured.
const LARGE_RESULT: usize = 16 * 1024 * 1024;
/// How long one question to a starting subject may take.
const ASK_LIMIT: Duration = Duration::from_secs(15);

/// What the subjects of one run share.
pub(crate) struct Site {
    dir: PathBuf,
    switchboard: PathBuf,
    backend: Process,
    backend_address: SocketAddr,
    /// How many subjects were started: their folders are numbered.
    started: AtomicU64,
}

/// A subject that answers.
pub(crate) struct Subject {
    /// Which one, before what.
    pub(crate) setup: Setup,
    /// Where and how it is called.
    pub(crate) target: Target,
    /// What its tools are called, all of which do the same.
    pub(crate) names: Vec<String>,
    /// A folder of its own.
    pub(crate) dir: PathBuf,
    /// How long it took from its start to its first answered call.
    pub(crate) started_in: Duration,
    pid: u32,
    /// None if it is the fake server, which belongs to the site.
    process: Option<Process>,
    _scraper: Option<Scraper>,
}

impl Site {
    /// Starts the fake server. Files go into `dir`.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn open(dir: &Path, switchboard: &Path) -> Result<Self, Failure> {
        let address = free_address()?;
        let command = command::fake_server(address)?;
        let backend = Process::start(command, &dir.join("backend.log"))?;
        let site = Self {
            dir: dir.to_owned(),
            switchboard: switchboard.to_owned(),
            backend,
            backend_address: address,
            started: AtomicU64::new(0),
        };
        let start = Instant::now();
        while let Err(failure) = Connection::open(address).await {
            if start.elapsed() > START_LIMIT {
                return Err(failure);
            }
            sleep(ASK_EVERY).await;
        }
        Ok(site)
    }

    /// The program that is measured.
    pub(crate) fn switchboard(&self) -> &Path {
        &self.switchboard
    }

    /// Ends the fake server.
    pub(crate) async fn close(self) {
        self.backend.stop().await;
    }

    /// Starts a subject and waits for its first answered call.
    ///
    /// # Errors
    /// If it does not start or does not answer within 60 s, with what it said.
    pub(crate) async fn start(&self, setup: Setup) -> Result<Subject, Failure> {
        let place = self.place()?;
        if setup.kind == Kind::Direct {
            let target = Target::new(self.backend_address, setup.behind.fake.path(0));
            return Ok(Subject {
                setup,
                target,
                names: setup.names(),
                dir: place.dir,
                started_in: Duration::ZERO,
                pid: self.backend.pid(),
                process: None,
                _scraper: None,
            });
        }
        let path = match setup.kind {
            Kind::Nginx | Kind::Floor => setup.behind.fake.path(0),
            _ => PATH.to_owned(),
        };
        let mut target = Target::new(place.listen, path);
        if setup.kind == Kind::Policies {
            target.headers = headers(&CREDENTIALS)?;
        }
        let command = command::command(setup, &place, &self.switchboard)?;
        let start = Instant::now();
        let process = Process::start(command, &place.dir.join("log"))?;
        let script = target.calls(subject_era(setup), &setup.names()[..1], 0, 0)?;
        let is_large = setup.behind.fake.result_bytes > LARGE_RESULT;
        let process = answering(process, async || {
            if is_large && setup.kind.is_switchboard() {
                is_listed(&target).await
            } else {
                call_once(&target, &script).await
            }
        })
        .await?;
        Ok(Subject {
            setup,
            names: setup.names(),
            dir: place.dir,
            started_in: start.elapsed(),
            pid: process.pid(),
            process: Some(process),
            _scraper: (setup.kind == Kind::Policies).then(|| Scraper::start(place.ops)),
            target,
        })
    }

    /// Starts nginx with these files, called `page-0.json` and so on.
    ///
    /// # Errors
    /// As [`Site::start`].
    pub(crate) async fn start_files(
        &self,
        setup: Setup,
        files: &[Bytes],
    ) -> Result<(Subject, Script), Failure> {
        let place = self.place()?;
        let folder = place.dir.join("files");
        fs::create_dir(&folder).map_err(Failure::at("cannot make a folder"))?;
        for (index, file) in files.iter().enumerate() {
            fs::write(folder.join(file_name(index)), file)
                .map_err(Failure::at("cannot write a file"))?;
        }
        let target = Target::new(place.listen, "/".to_owned());
        let steps = files
            .iter()
            .enumerate()
            .map(|(index, file)| target.file(&format!("/{}", file_name(index)), file.len()))
            .collect::<Result<_, _>>()?;
        let script = Script {
            era: Era::Modern,
            steps,
            steps_per_call: files.len(),
        };
        let command = command::command(setup, &place, &self.switchboard)?;
        let start = Instant::now();
        let process = Process::start(command, &place.dir.join("log"))?;
        let process = answering(process, async || call_once(&target, &script).await).await?;
        let subject = Subject {
            setup,
            target,
            names: setup.names(),
            dir: place.dir,
            started_in: start.elapsed(),
            pid: process.pid(),
            process: Some(process),
            _scraper: None,
        };
        Ok((subject, script))
    }

    /// A new folder and free addresses.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(number.to_string());
        fs::create_dir(&dir).map_err(Failure::at("cannot make a folder"))?;
        Ok(Place {
            dir,
            listen: free_address()?,
            ops: free_address()?,
            backend: self.backend_address,
        })
    }

    /// What a subject is called in the tables.
    pub(crate) fn name(&self, kind: Kind) -> &str {
        match kind {
            Kind::Direct => "direct",
            Kind::Nginx | Kind::NginxFiles => "nginx",
            Kind::Floor => "floor",
            Kind::Switchboard => "switchboard",
            Kind::Policies => "switchboard, all policies",
            Kind::Counted => "switchboard, counted",
            Kind::Peer(_) => "peer",
        }
    }
}

/// The era in which a subject is asked whether it is there.
fn subject_era(setup: Setup) -> Era {
    match setup.kind {
        Kind::Nginx | Kind::Floor => setup.behind.era(),
        Kind::Peer(_) => Era::Legacy,
        _ => Era::Modern,
    }
}

fn file_name(index: usize) -> String {
    format!("page-{index}.json")
}

fn headers(all: &[(&'static str, &'static str)]) -> Result<HeaderMap, Failure> {
    let header = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    Ok(all.iter().map(header).collect())
}

/// Waits until `ask` says that the process answers.
async fn answering(
    mut process: Process,
    ask: impl AsyncFn() -> Result<(), Failure>,
) -> Result<Process, Failure> {
    let start = Instant::now();
    loop {
        let problem = match timeout(ASK_LIMIT, ask()).await {
            Ok(Ok(())) => return Ok(process),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("no answer within {ASK_LIMIT:?}"),
        };
        if let Some(ended) = process.ended() {
            return Err(ended);
        }
        if start.elapsed() > START_LIMIT {
            return Err(Failure(format!(
                "answered no call within {START_LIMIT:?} ({problem}): {}",
                process.last_words()
            )));
        }
        sleep(ASK_EVERY).await;
    }
}

/// Makes one call as a new client.
async fn call_once(target: &Target, script: &Script) -> Result<(), Failure> {
    Client::open(target, script).await?.call(0).await
}

/// Sees whether the tool is listed, which it is once a call would be answered.
async fn is_listed(target: &Target) -> Result<(), Failure> {
    let mut connection = Connection::open(target.address).await?;
    let page = connection.ask_for_message(&target.page(None)?).await?;
    let has_tool = String::from_utf8_lossy(&page).contains(&format!("\"{TOOL}\""));
    has_tool
        .then_some(())
        .ok_or_else(|| Failure("the tool is not listed".to_owned()))
}

impl Subject {
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

/// A loopback address that nothing listens on: for programs that must be told their port.
fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::at("no free port"))
}
