//! A process that this program started, and ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Failure;

/// How long a process may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How much of what a process wrote is quoted when it fails, in bytes.
const QUOTED: usize = 400;

/// A process in a group of its own, which is killed whole when this is dropped.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    output: PathBuf,
}

impl Process {
    /// Starts `command`, with what it writes in the file `output`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(mut command: Command, output: &Path) -> Result<Self, Failure> {
        let program = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        let stdout = File::create(output).map_err(Failure::at("cannot keep its output"))?;
        let stderr = stdout
            .try_clone()
            .map_err(Failure::at("cannot keep its output"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(Failure::at(&format!("cannot start {program}")))?;
        let pid = child
            .id()
            .ok_or_else(|| Failure(format!("{program} ended at once")))?;
        Ok(Self {
            child,
            pid,
            output: output.to_owned(),
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended and what it wrote last, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<Failure> {
        let how = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Some(Failure(format!("ended with {how}: {}", self.last_words())))
    }

    /// Asks the whole group to end, and kills what of it has not after 5 s.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        // What is still there afterwards is killed on drop.
        let _ = timeout(STOP_LIMIT, self.child.wait()).await;
    }

    /// The end of what it wrote, on one line.
    pub(crate) fn last_words(&self) -> String {
        let written = fs::read(&self.output).unwrap_or_default();
        let last = &written[written.len().saturating_sub(QUOTED)..];
        let text = String::from_utf8_lossy(last);
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ")
    }

    fn signal(&self, signal: Signal) {
        // Once the child was waited for, its id may be another's.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = pid.and_then(Pid::from_raw) {
            // It fails if the group is gone, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    fn sh(script: &str, output: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, output).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_fails_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sh(
            "echo no such; echo option >&2; exit 3",
            &dir.path().join("out"),
        );
        process.child.wait().await.unwrap();
        let reason = process.ended().unwrap().to_string();
        assert!(reason.contains("exit status: 3"), "{reason}");
        assert!(reason.ends_with("no such option"), "{reason}");
    }

    /// Whether a process has ended; one that nobody has waited for yet counts.
    fn is_over(pid: &str) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
    }

    async fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
        let wait = async {
            loop {
                if let Some(value) = condition() {
                    return value;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), wait).await.unwrap()
    }

    #[tokio::test]
    async fn dropping_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = sh("sleep 600 & echo $!; wait", &dir.path().join("out"));
        let grandchild =
            until(|| Some(process.last_words()).filter(|words| !words.is_empty())).await;
        assert!(process.ended().is_none());
        assert!(!is_over(&grandchild));
        drop(process);
        until(|| is_over(&grandchild).then_some(())).await;
    }
}
