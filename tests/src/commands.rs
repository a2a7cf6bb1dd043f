//! Commands of `switchboard` that end by themselves, and what they print.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::tools;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ended {
    /// Checks that it ended with this code.
    ///
    /// # Panics
    ///
    /// If it did not.
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The JSON that it printed.
    ///
    /// # Panics
    ///
    /// If that is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// All that it printed.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// `switchboard` with these arguments and an empty standard input.
pub fn switchboard(arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::program("switchboard"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Waits for the end of a command.
///
/// # Panics
///
/// If it does not start, or has not ended after two minutes.
pub async fn ended(mut command: Command) -> Ended {
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("an end in time")
        .expect("it starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
