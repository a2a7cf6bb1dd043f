use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::context::TraceContext;
use crate::init::trace_layer;
use crate::sampler::Sampler;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The span of a call, if it is sampled.
fn server(
    sampler: &Sampler,
    parent: Option<&TraceContext<'_>>,
    call: &IncomingCall<'_>,
) -> CallSpan {
    let incoming = Incoming {
        message: parent.copied(),
        http: None,
    };
    match sampler.sample(parent) {
        true => CallSpan::server(&incoming, call),
        false => CallSpan::none(),
    }
}

const CALL: IncomingCall<'_> = IncomingCall {
    method: "tools/call",
    target: Some(Target::Tool("files__read")),
    request_id: Some("7"),
    protocol_version: Some("2026-07-28"),
    network: Network::Http,
    client_address: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
};

const ATTEMPT: Attempt<'_> = Attempt {
    method: "tools/call",
    target: Some(Target::Tool("read")),
    request_id: Some("41"),
    protocol_version: Some("2025-11-25"),
    network: Network::Http,
    backend: "files",
    endpoint: Some("b"),
    era: Some("legacy"),
    server_address: Some("files.example"),
    server_port: Some(8000),
};

/// The spans that `run` finishes, in the order in which they end.
fn spans_of(run: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let subscriber = tracing_subscriber::registry().with(trace_layer(&provider));
    tracing::subscriber::with_default(subscriber, run);
    exporter.get_finished_spans().expect("the exporter is open")
}

fn attributes(span: &SpanData) -> Vec<String> {
    let mut attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|attribute| format!("{}={}", attribute.key, attribute.value))
        .collect();
    attributes.sort_unstable();
    attributes
}

