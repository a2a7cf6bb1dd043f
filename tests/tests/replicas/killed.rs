//! A replica that is killed: only what it had going fails, and clients go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{RoleClient, ServiceExt as _};
use switchboard_testkit::client::{message, retry};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::asking::{AskingServer, Way, accepted, asking_call};
use switchboard_tests::front::remote;
use switchboard_tests::scripted::{Scripted, pieces};
use switchboard_tests::tools;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_replica_had_is_answered_as_specified() {
    let server = AskingServer::start(Way::Post).await;
    let long = "many words ".repeat(4_000);
    let scripted = Scripted::start(move |id| {
        let content = json!([{ "type": "text", "text": long }]);
        let result = json!({ "resultType": "complete", "content": content });
        let response = json!({ "jsonrpc": "2.0", "id": 0, "result": result }).to_string();
        pieces(
            &response.replace("\"id\":0", &format!("\"id\":{id}")),
            10_007,
        )
    })
    .await;
    let tasks = json!({
        "command": tools::program("task-server"),
        "args": ["--era", "legacy", "--label", "t"],
    });
    let config = json!({
        "backends": { "a": server.backend(), "s": remote(scripted.url()), "t": tasks },
        "kept_results": { "ttl": "10m" },
        "result_caps": [{ "max_bytes": "8KiB", "over": "handle", "backends": ["s"] }],
    });
    let mut replicas = replicas(2, config).await;
    let owner = replicas.front(0).client.clone();

    let parked = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = owner.ask(&parked).await;
    assert!(asked.is_input_required(), "{}", asked.raw);
    let kept = owner.call("s__t", json!({})).await;
    let blocks = kept.result()["content"].as_array().expect("blocks");
    let link = blocks.iter().find(|block| block["type"] == "resource_link");
    let uri = link.expect("a link")["uri"].clone();
    let declared = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    let declared = json!({ "io.modelcontextprotocol/clientCapabilities": declared });
    let params = json!({ "name": "t__later", "arguments": { "hold": true }, "_meta": declared });
    let task = owner.ask(&message("tools/call", params)).await;
    let task = task.result()["taskId"].clone();
    assert!(task.is_string());
    let beside = beside(&replicas, 1).await;

    replicas.kill(0).await;
    let left = &replicas.front(1).client;
    let retried = retry(parked, &asked, accepted(&asked, "x"));
    assert_unknown(&left.ask(&retried).await);
    let params = json!({ "taskId": task, "_meta": declared });
    let got = left.ask(&message("tasks/get", params)).await;
    assert_eq!(
        got.response["error"]["data"]["outcome"], "unknown",
        "{}",
        got.raw
    );
    let read = left.request("resources/read", json!({ "uri": uri })).await;
    assert_eq!(read.error_code(), Some(-32602), "{}", read.raw);
    let read = left
        .call("switchboard__read_result", json!({ "uri": uri }))
        .await;
    assert_eq!(read.error_code(), Some(-32602), "{}", read.raw);

    assert_eq!(beside.request("ping", json!({})).await.status, 404);
    assert_eq!(beside.get(None).await.status, 404);
    assert_eq!(beside.notify("notifications/initialized", None).await, 404);
    assert_eq!(beside.delete().await, 404);
    beside.set_session(None);
    let again = beside.initialize().await;
    assert_eq!(again.status, 200, "{again:?}");
    let metric = "switchboard_forwarded_total{outcome=\"unreachable\"}";
    assert!(replicas.sum(metric).await >= 7.0);
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_its_owner_was_lost_with_may_have_been_done() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let config = json!({ "backends": { "near": remote(near.url()) } });
    let mut replicas = replicas(2, config).await;
    let beside = beside(&replicas, 1).await;
    near.fail_calls(switchboard_testkit::fake_http::Fault::NeverAnswers);
    let call = beside.call_message("near__echo", json!({}));
    let asking = async { beside.ask(&call).await };
    let killing = async {
        until("the call", async || (near.in_flight() == 1).then_some(())).await;
        replicas.kill(0).await;
    };
    let (answer, ()) = tokio::join!(asking, killing);
    let fault = &answer.result()["_meta"]["dev.switchboard/error"];
    assert_eq!(fault["outcome"], "unknown", "{answer:?}");
    assert_eq!(beside.request("ping", json!({})).await.status, 404);
    replicas.stop().await;
}

