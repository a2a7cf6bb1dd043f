//! What is measured: how each subject is started, and which of its processes count.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::accounting::{CpuTime, peak_rss};
use crate::instructions::callgrind;
use crate::load::call_once;
use crate::process::Process;

/// How long a subject may take from its start to its first answered call.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How often a starting subject is asked.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How long one question to a starting subject may take.
const ASK_LIMIT: Duration = Duration::from_secs(2);

const NGINX_CONFIG: &str = include_str!("../templates/nginx.conf");
const SWITCHBOARD_CONFIG: &str = include_str!("../templates/switchboard.yaml");

/// Something that calls are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The backend itself: no gateway.
    Direct,
    /// nginx as a plain reverse proxy.
    Nginx,
    /// The least that a gateway of this kind can cost.
    Floor,
    /// `switchboard serve`.
    Switchboard,
    /// `switchboard serve` under callgrind, which is no subject of a comparison.
    Counted,
}

impl Kind {
    /// Every subject of a comparison, in the order of the table.
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Nginx, Self::Floor, Self::Switchboard];

    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Floor => "floor",
            Self::Switchboard => "switchboard",
            Self::Counted => "counted",
        }
    }

    /// Whether the processes that it starts are the subject as much as the first one, as nginx's
    /// workers are.
    const fn counts_children(self) -> bool {
        matches!(self, Self::Nginx)
    }
}

/// What the subjects of one run share.
pub(crate) struct Site<'a> {
    /// A folder for their files, which goes with the run.
    pub(crate) dir: &'a Path,
    /// The program `switchboard`.
    pub(crate) switchboard: &'a Path,
}

/// A subject that answers.
pub(crate) struct Subject {
    /// Which one.
    pub(crate) kind: Kind,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    process: Process,
}

impl Site<'_> {
    /// Starts a subject before `backend` and waits for its first answered call. For
    /// [`Kind::Direct`] the backend is what is started.
    ///
    /// # Errors
    /// If it does not start or does not answer within 15 s, with what it said.
    pub(crate) async fn start(
        &self,
        kind: Kind,
        backend: Option<SocketAddr>,
    ) -> Result<Subject, Failure> {
        let address = free_address()?;
        let command = self.command(kind, address, backend.unwrap_or(address))?;
        let output = self.dir.join(format!("{}.log", kind.name()));
        let subject = Subject {
            kind,
            address,
            process: Process::start(command, &output)?,
        };
        subject.answering().await
    }

    fn command(
        &self,
        kind: Kind,
        listen: SocketAddr,
        backend: SocketAddr,
    ) -> Result<Command, Failure> {
        let listen_text = listen.to_string();
        let backend_text = backend.to_string();
        let fill = |template: &str| {
            template
                .replace("@DIR@", &self.dir.to_string_lossy())
                .replace("@LISTEN@", &listen_text)
                .replace("@BACKEND@", &backend_text)
        };
        let own = || env::current_exe().map_err(Failure::at("cannot find this program"));
        Ok(match kind {
            Kind::Direct => {
                let mut command = Command::new(own()?);
                command.args(["backend", "--listen", &listen_text]);
                command
            }
            Kind::Floor => {
                let mut command = Command::new(own()?);
                command.args([
                    "floor",
                    "--listen",
                    &listen_text,
                    "--backend",
                    &backend_text,
                ]);
                command
            }
            Kind::Nginx => {
                let config = self.write("nginx.conf", &fill(NGINX_CONFIG))?;
                let mut command = Command::new(find_nginx()?);
                command.args(["-e", "stderr", "-p"]).arg(self.dir);
                command.arg("-c").arg(config);
                command
            }
            Kind::Switchboard | Kind::Counted => {
                let config = self.write("switchboard.yaml", &fill(SWITCHBOARD_CONFIG))?;
                let mut command = if kind == Kind::Counted {
                    callgrind(self.dir, self.switchboard)
                } else {
                    Command::new(self.switchboard)
                };
                command.args(["serve", "-c"]).arg(config);
                command
            }
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(Failure::at("cannot write its configuration"))?;
        Ok(path)
    }
}

impl Subject {
    async fn answering(mut self) -> Result<Self, Failure> {
        let start = Instant::now();
        loop {
            let asked = timeout(ASK_LIMIT, call_once(self.address)).await;
            let problem = match asked {
                Ok(Ok(())) => return Ok(self),
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => format!("no answer within {ASK_LIMIT:?}"),
            };
            if let Some(ended) = self.process.ended() {
                return Err(ended);
            }
            if start.elapsed() > START_LIMIT {
                return Err(Failure(format!(
                    "answered no call within {START_LIMIT:?} ({problem}): {}",
                    self.process.last_words()
                )));
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Why a load failed: what the load saw, and how the subject ended if it has.
    pub(crate) fn explain(&mut self, seen: Failure) -> Failure {
        match self.process.ended() {
            Some(ended) => Failure(format!("{seen}; {ended}")),
            None => seen,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its clocks as they stand.
    pub(crate) fn cpu_time(&self) -> CpuTime {
        CpuTime::read(self.process.pid())
    }

    /// The CPU time of the subject and that of its children since `earlier`.
    pub(crate) fn cpu_since(&self, earlier: &CpuTime) -> (Duration, Duration) {
        let used = self.cpu_time().since(earlier);
        if self.kind.counts_children() {
            (used.own + used.children, Duration::ZERO)
        } else {
            (used.own, used.children)
        }
    }

    /// The most memory that it has held, in bytes.
    pub(crate) fn peak_rss(&self) -> Option<u64> {
        peak_rss(self.process.pid(), self.kind.counts_children())
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        self.process.stop().await;
    }
}

/// A loopback address that nothing listens on: for programs that must be told their port.
fn free_address() -> Result<SocketAddr, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::at("no free port"))
}

/// nginx by name, also where Debian puts it, which is not on everybody's `PATH`.
fn find_nginx() -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("nginx"))
        .find(|file| file.is_file())
        .ok_or_else(|| Failure("nginx is not installed".to_owned()))
}
