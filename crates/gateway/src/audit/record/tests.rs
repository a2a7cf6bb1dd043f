use super::*;
use crate::audit::event::Quotes;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::Reason;
use switchboard_protocol::trail::{Decision, Trail};
use switchboard_protocol::version::Version;
use switchboard_telemetry::TraceId;

#[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
fn event(params: Value, end: CallEnd) -> CallEvent {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let request = Envelope::parse(request.to_string().into()).expect("a request");
    let principal = Arc::new(Principal {
        groups: vec!["team".to_owned()],
        ..Principal::new("key:ann")
    });
    let call = Call::new(request, Method::ToolsCall, principal, Version::LATEST);
    CallEvent {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
        began: Instant::now(),
        took: Duration::from_micros(12_345),
        method: call.method,
        quotes: Quotes::of(&call),
        principal: call.principal,
        profile: Some("work".into()),
        version: call.version,
        session: None,
        peer: Some([127, 0, 0, 1].into()),
        trail: Arc::default(),
        trace: None,
        result_bytes: 7,
        end,
    }
}

fn line(event: CallEvent, values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    Record::of(&Event::Call(Box::new(event)), &values).line()
}

#[test]
fn a_call_has_all_of_its_members() {
    let mut event = event(
        json!({
            "name": "t", "arguments": { "city": "Bern" },
            "_meta": {
                "io.modelcontextprotocol/clientInfo": { "name": "c", "version": "2" },
            },
        }),
        CallEnd::Fault {
            code: 429,
            reason: Reason::RateLimited,
            backend: Some("b".into()),
        },
    );
    let trail = Trail::default();
    trail.note(Step::Decision {
        policy: "rate",
        rule: "slow".into(),
        decision: Decision::Denied,
    });
    trail.note(Step::Attempt {
        backend: "a".into(),
        target: "a__t".into(),
        reason: Some(Reason::Timeout),
        ms: 9,
    });
    trail.charge(3);
    event.trail = Arc::new(trail);
    event.trace = Some(TraceId::from(0x0af7651916cd43dd8448eb211c80319c_u128));
    let bytes = event.quotes.raw.len();
    let record: Value = serde_json::from_str(&line(event, &["a__*"])).expect("JSON");
    let expected = json!({
        "v": 1, "at": "1970-01-01T00:00:01.500Z", "kind": "call",
        "principal": "key:ann", "groups": ["team"], "client": "c 2", "peer": "127.0.0.1",
        "protocol": Version::LATEST.as_str(), "session": "none",
        "method": "tools/call", "target": "t", "profile": "work",
        "arguments": { "city": "string(4)" }, "values": { "city": "Bern" },
        "decisions": [{ "policy": "rate", "rule": "slow", "decision": "denied" }],
        "attempts": [{ "backend": "a", "target": "a__t", "reason": "timeout", "ms": 9 }],
        "backend": "a", "outcome": "refused", "code": 429, "reason": "rate_limited",
        "request_bytes": bytes, "result_bytes": 7, "cost": 3, "ms": 12.345,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    });
    assert_eq!(record, expected);
}

#[test]
fn nothing_in_a_record_breaks_a_line_or_reaches_a_terminal() {
    let name = "a\r\n{\"v\":1}\u{1b}[31m\u{85}\u{202e}\u{7f}ü\u{e0041}";
    let line = line(event(json!({ "name": name }), CallEnd::Ok), &[]);
    assert!(!line.chars().any(is_invisible), "{line:?}");
    let record: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(record["target"], name);
}

#[test]
fn a_line_is_bounded_whatever_a_client_sends_and_says_what_is_cut() {
    let long = "\u{1}".repeat(100_000);
    let many: serde_json::Map<String, Value> = (0..5000)
        .map(|n| (format!("k{n}{}", "x".repeat(50)), json!(n)))
        .collect();
    let params = json!({ "name": long, "arguments": many,
        "_meta": { "io.modelcontextprotocol/clientInfo": { "name": long } } });
    let mut event = event(params, CallEnd::Ok);
    event.profile = Some(long.as_str().into());
    event.principal = Arc::new(Principal {
        groups: vec![long.clone(); 100],
        ..Principal::new(long.clone())
    });
    for _ in 0..100 {
        event.trail.note(Step::Attempt {
            backend: long.as_str().into(),
            target: long.as_str().into(),
            reason: None,
            ms: u64::MAX,
        });
    }
    let line = line(event, &["*"]);
    assert!(line.len() <= MAX_LINE, "{}", line.len());
    let record: Value = serde_json::from_str(&line).expect("JSON");
    for cut in ["target", "values", "attempts", "groups", "principal"] {
        let all = record["cut"].as_array().expect("what is cut");
        assert!(all.iter().any(|name| name == cut), "{cut} in {all:?}");
    }
}

#[test]
fn secrets_are_in_no_record_unless_their_tool_is_named() {
    let params = || json!({ "name": "t", "arguments": { "note": "s3cr3t", "password": "hidden" } });
    assert!(!line(event(params(), CallEnd::Ok), &["u"]).contains("s3cr3t"));
    let named = line(event(params(), CallEnd::Ok), &["t"]);
    assert!(
        named.contains("s3cr3t") && !named.contains("hidden"),
        "{named}"
    );
}

#[test]
fn every_member_is_on_the_page_of_the_audit() {
    let page = include_str!("../../../../../docs/audit.md");
    let schema = schemars::schema_for!(Record).to_value();
    let members = schema["properties"].as_object().expect("members");
    assert!(members.len() > 20);
    for member in members.keys() {
        assert!(page.contains(&format!("`{member}`")), "{member}");
    }
}
