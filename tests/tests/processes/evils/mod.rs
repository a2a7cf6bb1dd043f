//! One evil after the other: what its caller gets, that another server's calls go on beside it, what
//! becomes of the process, and what the gateway has counted. Evils at the end of a process are in
//! `endings`.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::Answer;
use switchboard_tests::front::{Front, faulty};
use tempfile::NamedTempFile;
use tokio::time::Instant;

mod answers;
mod input;
mod lines;
mod standard_error;
mod starts;

const ERAS: [&str; 2] = ["modern", "legacy"];
/// Well above what a busy machine needs for anything but the largest evils.
const PROMPT: Duration = Duration::from_secs(8);
/// The largest evil of all, in bytes.
const GIB: u64 = 1 << 30;
/// What a gateway may have gained by an evil, in KiB: a debug build with a few messages of 16 MiB.
const FLAT: u64 = 128 * 1024;

/// A gateway in front of this server as `bad` and a healthy one as `good`, both there.
async fn front(bad: Value) -> Front {
    let front = Front::of(json!({ "bad": bad, "good": faulty(&["--label", "good"]) })).await;
    front.wait_until("good", true).await;
    front.wait_until("bad", true).await;
    front
}

/// A server of this era that does what it is told.
fn misbehaving(era: &str) -> Value {
    faulty(&["--misbehaves", "--era", era])
}

/// Has the bad server do this while the good one is called.
async fn misbehave(front: &Front, arguments: Value) -> Answer {
    let call = front.client.call("bad__misbehave", arguments);
    front.beside("good", PROMPT, call).await
}

/// Checks that the evil was done and answered, and returns what came of it.
fn did(answer: &Answer) -> &Value {
    let did = &answer.result()["structuredContent"]["server"]["did"];
    assert!(did.is_object(), "{}", answer.raw);
    did
}

/// Which process answers calls of the bad server; it has to answer promptly.
async fn process(front: &Front) -> u64 {
    let began = Instant::now();
    let answer = front.client.call("bad__echo", json!({})).await;
    assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
    let process = &answer.result()["structuredContent"]["server"]["pid"];
    process.as_u64().unwrap_or_else(|| panic!("{}", answer.raw))
}

/// What was counted of the bad server's messages of this kind.
async fn ignored(front: &Front, kind: &str) -> f64 {
    counted(front, "switchboard_backend_ignored_messages_total", kind).await
}

/// The sum of a counter of the bad server, of the samples with this label.
async fn counted(front: &Front, metric: &str, label: &str) -> f64 {
    let samples = front.metrics(metric).await;
    let wanted = samples.iter().filter(|(name, _)| {
        name.contains("\"bad\"") && (label.is_empty() || name.contains(&format!("\"{label}\"")))
    });
    wanted.map(|(_, count)| count).sum()
}

/// Checks that the gateway's memory has not grown by more than is allowed since `before`.
fn assert_flat(front: &Front, before: u64, what: &str) {
    let memory = front.memory();
    let grown = memory.peak.saturating_sub(before);
    assert!(grown < FLAT, "{what}: {grown} KiB more than {before} KiB");
}

/// A server behind a shell that notes each start in a file and then runs this script, in which `$0`
/// is the server.
fn counting_starts(script: &str) -> (Value, NamedTempFile) {
    let starts = NamedTempFile::new().expect("a file");
    let script = format!("echo started >> \"$STARTS\"; {script}");
    let server = switchboard_tests::tools::program("faulty-server");
    let backend = json!({
        "command": "sh",
        "args": ["-c", script, server],
        "env": { "STARTS": starts.path() },
    });
    (backend, starts)
}

fn starts(file: &NamedTempFile) -> usize {
    let noted = std::fs::read_to_string(file.path()).expect("the file is ours");
    noted.lines().count()
}
