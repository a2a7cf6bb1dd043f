//! How many sessions a legacy server has, whose they are, and when they end.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, all_capabilities, call, declaring, retry};
use switchboard_tests::asking::{AskingServer, Way, accepted, asking_call, content};
use switchboard_tests::front::{Front, assert_fault};
use switchboard_tests::waiting::until;

/// A gateway in front of the server, with these keys besides.
async fn front(server: &AskingServer, keys: Value) -> Front {
    let mut backend = server.backend();
    let entries = backend.as_object_mut().expect("a table");
    entries.extend(keys.as_object().expect("a table").clone());
    let front = Front::of(json!({ "b": backend })).await;
    front.wait_until("b", true).await;
    front
}

async fn ask(front: &Front, mark: &str) -> Answer {
    let message = asking_call("b__ask_form", &json!({ "mark": mark }));
    front.client.ask(&message).await
}

async fn answer(front: &Front, mark: &str, asked: &Answer) -> Answer {
    let message = asking_call("b__ask_form", &json!({ "mark": mark }));
    let message = retry(message, asked, accepted(asked, "yes"));
    front.client.ask(&message).await
}

/// Which session a call came in: process and number.
async fn session(front: &Front, capabilities: Value) -> String {
    let message = call("b__who_am_i", &json!({ "mark": "m" }));
    let answer = front.client.ask(&declaring(message, capabilities)).await;
    content(&answer)["server"].to_string()
}

async fn sessions(front: &Front) -> f64 {
    let found = front.metrics("switchboard_backend_sessions").await;
    found.values().sum()
}

#[tokio::test]
async fn at_the_cap_a_call_that_may_be_asked_is_told_to_come_again() {
    for way in [Way::Stdio, Way::Sse] {
        let server = AskingServer::start(way).await;
        let front = front(&server, json!({ "max_sessions": 2 })).await;
        let (one, two) = (ask(&front, "1").await, ask(&front, "2").await);
        assert!(one.is_input_required() && two.is_input_required());
        let refused = ask(&front, "3").await;
        assert_fault(&refused, 503, "b");
        assert_eq!(refused.fault()["reason"], "overloaded", "{}", refused.raw);
        assert_eq!(refused.fault()["outcome"], "not_sent", "{}", refused.raw);
        assert_eq!(sessions(&front).await, 2.0, "{way:?}");

        content(&answer(&front, "1", &one).await);
        let three = ask(&front, "3").await;
        content(&answer(&front, "2", &two).await);
        content(&answer(&front, "3", &three).await);
        // Whoever can be asked nothing has room made for it.
        session(&front, json!({})).await;
        assert!(sessions(&front).await <= 3.0, "{way:?}");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn sessions_that_nobody_uses_end() {
    for way in Way::ALL {
        let server = AskingServer::start(way).await;
        let front = front(&server, json!({ "session_idle_timeout": "200ms" })).await;
        let common = session(&front, json!({})).await;
        let own = session(&front, all_capabilities()).await;
        assert_ne!(own, common, "{way:?}");
        until("only the common session is left", async || {
            (sessions(&front).await == 1.0).then_some(())
        })
        .await;
        assert_eq!(session(&front, json!({})).await, common, "{way:?}");
        assert_ne!(session(&front, all_capabilities()).await, own, "{way:?}");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_session_that_is_kept_has_one_call_after_the_other() {
    let server = AskingServer::start(Way::Stdio).await;
    let front = front(&server, json!({ "sessions": "per_principal" })).await;
    let kept = session(&front, all_capabilities()).await;
    let asked = ask(&front, "1").await;
    let waiting = session(&front, all_capabilities());
    let answering = answer(&front, "1", &asked);
    let (next, answered) = tokio::join!(waiting, answering);
    content(&answered);
    assert_eq!(next, kept);
    assert_eq!(sessions(&front).await, 1.0);
    front.gateway.stop().await;
}
