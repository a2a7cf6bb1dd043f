//! Commands that are run to their end, such as those that fill a runner's cache: with the environment
//! and the folder of a backend, owned as its process is, and bounded in time and output.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::runner::Invocation;
use super::stderr::Tail;
use super::summary::{Redactor, summary};
use super::{Process, Program, Supervisor, start};
use crate::confinement::Plan;
use switchboard_init::lifeline::End;

/// The most of the standard output that is kept; more is an error.
const MAX_OUTPUT: usize = 1024 * 1024;

/// Why a command did not do its work, in words for an operator, without secrets of the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(String);

/// Runs a command to its end, with this environment and in this folder, and returns what it wrote to
/// its standard output. Its input is empty. `plan` is what holds for the backend: what is fetched may
/// run code of its own.
///
/// Dropped, it ends with all that it started.
///
/// # Errors
///
/// If it cannot be started, fails, writes more than 1 MiB, or takes longer than `within`.
pub async fn run_command(
    supervisor: &Supervisor,
    plan: &Plan,
    invocation: &Invocation,
    env: &BTreeMap<String, SecretString>,
    cwd: Option<&Path>,
    within: Duration,
) -> Result<String, CommandError> {
    let program = Program {
        plan,
        command: &invocation.command,
        args: &invocation.args,
        env,
        cwd,
        max_line: MAX_OUTPUT,
        epilogue: None,
    };
    plan.make_caches();
    let started = start(supervisor, &program, &TaskTracker::new())
        .await
        .map_err(CommandError)?;
    let Process {
        stdin,
        stdout,
        stderr,
        mut owner,
    } = started;
    drop(stdin);
    let redactor = Redactor::new(env);
    let ended = timeout(within, async {
        let end = async {
            let end = owner.said_end().await;
            // What it started may hold its output open.
            let _ = owner.child.wait().await;
            end
        };
        tokio::join!(read(stdout), read_tail(stderr, &redactor), end)
    });
    let Ok((output, errors, end)) = ended.await else {
        let seconds = within.as_secs();
        return Err(CommandError(format!("it takes longer than {seconds} s")));
    };
    if end != Some(End::Exited(0)) {
        let errors = errors.redacted(&redactor);
        let said = match summary(errors.lines()) {
            Some(said) => format!(": {said}"),
            None => String::new(),
        };
        return Err(CommandError(format!("{}{said}", super::describe(end))));
    }
    let output = output.ok_or_else(|| CommandError("it writes too much".to_owned()))?;
    String::from_utf8(output).map_err(|_| CommandError("it does not write text".to_owned()))
}

/// All of it; `None` if that is too much.
async fn read(mut stream: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut bytes = [0; 8 * 1024];
    let mut is_too_much = false;
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return (!is_too_much).then_some(all),
            Ok(count) => {
                is_too_much |= all.len() + count > MAX_OUTPUT;
                if !is_too_much {
                    all.extend_from_slice(&bytes[..count]);
                }
            }
        }
    }
}

/// What came last of it.
async fn read_tail(mut stream: impl AsyncRead + Unpin, redactor: &Redactor) -> Tail {
    let mut tail = Tail::new(redactor);
    let mut bytes = [0; 8 * 1024];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return tail,
            Ok(count) => tail.push(&bytes[..count]),
        }
    }
}
