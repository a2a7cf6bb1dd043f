//! The second step: what is to hold for the program alone, and then the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::stdio::{dup2_stdin, stdin};

use crate::InitError;
use crate::confine::confine;
use crate::confinement::Confinement;
use crate::lifeline::receive_descriptor;

/// Becomes the program; returns only if that fails. Standard input is a socket then, over which the
/// program's own came: its owner reads there why, or that it was closed, which `exec` does.
pub(crate) fn exec(args: impl Iterator<Item = OsString>) -> Result<ExitCode, InitError> {
    let program_input = receive_descriptor(stdin()).map_err(InitError::NoLifeline)?;
    let owner =
        fcntl_dupfd_cloexec(stdin(), 3).map_err(InitError::on("keep the owner's socket"))?;
    dup2_stdin(&program_input).map_err(InitError::on("pass standard input on"))?;
    drop(program_input);
    let failed = become_program(args);
    tell(owner, failed.number());
    // Its owner says it all; two would say it twice.
    Ok(ExitCode::FAILURE)
}

fn become_program(mut args: impl Iterator<Item = OsString>) -> InitError {
    let owner = args
        .next()
        .and_then(|owner| owner.to_str()?.parse().ok())
        .and_then(Pid::from_raw);
    let confinement = args
        .next()
        .and_then(|argument| Confinement::from_argument(&argument));
    let (Some(owner), Some(confinement)) = (owner, confinement) else {
        return InitError::Arguments;
    };
    let groups = confinement.groups.len();
    let groups: Vec<PathBuf> = args.by_ref().take(groups).map(PathBuf::from).collect();
    let Some(program) = args.next() else {
        return InitError::Arguments;
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return InitError::on("follow the owner")(error);
    }
    // Gone before the signal was set, it would never come.
    if getppid() != Some(owner) {
        return InitError::OwnerGone;
    }
    if let Err(error) = confine(&confinement, &groups) {
        return error;
    }
    InitError::on("start the program")(Command::new(program).args(args).exec())
}

fn tell(owner: OwnedFd, number: i32) {
    let mut owner = io::BufWriter::new(std::fs::File::from(owner));
    // Nobody else could be told.
    let _ = writeln!(owner, "{number}");
    let _ = owner.flush();
}
