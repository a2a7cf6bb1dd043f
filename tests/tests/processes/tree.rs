//! All processes of one test, found by a mark in their arguments or environment wherever in the tree
//! they are.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use switchboard_tests::front::{Front, descendants, faulty, is_running};
use switchboard_tests::waiting::until;

/// A mark that no other test has.
pub(crate) fn mark(test: &str) -> String {
    format!("mark-{test}-{}", std::process::id())
}

/// A `faulty-server` with a mark.
pub(crate) fn marked(mark: &str, flags: &[&str]) -> Value {
    faulty(&[&["--label", mark], flags].concat())
}

/// The processes that have the mark and run, with their arguments.
pub(crate) fn alive(mark: &str) -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").expect("processes");
    entries
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let read = |file| fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let environment = read("environ");
            let has_mark =
                arguments.contains(mark) || String::from_utf8_lossy(&environment).contains(mark);
            (has_mark && is_running(id)).then_some((id, arguments))
        })
        .collect()
}

/// Waits until at least so many processes have the mark.
pub(crate) async fn until_alive(mark: &str, count: usize) {
    let what = format!("{count} processes");
    until(&what, async || (alive(mark).len() >= count).then_some(())).await;
}

/// Waits until no process with the mark runs.
///
/// # Panics
///
/// If one still does after this long.
pub(crate) async fn until_gone(mark: &str, within: Duration) {
    let deadline = Instant::now() + within;
    loop {
        let left = alive(mark);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still there: {left:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until nothing below the gateway is a zombie, and nothing is left below it at all.
pub(crate) async fn until_alone(front: &Front) {
    let gateway = front.gateway.server().id().expect("a running gateway");
    until("nothing below the gateway", async || {
        descendants(gateway).is_empty().then_some(())
    })
    .await;
}

/// Ends a process as nothing can prepare for.
pub(crate) fn kill(id: u32) {
    let process = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(process.expect("a process id"), Signal::KILL).expect("it runs");
}
