//! Local processes: started through their owner (`switchboard __init`, decision 14), which ends all
//! that they started.
//!
//! The gateway holds the lifeline and the pipes. Nothing here signals a process: whatever happens to
//! the gateway, dropping its end of the lifeline is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::BytesMut;
use secrecy::{ExposeSecret, SecretString};
use switchboard_init::lifeline::{End, Limit, MAX_LINE, Order, Report, send_descriptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::roster::RosterEntry;
pub use self::roster::{ProcessEnd, ProcessKind, ProcessReport};
use self::runner::Invocation;
use self::stderr::Stderr;
pub use self::supervisor::Supervisor;
pub use self::usage::Usage;
use crate::confinement::Plan;
use crate::link::mux::LastWord;

pub(crate) mod command;
pub(crate) mod demand;
mod level;
pub(crate) mod restarts;
pub(crate) mod roster;
pub mod runner;
pub(crate) mod stderr;
mod summary;
mod supervisor;
mod usage;

/// What of the gateway's own environment a process gets besides what its configuration names: what
/// programs need to start, and nothing that could be a secret.
const SAFE_ENV: [&str; 12] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
];
/// How long a process may take to end by itself once its input is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// How long after SIGTERM before SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(3);
/// How long after SIGKILL until it is said that the tree does not end.
const KILL_GRACE: Duration = Duration::from_secs(1);
/// How long is waited for the end of a program before a process that was over a limit is told of: it
/// may be the program itself, whose end says it.
const TELL_OVER_AFTER: Duration = Duration::from_secs(1);
/// What ends this long after it, or a process of it, was over a limit ended for another reason.
const OVER_COUNTS: Duration = Duration::from_secs(5);
/// How long the owner may take to say whether the program has begun: a program on a disk that
/// sleeps, or on a slow network.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// How a process is started.
pub(crate) struct Program<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) command: &'a str,
    pub(crate) args: &'a [String],
    pub(crate) env: &'a BTreeMap<String, SecretString>,
    pub(crate) cwd: Option<&'a Path>,
    pub(crate) max_line: usize,
    /// What its owner does last, once nothing of its tree is left.
    pub(crate) epilogue: Option<&'a Epilogue>,
}

/// A command that removes what a program leaves behind that is not of its tree: a container.
#[derive(Clone, Debug)]
pub(crate) struct Epilogue {
    pub(crate) command: Invocation,
    /// The exit code with which the program says that it made nothing.
    pub(crate) unless: Option<u8>,
}

/// A program that runs.
pub(crate) struct Process {
    pub(crate) stdin: pipe::Sender,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
    pub(crate) owner: Owner,
}

/// The gateway's side of the owner of a process. Dropped, everything of the tree ends.
pub(crate) struct Owner {
    plan: Plan,
    child: Child,
    lifeline: UnixStream,
    said: BytesMut,
    /// Its entry among the processes that run, once it does.
    entry: Option<RosterEntry>,
    /// How long it may take after SIGKILL until nothing is left.
    kill_grace: Duration,
}

/// A program that has been started and has not begun yet, as far as is known. Who drops it need not
/// wait for its end, but one of `tasks` does.
struct Starting<'t> {
    /// `None` once it has begun.
    process: Option<Process>,
    tasks: &'t TaskTracker,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        // Without a runtime nobody is left to wait.
        if let (Some(process), Ok(runtime)) = (self.process.take(), Handle::try_current()) {
            self.tasks.spawn_on(process.end(), &runtime);
        }
    }
}

/// Starts a program, and waits until it has begun. If it has not, or nobody waits for it any longer,
/// one of `tasks` sees to its end.
///
/// # Errors
/// A sentence for the caller, without paths and arguments.
pub(crate) async fn start(
    supervisor: &Supervisor,
    program: &Program<'_>,
    tasks: &TaskTracker,
) -> Result<Process, String> {
    let mut starting = Starting {
        process: Some(spawn(supervisor, program).map_err(|error| not_started(&error))?),
        tasks,
    };
    let begun = match &mut starting.process {
        Some(process) => timeout(START_DEADLINE, process.owner.next_report()).await,
        None => Ok(None),
    };
    match begun {
        Ok(Some(Report::Started(pid))) if let Some(mut process) = starting.process.take() => {
            process.owner.enter(supervisor, pid);
            Ok(process)
        }
        Ok(Some(Report::Failed(number))) => Err(not_started(&io::Error::from_raw_os_error(number))),
        Ok(_) => Err("its program could not be started: its owner ended".to_owned()),
        Err(_) => Err("its program did not start in time".to_owned()),
    }
}

/// A variable of a process's environment.
pub(crate) fn variable(env: &BTreeMap<String, SecretString>, name: &str) -> Option<OsString> {
    match env.get(name) {
        Some(value) => Some(value.expose_secret().into()),
        None if SAFE_ENV.contains(&name) => std::env::var_os(name),
        None => None,
    }
}

