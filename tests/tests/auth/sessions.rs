//! Sessions of legacy clients belong to whoever began them, whatever token he comes with.

use http::header::AUTHORIZATION;
use serde_json::json;
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::keys::entry_of;

use crate::Guarded;

fn client(guarded: &Guarded, token: &str) -> LegacyClient {
    let setup = Setup {
        key: Some(token.to_owned()),
        ..Setup::default()
    };
    LegacyClient::new(guarded.front.gateway.url(), setup)
}

#[tokio::test]
async fn a_session_is_its_subjects_also_with_a_newer_token() {
    let guarded = Guarded::start().await;
    let first = client(&guarded, &guarded.token("anna"));
    assert_eq!(first.initialize().await.status, 200);
    let session = first.session();
    assert!(session.is_some());

    let renewed = client(
        &guarded,
        &guarded.token_with(json!({ "groups": ["fewer"] })),
    );
    renewed.set_session(session.clone());
    let answer = renewed.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 200);

    let stranger = client(&guarded, &guarded.token("ben"));
    stranger.set_session(session);
    let message = stranger.message("tools/list", json!({}));
    let draft = stranger.draft(&message);
    assert!(draft.headers.contains_key(AUTHORIZATION));
    let answer = stranger.send(draft).await.finish().await;
    assert_eq!(answer.status, 404, "{}", answer.raw);
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn who_trusts_an_issuer_no_longer_knows_none_of_its_subjects() {
    let guarded = Guarded::start().await;
    let token = guarded.token("anna");
    let legacy = client(&guarded, &token);
    assert_eq!(legacy.initialize().await.status, 200);
    let key = "a-key-that-is-made-for-this-test-alone-08bb";
    let gateway = &guarded.front.gateway;
    let mut config = crate::config(&guarded.issuer, json!({}));
    config["auth"]["api_keys"] = json!([entry_of("ci", key)]);
    // The issuer stays: so does what is known of it.
    gateway.rewrite(config.clone());
    let fetches = guarded.issuer.jwks_fetches();
    gateway.hang_up();
    switchboard_tests::waiting::until("the key counts", async || {
        (guarded.call(key).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(guarded.call(&token).await.status, 200);
    assert_eq!(guarded.issuer.jwks_fetches(), fetches);

    config["auth"]["jwt"] = json!([]);
    gateway.rewrite(config);
    gateway.hang_up();
    switchboard_tests::waiting::until("the issuer is gone", async || {
        (guarded.call(&token).await.status == 401).then_some(())
    })
    .await;
    guarded.front.gateway.stop().await;
}