#[test]
fn a_call_and_its_attempt_follow_the_conventions() {
    let context = TraceContext::parse(PARENT, Some("vendor=1"), None).expect("valid");
    let mut sent = None;
    let spans = spans_of(|| {
        let call = server(&Sampler::new(0.0), Some(&context), &CALL);
        let attempt = call.client(&ATTEMPT);
        sent = attempt.traceparent();
        attempt.record_outcome(Some("tool_error"), None);
        drop(attempt);
        call.record_outcome(Some("tool_error"), None);
    });

    let [client, server] = spans.as_slice() else {
        panic!("two spans, not {spans:?}");
    };
    assert_eq!(server.name, "tools/call files__read");
    assert_eq!(server.span_kind, SpanKind::Server);
    assert_eq!(server.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(server.parent_span_is_remote);
    assert_eq!(server.span_context.trace_state().header(), "vendor=1");
    assert_eq!(server.status, Status::error(""));
    assert_eq!(
        attributes(server),
        [
            "client.address=127.0.0.1",
            "error.type=tool_error",
            "gen_ai.operation.name=execute_tool",
            "gen_ai.tool.name=files__read",
            "jsonrpc.request.id=7",
            "mcp.method.name=tools/call",
            "mcp.protocol.version=2026-07-28",
            "network.protocol.name=http",
            "network.transport=tcp",
        ]
    );

    assert_eq!(client.name, "tools/call read");
    assert_eq!(client.span_kind, SpanKind::Client);
    assert_eq!(client.parent_span_id, server.span_context.span_id());
    assert_eq!(
        attributes(client),
        [
            "error.type=tool_error",
            "gen_ai.operation.name=execute_tool",
            "gen_ai.tool.name=read",
            "jsonrpc.request.id=41",
            "mcp.method.name=tools/call",
            "mcp.protocol.version=2025-11-25",
            "network.protocol.name=http",
            "network.transport=tcp",
            "server.address=files.example",
            "server.port=8000",
            "switchboard.backend=files",
            "switchboard.endpoint=b",
            "switchboard.era=legacy",
        ]
    );
    let expected = format!(
        "00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01",
        client.span_context.span_id()
    );
    assert_eq!(sent, Some(expected));
}

#[test]
fn a_call_without_a_parent_is_a_root_even_inside_another_span() {
    let spans = spans_of(|| {
        let outer = tracing::info_span!(target: CALL_TARGET, "outer").entered();
        drop(server(&Sampler::new(1.0), None, &CALL));
        drop(outer);
    });
    assert_eq!(spans[0].parent_span_id, opentelemetry::SpanId::INVALID);
}

#[test]
fn an_unsampled_call_leaves_nothing() {
    let unsampled = PARENT.replace("-01", "-00");
    let context = TraceContext::parse(&unsampled, None, None).expect("valid");
    let spans = spans_of(|| {
        let call = server(&Sampler::new(1.0), Some(&context), &CALL);
        let attempt = call.client(&ATTEMPT);
        attempt.record_outcome(Some("502"), Some(502));
        assert!(!call.is_recording() && !attempt.is_recording());
        assert_eq!((call.traceparent(), attempt.traceparent()), (None, None));
    });
    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn names_hold_prompts_but_no_uris() {
    let spans = spans_of(|| {
        for (method, target) in [
            ("prompts/get", Some(Target::Prompt("review"))),
            ("resources/read", Some(Target::Resource("file:///x"))),
            ("server/discover", None),
        ] {
            let call = IncomingCall {
                method,
                target,
                network: Network::Pipe,
                ..CALL
            };
            drop(server(&Sampler::new(1.0), None, &call));
        }
    });
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(
        names,
        ["prompts/get review", "resources/read", "server/discover"]
    );
    assert!(attributes(&spans[0]).contains(&"gen_ai.prompt.name=review".to_owned()));
    assert!(attributes(&spans[0]).contains(&"network.transport=pipe".to_owned()));
    assert!(attributes(&spans[1]).contains(&"mcp.resource.uri=file:///x".to_owned()));
}

#[test]
fn the_callers_errors_are_not_those_of_the_server() {
    let spans = spans_of(|| {
        let call = server(&Sampler::new(1.0), None, &CALL);
        let attempt = call.client(&ATTEMPT);
        attempt.record_outcome(Some("-32602"), Some(-32602));
        drop(attempt);
        call.record_outcome(Some("-32602"), Some(-32602));
    });
    for (span, is_error) in spans.iter().zip([true, false]) {
        let attributes = attributes(span);
        assert!(attributes.contains(&"rpc.response.status_code=-32602".to_owned()));
        assert_eq!(
            attributes.contains(&"error.type=-32602".to_owned()),
            is_error
        );
        assert_eq!(span.status == Status::error(""), is_error);
    }
}

#[test]
fn what_a_client_chose_is_cut() {
    let long = "é".repeat(10_000);
    let spans = spans_of(|| {
        let call = IncomingCall {
            method: &long,
            target: Some(Target::Tool(&long)),
            request_id: Some(&long),
            ..CALL
        };
        drop(server(&Sampler::new(1.0), None, &call));
    });
    assert_eq!(spans[0].name.len(), 2 * MAX_TEXT + 1);
    assert!(
        attributes(&spans[0])
            .iter()
            .all(|each| each.len() < MAX_TEXT + 50)
    );
}

#[test]
fn the_http_request_is_linked_where_the_message_has_a_parent_and_the_parent_where_it_has_none() {
    let other = PARENT.replace("00f067aa0ba902b7", "00f067aa0ba902b8");
    let message = TraceContext::parse(PARENT, None, None);
    let http = TraceContext::parse(&other, Some("vendor=2"), None);
    let spans = spans_of(|| {
        drop(CallSpan::server(&Incoming { message, http }, &CALL));
        let http_only = Incoming {
            message: None,
            http,
        };
        drop(CallSpan::server(&http_only, &CALL));
    });
    let [both, http_only] = spans.as_slice() else {
        panic!("two spans, not {spans:?}");
    };
    assert_eq!(both.parent_span_id.to_string(), "00f067aa0ba902b7");
    let [link] = &*both.links.links else {
        panic!("one link, not {:?}", both.links);
    };
    assert_eq!(link.span_context.span_id().to_string(), "00f067aa0ba902b8");
    assert_eq!(http_only.parent_span_id.to_string(), "00f067aa0ba902b8");
    assert_eq!(http_only.span_context.trace_state().header(), "vendor=2");
    assert!(http_only.links.links.is_empty());
}

#[test]
fn a_span_ends_when_it_is_told_to_whoever_still_holds_it_and_whatever_is_below_it() {
    let mut at_the_end = Vec::new();
    let spans = spans_of(|| {
        let call = server(&Sampler::new(1.0), None, &CALL);
        let kept = call.clone();
        let attempt = call.client(&ATTEMPT);
        call.event(CallEvent::Resumed { backend: "files" });
        call.end();
        kept.event(CallEvent::Resumed { backend: "late" });
        kept.record_outcome(Some("late"), None);
        at_the_end.push(attempt.is_recording());
        drop((attempt, kept));
    });
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["tools/call files__read", "tools/call read"]);
    assert_eq!(spans[0].events.events.len(), 1);
    assert!(!spans[1].parent_span_is_remote);
    assert_eq!(spans[0].status, Status::Unset);
}

#[test]
fn only_a_wait_has_a_span() {
    let spans = spans_of(|| {
        let call = server(&Sampler::new(1.0), None, &CALL);
        let mut context = task::Context::from_waker(task::Waker::noop());
        let ready = call.around(Wait::Session, "files", std::future::ready(1));
        assert_eq!(std::pin::pin!(ready).poll(&mut context), Poll::Ready(1));
        let mut times = 0;
        let later = std::future::poll_fn(|_| {
            times += 1;
            if times < 3 {
                Poll::Pending
            } else {
                Poll::Ready(2)
            }
        });
        let mut later = std::pin::pin!(call.around(Wait::Place, "files", later));
        assert_eq!(later.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(later.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(later.poll(&mut context), Poll::Ready(2));
    });
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["wait for place", "tools/call files__read"]);
    assert_eq!(spans[0].span_kind, SpanKind::Internal);
    assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
    assert_eq!(attributes(&spans[0]), ["switchboard.backend=files"]);
}

/// What is exported afterwards says what the span of a sampled call would.
#[test]
fn a_span_made_afterwards_has_the_same_attributes() {
    let context = TraceContext::parse(PARENT, None, None).expect("valid");
    let spans = spans_of(|| {
        let call = server(&Sampler::new(0.0), Some(&context), &CALL);
        call.record_outcome(Some("504"), Some(504));
    });
    let ended = crate::late::EndedCall {
        trace: context.parent.trace_id(),
        parent: Some(context.parent),
        call: CALL,
        took: std::time::Duration::from_millis(1500),
        error: Some(ErrorType::GatewayTimeout),
        code: Some(504),
    };
    let late = crate::late::span_of(&ended, std::time::SystemTime::now());
    let mut expected = attributes(&spans[0]);
    expected.push("switchboard.sampled_late=true".to_owned());
    assert_eq!(attributes(&late), expected);
    assert_eq!(late.name, spans[0].name);
    assert_eq!(late.status, spans[0].status);
    assert_eq!(late.parent_span_id, spans[0].parent_span_id);
    assert_eq!(late.span_context.trace_id(), context.parent.trace_id());
    let took = late.end_time.duration_since(late.start_time);
    assert_eq!(took.ok(), Some(ended.took));
}

#[test]
fn every_name_stands_in_the_document() {
    let document = include_str!("../../../../docs/tracing.md");
    let (backend, reason) = ("files", "timeout");
    let events = [
        CallEvent::Decision {
            policy: "access",
            rule: "readers",
            decision: "allowed",
        },
        CallEvent::Cache {
            backend,
            outcome: "miss",
            age: None,
        },
        CallEvent::Redacted { backend },
        CallEvent::Refused { backend, reason },
        CallEvent::Retry {
            backend,
            reason,
            pause: std::time::Duration::ZERO,
        },
        CallEvent::Fallback {
            from: "files__read",
            to: "archive__read",
            reason: Some(reason),
        },
        CallEvent::Resumed { backend },
    ];
    let waits = Wait::ALL.map(Wait::name);
    let events = events.map(|event| event.name());
    for name in waits.iter().chain(&events) {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
    }
}
