//! The spans of a call, as a collector of OpenTelemetry's own protocol receives them, and the trace
//! context that goes on to the server.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, message};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake::RESOURCE_URI;
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::waiting::until;
use tokio::net::TcpListener;

use self::collector::{Collector, hex};

mod collector;
mod late;
mod logs;
mod tree;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const STATE: &str = "vendor=1,other=2";
const BAGGAGE: &str = "team=blue";
const DROPPED: &str = "switchboard_telemetry_dropped_total{signal=\"spans\"}";

/// A gateway that traces what its callers trace, and nothing else.
async fn front(collector: &str, backends: Value) -> Front {
    tracing(collector, 0.0, backends).await
}

async fn tracing(collector: &str, ratio: f64, backends: Value) -> Front {
    let front = Front::start(json!({
        "telemetry": { "traces": { "endpoint": collector, "sample_ratio": ratio } },
        "backends": backends,
    }))
    .await;
    front.gateway.wait_for_backends().await;
    front
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// Makes a request within the trace of the tests.
async fn ask(front: &Front, method: &str, mut params: Value, flags: &str) -> Answer {
    params["_meta"] = json!({
        "traceparent": traceparent(flags),
        "tracestate": STATE,
        "baggage": BAGGAGE,
    });
    front.client.ask(&message(method, params)).await
}

async fn call(front: &Front, tool: &str, flags: &str) -> Answer {
    let params = json!({ "name": tool, "arguments": { "x": 1 } });
    ask(front, "tools/call", params, flags).await
}

/// The metadata with which the one call came to the server.
fn forwarded(fake: &FakeHttp) -> (Value, Value) {
    let calls = fake.requests_of("tools/call");
    let [call] = &*calls else {
        panic!("not one call but {}", calls.len());
    };
    let message = call.json();
    (message["id"].clone(), message["params"]["_meta"].clone())
}

#[tokio::test]
async fn a_sampled_call_has_a_server_span_and_a_client_span() {
    let collector = Collector::start().await;
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let front = front(&collector.url, json!({ "f": remote(fake.url()) })).await;
    let answer = call(&front, "f__echo", "01").await;
    assert_eq!(answer.result()["isError"], Value::Null, "{}", answer.raw);
    let (upstream_id, meta) = forwarded(&fake);
    front.gateway.stop().await;

    let server = collector.one(SpanKind::Server);
    assert_eq!(server.span.name, "tools/call f__echo");
    assert_eq!(hex(&server.span.trace_id), TRACE);
    assert_eq!(hex(&server.span.parent_span_id), CALLER);
    assert_eq!(server.span.trace_state, STATE);
    server.assert_attributes(&[
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2026-07-28"),
        ("gen_ai.tool.name", "f__echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", "1"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
    ]);
    assert!(!server.has_failed(), "{server:#?}");

    let client = collector.one(SpanKind::Client);
    assert_eq!(client.span.name, "tools/call echo");
    assert_eq!(hex(&client.span.trace_id), TRACE);
    assert_eq!(client.span.parent_span_id, server.span.span_id);
    let port = fake
        .url()
        .rsplit(':')
        .next()
        .and_then(|rest| rest.split('/').next());
    client.assert_attributes(&[
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2026-07-28"),
        ("gen_ai.tool.name", "echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", &upstream_id.to_string()),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("server.address", "127.0.0.1"),
        ("server.port", port.expect("a port")),
    ]);
    assert!(!client.has_failed(), "{client:#?}");
    let is_within = server.span.start_time_unix_nano <= client.span.start_time_unix_nano
        && client.span.end_time_unix_nano <= server.span.end_time_unix_nano;
    assert!(is_within, "{client:#?} is not within {server:#?}");
    for seen in [&server, &client] {
        assert!(!seen.attributes.contains_key("error.type"), "{seen:#?}");
    }

    let own = format!("00-{TRACE}-{}-01", hex(&client.span.span_id));
    assert_eq!(meta["traceparent"], own);
    assert_eq!(meta["tracestate"], STATE);
    assert_eq!(meta["baggage"], BAGGAGE);
}

#[tokio::test]
async fn a_server_span_says_where_the_call_came_from() {
    let collector = Collector::start().await;
    let front = front(&collector.url, json!({ "f": faulty(&[]) })).await;
    call(&front, "f__echo", "01").await;
    front.gateway.stop().await;
    let server = collector.one(SpanKind::Server);
    server.assert_attributes(&[("client.address", "127.0.0.1")]);
}

#[tokio::test]
async fn a_call_to_a_process_travels_through_a_pipe() {
    let collector = Collector::start().await;
    let front = front(
        &collector.url,
        json!({ "m": faulty(&[]), "l": faulty(&["--era", "legacy"]) }),
    )
    .await;
    for tool in ["m__echo", "l__echo"] {
        call(&front, tool, "01").await;
    }
    front.gateway.stop().await;
    let mut spans = collector.spans();
    let calls = |seen: &&collector::Seen| seen.span.kind != SpanKind::Internal as i32;
    assert_eq!(spans.iter().filter(calls).count(), 4, "{spans:#?}");
    spans.retain(|seen| seen.span.kind == SpanKind::Client as i32);
    let versions: BTreeSet<&str> = spans
        .iter()
        .map(|seen| &*seen.attributes["mcp.protocol.version"])
        .collect();
    assert_eq!(versions, BTreeSet::from(["2025-11-25", "2026-07-28"]));
    for client in &spans {
        client.assert_attributes(&[("network.transport", "pipe")]);
        let is_http = client.attributes.contains_key("network.protocol.name");
        assert!(!is_http, "{client:#?}");
    }
}

#[tokio::test]
async fn spans_are_named_after_tools_and_prompts_and_not_after_resources() {
    let collector = Collector::start().await;
    let front = front(&collector.url, json!({ "f": faulty(&[]) })).await;
    ask(&front, "prompts/get", json!({ "name": "f__greet" }), "01").await;
    ask(
        &front,
        "resources/read",
        json!({ "uri": RESOURCE_URI }),
        "01",
    )
    .await;
    ask(&front, "tools/list", json!({}), "01").await;
    ask(&front, "server/discover", json!({}), "01").await;
    front.gateway.stop().await;

    let spans = collector.spans();
    let names = |kind: SpanKind| -> BTreeSet<&str> {
        let spans = spans.iter().filter(|seen| seen.span.kind == kind as i32);
        spans.map(|seen| &*seen.span.name).collect()
    };
    let own = [
        "prompts/get f__greet",
        "resources/read",
        "server/discover",
        "tools/list",
    ];
    assert_eq!(names(SpanKind::Server), BTreeSet::from(own));
    let upstream = ["prompts/get greet", "resources/read"];
    assert_eq!(names(SpanKind::Client), BTreeSet::from(upstream));
    for seen in &spans {
        let method = seen.span.name.split(' ').next().expect("a name");
        seen.assert_attributes(&[("mcp.method.name", method)]);
        assert!(!seen.attributes.contains_key("gen_ai.operation.name"));
        match method {
            "prompts/get" => {
                let name = seen.span.name.rsplit(' ').next().expect("a name");
                seen.assert_attributes(&[("gen_ai.prompt.name", name)]);
            }
            "resources/read" => seen.assert_attributes(&[("mcp.resource.uri", RESOURCE_URI)]),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_tool_that_fails_fails_both_spans() {
    let collector = Collector::start().await;
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
    let front = front(&collector.url, json!({ "c": remote(&server.url()) })).await;
    let answer = call(&front, "c__test_error_handling", "01").await;
    assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
    front.gateway.stop().await;
    for kind in [SpanKind::Server, SpanKind::Client] {
        let seen = collector.one(kind);
        seen.assert_attributes(&[("error.type", "tool_error")]);
        assert!(seen.has_failed(), "{seen:#?}");
    }
}

#[tokio::test]
async fn an_error_of_the_caller_is_no_error_of_the_server() {
    let collector = Collector::start().await;
    let front = front(&collector.url, json!({ "f": faulty(&[]) })).await;
    let answer = call(&front, "f__there_is_no_such_tool", "01").await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    front.gateway.stop().await;
    let server = collector.one(SpanKind::Server);
    server.assert_attributes(&[("rpc.response.status_code", "-32602")]);
    assert!(!server.has_failed(), "{server:#?}");
    assert_eq!(collector.spans().len(), 1, "nothing went upstream");
}

#[tokio::test]
async fn a_server_that_is_lost_fails_both_spans() {
    let collector = Collector::start().await;
    let front = front(
        &collector.url,
        json!({ "f": faulty(&["--exit-on-call", "5"]) }),
    )
    .await;
    let answer = call(&front, "f__echo", "01").await;
    assert_eq!(answer.fault()["code"], 502, "{}", answer.raw);
    front.gateway.stop().await;
    for kind in [SpanKind::Server, SpanKind::Client] {
        let seen = collector.one(kind);
        assert!(seen.has_failed(), "{seen:#?}");
        assert!(seen.attributes.contains_key("error.type"), "{seen:#?}");
    }
}

#[tokio::test]
async fn what_the_caller_does_not_sample_is_passed_on_unchanged() {
    let collector = Collector::start().await;
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let backends = json!({ "f": remote(fake.url()) });
    // The gateway's own share does not count where the caller has decided.
    let front = tracing(&collector.url, 1.0, backends).await;
    call(&front, "f__echo", "00").await;
    let (_, meta) = forwarded(&fake);
    assert_eq!(meta["traceparent"], traceparent("00"));
    assert_eq!(meta["tracestate"], STATE);
    assert_eq!(meta["baggage"], BAGGAGE);
    front.gateway.stop().await;
    let spans = collector.spans();
    let of_caller = spans.iter().find(|seen| hex(&seen.span.trace_id) == TRACE);
    assert!(of_caller.is_none(), "{of_caller:#?}");
}

/// Half of 400, give or take ten: below 150 or above 250 it is no longer chance.
#[tokio::test]
async fn of_callers_that_say_nothing_the_ratio_is_traced() {
    let collector = Collector::start().await;
    let front = tracing(&collector.url, 0.5, json!({ "f": faulty(&[]) })).await;
    for _ in 0..400 {
        let answer = front.client.ask(&message("tools/list", json!({}))).await;
        assert!(answer.result().is_object(), "{}", answer.raw);
    }
    front.gateway.stop().await;
    let traced = collector.spans().len();
    assert!((150..=250).contains(&traced), "{traced} of 400");
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_sampled_by_the_ratio() {
    for (ratio, is_traced) in [(0.0, false), (1.0, true)] {
        let collector = Collector::start().await;
        let fake = FakeHttp::start(Transport::Modern, "fake").await;
        let backends = json!({ "f": remote(fake.url()) });
        let front = tracing(&collector.url, ratio, backends).await;
        front.works("f").await;
        let (_, meta) = forwarded(&fake);
        front.gateway.stop().await;
        let mut spans = collector.spans();
        spans.retain(|seen| seen.span.name == "tools/call echo");
        match &*spans {
            [] if !is_traced => assert_eq!(meta["traceparent"], Value::Null, "{meta}"),
            [client] if is_traced => {
                let ids = (hex(&client.span.trace_id), hex(&client.span.span_id));
                let own = format!("00-{}-{}-01", ids.0, ids.1);
                assert_eq!(meta["traceparent"], own);
            }
            other => panic!("with a ratio of {ratio}: {other:#?}"),
        }
    }
}

#[tokio::test]
async fn without_a_collector_the_context_goes_on_as_it_came() {
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let front = Front::of(json!({ "f": remote(fake.url()) })).await;
    front.gateway.wait_for_backends().await;
    call(&front, "f__echo", "01").await;
    let (_, meta) = forwarded(&fake);
    assert_eq!(meta["traceparent"], traceparent("01"));
    assert_eq!(meta["tracestate"], STATE);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_traceparent_that_is_none_starts_no_trace_of_its_own() {
    let collector = Collector::start().await;
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let front = front(&collector.url, json!({ "f": remote(fake.url()) })).await;
    let params = json!({
        "name": "f__echo",
        "arguments": {},
        "_meta": { "traceparent": "00-nonsense-01" },
    });
    let answer = front.client.ask(&message("tools/call", params)).await;
    assert_eq!(answer.error_code(), None, "{}", answer.raw);
    front.gateway.stop().await;
    assert_eq!(collector.spans().len(), 0);
}

async fn dropped(front: &Front) -> f64 {
    let metrics = front.metrics(DROPPED).await;
    metrics.get(DROPPED).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    const CALLS: usize = 50;
    let nobody = RefusedPort::take();
    let front = tracing(nobody.url(), 0.0, json!({ "f": faulty(&[]) })).await;
    for _ in 0..CALLS {
        let answer = call(&front, "f__echo", "01").await;
        assert_eq!(answer.error_code(), None, "{}", answer.raw);
    }
    until("all spans are counted as dropped", async || {
        (dropped(&front).await >= 2.0 * CALLS as f64).then_some(())
    })
    .await;
    front.works("f").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nobody() {
    // More spans than the queue holds.
    const CALLS: usize = 1500;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = silent.local_addr().expect("a bound address");
    let url = format!("http://{address}/v1/traces");
    // Connections are made, and nobody ever reads from them.
    let front = tracing(&url, 0.0, json!({ "f": faulty(&[]) })).await;
    for _ in 0..CALLS {
        let answer = call(&front, "f__echo", "01").await;
        assert_eq!(answer.error_code(), None, "{}", answer.raw);
    }
    until("spans are counted as dropped", async || {
        (dropped(&front).await > 0.0).then_some(())
    })
    .await;
    front.works("f").await;
    front.gateway.stop().await;
}
