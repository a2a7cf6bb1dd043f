//! However large results are, the gateway never holds more than their caps.

use super::*;
use axum::body::Bytes;
use futures_util::future::join_all;

const MIB: u64 = 1024 * 1024;
/// The cap of the tests.
const CAP: u64 = MIB;
/// How many calls there are at once.
const CALLS: u64 = 10;
/// What may come to the caps: what is on its way in connections, 64 KiB and a few buffers for each call, and
/// what the allocator has not given back.
const SLACK: u64 = 32 * MIB;

/// The resident memory of the gateway in bytes: the most there was (`VmHWM`), or what there is now
/// (`VmRSS`).
fn memory(front: &Front, which: &str) -> u64 {
    let id = front.gateway.server().id().expect("a running gateway");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kib = line.and_then(|line| line.trim_start_matches(':').trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") * 1024
}

/// A server whose results have 100 MB; with `framing` they are events.
async fn huge(media_type: &'static str, framing: bool) -> Scripted {
    let piece = Bytes::from(vec![b'a'; 100_000]);
    let server = Scripted::start(move |id| {
        let beginning = response(
            id,
            r#"{"resultType":"complete","content":[{"type":"text","text":""#,
        );
        let beginning = beginning.strip_suffix('}').expect("a brace");
        let (before, after) = if framing {
            ("data: ", "\n\n")
        } else {
            ("", "")
        };
        let mut steps = vec![Step::Send(format!("{before}{beginning}").into())];
        steps.extend((0..1000).map(|_| Step::Send(piece.clone())));
        steps.push(Step::Send(format!("{}{after}", r#""}]}}"#).into()));
        steps
    })
    .await;
    server.answer_as(media_type);
    server
}

async fn ten_at_once(server: &Scripted, over: &str) {
    let caps = json!([{ "max_bytes": CAP, "over": over }]);
    let front = front(server, caps).await;
    // Once, so that what the gateway needs anyway is there.
    front.client.call("s__t", json!({})).await;
    let before = memory(&front, "VmRSS");
    let calls = (0..CALLS).map(|_| front.client.call("s__t", json!({})));
    for answer in join_all(calls).await {
        match over {
            "truncate" => drop(assert_cut(&answer, usize::try_from(CAP).expect("small"))),
            _ => assert_eq!(answer.fault()["reason"], "too_large"),
        }
    }
    let grown = memory(&front, "VmHWM").saturating_sub(before);
    assert!(grown <= CALLS * CAP + SLACK, "{} MiB more", grown / MIB);
    front.gateway.stop().await;
}

#[tokio::test]
async fn ten_cut_results_of_100_mb_cost_ten_caps() {
    let server = huge("application/json", false).await;
    ten_at_once(&server, "truncate").await;
}

#[tokio::test]
async fn ten_refused_results_of_100_mb_cost_ten_caps() {
    let server = huge("application/json", false).await;
    ten_at_once(&server, "refuse").await;
}

#[tokio::test]
async fn ten_cut_results_of_100_mb_in_event_streams_cost_ten_caps() {
    let server = huge("text/event-stream", true).await;
    ten_at_once(&server, "truncate").await;
}

#[tokio::test]
async fn ten_refused_results_of_100_mb_in_event_streams_cost_ten_caps() {
    let server = huge("text/event-stream", true).await;
    ten_at_once(&server, "refuse").await;
}
