//! Tokens are for one endpoint: that without a profile, or one with; and a stream ends with its token.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client};
use switchboard_testkit::issuer::{Issuer, now};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::Front;

use crate::{Guarded, challenge, config, metadata_of};

/// How long a token is taken after its end, since clocks differ: a minute.
const LEEWAY: u64 = 60;

async fn list(at: &str, token: &str) -> Answer {
    let client = Client::new(at).with_key(token);
    client.request("tools/list", json!({})).await
}

#[tokio::test]
async fn a_token_for_one_endpoint_is_none_for_another() {
    let issuer = Issuer::start().await;
    let mut config = config(
        &issuer,
        json!({ "scopes": { "required": ["mcp"], "profiles": { "coding": ["code"] } } }),
    );
    config["profiles"] = json!({ "coding": {}, "people": {} });
    let front = Front::start(config).await;
    let whole = front.gateway.url().to_owned();
    let at = |name: &str| format!("{whole}/{name}");
    let (coding, people) = (at("coding"), at("people"));
    for (endpoint, audience, expected) in [
        (&whole, &whole, 200),
        (&coding, &coding, 200),
        (&people, &people, 200),
        (&whole, &coding, 401),
        (&coding, &whole, 401),
        (&coding, &people, 401),
        (&people, &whole, 401),
    ] {
        let token = issuer.token("anna", audience, "mcp code");
        let answer = list(endpoint, &token).await;
        assert_eq!(
            answer.status, expected,
            "{endpoint} for {audience}: {}",
            answer.raw
        );
        if expected == 401 {
            // It says where a token for this endpoint is had.
            let metadata = format!("resource_metadata=\"{}\"", metadata_of(endpoint));
            let challenge = challenge(&answer);
            assert!(challenge.contains(&metadata), "{challenge}");
        }
    }
    // A profile may need more.
    let answer = list(&coding, &issuer.token("anna", &coding, "mcp")).await;
    assert_eq!(answer.status, 403, "{}", answer.raw);
    let challenge = challenge(&answer);
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    assert!(challenge.contains("scope=\"mcp code\""), "{challenge}");
    let metadata = reqwest::get(metadata_of(&coding)).await.expect("metadata");
    let metadata: Value = metadata.json().await.expect("JSON");
    assert_eq!(metadata["resource"], coding, "{metadata}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_token_does_and_a_session_waits_for_the_next() {
    let guarded = Guarded::start().await;
    // It is taken for some seconds yet.
    let ending = guarded.token_with(json!({ "exp": now() - LEEWAY + 8 }));
    let client = guarded.front.client.with_key(&ending);
    let mut stream = client.listen(json!({ "toolsListChanged": true })).await;
    stream.next().await.expect("an acknowledgement");
    let legacy = |token: &str| {
        let setup = Setup {
            key: Some(token.to_owned()),
            ..Setup::default()
        };
        LegacyClient::new(guarded.front.gateway.url(), setup)
    };
    let session = legacy(&ending);
    assert_eq!(session.initialize().await.status, 200);
    while stream.next().await.is_some() {}

    assert_eq!(guarded.call(&ending).await.status, 401);
    let answer = session.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let renewed = legacy(&guarded.token("anna"));
    renewed.set_session(session.session());
    let answer = renewed.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    guarded.front.gateway.stop().await;
}
