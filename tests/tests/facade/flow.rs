//! From nothing but an address to a call.

use serde_json::{Value, json};

use super::{BACK, Place, claims, http, location, query, text};
use switchboard_tests::waiting::until;

async fn json_at(url: &str) -> Value {
    let response = http().get(url).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{url}");
    response.json().await.expect("JSON")
}

#[tokio::test]
async fn a_client_that_knows_the_address_alone_gets_to_call() {
    let place = Place::start().await;
    let base = place.base();
    place.issuer.always_claim(json!({
        "groups": ["staff"], "email": "anna@example.com", "salary": 1,
    }));

    let resource = json_at(&format!("{base}/.well-known/oauth-protected-resource/mcp")).await;
    assert_eq!(
        resource["authorization_servers"],
        json!([base]),
        "{resource}"
    );
    let server = json_at(&format!("{base}/.well-known/oauth-authorization-server")).await;
    assert_eq!(server["issuer"], json!(base));
    assert_eq!(server["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(server["client_id_metadata_document_supported"], json!(true));
    let alias = json_at(&format!("{base}/.well-known/openid-configuration")).await;
    assert_eq!(server, alias);

    let client = place.client(BACK).await;
    let mut browser = place.browser();
    let page = browser.get(place.authorize(&client, &[])).await;
    assert_eq!(page.status(), 200);
    let headers = page.headers().clone();
    assert_eq!(headers["x-frame-options"], "DENY");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(
        !browser.cookies.contains_key("switchboard-login"),
        "nobody has agreed yet"
    );

    let html = page.text().await.unwrap();
    assert!(html.contains("A &lt;b&gt;client&lt;/b&gt;"), "{html}");
    assert!(!html.contains("<b>client"), "{html}");
    for shown in [
        "app.example.com",
        "the gateway of this test",
        "mcp",
        "openid",
        place.issuer.url(),
    ] {
        assert!(html.contains(shown), "{shown} is not in {html}");
    }
    let request = super::field(&html, "request");
    let fields = [("request", &*request), ("decision", "allow")];
    let there = browser
        .send(super::consent(&place, &fields).header("origin", &base))
        .await;
    assert_eq!(there.status(), 303);
    let there = location(&there);
    assert!(there.as_str().starts_with(place.issuer.url()), "{there}");
    assert_eq!(query(&there, "client_id").unwrap(), "the gateway");
    assert_eq!(query(&there, "code_challenge_method").unwrap(), "S256");
    assert!(query(&there, "nonce").is_some());
    assert_eq!(
        query(&there, "redirect_uri").unwrap(),
        format!("{base}/oauth/callback")
    );

    let back = location(&browser.get(there).await);
    let end = location(&browser.get(back).await);
    assert!(
        !browser.cookies.contains_key("switchboard-login"),
        "it is of no use any more"
    );
    assert!(end.as_str().starts_with(BACK), "{end}");
    assert_eq!(query(&end, "state").unwrap(), "of-the-client");
    assert_eq!(query(&end, "iss").unwrap(), base);
    let asked = place.issuer.token_requests();
    let asked = asked.last().unwrap();
    let credential = asked.authorization.as_deref().unwrap();
    assert!(
        credential.starts_with("Basic "),
        "the secret goes in a header"
    );
    assert!(!asked.form.contains_key("client_secret"));

    let code = query(&end, "code").unwrap();
    let (status, tokens) = place.redeem(&client, &code, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    let token = text(&tokens["access_token"]);
    let said = claims(&token);
    assert_eq!(said["iss"], json!(base));
    assert_eq!(said["aud"], json!(place.resource()));
    assert_eq!(said["sub"], json!(format!("{}|anna", place.issuer.url())));
    assert_eq!(said["groups"], json!(["staff"]));
    assert_eq!(said["email"], "anna@example.com");
    assert!(
        said["salary"].is_null(),
        "only what is configured is taken over"
    );
    called(&place, &token).await;

    let refresh = text(&tokens["refresh_token"]);
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", &*client),
        ("refresh_token", &*refresh),
    ];
    let (status, newer) = place.token(&fields).await;
    assert_eq!(status, 200, "{newer}");
    called(&place, &text(&newer["access_token"])).await;
    place.front.gateway.stop().await;
}

/// Calls a tool until it answers.
async fn called(place: &Place, token: &str) {
    until("a call with a token of the facade", async || {
        let answer = place.call(token).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        (answer.result()["isError"] != json!(true)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_is_good_for_what_it_was_asked_for_and_nothing_else() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let coding = format!("{}/coding", place.resource());
    let code = place
        .code(&client, &[("resource", &coding), ("scope", "mcp code")])
        .await;
    let (status, tokens) = place.redeem(&client, &code, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    let token = text(&tokens["access_token"]);
    assert_eq!(claims(&token)["aud"], json!(coding));
    assert_eq!(place.call(&token).await.status, 401, "it is for a profile");

    // One of the identity provider is none of the gateway's, though it is for its client.
    let mut claims = place.issuer.claims("anna", "the gateway");
    claims["scope"] = json!("mcp");
    let id_token = place.issuer.sign(&claims);
    assert_eq!(place.call(&id_token).await.status, 401);
    // Neither is one that says it was of the facade.
    claims["iss"] = json!(place.base());
    claims["aud"] = json!(place.resource());
    assert_eq!(place.call(&place.issuer.sign(&claims)).await.status, 401);
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn tokens_outlive_a_reload() {
    let place = Place::start().await;
    let client = place.client(BACK).await;
    let code = place.code(&client, &[]).await;
    let (_, tokens) = place.redeem(&client, &code, &[]).await;
    let token = text(&tokens["access_token"]);
    called(&place, &token).await;
    let mut config = super::config(&place.issuer, json!({ "access_token_lifetime": "20s" }));
    config["backends"]["g"] = config["backends"]["f"].clone();
    place.front.gateway.rewrite(config);
    place.front.gateway.hang_up();
    let mut refresh = text(&tokens["refresh_token"]);
    until("the new lifetime is in force", async || {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", &*client),
            ("refresh_token", &*refresh),
        ];
        let (status, newer) = place.token(&fields).await;
        assert_eq!(status, 200, "{newer}");
        refresh = text(&newer["refresh_token"]);
        (newer["expires_in"] == json!(20)).then_some(())
    })
    .await;
    called(&place, &token).await;
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn a_user_gets_the_scopes_that_he_may_have() {
    let grants =
        json!({ "grants": { "mcp": { "principals": ["*"] }, "code": { "groups": ["dev"] } } });
    let place = Place::with(grants, &[]).await;
    let client = place.client(BACK).await;
    let asked = [("scope", "mcp code")];
    let scope_of = async |groups: Value| {
        place.issuer.always_claim(json!({ "groups": groups }));
        let code = place.code(&client, &asked).await;
        let (status, tokens) = place.redeem(&client, &code, &[]).await;
        assert_eq!(status, 200, "{tokens}");
        let said = claims(&text(&tokens["access_token"]));
        assert_eq!(said["scope"], tokens["scope"], "{said}");
        text(&tokens["scope"])
    };
    let scopes = |text: String| {
        let mut scopes: Vec<String> = text.split(' ').map(str::to_owned).collect();
        scopes.sort();
        scopes
    };
    assert_eq!(scopes(scope_of(json!(["staff"])).await), ["mcp"]);
    assert_eq!(
        scopes(scope_of(json!(["staff", "dev"])).await),
        ["code", "mcp"]
    );

    // Who may have nothing of what is asked for gets no code.
    place.issuer.always_claim(json!({ "groups": ["staff"] }));
    let mut browser = place.browser();
    let page = browser
        .get(place.authorize(&client, &[("scope", "code")]))
        .await;
    let there = browser.answer(&place, page, "allow").await;
    let back = location(&browser.get(location(&there)).await);
    let end = location(&browser.get(back).await);
    assert_eq!(
        query(&end, "error").as_deref(),
        Some("access_denied"),
        "{end}"
    );
    assert_eq!(query(&end, "code"), None, "{end}");
    place.front.gateway.stop().await;
}
