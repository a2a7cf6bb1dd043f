//! The tokens that servers are shown: fetched once, renewed in time, never for another, and what
//! callers are told when there is none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, call, message};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::issuer::Issuer;
use switchboard_testkit::token_server::{
    CLIENT_ID, CLIENT_SECRET, Manners, TokenFault, TokenServer,
};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::{Front, assert_fault};
use switchboard_tests::keys::entry_of;
use switchboard_tests::manual;
use switchboard_tests::waiting::until;
use tokio::task::JoinSet;

const TRANSPORTS: [Transport; 3] = [Transport::Modern, Transport::Legacy, Transport::Sse];

/// An `oauth` section with the client's secret.
fn oauth(server: &TokenServer) -> Value {
    json!({
        "grant": "client_credentials",
        "token_url": server.token_url(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    })
}

/// A server that wants tokens of its own.
async fn protected(server: &TokenServer, transport: Transport, label: &str) -> FakeHttp {
    let fake = FakeHttp::start(transport, label).await;
    fake.guard(server.protects(fake.url(), &[]));
    fake
}

/// A gateway in front of one such server, which is called `b`.
async fn front_of(fake: &FakeHttp, oauth: Value) -> Front {
    let front = Front::of(json!({ "b": { "url": fake.url(), "oauth": oauth } })).await;
    front.wait_until("b", true).await;
    front
}

fn token_of(headers: &http::HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()
}

async fn echo(front: &Front) -> Answer {
    front.client.call("b__echo", json!({ "name": "x" })).await
}

#[tokio::test]
async fn a_hundred_calls_share_a_token_and_its_renewal() {
    for transport in TRANSPORTS {
        let server = TokenServer::start().await;
        let fake = protected(&server, transport, "fake").await;
        let front = front_of(&fake, oauth(&server)).await;
        assert_eq!(server.requests().len(), 1, "{transport:?}");
        let request = &server.requests()[0];
        assert_eq!(request.parameter("grant_type"), "client_credentials");
        assert_eq!(request.parameter("resource"), fake.url());
        // Every one of these finds out that the token is taken no more.
        server.revoke_all();
        fake.forget_requests();
        let mut calls = JoinSet::new();
        for number in 0..100 {
            let client = switchboard_testkit::client::Client::new(front.gateway.url());
            calls.spawn(async move { client.call("b__echo", json!({ "name": number })).await });
        }
        for answer in calls.join_all().await {
            assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
        }
        assert_eq!(server.requests().len(), 2, "{transport:?}");
        // Refused before anything was done, so nothing was done twice.
        let newest = fake.requests_of("tools/call");
        let newest = newest.last().and_then(|last| token_of(&last.headers));
        let newest = newest.expect("a token").to_owned();
        let executed = fake.requests_of("tools/call");
        let executed = executed
            .iter()
            .filter(|request| token_of(&request.headers) == Some(&newest));
        assert_eq!(executed.count(), 100, "{transport:?}");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn tokens_that_expire_soon_are_renewed_while_calls_go_on() {
    let server = TokenServer::start().await;
    server.behave(Manners {
        lifetime: Duration::from_secs(1),
        ..Manners::default()
    });
    let fake = protected(&server, Transport::Modern, "fake").await;
    let front = front_of(&fake, oauth(&server)).await;
    until("three more tokens", async || {
        let answer = echo(&front).await;
        assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
        (server.requests().len() >= 4).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn calls_go_on_without_an_authorization_server_until_the_token_expires() {
    let server = TokenServer::start().await;
    server.behave(Manners {
        lifetime: Duration::from_secs(3),
        ..Manners::default()
    });
    let fake = protected(&server, Transport::Modern, "fake").await;
    let began = Instant::now();
    let front = front_of(&fake, oauth(&server)).await;
    server.fail(TokenFault::Status(503));
    let answer = echo(&front).await;
    let still_valid = began.elapsed() < Duration::from_secs(3);
    if still_valid {
        assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
    }
    let failed = until("the end of the token", async || {
        let answer = echo(&front).await;
        (answer.result()["isError"] == true).then_some(answer)
    })
    .await;
    assert_fault(&failed, 503, "b");
    assert_eq!(failed.fault()["reason"], "unavailable", "{}", failed.raw);
    assert_eq!(failed.fault()["retryable"], true, "{}", failed.raw);
    assert!(
        failed.raw.contains("authorization server"),
        "{}",
        failed.raw
    );
    server.behave(Manners::default());
    until("it goes on", async || {
        let answer = echo(&front).await;
        (answer.result()["isError"] != true && answer.error_code().is_none()).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_is_refused_needs_an_operator_and_does_not_hammer() {
    for error in ["invalid_client", "invalid_grant", "unauthorized_client"] {
        let server = TokenServer::start().await;
        let fake = protected(&server, Transport::Modern, "fake").await;
        let front = front_of(&fake, oauth(&server)).await;
        server.fail(TokenFault::Error(error));
        server.revoke_all();
        let failed = echo(&front).await;
        assert_fault(&failed, 502, "b");
        assert_eq!(failed.fault()["reason"], "needs_auth", "{}", failed.raw);
        assert!(failed.raw.contains(error), "{}", failed.raw);
        assert!(failed.raw.contains("an operator has to"), "{}", failed.raw);
        assert!(!failed.raw.contains("not for callers"), "{}", failed.raw);
        let entry = until("the state", async || {
            let missing = front.missing().await;
            let entry = missing.get("b");
            entry
                .filter(|entry| entry["state"] == "needs_auth")
                .cloned()
        })
        .await;
        assert!(entry.to_string().contains(error), "{entry}");
        let asked = server.requests().len();
        for _ in 0..50 {
            let failed = echo(&front).await;
            assert_eq!(failed.result()["isError"], true, "{}", failed.raw);
        }
        assert_eq!(server.requests().len(), asked);
        let output = front.gateway.server().output();
        assert!(output.contains("not for callers"), "{output}");
        assert!(!output.contains(CLIENT_SECRET), "{output}");
        assert!(!output.contains("token-"), "{output}");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_takes_no_token_is_shown_two_and_no_more() {
    let server = TokenServer::start().await;
    let fake = protected(&server, Transport::Modern, "fake").await;
    let front = front_of(&fake, oauth(&server)).await;
    // It wants tokens for another from now on.
    fake.guard(server.protects("http://127.0.0.1/other", &[]));
    fake.forget_requests();
    let failed = echo(&front).await;
    assert_fault(&failed, 502, "b");
    assert_eq!(failed.fault()["reason"], "needs_auth", "{}", failed.raw);
    assert_eq!(fake.requests_of("tools/call").len(), 2);
    for _ in 0..20 {
        echo(&front).await;
    }
    assert_eq!(server.requests().len(), 2);
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_token_of_one_server_never_goes_to_another_and_nothing_of_the_client_to_any() {
    let server = TokenServer::start().await;
    let mut fakes = Vec::new();
    let mut backends = json!({});
    for (name, transport) in ["m", "l", "s"].into_iter().zip(TRANSPORTS) {
        let fake = protected(&server, transport, name).await;
        backends[name] = json!({ "url": fake.url(), "oauth": oauth(&server) });
        fakes.push((name, fake));
    }
    let front = Front::of(backends).await;
    front.gateway.wait_for_backends().await;
    for (name, _) in &fakes {
        let draft = front
            .client
            .draft(&call(&format!("{name}__echo"), &json!({})));
        let draft = draft
            .with_header("authorization", "Bearer of-the-client")
            .with_header("cookie", "session=of-the-client")
            .with_header("x-forwarded-user", "of-the-client")
            .with_header("x-forwarded-access-token", "of-the-client")
            .with_header("proxy-authorization", "Basic of-the-client");
        let answer = front.client.send(draft).await.finish().await;
        assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (name, fake) in &fakes {
        let mut own = BTreeSet::new();
        for request in fake.requests() {
            let values: Vec<_> = request.headers.get_all("authorization").iter().collect();
            assert_eq!(values.len(), 1, "{name}: {:?}", request.headers);
            let token = token_of(&request.headers).expect("a token");
            assert!(token.starts_with("Bearer token-"), "{name}: {token}");
            own.insert(token.to_owned());
            let all = format!("{:?}", request.headers);
            assert!(!all.contains("of-the-client"), "{name}: {all}");
        }
        assert_eq!(own.len(), 1, "{name}");
        for token in own {
            assert!(seen.insert(token), "{name} was shown another's");
        }
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_exchanges_credentials_while_calls_go_on() {
    let (old, new) = (TokenServer::start().await, TokenServer::start().await);
    let fake = protected(&old, Transport::Modern, "fake").await;
    let config = |server: &TokenServer| {
        json!({
            "server": { "watch_config": false },
            "backends": { "b": { "url": fake.url(), "oauth": oauth(server) } },
        })
    };
    let front = Front::start(config(&old)).await;
    front.wait_until("b", true).await;
    let slow = front.client.call("b__delay", json!({ "ms": 1500 }));
    let reloading = async {
        until("the call is under way", async || {
            (!fake.requests_of("tools/call").is_empty()).then_some(())
        })
        .await;
        fake.guard(new.protects(fake.url(), &[]));
        front.gateway.rewrite(config(&new));
        front.gateway.hang_up();
        until("the new server is asked", async || {
            (!new.requests().is_empty()).then_some(())
        })
        .await;
    };
    let (answer, ()) = tokio::join!(slow, reloading);
    assert!(answer.error_code().is_none(), "{}", answer.raw);
    until("calls with the new token", async || {
        let answer = echo(&front).await;
        (answer.result()["isError"] != true && answer.error_code().is_none()).then_some(())
    })
    .await;
    assert_eq!(old.requests().len(), 1);
    front.gateway.stop().await;
}

/// A key pair, and the private one in PEM.
fn key_pair() -> (KeyPair, String) {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a pair");
    let pem = pair.serialize_pem();
    (pair, pem)
}

#[tokio::test]
async fn a_signed_assertion_proves_the_client_and_the_server_says_who_takes_it() {
    let server = TokenServer::start().await;
    let (pair, pem) = key_pair();
    server.knows_key(&pair.public_key_pem());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    std::fs::write(&file, pem).expect("the folder is ours");
    let key = json!({ "file": file, "kid": "one", "alg": "ES256" });
    let named = [json!({}), json!({ "issuer": server.issuer() })];
    for more in named {
        let fake = protected(&server, Transport::Modern, "fake").await;
        let mut oauth = json!({
            "grant": "client_credentials",
            "client_id": CLIENT_ID,
            "private_key": key,
            "scopes": ["mcp"],
        });
        if let Some(issuer) = more.get("issuer") {
            oauth["issuer"] = issuer.clone();
        }
        let front = front_of(&fake, oauth).await;
        let answer = echo(&front).await;
        assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
        let requests = server.requests();
        let last = requests.last().expect("a request");
        assert_eq!(last.parameter("scope"), "mcp");
        assert_eq!(last.parameter("resource"), fake.url());
        assert!(last.parameter("client_secret").is_empty());
        front.gateway.stop().await;
    }
    let requests = server.requests();
    let assertions: BTreeSet<_> = requests
        .iter()
        .map(|request| request.parameter("client_assertion"))
        .collect();
    assert_eq!(assertions.len(), requests.len());
}

#[tokio::test]
async fn who_is_not_who_it_says_gets_nothing() {
    let elsewhere = TokenServer::start().await;
    let cases = [
        Manners {
            claims_to_be: Some("https://another.example".to_owned()),
            ..Manners::default()
        },
        Manners {
            token_endpoint: Some("javascript:alert(1)".to_owned()),
            ..Manners::default()
        },
        Manners {
            token_endpoint: Some("file:///etc/passwd".to_owned()),
            ..Manners::default()
        },
        Manners {
            token_endpoint: Some("http://192.0.2.1/token".to_owned()),
            ..Manners::default()
        },
        Manners {
            token_endpoint: Some("https://169.254.169.254/token".to_owned()),
            ..Manners::default()
        },
        Manners {
            token_endpoint: Some("--flag".to_owned()),
            ..Manners::default()
        },
        Manners {
            fault: TokenFault::Redirect(elsewhere.token_url()),
            ..Manners::default()
        },
        Manners {
            fault: TokenFault::Huge(65 * 1024),
            ..Manners::default()
        },
    ];
    for manners in cases {
        let server = TokenServer::start().await;
        let shown = format!("{manners:?}");
        server.behave(manners);
        let fake = protected(&server, Transport::Modern, "fake").await;
        let oauth = json!({
            "grant": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
        });
        let front = Front::of(json!({ "b": { "url": fake.url(), "oauth": oauth } })).await;
        let entry = until("a verdict", async || {
            let missing = front.missing().await;
            let entry = missing.get("b").cloned();
            entry.filter(|entry| !entry.to_string().contains("has not answered yet"))
        })
        .await;
        assert!(
            entry.to_string().contains("token")
                || entry.to_string().contains("authorization server"),
            "{shown}: {entry}"
        );
        assert!(fake.requests_of("tools/list").is_empty(), "{shown}");
        front.gateway.stop().await;
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn more_scopes_are_asked_for_where_the_operator_allows_it() {
    let server = TokenServer::start().await;
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    fake.guard(server.protects(fake.url(), &["write"]));
    let mut section = oauth(&server);
    section["scopes"] = json!(["read"]);
    section["extra_scopes"] = json!(["write"]);
    let front = front_of(&fake, section.clone()).await;
    for _ in 0..3 {
        let answer = echo(&front).await;
        assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
    }
    let scopes: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.parameter("scope").to_owned())
        .collect();
    assert_eq!(scopes, ["read", "read write"]);
    front.gateway.stop().await;

    section["extra_scopes"] = json!([]);
    let front = front_of(&fake, section).await;
    let failed = echo(&front).await;
    assert_fault(&failed, 502, "b");
    assert_eq!(failed.fault()["reason"], "needs_auth", "{}", failed.raw);
    assert_eq!(server.requests().len(), 3);
    front.gateway.stop().await;
}

/// A key of the gateway's that looks like the token of somebody: nobody has signed it.
fn key_in_form_of_a_token(subject: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "alg": "ES256" }));
    let claims = part(json!({ "sub": subject }));
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode("signature"))
}

#[tokio::test]
async fn each_caller_is_shown_to_the_server_by_a_token_of_its_own() {
    const PLAIN: &str = "sb-a-key-that-is-no-token-0123456789";
    for transport in TRANSPORTS {
        let server = TokenServer::start().await;
        let fake = FakeHttp::start(transport, "fake").await;
        let guard = server.protects(fake.url(), &[]);
        fake.guard(guard.clone());
        let mut section = oauth(&server);
        section["grant"] = json!("token_exchange");
        section["audience"] = json!("the-server");
        let issuer = Issuer::start().await;
        let unsigned = key_in_form_of_a_token("anna");
        let front = Front::start(json!({
            "auth": {
                "jwt": [{ "issuer": issuer.url() }],
                "api_keys": [entry_of("dora", PLAIN), entry_of("eve", &unsigned)],
            },
            "backends": { "b": { "url": fake.url(), "oauth": section, "sessions": "per_principal" } },
        }))
        .await;
        let token = |subject: &str| issuer.token(subject, front.gateway.url(), "mcp");
        let (anna, ben, revoked) = (token("anna"), token("ben"), token("revoked"));
        let ask = async |shown: &str, message: &Value| {
            let draft = front.client.draft(message);
            let draft = draft.with_header("authorization", &format!("Bearer {shown}"));
            front.client.send(draft).await.finish().await
        };
        until("the list", async || {
            let answer = ask(PLAIN, &message("tools/list", json!({}))).await;
            let tools = answer.result()["tools"].as_array().map_or(0, Vec::len);
            (tools > 0).then_some(())
        })
        .await;
        fake.forget_requests();
        let mut calls = JoinSet::new();
        for number in 0..20 {
            let (who, token) = match number % 2 {
                0 => ("anna", anna.clone()),
                _ => ("ben", ben.clone()),
            };
            let client = switchboard_testkit::client::Client::new(front.gateway.url());
            calls.spawn(async move {
                let draft = client.draft(&call("b__echo", &json!({ "name": who })));
                let draft = draft.with_header("authorization", &format!("Bearer {token}"));
                client.send(draft).await.finish().await
            });
        }
        for answer in calls.join_all().await {
            assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
        }
        let requests = fake.requests_of("tools/call");
        assert_eq!(requests.len(), 20, "{transport:?}");
        for request in &requests {
            let subject = guard.subject_of(request);
            let who = request.json()["params"]["arguments"]["name"].clone();
            assert_eq!(subject.as_deref(), who.as_str(), "{transport:?}");
        }
        // Each session is one person's, from its first request to its last.
        let mut sessions = std::collections::BTreeMap::new();
        for request in fake.requests() {
            let Some(id) = request.headers.get("mcp-session-id") else {
                continue;
            };
            let subject = guard.subject_of(&request);
            let known = sessions
                .entry(id.as_bytes().to_vec())
                .or_insert_with(|| subject.clone());
            assert_eq!(*known, subject, "{transport:?}");
        }
        let exchanges: Vec<_> = server
            .requests()
            .into_iter()
            .filter(|request| !request.parameter("subject_token").is_empty())
            .collect();
        assert_eq!(exchanges.len(), 2, "{transport:?}");
        assert_eq!(exchanges[0].parameter("audience"), "the-server");
        assert_eq!(exchanges[0].parameter("resource"), fake.url());
        // Nothing of the callers' own went to the server.
        for request in fake.requests() {
            let all = format!("{:?}", request.headers);
            for own in [&*anna, &*ben, &*unsigned, PLAIN] {
                let value = token_of(&request.headers).unwrap_or_default();
                assert!(!value.contains(own) && !all.contains(own), "{transport:?}");
            }
        }
        for (shown, words) in [
            (PLAIN, "sign in with a JWT"),
            (&*unsigned, "sign in with a JWT"),
            (&*revoked, "sign in again"),
        ] {
            let failed = ask(shown, &call("b__echo", &json!({}))).await;
            assert_fault(&failed, 502, "b");
            assert_eq!(failed.fault()["reason"], "needs_auth", "{}", failed.raw);
            assert!(failed.raw.contains(words), "{}", failed.raw);
        }
        // What they lack is no fault of the server.
        let answer = ask(&anna, &call("b__echo", &json!({}))).await;
        assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn the_examples_of_the_documentation_are_valid() {
    let page = manual::page("credentials.md");
    let blocks = manual::blocks(&page, "yaml");
    assert!(blocks.len() >= 4, "{}", blocks.len());
    let folder = tempfile::tempdir().expect("a folder");
    for block in blocks {
        let file = folder.path().join("switchboard.yaml");
        std::fs::write(&file, block).expect("the folder is ours");
        let variables = ["CRM_SECRET", "DOCS_TOKEN", "ROBOT_KEY_SHA256"];
        let value = "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592";
        let mut command = switchboard(&["check", "-c"]);
        command.arg(&file).envs(variables.map(|name| (name, value)));
        let ended = ended(command).await;
        assert_eq!(ended.code, Some(0), "{block}\n{ended:?}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let with = |more: &str, oauth: &str| {
        format!(
            "backends:\n  b:\n    url: https://b.example/mcp\n{more}    oauth:\n      grant: {oauth}\n      client_id: c\n      client_secret: s\n"
        )
    };
    for (config, expected) in [
        (with("", "token_exchange"), "sessions: per_principal"),
        (
            with("    headers: { Authorization: x }\n", "client_credentials"),
            "`Authorization`",
        ),
        (with("", "authorization_code"), "token_exchange"),
        (
            with(
                "",
                "client_credentials\n      token_url: http://as.example/",
            ),
            "token_url",
        ),
        (
            with("", "client_credentials\n      issuer: javascript:alert(1)"),
            "issuer",
        ),
    ] {
        let file = folder.path().join("switchboard.yaml");
        std::fs::write(&file, &config).expect("the folder is ours");
        let mut command = switchboard(&["check", "-c"]);
        command.arg(&file);
        let ended = ended(command).await;
        assert_ne!(ended.code, Some(0), "{config}\n{ended:?}");
        assert!(ended.said().contains(expected), "{config}\n{ended:?}");
    }
}
