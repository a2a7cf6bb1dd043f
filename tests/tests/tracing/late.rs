//! Calls that were not sampled, and are exported afterwards since they failed or were slow.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use switchboard_testkit::fake_http::{FakeHttp, Fault, Transport};
use switchboard_tests::front::{Front, remote};

use super::collector::{Collector, hex};
use super::{CALLER, TRACE, call};

/// A gateway in front of one server that traces as this says.
pub(super) async fn front(collector: &Collector, traces: &Value, url: &str) -> Front {
    let mut telemetry = collector.telemetry();
    for (key, value) in traces.as_object().expect("an object") {
        telemetry["traces"][key] = value.clone();
    }
    let front = Front::start(json!({
        "telemetry": telemetry,
        "backends": { "near": remote(url) },
    }))
    .await;
    front.gateway.wait_for_backends().await;
    front
}

#[tokio::test]
async fn an_unsampled_call_that_fails_is_one_server_span() {
    let collector = Collector::start().await;
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let front = front(&collector, &json!({}), near.url()).await;
    // Those that end well and soon, or are wrong themselves, leave nothing.
    front.works("near").await;
    call(&front, "near__echo", "00").await;
    call(&front, "near__nothing", "00").await;
    near.fail_calls(Fault::Status(500));
    let given = call(&front, "near__echo", "00").await;
    assert_eq!(given.fault()["traceId"], TRACE, "{}", given.raw);
    let own = front.client.call("near__echo", json!({})).await;
    let own_trace = own.fault()["traceId"].as_str().expect("a trace").to_owned();
    front.gateway.stop().await;

    let spans = collector.spans();
    assert!(collector.of_kind(SpanKind::Client).is_empty(), "{spans:#?}");
    let servers = collector.of_kind(SpanKind::Server);
    let [of_caller, of_nobody] = &*servers else {
        panic!("not two spans: {servers:#?}");
    };
    assert_eq!(hex(&of_caller.span.trace_id), TRACE);
    assert_eq!(hex(&of_caller.span.parent_span_id), CALLER);
    assert_eq!(hex(&of_nobody.span.trace_id), own_trace);
    assert!(of_nobody.span.parent_span_id.iter().all(|byte| *byte == 0));
    for span in &servers {
        assert_eq!(span.span.name, "tools/call near__echo");
        assert!(span.has_failed(), "{span:#?}");
        span.assert_attributes(&[
            ("error.type", "502"),
            ("rpc.response.status_code", "502"),
            ("mcp.method.name", "tools/call"),
            ("gen_ai.tool.name", "near__echo"),
            ("jsonrpc.request.id", "1"),
            ("client.address", "127.0.0.1"),
            ("switchboard.sampled_late", "true"),
        ]);
        let took = span.span.end_time_unix_nano - span.span.start_time_unix_nano;
        assert!((1..60_000_000_000).contains(&took), "{took} ns");
    }
}

#[tokio::test]
async fn an_unsampled_call_that_is_slow_is_one_server_span() {
    let collector = Collector::start().await;
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let traces = json!({ "slow_calls": "300ms", "failed_calls": false });
    let front = front(&collector, &traces, near.url()).await;
    front.client.call("near__delay", json!({ "ms": 400 })).await;
    near.fail_calls(Fault::Status(500));
    let failed = front.client.call("near__echo", json!({})).await;
    // It is in no trace, so there is none to look for.
    assert_eq!(failed.fault()["traceId"], Value::Null, "{}", failed.raw);
    front.gateway.stop().await;
    let mut slow = collector.spans();
    slow.retain(|seen| seen.span.name == "tools/call near__delay");
    assert_eq!(slow.len(), 1, "{slow:#?}");
    assert!(!slow[0].has_failed());
    let mut failed = collector.spans();
    failed.retain(|seen| seen.span.name == "tools/call near__echo");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn without_a_collector_a_fault_names_the_trace_of_its_caller_alone() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let front = Front::of(json!({ "near": remote(near.url()) })).await;
    front.gateway.wait_for_backends().await;
    near.fail_calls(Fault::Status(500));
    let given = call(&front, "near__echo", "01").await;
    assert_eq!(given.fault()["traceId"], TRACE, "{}", given.raw);
    let none = front.client.call("near__echo", json!({})).await;
    assert_eq!(none.fault()["traceId"], Value::Null, "{}", none.raw);
    front.gateway.stop().await;
}
