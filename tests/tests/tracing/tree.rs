//! The tree of spans that a call leaves: attempts, waits, and what was decided.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use switchboard_testkit::client::{message, retry};
use switchboard_testkit::fake_http::{FakeHttp, Fault, RefusedPort, Transport};
use switchboard_tests::asking::{AskingServer, Way, accepted, asking_call, content};
use switchboard_tests::front::{Front, descendants, faulty, remote};
use switchboard_tests::waiting::until;

use super::collector::{Collector, Seen, hex};
use super::{CALLER, STATE, TRACE, ask, call, forwarded, front, late, traceparent};

async fn fake(label: &str) -> FakeHttp {
    FakeHttp::start(Transport::Modern, label).await
}

/// A gateway with this configuration that traces what its callers trace, when nobody is starting any
/// more.
async fn traced(collector: &Collector, mut config: Value) -> Front {
    config["telemetry"] = collector.telemetry();
    Front::started(config).await
}

/// Has the gateway send what it has, and gives the spans of the calls that belong to the trace of the
/// tests: the server's, those of attempts, and those of waits.
async fn tree(front: Front, collector: &Collector) -> (Seen, Vec<Seen>, Vec<Seen>) {
    front.gateway.stop().await;
    let server = collector.one(SpanKind::Server);
    let (attempts, waits) = (
        collector.of_kind(SpanKind::Client),
        collector.of_kind(SpanKind::Internal),
    );
    (server, attempts, waits)
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn a_fallback_is_an_event_and_each_attempt_a_span() {
    let collector = Collector::start().await;
    let (near, far) = (fake("near").await, fake("far").await);
    near.fail_calls(Fault::Status(429));
    let config = json!({
        "backends": {
            "near": { "url": near.url(), "retry": { "max_attempts": 1 } },
            "far": remote(far.url()),
        },
        "fallbacks": [{ "tool": "near__echo", "try": ["far__echo"] }],
    });
    let front = traced(&collector, config).await;
    let answer = call(&front, "near__echo", "01").await;
    assert_eq!(
        answer.result()["structuredContent"]["server"]["label"],
        "far"
    );

    let (server, attempts, _) = tree(front, &collector).await;
    assert!(!server.has_failed(), "{server:#?}");
    let taken = attributes(&[
        ("switchboard.from", "near__echo"),
        ("switchboard.to", "far__echo"),
        ("switchboard.reason", "limit"),
    ]);
    assert_eq!(server.events_of("fallback"), [taken]);
    let [first, second] = &*attempts else {
        panic!("not two attempts: {attempts:#?}");
    };
    first.assert_attributes(&[
        ("switchboard.backend", "near"),
        ("switchboard.era", "modern"),
        ("error.type", "429"),
    ]);
    second.assert_attributes(&[("switchboard.backend", "far")]);
    assert!(first.has_failed() && !second.has_failed());
    assert!(attempts.iter().all(|attempt| attempt.is_child_of(&server)));
}

#[tokio::test]
async fn a_retry_is_an_event_and_each_attempt_a_span_with_its_endpoint() {
    let collector = Collector::start().await;
    let (one, two) = (fake("one").await, fake("two").await);
    let config = json!({ "backends": { "s": {
        "endpoints": [remote(one.url()), remote(two.url())],
        "balance": "round_robin",
        "safe_tools": ["echo"],
        "retry": { "max_attempts": 2, "base": "5ms", "cap": "5ms" },
    } } });
    let front = traced(&collector, config).await;
    until("both endpoints answer", async || {
        front.client.call("s__echo", json!({})).await;
        let both = [&one, &two];
        both.iter()
            .all(|fake| !fake.requests_of("tools/call").is_empty())
            .then_some(())
    })
    .await;
    for failing in [&one, &two] {
        failing.fail_calls(Fault::Status(500));
    }
    let answer = call(&front, "s__echo", "01").await;
    assert_eq!(answer.fault()["attempts"].as_array().map(Vec::len), Some(2));
    // Its caller named a trace.
    assert_eq!(answer.fault()["traceId"], TRACE, "{}", answer.raw);

    let (server, attempts, waits) = tree(front, &collector).await;
    let [retried] = &*server.events_of("retry") else {
        panic!("not one retry: {server:#?}");
    };
    assert_eq!(retried["switchboard.reason"], "server_error");
    let [first, second] = &*attempts else {
        panic!("not two attempts: {attempts:#?}");
    };
    let endpoints = [first, second].map(|attempt| &attempt.attributes["switchboard.endpoint"]);
    assert_ne!(endpoints[0], endpoints[1]);
    for attempt in [first, second] {
        attempt.assert_attributes(&[("error.type", "500"), ("switchboard.backend", "s")]);
        assert!(attempt.is_child_of(&server));
    }
    let [wait] = &*waits else {
        panic!("not one wait: {waits:#?}");
    };
    assert_eq!(wait.span.name, "wait to retry");
    assert!(wait.is_child_of(&server));
}

#[tokio::test]
async fn a_kept_result_is_an_event_and_no_attempt() {
    let collector = Collector::start().await;
    let near = fake("near").await;
    let mut backend = remote(near.url());
    backend["cache"] = json!({ "tools": ["echo"] });
    let front = traced(&collector, json!({ "backends": { "near": backend } })).await;
    for _ in 0..2 {
        let answer = call(&front, "near__echo", "01").await;
        assert!(answer.fault().is_null(), "{}", answer.raw);
    }
    front.gateway.stop().await;

    let servers = collector.of_kind(SpanKind::Server);
    let [miss, hit] = &*servers else {
        panic!("not two calls: {servers:#?}");
    };
    let missed = attributes(&[
        ("switchboard.backend", "near"),
        ("switchboard.cache.outcome", "miss"),
    ]);
    assert_eq!(miss.events_of("cache"), [missed]);
    let [found] = &*hit.events_of("cache") else {
        panic!("nothing was found: {hit:#?}");
    };
    assert_eq!(found["switchboard.cache.outcome"], "hit");
    assert!(found["switchboard.cache.age_ms"].parse::<u64>().is_ok());
    let attempt = collector.one(SpanKind::Client);
    assert!(attempt.is_child_of(miss), "{attempt:#?}");
}

#[tokio::test]
async fn a_call_that_is_refused_says_by_what_and_has_no_attempt() {
    let collector = Collector::start().await;
    let near = fake("near").await;
    let config = json!({
        "backends": { "near": remote(near.url()) },
        "access": { "default": "allow", "rules": [
            { "name": "only small", "effect": "deny", "tools": ["near__echo"],
              "when": "has(args.x)" },
            { "name": "tried out", "effect": "deny", "mode": "shadow", "tools": ["near__echo"] },
        ] },
    });
    let front = traced(&collector, config).await;
    let answer = call(&front, "near__echo", "01").await;
    assert_eq!(answer.fault()["code"], 403, "{}", answer.raw);
    assert_eq!(answer.fault()["traceId"], TRACE, "{}", answer.raw);

    let (server, attempts, _) = tree(front, &collector).await;
    server.assert_attributes(&[("error.type", "403")]);
    let decisions = server.events_of("decision");
    let denied = attributes(&[
        ("switchboard.policy", "access"),
        ("switchboard.rule", "only small"),
        ("switchboard.decision", "denied"),
    ]);
    assert!(decisions.contains(&denied), "{decisions:#?}");
    assert!(attempts.is_empty(), "{attempts:#?}");
}

#[tokio::test]
async fn a_limit_a_shadow_and_a_redaction_are_events() {
    let collector = Collector::start().await;
    let near = fake("near").await;
    let config = json!({
        "backends": { "near": remote(near.url()) },
        "limits": [{ "name": "calm", "rate": "100/1m" }],
        "access": { "default": "allow", "rules": [
            { "name": "tried out", "effect": "deny", "mode": "shadow", "tools": ["near__echo"] },
        ] },
        "redaction": { "patterns": [{ "name": "employee", "regex": "EMP-[0-9]{6}" }] },
    });
    let front = traced(&collector, config).await;
    let params = json!({ "name": "near__echo", "arguments": { "x": "EMP-123456" } });
    let answer = ask(&front, "tools/call", params, "01").await;
    assert!(!answer.raw.contains("EMP-123456"), "{}", answer.raw);

    let (server, _, _) = tree(front, &collector).await;
    let decided: Vec<[String; 3]> = server
        .events_of("decision")
        .iter()
        .map(|decision| {
            ["policy", "rule", "decision"]
                .map(|member| decision[&format!("switchboard.{member}")].clone())
        })
        .collect();
    for expected in [
        ["access", "tried out", "would_deny"],
        ["rate", "calm", "allowed"],
    ] {
        assert!(
            decided.contains(&expected.map(str::to_owned)),
            "{decided:?}"
        );
    }
    let redacted = attributes(&[("switchboard.backend", "near")]);
    assert_eq!(server.events_of("redacted"), [redacted]);
}

#[tokio::test]
async fn a_breaker_that_lets_nobody_in_says_so() {
    let collector = Collector::start().await;
    let near = fake("near").await;
    let config = json!({ "backends": { "near": {
        "url": near.url(),
        "breaker": { "consecutive_failures": 2, "open_for": "60s" },
        "retry": { "max_attempts": 1 },
    } } });
    let front = traced(&collector, config).await;
    near.fail_calls(Fault::Status(500));
    for _ in 0..2 {
        call(&front, "near__echo", "01").await;
    }
    let answer = call(&front, "near__echo", "01").await;
    assert_eq!(answer.fault()["reason"], "breaker_open", "{}", answer.raw);
    front.gateway.stop().await;

    let servers = collector.of_kind(SpanKind::Server);
    let refused = attributes(&[
        ("switchboard.backend", "near"),
        ("switchboard.reason", "breaker_open"),
    ]);
    assert_eq!(servers[2].events_of("refused"), [refused]);
    assert_eq!(collector.of_kind(SpanKind::Client).len(), 2);
}

#[tokio::test]
async fn who_waits_for_its_turn_says_so() {
    let collector = Collector::start().await;
    let near = fake("near").await;
    let config = json!({ "backends": { "near": {
        "url": near.url(),
        "bulkhead": { "max_concurrent": 1, "max_queue": 1, "queue_timeout": "30s" },
    } } });
    let front = traced(&collector, config).await;
    let holder = tokio::spawn({
        let client = front.client.clone();
        async move { client.call("near__delay", json!({ "ms": 60_000 })).await }
    });
    until("a call is in the backend", async || {
        (near.in_flight() == 1).then_some(())
    })
    .await;
    let let_go = async {
        until("another waits for its place", async || {
            let queues = front.metrics("switchboard_backend_queue{").await;
            (queues.values().sum::<f64>() == 1.0).then_some(())
        })
        .await;
        holder.abort();
    };
    let (answer, ()) = tokio::join!(call(&front, "near__echo", "01"), let_go);
    assert!(answer.fault().is_null(), "{}", answer.raw);

    front.gateway.stop().await;
    let mut servers = collector.of_kind(SpanKind::Server).into_iter();
    // Another is of the call that was given up.
    let server = servers.find(|seen| hex(&seen.span.trace_id) == TRACE);
    let server = server.expect("the span of the call that waited");
    let attempts = collector.of_kind(SpanKind::Client);
    let waits = collector.of_kind(SpanKind::Internal);
    let ([attempt], [wait]) = (&*attempts, &*waits) else {
        panic!("not one attempt and one wait: {attempts:#?} {waits:#?}");
    };
    assert_eq!(wait.span.name, "wait for place");
    assert!(wait.is_child_of(&server) && attempt.is_child_of(&server));
    assert!(wait.span.end_time_unix_nano <= attempt.span.start_time_unix_nano);
}

#[tokio::test]
async fn a_lazy_backend_that_starts_is_waited_for() {
    let collector = Collector::start().await;
    let mut backend = faulty(&[]);
    backend["start"] = json!("lazy");
    backend["idle_stop"] = json!("200ms");
    let front = front(&collector.url, json!({ "f": backend })).await;
    let gateway = front.gateway.server().id().expect("it runs");
    until("its process is let go", async || {
        descendants(gateway).is_empty().then_some(())
    })
    .await;
    call(&front, "f__echo", "01").await;
    front.gateway.stop().await;
    let mut spans = collector.spans().into_iter();
    let found = spans.find(|seen| seen.span.name == "wait for start");
    let found = found.expect("the call waited for the start");
    assert_eq!(found.attributes["switchboard.backend"], "f");
}

#[tokio::test]
async fn a_parked_call_waits_for_its_client_and_is_linked_to_by_the_next_leg() {
    for way in [Way::Stdio, Way::Post] {
        let collector = Collector::start().await;
        let server = AskingServer::start(way).await;
        let front = traced(&collector, json!({ "backends": { "a": server.backend() } })).await;
        front.wait_until("a", true).await;
        let mut first = asking_call("a__ask_form", &json!({ "mark": "m" }));
        first["params"]["_meta"]["traceparent"] = json!(traceparent("01"));
        let asked = front.client.ask(&first).await;
        assert!(asked.is_input_required(), "{}", asked.raw);
        let again = retry(first, &asked, accepted(&asked, "yes"));
        let answer = front.client.ask(&again).await;
        content(&answer);
        front.gateway.stop().await;

        let servers = collector.of_kind(SpanKind::Server);
        let [first, second] = &*servers else {
            panic!("not two legs: {servers:#?}");
        };
        let attempt = collector.one(SpanKind::Client);
        attempt.assert_attributes(&[("switchboard.backend", "a"), ("switchboard.era", "legacy")]);
        assert!(
            attempt.is_child_of(first) && !attempt.has_failed(),
            "{attempt:#?}"
        );
        let waits = collector.of_kind(SpanKind::Internal);
        let parked: Vec<&Seen> = waits
            .iter()
            .filter(|wait| wait.span.name == "wait for client")
            .collect();
        let [parked] = &*parked else {
            panic!("not one wait for the client: {waits:#?}");
        };
        assert!(parked.is_child_of(&attempt), "{parked:#?}");
        // The first leg does not last until the second comes, and the attempt does.
        let (first_end, parked_end) = (
            first.span.end_time_unix_nano,
            parked.span.end_time_unix_nano,
        );
        assert!(
            first_end <= second.span.start_time_unix_nano,
            "{servers:#?}"
        );
        assert!(
            parked_end >= second.span.start_time_unix_nano,
            "{parked:#?}"
        );
        assert!(
            attempt.span.end_time_unix_nano >= parked_end,
            "{attempt:#?}"
        );
        assert_eq!(second.events_of("resumed").len(), 1, "{second:#?}");
        let links: Vec<_> = second.span.links.iter().map(|link| &link.span_id).collect();
        assert_eq!(links, [&attempt.span.span_id]);
    }
}

#[tokio::test]
async fn the_context_of_the_http_request_is_a_link_or_the_parent_and_goes_on_in_headers() {
    const OF_HTTP: &str = "00f067aa0ba902b8";
    let collector = Collector::start().await;
    let near = fake("near").await;
    let front = front(&collector.url, json!({ "near": remote(near.url()) })).await;
    let http = format!("00-{TRACE}-{OF_HTTP}-01");
    for meta in [json!({ "traceparent": traceparent("01") }), json!({})] {
        let params = json!({ "name": "near__echo", "arguments": {}, "_meta": meta });
        let draft = front.client.draft(&message("tools/call", params));
        let draft = draft
            .with_header("traceparent", &http)
            .with_header("tracestate", STATE);
        let answer = front.client.send(draft).await.finish().await;
        assert!(answer.fault().is_null(), "{}", answer.raw);
    }
    front.gateway.stop().await;

    let servers = collector.of_kind(SpanKind::Server);
    let [both, http_only] = &*servers else {
        panic!("not two calls: {servers:#?}");
    };
    assert_eq!(hex(&both.span.parent_span_id), CALLER);
    let links: Vec<String> = both
        .span
        .links
        .iter()
        .map(|link| hex(&link.span_id))
        .collect();
    assert_eq!(links, [OF_HTTP]);
    assert_eq!(hex(&http_only.span.parent_span_id), OF_HTTP);
    assert!(http_only.span.links.is_empty());
    assert_eq!(http_only.span.trace_state, STATE);

    let attempts = collector.of_kind(SpanKind::Client);
    let sent = near.requests_of("tools/call");
    for (attempt, request) in attempts.iter().zip(&sent) {
        let own = format!("00-{TRACE}-{}-01", hex(&attempt.span.span_id));
        assert_eq!(request.headers["traceparent"], own);
        assert_eq!(request.json()["params"]["_meta"]["traceparent"], own);
    }
    assert_eq!((attempts.len(), sent.len()), (2, 2));
    assert!(!sent[0].headers.contains_key("tracestate"));
    assert_eq!(sent[1].headers["tracestate"], STATE);
}

#[tokio::test]
async fn spans_reach_a_collector_over_grpc() {
    let collector = Collector::start_grpc().await;
    let near = fake("near").await;
    let front = late::front(&collector, &json!({ "protocol": "grpc" }), near.url()).await;
    call(&front, "near__echo", "01").await;
    // Not at the end alone.
    let is_server = |seen: &Seen| seen.span.kind == SpanKind::Server as i32;
    let server = collector.wait_for("a batch over gRPC", is_server).await;
    let (_, meta) = forwarded(&near);
    front.gateway.stop().await;
    let attempt = collector.one(SpanKind::Client);
    assert!(attempt.is_child_of(&server));
    let own = format!("00-{TRACE}-{}-01", hex(&attempt.span.span_id));
    assert_eq!(meta["traceparent"], own);
}

#[tokio::test]
async fn a_collector_over_grpc_that_is_not_there_costs_spans_and_nothing_else() {
    let (nobody, near) = (RefusedPort::take(), fake("near").await);
    let url = nobody.url().trim_end_matches("/mcp").to_owned();
    let front = Front::start(json!({
        "telemetry": { "traces": { "endpoint": url, "protocol": "grpc", "sample_ratio": 1.0 } },
        "backends": { "near": remote(near.url()) },
    }))
    .await;
    front.gateway.wait_for_backends().await;
    front.works("near").await;
    until("spans are counted as dropped", async || {
        (super::dropped(&front).await > 0.0).then_some(())
    })
    .await;
    front.gateway.stop().await;
}
