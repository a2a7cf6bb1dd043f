//! However large results are, the gateway never holds more than their caps.

use super::*;
use std::collections::BTreeSet;

use axum::body::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use switchboard_testkit::fake::Era;

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

/// How many bytes of text each result has.
const LENGTH: usize = 100_000_000;
/// The bytes of the pieces that it is sent in.
const PIECE: usize = 100_000;

/// A server whose results have 100 MB, of this media type.
struct Huge {
    server: Scripted,
    media_type: &'static str,
}

impl Huge {
    async fn start(media_type: &'static str, era: Era) -> Self {
        let server = Scripted::start(|_| Vec::new()).await;
        let server = match era {
            Era::Modern => server,
            Era::Legacy => server.speaking_legacy(),
        };
        server.answer_as(media_type);
        Self { server, media_type }
    }

    /// Answers with a text of this length from now on.
    fn answer(&self, length: usize) {
        let (before, after) = match self.media_type {
            "text/event-stream" => ("data: ", "\n\n"),
            _ => ("", ""),
        };
        let piece = Bytes::from(vec![b'a'; PIECE]);
        self.server.answer_with(move |id| {
            let beginning = response(
                id,
                r#"{"resultType":"complete","content":[{"type":"text","text":""#,
            );
            let beginning = beginning.strip_suffix('}').expect("a brace");
            let mut steps = vec![Step::Send(format!("{before}{beginning}").into())];
            steps.extend((0..length / PIECE).map(|_| Step::Send(piece.clone())));
            steps.push(Step::Send(format!("{}{after}", r#""}]}}"#).into()));
            steps
        });
    }
}

/// A call, with all the time that it takes to read a result to its end.
async fn call(front: &Front) -> Answer {
    let params = json!({ "name": "s__t", "arguments": {} });
    let response = front.gateway.request("tools/call", params).await;
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        notifications: Vec::new(),
        raw: response.to_string(),
        response,
    }
}

async fn ten_at_once(media_type: &'static str, over: &str) {
    ten_of(Huge::start(media_type, Era::Modern).await, over).await;
}

async fn ten_of(huge: Huge, over: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({
        "result_caps": [{ "max_bytes": CAP, "over": over }],
        // What is kept is on the disk, with room for all of it.
        "kept_results": { "dir": folder.path(), "in_memory": 1, "per_principal": { "bytes": "2GiB" } },
    });
    let front = start(&huge.server, config).await;
    // Once, so that what the gateway needs anyway is there.
    huge.answer(LENGTH / 20);
    front.client.call("s__t", json!({})).await;
    huge.answer(LENGTH);
    let before = memory(&front, "VmRSS");
    let calls = (0..CALLS).map(|_| call(&front));
    let mut kept = BTreeSet::new();
    for answer in join_all(calls).await {
        if over == "refuse" {
            assert_eq!(answer.fault()["reason"], "too_large");
            continue;
        }
        assert_cut(&answer, usize::try_from(CAP).expect("small"));
        let told = told(&answer);
        let all = told["keptInAll"].as_u64().unwrap_or_default();
        let is_kept = over == "handle";
        assert_eq!(all, if is_kept { LENGTH as u64 } else { 0 }, "{told}");
        kept.extend(told["uri"].as_str().map(str::to_owned));
    }
    let grown = memory(&front, "VmHWM").saturating_sub(before);
    assert!(grown <= CALLS * CAP + SLACK, "{} MiB more", grown / MIB);
    for uri in &kept {
        let end = json!({ "uri": format!("{uri}?offset={}", LENGTH - 10) });
        let page = front.client.request("resources/read", end).await;
        assert_eq!(page.result()["contents"][0]["text"], "a".repeat(10));
    }
    assert_eq!(kept.len() as u64, if over == "handle" { CALLS } else { 0 });
    front.gateway.stop().await;
}

#[tokio::test]
async fn ten_cut_results_of_100_mb_cost_ten_caps() {
    ten_at_once("application/json", "truncate").await;
}

#[tokio::test]
async fn ten_cut_results_of_100_mb_in_event_streams_cost_ten_caps() {
    ten_at_once("text/event-stream", "truncate").await;
}

#[tokio::test]
async fn ten_refused_results_of_100_mb_cost_ten_caps() {
    ten_at_once("application/json", "refuse").await;
}

#[tokio::test]
async fn ten_refused_results_of_100_mb_in_event_streams_cost_ten_caps() {
    ten_at_once("text/event-stream", "refuse").await;
}

#[tokio::test]
async fn ten_kept_results_of_100_mb_cost_ten_caps() {
    ten_at_once("application/json", "handle").await;
}

#[tokio::test]
async fn ten_kept_results_of_100_mb_in_event_streams_cost_ten_caps() {
    ten_at_once("text/event-stream", "handle").await;
}

#[tokio::test]
async fn ten_results_of_100_mb_of_a_legacy_server_cost_ten_caps() {
    for media_type in ["application/json", "text/event-stream"] {
        ten_of(Huge::start(media_type, Era::Legacy).await, "truncate").await;
    }
}

#[tokio::test]
async fn ten_results_of_100_mb_of_a_local_server_cost_ten_caps() {
    for (over, length) in [("truncate", LENGTH), ("handle", LENGTH / 5)] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut backend = faulty(&["--misbehaves"]);
        backend["max_message_bytes"] = json!(2 * LENGTH);
        backend["timeout"] = json!("4m");
        let front = Front::start(json!({
            "backends": { "s": backend },
            "result_caps": [{ "max_bytes": CAP, "over": over }],
            "kept_results": { "dir": folder.path(), "in_memory": 1, "per_principal": { "bytes": "2GiB" } },
        }))
        .await;
        front.wait_until("s", true).await;
        let call = async |length: usize| {
            let line = json!({ "evil": "long_line", "bytes": length });
            let params = json!({ "name": "s__misbehave", "arguments": line });
            front.gateway.request("tools/call", params).await
        };
        call(LENGTH / 20).await;
        let before = memory(&front, "VmRSS");
        for answer in join_all((0..CALLS).map(|_| call(length))).await {
            let told = &answer["result"]["_meta"]["dev.switchboard/truncated"];
            assert_eq!(told["isWhole"] == true, over == "handle", "{told}");
        }
        let grown = memory(&front, "VmHWM").saturating_sub(before);
        assert!(grown <= CALLS * CAP + SLACK, "{} MiB more", grown / MIB);
        front.gateway.stop().await;
    }
}

/// Of a tool that promises structured content, which is a text, or of more small objects than anybody wants.
#[tokio::test]
async fn ten_results_with_20_mb_of_structured_content_cost_ten_caps() {
    const MEMBER: &str = r#""a":{"":[{}]},"#;
    for (beginning, piece, end) in [
        (r#"{"text":""#, "b".repeat(PIECE), r#""}"#),
        ("{", MEMBER.repeat(PIECE / MEMBER.len()), r#""end":1}"#),
    ] {
        let input_schema = json!({ "type": "object" });
        let server = Scripted::start(|_| Vec::new()).await.with_tools(json!([
            { "name": "t", "inputSchema": input_schema, "outputSchema": { "type": "object" } },
        ]));
        let answer = |pieces: usize| {
            let content = "c".repeat(2 * PIECE * 10);
            let before = format!(
                r#"{{"resultType":"complete","content":[{{"type":"text","text":"{content}"}}],"structuredContent":{beginning}"#
            );
            let piece = Bytes::from(piece.clone());
            server.answer_with(move |id| {
                let before = response(id, &before);
                let before = before.strip_suffix('}').expect("a brace");
                let mut steps = vec![Step::Send(before.to_owned().into())];
                steps.extend((0..pieces).map(|_| Step::Send(piece.clone())));
                steps.push(Step::Send(format!("{end}}}}}").into()));
                steps
            });
        };
        answer(20);
        let front = front(&server, json!([{ "max_bytes": CAP }])).await;
        front.client.call("s__t", json!({})).await;
        answer(200);
        let before = memory(&front, "VmRSS");
        for answer in join_all((0..CALLS).map(|_| call(&front))).await {
            assert_cut(&answer, usize::try_from(CAP).expect("small"));
            let result = answer.result();
            assert_eq!(result.get("isError"), None, "{}", told(&answer));
            assert!(told(&answer)["keptBytes"].as_u64() > Some(CAP / 2));
        }
        let grown = memory(&front, "VmHWM").saturating_sub(before);
        assert!(grown <= CALLS * CAP + SLACK, "{} MiB more", grown / MIB);
        front.gateway.stop().await;
    }
}