/// Calls that failed: when each began.
#[derive(Default)]
struct Failures(Mutex<Vec<(Instant, String)>>);

impl Failures {
    async fn note(&self, began: Instant, what: impl std::fmt::Debug) {
        self.0.lock().await.push((began, format!("{what:?}")));
    }
}

/// A legacy client that begins anew when its session is gone.
async fn legacy_caller(url: &str, stop: &AtomicBool, failures: &Failures, done: &AtomicUsize) {
    let client = LegacyClient::connect(url, setup("2025-11-25")).await;
    let mut anew = 0;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client.call("near__echo", json!({})).await;
        if answer.status == 404 {
            anew += 1;
            assert_eq!(anew, 1, "one replica is gone, and no other");
            client.set_session(None);
            let again = client.initialize().await;
            assert!(again.result().is_object(), "{again:?}");
            continue;
        }
        let is_fine = answer.result()["content"].is_array() && answer.result()["isError"] != true;
        match is_fine {
            true => drop(done.fetch_add(1, Ordering::Relaxed)),
            false => failures.note(began, answer).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_takes_its_calls_in_flight_along_and_nothing_else() {
    const LEGACY: usize = 9;
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let config = json!({ "backends": { "near": remote(near.url()) } });
    let mut replicas = replicas(3, config).await;
    let url = replicas.url();
    let (stop, failures) = (AtomicBool::new(false), Failures::default());
    let done: Vec<AtomicUsize> = (0..LEGACY + 4).map(|_| AtomicUsize::new(0)).collect();
    let counts = |from: usize| {
        let all = done[from..].iter();
        all.map(|it| it.load(Ordering::Relaxed)).collect::<Vec<_>>()
    };
    let legacy = (0..LEGACY).map(|at| legacy_caller(&url, &stop, &failures, &done[at]));
    let proxied = replicas.client.clone();
    let modern = (0..4).map(|at| {
        let (client, stop, failures, done) = (proxied.clone(), &stop, &failures, &done);
        async move {
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = client.call("near__echo", json!({})).await;
                let is_fine = answer.result()["isError"] != true && answer.status == 200;
                match is_fine {
                    true => drop(done[LEGACY + at].fetch_add(1, Ordering::Relaxed)),
                    false => failures.note(began, answer.raw).await,
                }
            }
        }
    });
    let calling = async {
        tokio::join!(join_all(legacy), join_all(modern));
    };
    let killing = async {
        until("all of them work", async || {
            counts(0).iter().all(|count| *count >= 5).then_some(())
        })
        .await;
        replicas.kill(1).await;
        let killed = Instant::now();
        let before = counts(0);
        until("all of them go on", async || {
            let mut all = counts(0).into_iter().zip(&before);
            all.all(|(now, then)| now >= then + 5).then_some(())
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        killed
    };
    let ((), killed) = tokio::join!(calling, killing);
    for (began, what) in failures.0.lock().await.iter() {
        assert!(*began <= killed, "{what}");
    }
    replicas.stop().await;
}

type Real = RunningService<RoleClient, ClientConfig>;

async fn real(url: &str) -> Real {
    let name = Implementation::new("switchboard-tests", "1");
    let config = ClientConfig::new(ClientCapabilities::default(), name);
    let transport = StreamableHttpClientTransport::from_uri(url);
    config.serve(transport).await.expect("a session")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_begins_anew_by_itself() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let config = json!({ "backends": { "near": remote(near.url()) } });
    let mut replicas = replicas(2, config).await;
    let url = replicas.url();
    let clients = join_all((0..4).map(|_| real(&url))).await;
    let call = async |client: &Real| {
        client
            .call_tool(CallToolRequestParams::new("near__echo"))
            .await
    };
    for client in &clients {
        for _ in 0..3 {
            call(client).await.expect("an answer");
        }
    }
    assert_eq!(replicas.sum("switchboard_legacy_sessions").await, 4.0);
    replicas.kill(0).await;
    for client in &clients {
        // It is told once that its session is gone, perhaps by the stream that broke.
        until("it goes on", async || call(client).await.ok().map(drop)).await;
    }
    for client in clients {
        client.cancel().await.expect("it ends");
    }
    replicas.stop().await;
}
