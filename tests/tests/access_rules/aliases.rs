//! Other words for what is hidden: the names that it had, the prefix of another server, another case.

use serde_json::json;
use switchboard_testkit::client::Client;
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::keys::key_of;
use switchboard_tests::waiting::until;

use super::{assert_alike, auth};

#[tokio::test]
async fn what_is_hidden_is_hidden_by_every_name() {
    let (shut, open, plain) = (
        FakeHttp::start(Transport::Modern, "shut").await,
        FakeHttp::start(Transport::Modern, "open").await,
        FakeHttp::start(Transport::Modern, "plain").await,
    );
    let mut without_prefix = remote(plain.url());
    without_prefix["prefix"] = json!("");
    let front = Front::start(json!({
        "auth": auth(&["anna", "ben"]),
        "access": { "rules": [
            { "name": "anna", "effect": "allow", "groups": ["anna"] },
            { "name": "ben", "effect": "allow", "groups": ["ben"], "tools": ["open__report"] },
        ] },
        "profiles": { "work": { "rename": { "shut__echo": "say" } } },
        "backends": {
            "shut": remote(shut.url()), "open": remote(open.url()), "plain": without_prefix,
        },
    }))
    .await;
    let at = |path: &str, who: &str| {
        Client::new(&format!("{}{path}", front.gateway.url())).with_key(&key_of(who))
    };
    for tool in ["shut__echo", "open__echo", "echo"] {
        until(tool, async || {
            let answer = at("", "anna").call(tool, json!({})).await;
            (answer.error_code().is_none() && answer.fault().is_null()).then_some(())
        })
        .await;
    }
    let answer = at("/work", "anna").call("say", json!({})).await;
    assert!(answer.error_code().is_none(), "{}", answer.raw);
    let answer = at("/work", "ben").call("open__report", json!({})).await;
    assert!(answer.error_code().is_none(), "{}", answer.raw);
    let servers = [&shut, &open, &plain];
    servers.iter().for_each(|server| server.forget_requests());
    for (path, name) in [
        ("", "shut__echo"),
        ("", "open__echo"),
        // Without a prefix, and as it would be called beside another of its name.
        ("", "echo"),
        ("", "plain__echo"),
        // By the prefix of another server, twice prefixed, in another case.
        ("", "open__shut__echo"),
        ("", "shut__shut__echo"),
        ("", "SHUT__echo"),
        ("", "shut__echo "),
        // In a profile: its name there, and the one that it has without.
        ("", "say"),
        ("/work", "say"),
        ("/work", "shut__echo"),
        ("/work", "echo"),
    ] {
        let answer = at(path, "ben").call(name, json!({})).await;
        let none = at(path, "ben").call("nobody__has", json!({})).await;
        assert_eq!(answer.status, none.status, "{name}");
        assert_alike(&answer.response, &none.response, name, "nobody__has");
    }
    for server in servers {
        assert_eq!(server.requests_of("tools/call").len(), 0);
    }
    front.gateway.stop().await;
}
