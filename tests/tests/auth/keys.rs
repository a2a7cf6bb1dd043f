//! What a key is good for, how it is exchanged, and what ends with it.

use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use switchboard_testkit::client::{Client, Exchange};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, faulty};
use switchboard_tests::keys::{digest_of, entry_of};
use switchboard_tests::waiting::until;

const OLD: &str = "a-key-that-is-made-for-this-test-alone-3f1d";
const NEW: &str = "a-key-that-is-made-for-this-test-alone-77aa";

fn config(keys: &Value) -> Value {
    json!({
        "auth": { "api_keys": keys },
        "backends": { "f": faulty(&[]) },
        "profiles": { "coding": { "tools": ["f__echo"] }, "people": { "tools": ["f__*"] } },
    })
}

fn legacy(url: &str, key: &str) -> LegacyClient {
    let setup = Setup {
        key: Some(key.to_owned()),
        ..Setup::default()
    };
    LegacyClient::new(url, setup)
}

async fn listen(front: &Front, key: &str) -> Exchange {
    let client = front.client.with_key(key);
    let mut stream = client.listen(json!({ "toolsListChanged": true })).await;
    stream.next().await.expect("an acknowledgement");
    stream
}

/// That a stream ends, whatever it tells before.
async fn ends(mut stream: Exchange) {
    while stream.next().await.is_some() {}
}

#[tokio::test]
async fn a_key_for_a_profile_is_good_there_and_nowhere_else() {
    let front = Front::start(config(&json!([
        { "name": "agents", "key_sha256": digest_of(OLD), "profiles": ["coding"] },
        entry_of("ci", NEW),
    ])))
    .await;
    let url = front.gateway.url();
    let list = async |path: &str, key: &str| {
        let client = Client::new(&format!("{url}{path}")).with_key(key);
        client.request("tools/list", json!({})).await
    };
    until("the backend", async || {
        list("/coding", OLD)
            .await
            .raw
            .contains("f__echo")
            .then_some(())
    })
    .await;
    let coding = Client::new(&format!("{url}/coding")).with_key(OLD);
    let answer = coding.call("f__echo", json!({})).await;
    assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
    // Whether there is such a profile is not told.
    for path in ["", "/people", "/nobody", "/codin", "/coding2"] {
        let refused = list(path, OLD).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.raw);
        assert!(!refused.raw.contains("f__"), "{path}: {}", refused.raw);
        assert!(!refused.headers.contains_key(WWW_AUTHENTICATE), "{path}");
        let refused = legacy(&format!("{url}{path}"), OLD).initialize().await;
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
    }
    for path in ["", "/people", "/coding"] {
        assert_eq!(list(path, NEW).await.status, 200, "{path}");
    }
    // A session that was begun in the profile is nothing elsewhere.
    let session = legacy(&format!("{url}/coding"), OLD);
    assert_eq!(session.initialize().await.status, 200);
    let elsewhere = legacy(url, OLD);
    elsewhere.set_session(session.session());
    let answer = elsewhere.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_key_is_exchanged_by_overlap_and_what_the_old_one_opened_ends_with_it() {
    let both = json!([{ "name": "ci", "key_sha256": [digest_of(OLD), digest_of(NEW)] }]);
    let of = |key: &str| json!([entry_of("ci", key)]);
    let front = Front::start(config(&of(OLD))).await;
    let url = front.gateway.url();
    let status = async |key: &str| {
        let client = front.client.with_key(key);
        client
            .request("tools/list", json!({}))
            .await
            .status
            .as_u16()
    };
    let reload = |keys: &Value| {
        front.gateway.rewrite(config(keys));
        front.gateway.hang_up();
    };
    let old_stream = listen(&front, OLD).await;
    let (old_session, kept_session) = (legacy(url, OLD), legacy(url, OLD));
    for session in [&old_session, &kept_session] {
        assert_eq!(session.initialize().await.status, 200);
    }
    assert_eq!((status(OLD).await, status(NEW).await), (200, 401));

    reload(&both);
    until("both count", async || {
        (status(NEW).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(OLD).await, 200);
    let mut new_stream = listen(&front, NEW).await;
    let new_session = legacy(url, NEW);
    assert_eq!(new_session.initialize().await.status, 200);
    // Both are one principal's: a session goes on with the new key.
    let renewed = legacy(url, NEW);
    renewed.set_session(kept_session.session());
    let answer = renewed.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    reload(&of(NEW));
    until("the old one is gone", async || {
        (status(OLD).await == 401).then_some(())
    })
    .await;
    ends(old_stream).await;
    until("its session is gone", async || {
        let name = "switchboard_legacy_sessions";
        (front.metrics(name).await[name] == 2.0).then_some(())
    })
    .await;
    let late = legacy(url, NEW);
    late.set_session(old_session.session());
    let answer = late.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    // What the new one opened goes on.
    for session in [&new_session, &renewed] {
        let answer = session.request("tools/list", json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut more = config(&of(NEW));
    more["backends"]["g"] = faulty(&[]);
    front.gateway.rewrite(more);
    front.gateway.hang_up();
    let told = until("a change is told", async || new_stream.next().await).await;
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_key_whose_last_day_is_over_is_answered_like_one_that_nobody_has() {
    let front = Front::start(config(&json!([
        { "name": "gone", "key_sha256": digest_of(OLD), "expires": "2020-02-29" },
        { "name": "good", "key_sha256": digest_of(NEW), "expires": "2999-12-31" },
    ])))
    .await;
    let ask = async |key: &str| {
        let client = front.client.with_key(key);
        client.request("tools/list", json!({})).await
    };
    let (expired, unknown) = (ask(OLD).await, ask("a-key-that-nobody-has-0b7c").await);
    assert_eq!(
        (expired.status.as_u16(), unknown.status.as_u16()),
        (401, 401)
    );
    assert_eq!(expired.raw, unknown.raw);
    assert_eq!(
        expired.headers.get(WWW_AUTHENTICATE),
        unknown.headers.get(WWW_AUTHENTICATE)
    );
    assert_eq!(ask(NEW).await.status, 200);
    let refused = legacy(front.gateway.url(), OLD).initialize().await;
    assert_eq!(refused.status, 401);
    front.gateway.stop().await;
}
