//! How many instructions one call takes in user space: a count that hardly depends on what else the
//! machine does, so that two builds can be compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::process::Command;
use tokio::time::timeout;

use crate::Failure;
use crate::compare::built_beside;
use crate::load::Clients;
use crate::subjects::setup::{Behind, Kind, Setup};
use crate::subjects::{Site, Subject};
use crate::wire::Era;

/// The longest that one load may take: callgrind slows a program down fifty times.
const LOAD_LIMIT: Duration = Duration::from_secs(300);
/// The longest that callgrind may take to be switched on or off.
const CONTROL_LIMIT: Duration = Duration::from_secs(60);
/// What the file of counts is called.
const COUNTS: &str = "callgrind.out";

/// What `instructions` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Calls that are counted; half as many go before, uncounted.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    calls: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// Count calls of a client of 2025-11-25.
    #[arg(long)]
    legacy_client: bool,
    /// Count calls to a backend of 2025-11-25.
    #[arg(long)]
    legacy_backend: bool,
    /// Count calls to a backend that is a process.
    #[arg(long)]
    stdio: bool,
    /// The program to measure; by default the one that was built beside this one.
    #[arg(long, value_name = "PATH")]
    switchboard: Option<PathBuf>,
}

/// Counts, and prints the instructions per call.
///
/// # Errors
/// If valgrind is not installed, or the program does not answer under it.
pub(crate) async fn run(options: &Options) -> Result<bool, Failure> {
    let dir = tempfile::tempdir().map_err(Failure::at("no temporary folder"))?;
    let switchboard = match &options.switchboard {
        Some(path) => path.clone(),
        None => built_beside("switchboard")?,
    };
    let site = Site::open(dir.path(), &switchboard, Vec::new()).await?;
    let mut behind = Behind::USUAL;
    if options.legacy_backend {
        behind = behind.legacy();
    }
    if options.stdio {
        behind = behind.stdio();
    }
    let subject = site.start(Setup::of(Kind::Counted, behind)).await?;
    let client = if options.legacy_client {
        Era::Legacy
    } else {
        Era::Modern
    };
    let script = subject.target.calls(client, &subject.names, 5, 0)?;
    let connections = usize::from(options.connections);
    let mut clients = Clients::new(subject.target.clone(), script, connections);
    clients.connect().await?;
    clients
        .closed_loop(options.calls.div_ceil(2), LOAD_LIMIT)
        .await?;
    control(&subject, "on").await?;
    clients.closed_loop(options.calls, LOAD_LIMIT).await?;
    control(&subject, "off").await?;
    // The counts are written when the program ends.
    let counts = subject.place.dir.join(COUNTS);
    subject.stop().await;
    site.close().await;
    println!("{}", counted(&counts)? / options.calls);
    Ok(true)
}

/// The command that runs `program` under callgrind, with counting off.
pub(crate) fn callgrind(dir: &Path, program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--instr-atstart=no"])
        .arg(format!(
            "--callgrind-out-file={}",
            dir.join(COUNTS).display()
        ))
        .arg(program);
    command
}

async fn control(subject: &Subject, instrumentation: &str) -> Result<(), Failure> {
    let mut command = Command::new("callgrind_control");
    command
        .args(["-i", instrumentation, &subject.pid().to_string()])
        .kill_on_drop(true);
    let output = timeout(CONTROL_LIMIT, command.output())
        .await
        .map_err(Failure::at("callgrind_control does not end"))?
        .map_err(Failure::at("cannot start callgrind_control"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Failure(format!("callgrind_control: {}", output.status)))
    }
}

/// The instructions in a file of counts: the sum of its `totals:` line.
fn counted(file: &Path) -> Result<u64, Failure> {
    let text = fs::read_to_string(file).map_err(Failure::at("callgrind left no counts"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
        .filter(|total| *total > 0)
        .ok_or_else(|| Failure("callgrind counted nothing".to_owned()))
}
