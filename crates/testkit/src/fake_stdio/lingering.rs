//! What a server leaves behind: processes that serve nothing and stay.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::setsid;
use tokio::time::sleep;

use super::Options;

/// The longest that one stays if nobody ends it: a test that fails leaves nothing for long.
const BOUND: Duration = Duration::from_secs(120);

/// Starts what the options say.
///
/// # Panics
///
/// If this program cannot be started once more.
pub fn start(options: &Options) {
    let wanted = [
        (options.daemon, vec!["--daemon".to_owned()]),
        (options.tree.is_some_and(|length| length > 0), tree(options)),
    ];
    for (_, flags) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
        again(options, &flags).expect("the program starts once more");
    }
}

/// The life of such a process.
///
/// # Panics
///
/// If this program cannot be started once more.
pub async fn linger(options: &Options) {
    if options.daemon {
        // Not the leader of its group, so this cannot fail.
        setsid().expect("a session");
        again(options, &[]).expect("the program starts once more");
        return;
    }
    start(options);
    sleep(BOUND).await;
}

fn tree(options: &Options) -> Vec<String> {
    let length = options.tree.unwrap_or_default().saturating_sub(1);
    vec!["--tree".to_owned(), length.to_string()]
}

/// Starts this program once more, to linger; that others have to reap it is what it is for. It keeps
/// the standard output of the server open.
pub(super) fn again(options: &Options, flags: &[String]) -> std::io::Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["--lingers", "--label", &options.label]);
    if options.ignore_sigterm {
        command.arg("--ignore-sigterm");
    }
    command.args(flags).stdin(Stdio::null()).spawn().map(drop)
}
