//! Which tokens are accepted.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use switchboard_testkit::issuer::{Issuer, SigningKey, now};
use switchboard_tests::front::Front;
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;

use crate::{Guarded, assert_unauthorized, call_with, challenge, config};

#[tokio::test]
async fn a_token_of_the_issuer_for_this_resource_is_good_whatever_signs_it() {
    let guarded = Guarded::start().await;
    for algorithm in [Algorithm::RS256, Algorithm::PS512] {
        let id = format!("{algorithm:?}");
        guarded.issuer.replace_keys(SigningKey::rsa(&id, algorithm));
        // A key that is not known may be asked for once in a while only.
        if algorithm == Algorithm::PS512 {
            continue;
        }
        let answer = guarded.call(&guarded.token("anna")).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn tokens_that_are_not_genuine_are_refused() {
    let guarded = Guarded::start().await;
    let claims = guarded.claims_with(json!({}));
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |alg: &str| {
        format!(
            "{}.{}.",
            text(&json!({ "alg": alg, "typ": "JWT" })),
            text(&claims)
        )
    };
    // The public key as a secret that both sides know.
    let jwk = &guarded.issuer.jwks()["keys"][0];
    let mut header = Header::new(Algorithm::HS256);
    header.kid = jwk["kid"].as_str().map(str::to_owned);
    let confused = |secret: &str| {
        encode(
            &header,
            &claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .expect("a token")
    };
    let good = guarded.issuer.sign(&claims);
    let (signed, signature) = good.rsplit_once('.').expect("a token");
    let other_claims = text(&guarded.claims_with(json!({ "sub": "admin" })));
    let head = good.split('.').next().expect("a header");
    let mut critical = SigningKey::p256("key-1").header();
    critical.crit = Some(vec!["b64".to_owned()]);
    let mut id_token = critical.clone();
    id_token.crit = None;
    id_token.typ = Some("logout+jwt".to_owned());
    for (what, token) in [
        ("signed by nothing", unsigned("none")),
        ("signed by nothing, in capitals", unsigned("NONE")),
        ("without a signature", unsigned("ES256")),
        ("a public key as a secret", confused(&jwk.to_string())),
        (
            "half of a public key as a secret",
            confused(jwk["x"].as_str().expect("a text")),
        ),
        ("a signature cut off", format!("{signed}.")),
        (
            "a signature of another's",
            format!("{head}.{other_claims}.{signature}"),
        ),
        (
            "another key under the same name",
            SigningKey::p256("key-1").sign(&claims),
        ),
        ("four parts", format!("{good}.x")),
        (
            "a part that must be known",
            guarded.issuer.sign_with(&critical, &claims),
        ),
        (
            "of another kind",
            guarded.issuer.sign_with(&id_token, &claims),
        ),
        ("no token", "x.y.z".to_owned()),
        ("too long", format!("{signed}.{}", "A".repeat(17 * 1024))),
    ] {
        assert_unauthorized(&guarded, &guarded.call(&token).await, what);
    }
    let answer = guarded.call(&good).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn tokens_for_others_of_others_and_of_other_times_are_refused() {
    let guarded = Guarded::start().await;
    let resource = guarded.resource();
    let elsewhere = "https://elsewhere.example.com/mcp";
    for (what, claims) in [
        ("expired", json!({ "exp": now() - 61 })),
        ("for ever", json!({ "exp": null })),
        ("until a word", json!({ "exp": "tomorrow" })),
        ("not yet", json!({ "nbf": now() + 120 })),
        ("for another", json!({ "aud": elsewhere })),
        (
            "for several others",
            json!({ "aud": [elsewhere, "account"] }),
        ),
        ("for nobody", json!({ "aud": null })),
        (
            "for a profile",
            json!({ "aud": format!("{resource}/coding") }),
        ),
        (
            "for a path that begins alike",
            json!({ "aud": format!("{resource}-evil") }),
        ),
        (
            "for the whole host",
            json!({ "aud": resource.replace("/mcp", "") }),
        ),
        (
            "of another issuer",
            json!({ "iss": "https://elsewhere.example.com" }),
        ),
        (
            "of a longer issuer",
            json!({ "iss": format!("{}/", guarded.issuer.url()) }),
        ),
        (
            "of a list of issuers",
            json!({ "iss": [guarded.issuer.url()] }),
        ),
        ("of nobody", json!({ "sub": null })),
        ("of a name with a line in it", json!({ "sub": "a\nb" })),
    ] {
        let answer = guarded.call(&guarded.token_with(claims)).await;
        assert_unauthorized(&guarded, &answer, what);
    }
    // An issuer that is not trusted may say what it likes of the same subject.
    let other = Issuer::start().await;
    let theirs = other.token("anna", &resource, "mcp");
    assert_unauthorized(&guarded, &guarded.call(&theirs).await, "another issuer");
    let mut claims = guarded.claims_with(json!({}));
    claims["iss"] = json!(guarded.issuer.url());
    assert_unauthorized(
        &guarded,
        &guarded.call(&other.sign(&claims)).await,
        "in its name",
    );
    for (what, claims) in [
        ("a moment ago", json!({ "exp": now() - 5 })),
        (
            "for several, us among them",
            json!({ "aud": ["account", resource] }),
        ),
        (
            "in capitals",
            json!({ "aud": resource.replace("http://", "HTTP://") }),
        ),
    ] {
        let answer = guarded.call(&guarded.token_with(claims)).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.raw);
    }
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn a_token_that_is_good_for_less_is_told_what_it_needs() {
    let guarded = Guarded::with(json!({
        "scopes": { "required": ["mcp"], "implies": { "all": ["mcp"] } },
    }))
    .await;
    for scope in [json!(null), json!(""), json!("mcp2"), json!("openid MCP")] {
        let answer = guarded
            .call(&guarded.token_with(json!({ "scope": scope })))
            .await;
        assert_eq!(answer.status, 403, "{scope}: {}", answer.raw);
        let challenge = challenge(&answer);
        assert!(
            challenge.starts_with("Bearer error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"mcp\""), "{challenge}");
        assert!(challenge.contains("resource_metadata=\""), "{challenge}");
    }
    for claims in [
        json!({ "scope": "openid mcp" }),
        json!({ "scope": "all" }),
        json!({ "scope": null, "scp": "mcp" }),
        json!({ "scope": null, "scp": ["mcp"] }),
    ] {
        let answer = guarded.call(&guarded.token_with(claims.clone())).await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.raw);
    }
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn keys_are_exchanged_and_asked_for_once_in_a_while() {
    let guarded = Guarded::start().await;
    let old = guarded.token("anna");
    let before = guarded.issuer.jwks_fetches();
    guarded.issuer.add_key(SigningKey::p256("key-2"));
    let answer = guarded.call(&guarded.token("anna")).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(guarded.issuer.jwks_fetches(), before + 1);
    // Both are published.
    assert_eq!(guarded.call(&old).await.status, 200);

    let claims = guarded.claims_with(json!({}));
    for number in 0..20 {
        let token = SigningKey::p256(&format!("unknown-{number}")).sign(&claims);
        assert_unauthorized(&guarded, &guarded.call(&token).await, "an unknown key");
    }
    assert_eq!(guarded.issuer.jwks_fetches(), before + 1);
    guarded.front.gateway.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_reason_to_refuse_whoever_is_known() {
    let guarded = Guarded::start().await;
    guarded.issuer.set_away(true);
    let answer = guarded.call(&guarded.token("ben")).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    guarded.front.gateway.stop().await;

    let issuer = Issuer::start().await;
    issuer.set_away(true);
    let front = Front::start(config(&issuer, json!({}))).await;
    let token = issuer.token("anna", front.gateway.url(), "mcp");
    let answer = call_with(&front, &token).await;
    assert_eq!(answer.status, 503, "{}", answer.raw);
    assert!(answer.headers.contains_key("retry-after"));
    issuer.set_away(false);
    until("the issuer is heard of", async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        (call_with(&front, &token).await.status == 200).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn several_issuers_and_keys_are_accepted_side_by_side() {
    let (one, other) = (Issuer::start().await, Issuer::start().await);
    let key = "a-key-that-is-made-for-this-test-alone-51c0";
    let front = Front::start(config(
        &one,
        json!({
            "jwt": [
                { "issuer": one.url() },
                { "issuer": other.url(), "audience": ["api://switchboard"], "algorithms": ["ES256"] },
            ],
            "api_keys": [entry_of("ci", key)],
        }),
    ))
    .await;
    let resource = front.gateway.url().to_owned();
    for good in [
        one.token("anna", &resource, "mcp"),
        other.token("anna", &resource, "mcp"),
        other.token("anna", "api://switchboard", "mcp"),
        key.to_owned(),
    ] {
        let answer = call_with(&front, &good).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
    }
    let answer = call_with(&front, &one.token("anna", "api://switchboard", "mcp")).await;
    assert_eq!(answer.status, 401, "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn internal_headers_of_a_client_say_nothing() {
    let guarded = Guarded::start().await;
    let draft = guarded
        .front
        .client
        .draft(&switchboard_testkit::client::call(
            "f__echo",
            &json!({ "x": 1 }),
        ));
    let draft = draft
        .with_header("x-forwarded-user", "admin")
        .and_header("x-switchboard-principal", "admin")
        .and_header("x-forwarded-client-cert", "URI=spiffe://a/b")
        .and_header("x-mcp-authorized", "true");
    let answer = guarded.front.client.send(draft).await.finish().await;
    assert_eq!(answer.status, 401, "{}", answer.raw);
    let challenge = challenge(&answer);
    assert!(!challenge.contains("error="), "{challenge}");
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    let mut in_query = guarded
        .front
        .client
        .draft(&switchboard_testkit::client::call(
            "f__echo",
            &json!({ "x": 1 }),
        ));
    let uri = format!("{}?access_token={}", in_query.uri, guarded.token("anna"));
    in_query.uri = uri.parse().expect("a URL");
    let answer = guarded.front.client.send(in_query).await.finish().await;
    assert_eq!(answer.status, 401, "{}", answer.raw);
    guarded.front.gateway.stop().await;
}
