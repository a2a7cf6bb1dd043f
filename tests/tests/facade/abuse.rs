//! What is used twice, altered, stolen or invented.

use serde_json::{Value, json};

use super::{BACK, Place, http, location, query, text};

#[tokio::test]
async fn an_answer_of_the_identity_provider_counts_once_and_in_its_browser() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let mut browser = place.browser();
    let asked = browser.get(place.authorize(&client, &[])).await;
    let there = browser.answer(&place, asked, "allow").await;
    let back = location(&browser.get(location(&there)).await);
    let before = browser.clone();

    // A code for a browser that has begun nothing: login of somebody as somebody else.
    assert_eq!(place.browser().get(back.clone()).await.status(), 400);
    let mut altered = back.clone();
    altered
        .query_pairs_mut()
        .clear()
        .extend_pairs([("code", "x"), ("state", "y")]);
    assert_eq!(before.clone().get(altered).await.status(), 400);
    let mut other = back.clone();
    let pairs: Vec<_> = back.query_pairs().into_owned().collect();
    let pairs = pairs.into_iter().map(|(name, value)| match &*name {
        "iss" => (name, "https://evil.example".to_owned()),
        _ => (name, value),
    });
    other.query_pairs_mut().clear().extend_pairs(pairs);
    assert_eq!(
        before.clone().get(other).await.status(),
        400,
        "another issuer"
    );
    let mut silent = back.clone();
    let pairs: Vec<_> = back.query_pairs().into_owned().collect();
    let pairs = pairs.into_iter().filter(|(name, _)| name != "iss");
    silent.query_pairs_mut().clear().extend_pairs(pairs);
    assert_eq!(before.clone().get(silent).await.status(), 400, "no issuer");

    assert_eq!(browser.get(back.clone()).await.status(), 303);
    assert_eq!(
        browser.get(back.clone()).await.status(),
        400,
        "it has forgotten"
    );
    assert_eq!(
        before.clone().get(back).await.status(),
        400,
        "used before, cookie or not"
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn requests_that_were_altered_lead_nowhere() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let foreign = "https://other.example.com/mcp";
    let (most_of_it, last) = client.split_at(client.len() - 1);
    let bent = format!("{most_of_it}{}", if last == "A" { 'B' } else { 'A' });
    for instead in [
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "https://app.example.com/callback/../evil"),
        ("redirect_uri", "https://app.example.com/callback?x=y"),
        (
            "redirect_uri",
            "https://app.example.com.evil.example/callback",
        ),
        ("redirect_uri", "javascript:alert(1)"),
        ("redirect_uri", "file:///etc/passwd"),
        ("client_id", &*bent),
        ("client_id", "unknown"),
        ("client_id", "javascript:alert(1)"),
        ("resource", foreign),
        ("code_challenge_method", "plain"),
        ("code_challenge", ""),
        ("response_type", "token"),
    ] {
        let response = place
            .browser()
            .get(place.authorize(&client, &[instead]))
            .await;
        assert_eq!(response.status(), 400, "{instead:?}");
        assert!(response.headers().get("location").is_none(), "{instead:?}");
    }
    let mut twice = place.authorize(&client, &[]);
    twice
        .query_pairs_mut()
        .append_pair("redirect_uri", "https://evil.example/");
    assert_eq!(
        place.browser().get(twice).await.status(),
        400,
        "two addresses"
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn codes_and_refresh_tokens_are_used_once() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let other = place.client(BACK).await;
    let code = place.code(&client, &[]).await;
    let wrong = "w".repeat(43);
    for (instead, error) in [
        (("code_verifier", &*wrong), "invalid_grant"),
        (("code_verifier", ""), "invalid_grant"),
        (("redirect_uri", "https://evil.example/"), "invalid_grant"),
        (("client_id", &*other), "invalid_grant"),
        (
            ("resource", "https://other.example.com/mcp"),
            "invalid_target",
        ),
    ] {
        let (status, answer) = place.redeem(&client, &code, &[instead]).await;
        assert_eq!(
            (status, &answer["error"]),
            (400, &json!(error)),
            "{instead:?}"
        );
    }
    let (status, tokens) = place.redeem(&client, &code, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    let refresh = async |tokens: &Value| {
        let token = text(&tokens["refresh_token"]);
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", &*client),
            ("refresh_token", &*token),
        ];
        place.token(&fields).await
    };
    let (status, second) = refresh(&tokens).await;
    assert_eq!(status, 200, "{second}");
    let (status, answer) = refresh(&tokens).await;
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("invalid_grant")),
        "used before"
    );
    let (status, _) = refresh(&second).await;
    assert_eq!(status, 400, "a copy ends the family");

    let code = place.code(&client, &[]).await;
    let (_, tokens) = place.redeem(&client, &code, &[]).await;
    let (status, answer) = place.redeem(&client, &code, &[]).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    assert_eq!(
        refresh(&tokens).await.0,
        400,
        "what came of the code has ended"
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn clients_register_no_address_that_does_harm() {
    let place = Place::start().await;
    for uri in [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "http://app.example.com/callback",
        "https://app.example.com/#fragment",
        "https://user:password@app.example.com/",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ] {
        let (status, answer) = place.register(json!({ "redirect_uris": [uri] })).await;
        assert_eq!(
            (status, &answer["error"]),
            (400, &json!("invalid_redirect_uri")),
            "{uri}"
        );
    }
    let large = json!({ "client_name": "x".repeat(20_000), "redirect_uris": [BACK] });
    let url = format!("{}/oauth/register", place.base());
    let sent = http().post(url).json(&large).send().await.unwrap();
    assert_eq!(sent.status(), 413);
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait() {
    let place = Place::with(json!({ "requests_per_minute": 40 }), &[]).await;
    let url = format!("{}/oauth/jwks", place.base());
    let mut refused = 0;
    for _ in 0..30 {
        let response = http().get(&url).send().await.unwrap();
        if response.status() == 429 {
            assert!(response.headers().contains_key("retry-after"));
            refused += 1;
        }
    }
    assert!(refused >= 10, "{refused}");
    assert_eq!(
        place.call("no token").await.status,
        401,
        "calls are not counted here"
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn a_request_to_another_name_is_not_answered() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let rebound = http()
        .get(place.authorize(&client, &[]))
        .header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status(), 403);
    let page = http()
        .get(format!(
            "{}/.well-known/oauth-authorization-server",
            place.base()
        ))
        .header("origin", "https://app.example.com");
    let page = page.send().await.unwrap();
    assert_eq!(page.headers()["access-control-allow-origin"], "*");
    let page = http()
        .get(place.authorize(&client, &[]))
        .header("origin", "https://app.example.com");
    assert_eq!(page.send().await.unwrap().status(), 403);
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn an_identity_provider_that_is_away_is_said_to_be() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    place.issuer.set_away(true);
    let mut browser = place.browser();
    let asked = browser.get(place.authorize(&client, &[])).await;
    let there = browser.answer(&place, asked, "allow").await;
    assert_eq!(there.status(), 503);
    assert!(!browser.cookies.contains_key("switchboard-login"));
    place.issuer.set_away(false);
    let there = browser.get(place.authorize(&client, &[])).await;
    assert!(query(&location(&there), "state").is_some());
    place.front.gateway.stop().await;
}