/// The names of all variables that a process with these gets.
pub(crate) fn variable_names(env: &BTreeMap<String, SecretString>) -> BTreeSet<String> {
    let own = SAFE_ENV
        .iter()
        .filter(|name| std::env::var_os(name).is_some());
    let own = own.map(|name| (*name).to_owned());
    own.chain(env.keys().cloned()).collect()
}

fn not_started(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "its program, or the folder to start it in, was not found".to_owned()
        }
        other => format!("its program could not be started: {other}"),
    }
}

fn spawn(supervisor: &Supervisor, program: &Program<'_>) -> io::Result<Process> {
    let (ours, theirs) = Socket::pair()?;
    let (input, stdin) = io::pipe()?;
    // Sent before there is anybody to take it: so the owner never waits for it.
    send_descriptor(&ours, &input)?;
    drop(input);
    let mut command = Command::new(&*supervisor.program);
    command
        .arg0("switchboard")
        .arg(switchboard_init::INIT)
        .arg(program.plan.confinement().to_argument()?)
        .args(program.epilogue.into_iter().flat_map(epilogue_arguments))
        .arg(switchboard_init::PROGRAM)
        .arg(program.command)
        .args(program.args)
        .env_clear()
        .envs(
            SAFE_ENV
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .envs(program.plan.variables())
        .envs(program.env.iter().map(|(name, value)| {
            let value: &OsStr = value.expose_secret().as_ref();
            (name, value)
        }))
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A signal to the gateway's group, such as that of Ctrl-C, is the gateway's to pass on.
        .process_group(0);
    if let Some(cwd) = program.cwd {
        command.current_dir(cwd);
    }
    let mut child = command.spawn()?;
    // It holds the owner's end of the lifeline.
    drop(command);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    ours.set_nonblocking(true)?;
    let owner = Owner {
        plan: program.plan.clone(),
        child,
        lifeline: UnixStream::from_std(ours)?,
        said: BytesMut::new(),
        entry: None,
        kill_grace: match program.epilogue {
            Some(_) => KILL_GRACE + switchboard_init::EPILOGUE_DEADLINE,
            None => KILL_GRACE,
        },
    };
    Ok(Process {
        stdin: pipe::Sender::from_owned_fd(stdin.into())?,
        stdout,
        stderr,
        owner,
    })
}

fn epilogue_arguments(epilogue: &Epilogue) -> Vec<String> {
    let Invocation { command, args } = &epilogue.command;
    let unless = epilogue.unless.map(|code| code.to_string());
    let head = [
        switchboard_init::EPILOGUE.to_owned(),
        unless.unwrap_or_else(|| "-".to_owned()),
        (1 + args.len()).to_string(),
        command.clone(),
    ];
    head.into_iter().chain(args.iter().cloned()).collect()
}

impl Process {
    /// Has it ended, with all that it started.
    async fn end(self) {
        let Self {
            stdin,
            stdout,
            stderr,
            mut owner,
        } = self;
        drop((stdin, stdout, stderr));
        owner.end_tree().await;
    }
}

impl Owner {
    fn enter(&mut self, supervisor: &Supervisor, pid: i32) {
        let ids = self.child.id().zip(u32::try_from(pid).ok());
        if let (Some(roster), Some((owner, pid))) = (&supervisor.roster, ids) {
            self.entry = Some(roster.enter(owner, pid, supervisor.kind));
        }
    }

    /// The entry of its process among those that run.
    pub(crate) fn entry(&self) -> Option<&RosterEntry> {
        self.entry.as_ref()
    }

    /// Waits for the program to end, or has it ended: its input closed (by the writer), then
    /// SIGTERM, then SIGKILL for all of its tree.
    pub(crate) async fn see_to_the_end(
        mut self,
        stop: CancellationToken,
        stderr: Stderr,
    ) -> LastWord {
        let ended = tokio::select! {
            ended = self.program_ended(&stderr) => Some(ended),
            () = stop.cancelled() => None,
        };
        if let Some(entry) = &self.entry {
            entry.ends();
        }
        let Some((end, over)) = ended else {
            let end = self.end_tree().await;
            // It had ended before it was told to, as its owner says only now.
            if matches!(end, Some(End::Exited(1..))) {
                let reason = told(describe(end), stderr.last_words().await);
                if let Some(entry) = &self.entry {
                    entry.ended(&reason);
                }
                return Some(reason).into();
            }
            return Some(describe(end)).into();
        };
        let reason = match over {
            Some(limit) => format!("{ENDED}{}", self.plan.told_over(limit)),
            None => describe(end),
        };
        let summary = stderr.tell_end(&reason).await;
        // What it wrote before it was over a limit is not why.
        let reason = told(reason, summary.filter(|_| over.is_none()));
        if let Some(entry) = &self.entry {
            entry.ended(&reason);
        }
        // Its owner ends what is left; nobody has to wait for that to know that calls have failed.
        let rest = async move {
            self.end_tree().await;
        };
        LastWord {
            reason: Some(reason),
            rest: Some(Box::pin(rest)),
        }
    }

    /// How the program ended, and which limit was the reason; no end if its owner ended first. What
    /// is over a limit while the program goes on, such as a child that the kernel ends for its memory,
    /// is logged.
    async fn program_ended(&mut self, stderr: &Stderr) -> (Option<End>, Option<Limit>) {
        let mut over: Option<(Limit, Instant)> = None;
        let mut untold = None;
        loop {
            let report = match untold {
                Some(_) => timeout(TELL_OVER_AFTER, self.next_report()).await.ok(),
                None => Some(self.next_report().await),
            };
            let is_end = matches!(report, Some(None | Some(Report::Ended(_))));
            if let Some(limit) = untold.take().filter(|_| !is_end) {
                stderr.tell(&format!("a process of it {}", self.plan.told_over(limit)));
            }
            let end = match report {
                Some(Some(Report::Ended(end))) => Some(end),
                Some(None) => None,
                Some(Some(Report::Exceeded(limit))) => {
                    over = Some((limit, Instant::now()));
                    untold = Some(limit);
                    continue;
                }
                Some(Some(Report::Started(_) | Report::Failed(_))) | None => continue,
            };
            let over = over.filter(|(_, at)| at.elapsed() < OVER_COUNTS);
            return (end, over.map(|(limit, _)| limit));
        }
    }

    /// How the program ended, once its owner has said all; `None` if it did not say so.
    async fn said_end(&mut self) -> Option<End> {
        loop {
            if let Report::Ended(end) = self.next_report().await? {
                return Some(end);
            }
        }
    }

    /// Has everything of the tree ended, and says how the program did.
    async fn end_tree(&mut self) -> Option<End> {
        let orders = [(CLOSE_GRACE, Order::Term), (TERM_GRACE, Order::Kill)];
        for (grace, order) in orders {
            if timeout(grace, self.child.wait()).await.is_ok() {
                return self.said_end().await;
            }
            // An owner that is gone needs no orders.
            let _ = self.lifeline.write_all(order.line().as_bytes()).await;
        }
        if timeout(self.kill_grace, self.child.wait()).await.is_err() {
            tracing::warn!("a process does not end, although it was sent SIGKILL");
            // Its owner may have been stopped: the program ends with it.
            let _ = self.child.start_kill();
            let _ = self.child.wait().await;
        }
        self.said_end().await
    }

    /// What the owner says next; `None` if it is gone. May be dropped and called again.
    async fn next_report(&mut self) -> Option<Report> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.said) {
                let line = self.said.split_to(at + 1);
                match std::str::from_utf8(&line).ok().and_then(Report::parse) {
                    Some(report) => return Some(report),
                    None => continue,
                }
            }
            if self.said.len() > MAX_LINE {
                return None;
            }
            match self.lifeline.read_buf(&mut self.said).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }
}

