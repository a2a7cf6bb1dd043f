//! Where a run takes place: it starts the subjects.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::sleep;

use super::command::{self, CREDENTIALS, Place};
use super::other::Other;
use super::scrape::Scraper;
use super::setup::{Kind, Setup};
use super::{ASK_EVERY, Subject};
use crate::Failure;
use crate::client::{Client, Connection};
use crate::process::Process;
use crate::script::{Script, Target};
use crate::wire::{Era, PATH, TOOL};

/// How long a subject may take from its start to its first answered call.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A result beyond this many bytes is not asked for while a subject starts: what it makes the
/// subject hold would be there before it is measured.
const LARGE_RESULT: usize = 16 * 1024 * 1024;

/// What the subjects of one run share.
pub(crate) struct Site {
    dir: PathBuf,
    switchboard: PathBuf,
    others: Vec<(String, Other)>,
    backend: Process,
    backend_address: SocketAddr,
    /// How many subjects were started: their folders are numbered.
    started: AtomicU64,
}

impl Site {
    /// Starts the fake server. Files go into `dir`; [`Kind::Peer`] counts the others.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn open(
        dir: &Path,
        switchboard: &Path,
        others: Vec<Other>,
    ) -> Result<Self, Failure> {
        let address = free_address()?;
        let backend = Process::start(command::fake_server(address)?, &dir.join("backend.log"))?;
        let start = Instant::now();
        while let Err(failure) = Connection::open(address).await {
            if start.elapsed() > START_LIMIT {
                return Err(failure);
            }
            sleep(ASK_EVERY).await;
        }
        let named = others.into_iter().map(|other| (other.name(), other));
        Ok(Self {
            dir: dir.to_owned(),
            switchboard: switchboard.to_owned(),
            others: named.collect(),
            backend,
            backend_address: address,
            started: AtomicU64::new(0),
        })
    }

    /// The program that is measured.
    pub(crate) fn switchboard(&self) -> &Path {
        &self.switchboard
    }

    /// The other gateways.
    pub(crate) fn others(&self) -> impl Iterator<Item = (Kind, &Other)> {
        let others = self.others.iter().enumerate();
        others.map(|(index, (_, other))| (Kind::Peer(index), other))
    }

    /// Ends the fake server.
    pub(crate) async fn close(self) {
        self.backend.stop().await;
    }

    /// Starts a subject and waits for its first answered call.
    ///
    /// # Errors
    /// If it does not start or does not answer in time, with what it said.
    pub(crate) async fn start(&self, setup: Setup) -> Result<Subject, Failure> {
        match setup.kind {
            Kind::Direct => self.direct(setup),
            Kind::Peer(index) => match self.others.get(index) {
                Some((_, other)) => self.start_other(setup, other).await,
                None => Err(Failure("there is no such gateway".to_owned())),
            },
            _ => self.start_ours(setup).await,
        }
    }

    fn direct(&self, setup: Setup) -> Result<Subject, Failure> {
        Ok(Subject {
            setup,
            target: Target::new(self.backend_address, setup.behind.fake.path(0)),
            names: setup.names(),
            place: self.place()?,
            started_in: Duration::ZERO,
            pid: self.backend.pid(),
            process: None,
            _scraper: None,
        })
    }

    async fn start_ours(&self, setup: Setup) -> Result<Subject, Failure> {
        let place = self.place()?;
        let ops = place.ops;
        // What passes everything on has the server's path and era.
        let (path, era) = match setup.kind {
            Kind::Nginx | Kind::Floor => (setup.behind.fake.path(0), setup.behind.era()),
            _ => (PATH.to_owned(), Era::Modern),
        };
        let mut target = Target::new(place.listen, path);
        if setup.kind == Kind::Policies {
            target.headers = headers(&CREDENTIALS);
        }
        let command = command::command(setup, &place, &self.switchboard)?;
        let names = setup.names();
        let script = target.calls(era, &names[..1], 0, 0)?;
        let is_large = setup.behind.fake.result_bytes > LARGE_RESULT;
        let ask = async |target: &Target, _: &Place| {
            if is_large && setup.kind.is_switchboard() {
                is_listed(target).await
            } else {
                call_once(target, &script).await
            }
        };
        let start = (target, place);
        let subject = Subject::start((setup, names), start, command, START_LIMIT, ask).await?;
        Ok(Subject {
            _scraper: (setup.kind == Kind::Policies).then(|| Scraper::start(ops)),
            ..subject
        })
    }

    async fn start_other(&self, setup: Setup, other: &Other) -> Result<Subject, Failure> {
        let place = self.place()?;
        let mut target = Target::new(place.listen, other.path().to_owned());
        target.headers = headers(other.headers());
        let names = vec![other.tool().to_owned()];
        let script = target.calls(Era::Legacy, &names, 0, 0)?;
        let server = command::server(&setup.behind, self.backend_address)?;
        let command = other.command(place.start(&server))?;
        let ask = async |target: &Target, place: &Place| {
            other.set_up(place.start(&server)).await?;
            call_once(target, &script).await
        };
        let start = (target, place);
        Subject::start((setup, names), start, command, other.start_limit(), ask).await
    }

    /// Starts nginx with these files, called `page-0.json` and so on, and says how all of them are
    /// asked for.
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
        let target = Target::new(place.listen, "/".to_owned());
        let mut steps = Vec::with_capacity(files.len());
        for (index, file) in files.iter().enumerate() {
            let name = format!("page-{index}.json");
            fs::write(folder.join(&name), file).map_err(Failure::at("cannot write a file"))?;
            steps.push(target.file(&format!("/{name}"), file.len())?);
        }
        let script = Script {
            era: Era::Modern,
            steps_per_call: steps.len(),
            steps: steps.into(),
        };
        let command = command::command(setup, &place, &self.switchboard)?;
        let ask = async |target: &Target, _: &Place| call_once(target, &script).await;
        let start = (target, place);
        let names = setup.names();
        let subject = Subject::start((setup, names), start, command, START_LIMIT, ask).await?;
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
            Kind::Cached => "switchboard, cached",
            Kind::Redacting => "switchboard, redaction",
            Kind::Capped => "switchboard, caps",
            Kind::Counted => "switchboard, counted",
            Kind::Peer(index) => self.others.get(index).map_or("", |(name, _)| name),
        }
    }
}

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let header = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    all.iter().map(header).collect()
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

/// A loopback address that nothing listens on: for programs that must be told their port.
///
/// # Errors
/// If there is none.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::at("no free port"))
}
