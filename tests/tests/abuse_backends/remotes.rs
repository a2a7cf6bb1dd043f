//! Remote servers.

use std::time::Duration;

use serde_json::json;
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, Form, RefusedPort, Transport};
use switchboard_tests::front::{assert_fault, remote};
use switchboard_tests::waiting::until;
use tokio::time::{Instant, sleep};

use crate::{PROMPT, assert_ok, beginning, beside, call, front, recovers};

const STREAMABLE: [Transport; 2] = [Transport::Modern, Transport::Legacy];
const FORMS: [Form; 2] = [Form::Json, Form::EventStream];

/// Expects this code and outcome for a fault of a remote server, in both eras and forms; then a
/// good answer.
async fn remote_fault(fault: Fault, code: u64, outcome: &str) {
    for transport in STREAMABLE {
        let server = FakeHttp::start(transport, "bad").await;
        let mut bad = remote(server.url());
        bad["max_message_bytes"] = json!(64 * 1024);
        bad["timeout"] = json!("1s");
        let front = front(bad).await;
        for form in FORMS {
            let well = Behaviour {
                form,
                ..Behaviour::default()
            };
            let ill = Behaviour {
                fault: Some(fault),
                ..well
            };
            server.behave(ill);
            server.forget_requests();
            let answer = call(&front, "echo", json!({})).await;
            let case = format!("{fault:?} {transport:?} {form:?}: {}", answer.raw);
            assert_eq!(answer.fault()["code"], code, "{case}");
            assert_eq!(answer.fault()["outcome"], outcome, "{case}");
            assert_fault(&answer, code, "bad");
            // What may have been executed is not sent twice; what was refused is.
            let attempts = if code == 429 { 3 } else { 1 };
            assert_eq!(server.requests_of("tools/call").len(), attempts, "{case}");
            server.behave(well);
            recovers(&front, json!({})).await;
        }
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_an_unknown_outcome() {
    remote_fault(Fault::DropMidAnswer, 502, "unknown").await;
}

#[tokio::test]
async fn an_answer_that_is_no_json_has_an_unknown_outcome() {
    remote_fault(Fault::Garbage, 502, "unknown").await;
}

#[tokio::test]
async fn an_event_stream_that_claims_to_be_html_is_no_answer() {
    let server = FakeHttp::start(Transport::Modern, "bad").await;
    let front = front(remote(server.url())).await;
    server.behave(Behaviour {
        form: Form::EventStream,
        fault: Some(Fault::WrongContentType),
        ..Behaviour::default()
    });
    assert_fault(&call(&front, "echo", json!({})).await, 502, "bad");
    server.behave(Behaviour::default());
    assert_ok(&call(&front, "echo", json!({})).await);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_has_an_unknown_outcome() {
    for transport in STREAMABLE {
        let server = FakeHttp::start(transport, "bad").await;
        let front = front(remote(server.url())).await;
        let answer = call(&front, "exit", json!({})).await;
        assert_fault(&answer, 502, "bad");
        assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
        assert_eq!(server.requests_of("tools/call").len(), 1);
        assert_ok(&call(&front, "echo", json!({})).await);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_for_another_id_is_none() {
    remote_fault(Fault::WrongId, 502, "unknown").await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_has_an_unknown_outcome() {
    remote_fault(Fault::Huge(1 << 20), 502, "unknown").await;
}

#[tokio::test]
async fn a_server_error_has_an_unknown_outcome() {
    remote_fault(Fault::Status(500), 502, "unknown").await;
}

#[tokio::test]
async fn a_refused_credential_executed_nothing() {
    remote_fault(Fault::Status(401), 502, "failed").await;
}

#[tokio::test]
async fn an_unavailable_server_is_unavailable() {
    remote_fault(Fault::Status(503), 503, "unknown").await;
}

#[tokio::test]
async fn a_limit_of_the_server_is_passed_on() {
    remote_fault(Fault::Status(429), 429, "failed").await;
}

#[tokio::test]
async fn a_remote_call_that_hangs_fails_at_the_timeout_and_is_cancelled() {
    for transport in [Transport::Modern, Transport::Legacy, Transport::Sse] {
        let server = FakeHttp::start(transport, "bad").await;
        let mut bad = remote(server.url());
        bad["timeout"] = json!("700ms");
        let front = front(bad).await;
        let answer = call(&front, "hang", json!({})).await;
        assert_fault(&answer, 504, "bad");
        until("the call is cancelled upstream", async || {
            (server.cancelled() == 1 && server.in_flight() == 0).then_some(())
        })
        .await;
        assert_ok(&call(&front, "echo", json!({})).await);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call_upstream() {
    for transport in [Transport::Modern, Transport::Legacy, Transport::Sse] {
        let server = FakeHttp::start(transport, "bad").await;
        let front = front(remote(server.url())).await;
        let calling = tokio::spawn({
            let client = front.client.clone();
            async move { client.call("bad__hang", json!({})).await }
        });
        until("a call in flight", async || {
            (server.in_flight() == 1).then_some(())
        })
        .await;
        calling.abort();
        until("the call is cancelled upstream", async || {
            (server.cancelled() == 1 && server.in_flight() == 0).then_some(())
        })
        .await;
        assert_ok(&call(&front, "echo", json!({})).await);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_forgotten_session_is_renewed_and_the_call_made_once() {
    let server = FakeHttp::start(Transport::Legacy, "bad").await;
    let front = front(remote(server.url())).await;
    assert_ok(&call(&front, "echo", json!({})).await);
    for _ in 0..3 {
        // One that is forgotten within a second is taken for a server that keeps none.
        sleep(Duration::from_millis(1100)).await;
        server.expire_sessions();
        server.forget_requests();
        assert_ok(&call(&front, "echo", json!({})).await);
        // The first went to the session that was gone, the second to the new one.
        let calls = server.requests_of("tools/call");
        let sessions: Vec<_> = calls
            .iter()
            .map(|call| &call.headers["mcp-session-id"])
            .collect();
        assert!(
            sessions.len() == 2 && sessions[0] != sessions[1],
            "{sessions:?}"
        );
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_sse_server_that_goes_away_fails_its_calls_at_once() {
    let server = FakeHttp::start(Transport::Sse, "bad").await;
    let front = front(remote(server.url())).await;
    assert_ok(&call(&front, "echo", json!({ "x": "é" })).await);
    let calling = tokio::spawn({
        let client = front.client.clone();
        async move { client.call("bad__hang", json!({})).await }
    });
    until("a call in flight", async || {
        (server.in_flight() == 1).then_some(())
    })
    .await;
    drop(server);
    let began = Instant::now();
    let answer = beside(&front, calling).await.expect("an answer");
    assert!(began.elapsed() < PROMPT);
    assert_fault(&answer, 502, "bad");
    front.wait_until("bad", false).await;
    assert_fault(&call(&front, "echo", json!({})).await, 503, "bad");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unavailable() {
    let port = RefusedPort::take();
    let front = beginning(remote(port.url())).await;
    let missing = until("the backend is unavailable", async || {
        let missing = front.missing().await.remove("bad")?;
        (missing["state"] == "unavailable").then_some(missing)
    })
    .await;
    assert!(
        missing["reason"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{missing}"
    );
    let answer = call(&front, "echo", json!({})).await;
    assert_fault(&answer, 503, "bad");
    assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
    assert_eq!(answer.fault()["retryable"], true, "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_broken_from_the_start_is_named_until_it_is_well() {
    let faults = [
        (Fault::Status(401), "needs_auth"),
        (Fault::Status(500), "unavailable"),
        (Fault::Status(404), "unavailable"),
        (Fault::Garbage, "unavailable"),
        (Fault::DropMidAnswer, "unavailable"),
        (Fault::WrongId, "unavailable"),
    ];
    for transport in STREAMABLE {
        for (fault, state) in faults {
            let server = FakeHttp::start(transport, "bad").await;
            server.behave(Behaviour {
                fault: Some(fault),
                fault_everywhere: true,
                ..Behaviour::default()
            });
            let front = beginning(remote(server.url())).await;
            let what = format!("{transport:?} with {fault:?} is {state}");
            until(&what, async || {
                let missing = front.missing().await.remove("bad")?;
                (missing["state"] == state).then_some(())
            })
            .await;
            server.behave(Behaviour::default());
            beside(&front, front.wait_until("bad", true)).await;
            front.works("bad").await;
            front.gateway.stop().await;
        }
    }
}
