//! Roots that change while a legacy server may ask for them.

use super::*;
use switchboard_tests::asking::{AskingServer, Way, ready_for};
use switchboard_tests::keys::{auth_of, key_of};

const CHANGED: &str = "notifications/roots/list_changed";

/// The session in which a call of this client is made: process and number.
async fn asked(client: &LegacyClient, mark: &str) -> (Value, Value) {
    let answer = client.call("a__roots", json!({ "mark": mark })).await;
    assert_eq!(answer.questions.len(), 1, "{answer:?}");
    let server = &answer.result()["structuredContent"]["server"];
    (server["pid"].clone(), server["session"].clone())
}

/// The sessions that were told, oldest first.
fn told(server: &AskingServer) -> Vec<(Value, Value)> {
    let is_change = |event: &Value| event["event"] == "notified" && event["method"] == CHANGED;
    let events = server.events().into_iter().filter(is_change);
    events
        .map(|event| (event["pid"].clone(), event["session"].clone()))
        .collect()
}

async fn tell_of_changes(way: Way, sessions: &str) {
    let server = AskingServer::start(way).await;
    let names = ["ada".to_owned(), "eve".to_owned()];
    let mut backend = server.backend();
    backend["sessions"] = json!(sessions);
    let front =
        Front::start(json!({ "auth": auth_of(&names), "backends": { "a": backend } })).await;
    ready_for(&front.client.with_key(&key_of("ada"))).await;
    let client = async |name: &str, roots: Value| {
        let setup = Setup {
            capabilities: json!({ "roots": roots }),
            key: Some(key_of(name)),
            ..setup("2025-11-25")
        };
        LegacyClient::connect(front.gateway.url(), setup).await
    };
    let ada = client("ada", json!({ "listChanged": true })).await;
    let eve = client("eve", json!({ "listChanged": true })).await;
    let silent = client("ada", json!({})).await;
    let (of_ada, of_eve) = (asked(&ada, "ada").await, asked(&eve, "eve").await);
    let of_silent = asked(&silent, "silent").await;
    assert_ne!(of_ada, of_eve, "{way:?} {sessions}");
    assert_ne!(of_ada, of_silent, "{way:?} {sessions}");

    for (client, expected) in [
        (&ada, vec![of_ada.clone()]),
        (&eve, vec![of_ada.clone(), of_eve.clone()]),
    ] {
        assert_eq!(client.notify(CHANGED, None).await, 202);
        until("the server is told", async || {
            (told(&server).len() == expected.len()).then_some(())
        })
        .await;
        assert_eq!(told(&server), expected, "{way:?} {sessions}");
    }
    // What was said to the others' sessions would have come before these calls.
    for (client, mark, own) in [
        (&silent, "silent again", &of_silent),
        (&eve, "eve again", &of_eve),
        (&ada, "ada again", &of_ada),
    ] {
        assert_eq!(asked(client, mark).await, *own, "{way:?} {sessions}");
    }
    assert_eq!(told(&server), [of_ada, of_eve], "{way:?} {sessions}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn changed_roots_are_told_in_the_sessions_of_their_client() {
    for way in [Way::Stdio, Way::Post, Way::Sse] {
        tell_of_changes(way, "shared").await;
    }
    tell_of_changes(Way::Stdio, "per_client").await;
}
