//! Whether people are asked.

use serde_json::json;
use switchboard_testkit::issuer::Issuer;
use switchboard_tests::front::Front;

use super::{BACK, Place, config, consent, field, http, location, query};

#[tokio::test]
async fn consent_is_asked_for_once_for_each_client_address_and_scope() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let mut browser = place.browser();
    let asked = browser.get(place.authorize(&client, &[])).await;
    assert_eq!(asked.status(), 200);
    let there = browser.answer(&place, asked, "allow").await;
    let back = location(&browser.get(location(&there)).await);
    browser.get(back).await;

    let again = browser.get(place.authorize(&client, &[])).await;
    assert_eq!(again.status(), 303, "it was agreed to");
    assert!(location(&again).as_str().starts_with(place.issuer.url()));

    // The attack of the specification: whoever has agreed once is sent with another client.
    let other = place.client(BACK).await;
    let asked = browser.get(place.authorize(&other, &[])).await;
    assert_eq!(
        asked.status(),
        200,
        "another client of the same name and address"
    );
    let coding = format!("{}/coding", place.resource());
    for instead in [("scope", "mcp code"), ("resource", &coding)] {
        let asked = browser.get(place.authorize(&client, &[instead])).await;
        assert_eq!(asked.status(), 200, "{instead:?}");
    }
    let asked = place.browser().get(place.authorize(&client, &[])).await;
    assert_eq!(asked.status(), 200, "another browser");
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn a_program_on_another_port_of_this_computer_asks_anew() {
    let place = Place::start().await;
    let client = place.client("http://127.0.0.1:3000/cb").await;
    let mut browser = place.browser();
    let at = |uri| place.authorize(&client, &[("redirect_uri", uri)]);
    let asked = browser.get(at("http://127.0.0.1:4711/cb")).await;
    assert_eq!(asked.status(), 200);
    let html = asked.text().await.unwrap();
    assert!(html.contains("a program on this computer"), "{html}");
    let request = field(&html, "request");
    let fields = [("request", &*request), ("decision", "allow")];
    assert_eq!(browser.send(consent(&place, &fields)).await.status(), 303);
    assert_eq!(
        browser.get(at("http://127.0.0.1:4711/cb")).await.status(),
        303
    );
    assert_eq!(
        browser.get(at("http://127.0.0.1:4712/cb")).await.status(),
        200
    );
    assert_eq!(
        browser
            .get(at("http://127.0.0.1:4711/other"))
            .await
            .status(),
        400
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn who_refuses_is_sent_back_and_asked_again() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let mut browser = place.browser();
    let asked = browser.get(place.authorize(&client, &[])).await;
    let back = browser.answer(&place, asked, "deny").await;
    let back = location(&back);
    assert!(back.as_str().starts_with(BACK), "{back}");
    assert_eq!(query(&back, "error").unwrap(), "access_denied");
    assert_eq!(query(&back, "iss").unwrap(), place.base());
    assert_eq!(query(&back, "state").unwrap(), "of-the-client");
    assert!(!browser.cookies.contains_key("switchboard-login"));
    assert_eq!(
        browser.get(place.authorize(&client, &[])).await.status(),
        200
    );
    assert!(
        place.issuer.token_requests().is_empty(),
        "nobody was sent there"
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn nobody_else_answers_for_who_sits_there() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let url = || place.authorize(&client, &[]);
    // A stranger gets a question of his own, and has somebody else's browser answer it.
    let strange = place.browser().get(url()).await;
    let strange = field(&strange.text().await.unwrap(), "request");
    let mut browser = place.browser();
    let own = browser.get(url()).await;
    let own = field(&own.text().await.unwrap(), "request");
    let allow = |request| [("request", request), ("decision", "allow")];

    let answer = browser.send(consent(&place, &allow(&strange))).await;
    assert_eq!(answer.status(), 400, "the question of another browser");
    let answer = browser
        .send(consent(&place, &[("decision", "allow")]))
        .await;
    assert_eq!(answer.status(), 400, "no question at all");
    let answer = place.browser().send(consent(&place, &allow(&own))).await;
    assert_eq!(
        answer.status(),
        400,
        "a browser without its cookie, as of a form of another site"
    );
    let evil = consent(&place, &allow(&own)).header("origin", "https://evil.example");
    assert_eq!(
        browser.send(evil).await.status(),
        403,
        "a page of another site"
    );
    let answer = browser.send(consent(&place, &allow(&own))).await;
    assert_eq!(answer.status(), 303);
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn what_the_identity_provider_says_is_not_believed_unseen() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    for wrong in [
        json!({ "nonce": "of another login" }),
        json!({ "aud": "another client" }),
        json!({ "iss": "https://evil.example" }),
        json!({ "exp": 1 }),
        json!({ "sub": "" }),
        json!({ "groups": vec!["g".repeat(40); 200] }),
    ] {
        place.issuer.always_identify(wrong.clone());
        let mut browser = place.browser();
        let asked = browser.get(place.authorize(&client, &[])).await;
        let there = browser.answer(&place, asked, "allow").await;
        let back = location(&browser.get(location(&there)).await);
        let end = location(&browser.get(back).await);
        assert_eq!(query(&end, "error").unwrap(), "server_error", "{wrong}");
        assert_eq!(query(&end, "code"), None, "{wrong}");
    }
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn behind_https_cookies_are_for_this_host_alone() {
    let issuer = Issuer::start().await;
    let mut config = config(&issuer, json!({}));
    // A proxy speaks TLS for the gateway.
    config["server"]["public_url"] = json!("https://mcp.example.com");
    let place = Place {
        front: Front::start(config).await,
        issuer,
    };
    let client = place.client(BACK).await;
    let resource = ("resource", "https://mcp.example.com/mcp");
    let asked = http()
        .get(place.authorize(&client, &[resource]))
        .header("host", "mcp.example.com")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    let cookie = |response: &reqwest::Response| {
        let cookie = response.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(cookie.starts_with("__Host-"), "{cookie}");
        assert!(
            cookie.contains("; Secure") && cookie.contains("; Path=/;"),
            "{cookie}"
        );
        cookie.split(';').next().unwrap().to_owned()
    };
    let browser = cookie(&asked);
    let request = field(&asked.text().await.unwrap(), "request");
    let there = consent(&place, &[("request", &request), ("decision", "allow")])
        .header("host", "mcp.example.com")
        .header("origin", "https://mcp.example.com")
        .header("cookie", browser)
        .send()
        .await
        .unwrap();
    assert_eq!(there.status(), 303);
    cookie(&there);
    let back = query(&location(&there), "redirect_uri").unwrap();
    assert_eq!(back, "https://mcp.example.com/oauth/callback");
    place.front.gateway.stop().await;
}