/// What the reason of every end of a process begins with.
const ENDED: &str = "its process ";

/// Whether this is the reason of a connection's end that the end of its process is.
pub(crate) fn is_end(reason: &str) -> bool {
    reason.starts_with(ENDED)
}

/// The reason of an end, with what the process said last.
fn told(reason: String, last_words: Option<String>) -> String {
    match last_words {
        Some(words) => format!("{reason}: {words}"),
        None => reason,
    }
}

fn describe(end: Option<End>) -> String {
    match end {
        Some(End::Exited(code)) => format!("{ENDED}ended with exit code {code}"),
        Some(End::Signalled(signal)) => format!("{ENDED}was ended by signal {signal}"),
        None => format!("{ENDED}was ended together with its owner"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// An owner that never says that its program has begun, and takes a while to end.
    const SILENT: &str = "#!/bin/sh\nread order\nsleep 0.2\n: > \"$(dirname \"$0\")/ended\"\n";

    #[tokio::test]
    async fn somebody_waits_for_the_end_of_a_start_that_nobody_waits_for() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("owner");
        std::fs::write(&path, SILENT).expect("a script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("can be run");
        let supervisor = Supervisor::at(&path);
        let (plan, env) = (Plan::default(), BTreeMap::new());
        let program = Program {
            plan: &plan,
            command: "any",
            args: &[],
            env: &env,
            cwd: None,
            max_line: 1024,
            epilogue: None,
        };
        let tasks = TaskTracker::new();
        let at_once = timeout(Duration::ZERO, start(&supervisor, &program, &tasks)).await;
        assert!(at_once.is_err(), "it has begun");
        tasks.close();
        assert!(!tasks.is_empty());
        tasks.wait().await;
        assert!(place.path().join("ended").exists());
    }
}
