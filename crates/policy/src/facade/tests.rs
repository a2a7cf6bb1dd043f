use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::config::FacadeConfig;
use super::id_token::{Expected, IdTokenError, verify};
use super::secrets::Secrets;
use super::*;

const NOW: u64 = 1_900_000_000;
const BACK: &str = "https://app.example.com/callback";
const VERIFIER: &str = "0123456789012345678901234567890123456789012";

pub(super) fn config() -> FacadeConfig {
    serde_json::from_value(json!({
        "issuer": "https://id.example.org",
        "client_id": "gateway",
        "client_secret": "secret-of-the-gateway",
        "claims": ["email", "realm.roles"],
    }))
    .unwrap()
}

pub(super) fn facade_of(config: FacadeConfig) -> Facade {
    let base = Resource::below(&Url::parse("https://mcp.example.com").unwrap());
    let scopes = serde_json::from_value(json!({
        "required": ["mcp"], "profiles": { "coding": ["code"] }, "implies": { "all": ["mcp"] },
    }));
    let secrets = Secrets::new(&[&[7; 32]]).unwrap();
    Facade::new(config, &base, &scopes.unwrap(), "groups", Arc::new(secrets))
}

fn facade() -> Facade {
    facade_of(config())
}

fn registered(facade: &Facade, redirect_uri: &str) -> (String, Client) {
    let body = json!({ "client_name": "An app", "redirect_uris": [redirect_uri] });
    let Registered(answer) = facade.register(body.to_string().as_bytes(), NOW).unwrap();
    let id = answer["client_id"].as_str().unwrap().to_owned();
    let ClientId::Registered(client) = facade.client(&id, NOW).unwrap() else {
        panic!("it has registered itself");
    };
    (id, client)
}

fn form(fields: &[(&str, &str)]) -> Form {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(fields);
    Form::parse(text.finish().as_bytes()).unwrap()
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// What a client sends a browser with, but for these fields.
fn asked(instead: &[(&str, &str)]) -> Form {
    let challenge = challenge();
    let mut fields = vec![
        ("response_type", "code"),
        ("redirect_uri", BACK),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", "https://mcp.example.com/mcp"),
        ("state", "of the client"),
    ];
    fields.retain(|(name, _)| instead.iter().all(|(other, _)| name != other));
    fields.extend(instead);
    form(&fields)
}

fn identity() -> Identity {
    Identity {
        subject: "https://id.example.org|anna".to_owned(),
        claims: Map::from_iter([("groups".to_owned(), json!(["staff"]))]),
    }
}

/// A client and a code for it.
fn with_code(facade: &Facade) -> (String, String) {
    let (id, client) = registered(facade, BACK);
    let authorization = facade.authorization(&client, &asked(&[])).unwrap();
    let code = facade.code(&authorization, identity(), NOW).unwrap();
    (id, code)
}

fn redeem(
    facade: &Facade,
    id: &str,
    code: &str,
    instead: &[(&str, &str)],
) -> Result<Value, OAuthError> {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("client_id", id),
        ("code", code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", BACK),
    ];
    fields.retain(|(name, _)| instead.iter().all(|(other, _)| name != other));
    fields.extend(instead);
    facade.token(&form(&fields), NOW + 1)
}

fn refresh(facade: &Facade, id: &str, token: &Value, now: u64) -> Result<Value, OAuthError> {
    let token = token["refresh_token"].as_str().unwrap();
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", id),
        ("refresh_token", token),
    ];
    facade.token(&form(&fields), now)
}

#[test]
fn a_code_becomes_tokens_of_the_facade_once() {
    let facade = facade();
    let (id, code) = with_code(&facade);
    let tokens = redeem(&facade, &id, &code, &[]).unwrap();
    let jwk: Jwk = serde_json::from_value(facade.jwks()["keys"][0].clone()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["https://mcp.example.com/mcp"]);
    validation.set_issuer(&["https://mcp.example.com"]);
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let token = tokens["access_token"].as_str().unwrap();
    let claims = decode::<Value>(token, &key, &validation).unwrap().claims;
    assert_eq!(claims["sub"], "https://id.example.org|anna");
    assert_eq!(claims["groups"], json!(["staff"]));
    assert_eq!(claims["scope"], "mcp");
    assert_eq!(claims["exp"], NOW + 1 + 600);
    assert_eq!(tokens["expires_in"], 600);

    let again = redeem(&facade, &id, &code, &[]).unwrap_err();
    assert_eq!(again.error, "invalid_grant");
    let refreshed = refresh(&facade, &id, &tokens, NOW + 2).unwrap_err();
    assert_eq!(
        refreshed.error, "invalid_grant",
        "whatever came of the code has ended"
    );
}

#[test]
fn a_code_is_good_for_its_client_and_its_secret_alone() {
    let facade = facade();
    let (id, code) = with_code(&facade);
    let (other, _) = registered(&facade, BACK);
    let wrong = "9".repeat(43);
    for (instead, error) in [
        (("client_id", other.as_str()), "invalid_grant"),
        (("code_verifier", &wrong), "invalid_grant"),
        (("code_verifier", "short"), "invalid_grant"),
        (
            ("redirect_uri", "https://app.example.com/other"),
            "invalid_grant",
        ),
        (
            ("resource", "https://other.example.com/mcp"),
            "invalid_target",
        ),
        (
            ("resource", "https://mcp.example.com/mcp/coding"),
            "invalid_target",
        ),
        (("scope", "all"), "invalid_scope"),
        (("grant_type", "password"), "unsupported_grant_type"),
        (("code", "x"), "invalid_grant"),
        (("code", &id), "invalid_grant"),
    ] {
        let refused = redeem(&facade, &id, &code, &[instead]).unwrap_err();
        assert_eq!(refused.error, error, "{instead:?}");
    }
    assert!(
        redeem(&facade, &id, &code, &[]).is_ok(),
        "none of these has used it"
    );
    let late = with_code(&facade);
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", &late.0),
        ("code", &late.1),
        ("code_verifier", VERIFIER),
    ];
    assert!(facade.token(&form(&fields), NOW + 61).is_err());
}

#[test]
fn refresh_tokens_are_used_once_until_the_user_has_to_log_in_again() {
    let facade = facade();
    let (id, code) = with_code(&facade);
    let first = redeem(&facade, &id, &code, &[]).unwrap();
    let second = refresh(&facade, &id, &first, NOW + 100).unwrap();
    let third = refresh(&facade, &id, &second, NOW + 8 * 3600 - 5).unwrap();
    assert_eq!(third["expires_in"], 5, "no longer than the login");
    assert!(refresh(&facade, &id, &third, NOW + 8 * 3600).is_err());

    let (id, code) = with_code(&facade);
    let first = redeem(&facade, &id, &code, &[]).unwrap();
    let second = refresh(&facade, &id, &first, NOW + 100).unwrap();
    assert!(refresh(&facade, &id, &first, NOW + 101).is_err(), "a copy");
    assert!(
        refresh(&facade, &id, &second, NOW + 102).is_err(),
        "ends all"
    );
}

#[test]
fn what_one_seals_opens_for_nobody_else() {
    let facade = facade();
    let (id, _) = registered(&facade, BACK);
    let base = Resource::below(&Url::parse("https://other.example.com").unwrap());
    let scopes = ScopesConfig::default();
    let secrets = Arc::clone(facade.secrets());
    let other = Facade::new(config(), &base, &scopes, "groups", secrets);
    assert!(other.client(&id, NOW).is_err());
    let mut bent = id.into_bytes();
    bent[60] ^= 1;
    assert!(
        facade
            .client(std::str::from_utf8(&bent).unwrap(), NOW)
            .is_err()
    );
    for unknown in ["", "x", "gateway", &"A".repeat(5000)] {
        assert!(facade.client(unknown, NOW).is_err(), "{unknown}");
    }
}

#[test]
fn who_has_logged_in_elsewhere_logs_in_anew() {
    let facade = facade();
    let (id, code) = with_code(&facade);
    let tokens = redeem(&facade, &id, &code, &[]).unwrap();
    let mut config = config();
    config.issuer = serde_json::from_value(json!("https://id.example.org.other.example")).unwrap();
    let base = Resource::below(&Url::parse("https://mcp.example.com").unwrap());
    let scopes = ScopesConfig::default();
    let secrets = Arc::clone(facade.secrets());
    let other = Facade::new(config, &base, &scopes, "groups", secrets);
    assert!(refresh(&other, &id, &tokens, NOW + 2).is_err());
    assert!(refresh(&facade, &id, &tokens, NOW + 2).is_ok());
}

#[test]
fn registrations_are_checked_and_bounded() {
    let facade = facade();
    let register = |body: Value| facade.register(body.to_string().as_bytes(), NOW);
    for (uri, error) in [
        (json!(["javascript:alert(1)"]), "invalid_redirect_uri"),
        (json!(["file:///etc/passwd"]), "invalid_redirect_uri"),
        (json!(["data:text/html,x"]), "invalid_redirect_uri"),
        (json!(["http://app.example.com/"]), "invalid_redirect_uri"),
        (
            json!([BACK, "https://a.example/#x"]),
            "invalid_redirect_uri",
        ),
        (json!([]), "invalid_redirect_uri"),
        (json!(vec![BACK; 11]), "invalid_redirect_uri"),
        (json!("https://app.example.com/"), "invalid_client_metadata"),
    ] {
        let refused = register(json!({ "redirect_uris": uri })).unwrap_err();
        assert_eq!(refused.error, error, "{uri}");
    }
    let long: Vec<_> = (0..9)
        .map(|n| format!("https://{}.example/{n}", "a".repeat(300)))
        .collect();
    assert!(register(json!({ "redirect_uris": long })).is_err());
    assert!(register(json!({ "redirect_uris": [BACK], "response_types": ["token"] })).is_err());
    assert!(facade.register(b"{", NOW).is_err());
    let name = "Evil\u{202e}\u{200b}\n<script>".to_owned() + &"x".repeat(100);
    let body = json!({ "client_name": name, "redirect_uris": [BACK], "jwks": {}, "contacts": 1 });
    let Registered(answer) = register(body).unwrap();
    assert_eq!(answer["client_name"].as_str().unwrap().chars().count(), 64);
    assert!(
        answer["client_name"]
            .as_str()
            .unwrap()
            .starts_with("Evil<script>")
    );
    assert_eq!(answer["token_endpoint_auth_method"], "none");
}

#[test]
fn the_address_of_a_document_is_plain() {
    let facade = facade();
    let is_document = |id: &str| matches!(facade.client(id, NOW), Ok(ClientId::Document(_)));
    assert!(is_document("https://app.example.com/client.json"));
    for bad in [
        "http://app.example.com/client.json",
        "https://app.example.com/",
        "https://app.example.com",
        "https://app.example.com/a/../client.json",
        "https://APP.example.com/client.json",
        "https://app.example.com./client.json",
        "https://app.example.com/client.json#x",
        "https://app.example.com/client.json?x",
        "https://user@app.example.com/client.json",
        "https://127.0.0.1/client.json",
        "https://0x7f000001/client.json",
        "https://[::1]/client.json",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ] {
        assert!(facade.client(bad, NOW).is_err(), "{bad}");
    }
}

#[test]
fn a_document_is_about_who_it_says() {
    let url = Url::parse("https://app.example.com/client.json").unwrap();
    let of = |document: Value| Client::of_document(&url, document.to_string().as_bytes());
    let good = json!({
        "client_id": url.as_str(), "client_name": "An app", "redirect_uris": ["http://127.0.0.1:3000/cb"],
    });
    let client = of(good.clone()).unwrap();
    assert_eq!(client.host.as_deref(), Some("app.example.com"));
    let facade = facade();
    assert!(
        client
            .may_redirect("http://127.0.0.1:4711/cb", &facade)
            .is_ok()
    );
    assert!(
        client
            .may_redirect("http://127.0.0.1:3000/other", &facade)
            .is_err()
    );
    for (key, value) in [
        ("client_id", json!("https://app.example.com/other.json")),
        ("client_id", Value::Null),
        ("redirect_uris", json!([])),
        ("redirect_uris", json!(vec![BACK; 65])),
        ("client_secret", json!("x")),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(of(bad).is_err(), "{key}");
    }
}

#[test]
fn requests_are_checked_before_anybody_is_asked() {
    let facade = facade();
    let (_, client) = registered(&facade, BACK);
    let good = facade.authorization(&client, &asked(&[])).unwrap();
    assert_eq!(good.scopes, ["mcp"], "what the endpoint needs");
    let wide = asked(&[
        ("scope", "code openid unknown all"),
        ("resource", "HTTPS://MCP.example.com/mcp/coding"),
    ]);
    let wide = facade.authorization(&client, &wide).unwrap();
    assert_eq!(wide.scopes, ["all", "code"]);
    assert_eq!(wide.resource, "https://mcp.example.com/mcp/coding");
    for (instead, error) in [
        (
            ("redirect_uri", "https://app.example.com/callback/"),
            "invalid_request",
        ),
        (("redirect_uri", "https://evil.example/"), "invalid_request"),
        (("redirect_uri", ""), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (
            ("request_uri", "https://evil.example/"),
            "request_not_supported",
        ),
        (("code_challenge", ""), "invalid_request"),
        (
            ("code_challenge", VERIFIER.get(1..).unwrap()),
            "invalid_request",
        ),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge_method", ""), "invalid_request"),
        (("resource", "https://evil.example/mcp"), "invalid_target"),
        (
            ("resource", "https://mcp.example.com/mcp-evil"),
            "invalid_target",
        ),
        (
            ("resource", "https://mcp.example.com/mcp/a/b"),
            "invalid_target",
        ),
        (
            ("resource", "https://mcp.example.com/mcp#x"),
            "invalid_target",
        ),
        (("resource", "https://mcp.example.com"), "invalid_target"),
    ] {
        let refused = facade
            .authorization(&client, &asked(&[instead]))
            .unwrap_err();
        assert_eq!(refused.error, error, "{instead:?}");
    }
}

#[test]
fn consent_is_for_one_client_address_and_purpose() {
    let facade = facade();
    let (_, client) = registered(&facade, BACK);
    let agreed = facade.authorization(&client, &asked(&[])).unwrap();
    let consents = Consents::default().with(&agreed, NOW);
    let cookie = facade.seal_consents(&consents, NOW).unwrap();
    let consents = facade.consents(Some(&cookie), NOW + 1);
    assert!(consents.has(&agreed, NOW + 1));
    let (_, other) = registered(&facade, BACK);
    let other = facade.authorization(&other, &asked(&[])).unwrap();
    assert!(
        !consents.has(&other, NOW),
        "another client of the same name and address"
    );
    for instead in [
        ("scope", "code"),
        ("resource", "https://mcp.example.com/mcp/coding"),
    ] {
        let more = facade.authorization(&client, &asked(&[instead])).unwrap();
        assert!(!consents.has(&more, NOW), "{instead:?}");
    }
    assert!(!consents.has(&agreed, NOW + CONSENT_LIFETIME));
    assert_eq!(facade.consents(Some("forged"), NOW), Consents::default());
    let question = facade.question(&agreed, "browser", NOW).unwrap();
    assert_eq!(
        facade.consents(Some(&question.sealed), NOW),
        Consents::default()
    );
    let mut many = consents;
    for n in 0..20 {
        let scopes = vec![n.to_string()];
        many = many.with(
            &Authorization {
                scopes,
                ..agreed.clone()
            },
            NOW,
        );
    }
    assert!(!many.has(&agreed, NOW), "the oldest goes first");
    assert!(
        facade.seal_consents(&many, NOW).unwrap().len() < 3000,
        "it fits a cookie"
    );
}

#[test]
fn only_the_browser_that_was_asked_can_answer() {
    let facade = facade();
    let (_, client) = registered(&facade, BACK);
    let authorization = facade.authorization(&client, &asked(&[])).unwrap();
    let question = facade.question(&authorization, "browser", NOW).unwrap();
    let answered = |browser, now| facade.answered(&question.sealed, browser, now);
    assert_eq!(answered(Some("browser"), NOW).unwrap(), authorization);
    assert!(answered(Some("another"), NOW).is_err());
    assert!(answered(Some(""), NOW).is_err());
    assert!(answered(None, NOW).is_err());
    assert!(answered(Some("browser"), NOW + 601).is_err());
}

#[test]
fn an_answer_counts_once_and_for_its_own_login() {
    let facade = facade();
    let (_, client) = registered(&facade, BACK);
    let authorization = facade.authorization(&client, &asked(&[])).unwrap();
    let begun = facade.begin_login(authorization.clone(), NOW).unwrap();
    let state = begun.parameters.iter().find(|(name, _)| *name == "state");
    let state = state.unwrap().1.clone();
    let cookie = Some(begun.cookie.as_str());
    let issuer = "https://id.example.org";
    let answer = form(&[("state", &state), ("code", "c"), ("iss", issuer)]);
    let end = |cookie, answer: &Form, now| facade.end_login(cookie, answer, true, now);
    let other = facade.begin_login(authorization, NOW).unwrap();
    assert!(end(None, &answer, NOW).is_err());
    assert!(end(Some(&other.cookie), &answer, NOW).is_err());
    assert!(end(cookie, &form(&[("code", "c"), ("iss", issuer)]), NOW).is_err());
    assert!(end(cookie, &form(&[("state", &state), ("code", "c")]), NOW).is_err());
    let evil = form(&[
        ("state", &state),
        ("code", "c"),
        ("iss", "https://evil.example"),
    ]);
    assert!(end(cookie, &evil, NOW).is_err());
    assert!(facade.end_login(cookie, &evil, false, NOW).is_err());
    assert!(end(cookie, &answer, NOW + 601).is_err());
    assert!(end(cookie, &answer, NOW).is_ok());
    assert!(end(cookie, &answer, NOW).is_err(), "used before");
    assert!(begun.cookie.len() < 3500, "it fits a cookie");
}

#[test]
fn the_longest_login_fits_a_cookie() {
    let facade = facade();
    let state = "s".repeat(768);
    let uri = format!("https://app.example.com/{}", "a".repeat(512 - 24));
    let (_, client) = registered(&facade, &uri);
    let asked = asked(&[("state", &state), ("redirect_uri", &uri)]);
    let mut authorization = facade.authorization(&client, &asked).unwrap();
    authorization.client_claim = "c".repeat(512);
    let begun = facade.begin_login(authorization, NOW).unwrap();
    assert!(begun.cookie.len() < 3900, "{}", begun.cookie.len());
}

/// A key of an identity provider, what is published of it, and a token of these claims.
fn signed(claims: &Value, header: &Header) -> (JwkSet, String) {
    let rng = aws_lc_rs::rand::SystemRandom::new();
    let curve = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let key = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(curve, &rng).unwrap();
    let key = EncodingKey::from_ec_der(key.as_ref());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k".to_owned());
    (
        JwkSet { keys: vec![jwk] },
        encode(header, claims, &key).unwrap(),
    )
}

#[test]
fn an_id_token_has_to_be_of_this_login_and_for_this_gateway() {
    let good = json!({
        "iss": "https://id.example.org", "sub": "anna", "aud": "gateway", "exp": NOW + 10, "nonce": "n",
    });
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("k".to_owned());
    let expected = Expected {
        issuer: "https://id.example.org",
        client_id: "gateway",
        nonce: "n",
        now: NOW,
    };
    let (keys, token) = signed(&good, &header);
    assert_eq!(verify(&token, &keys, &expected).unwrap()["sub"], "anna");
    let (strange, _) = signed(&good, &header);
    assert_eq!(
        verify(&token, &strange, &expected),
        Err(IdTokenError::Invalid)
    );
    for (name, value, error) in [
        ("iss", json!("https://evil.example"), IdTokenError::Invalid),
        ("aud", json!("other"), IdTokenError::Invalid),
        ("aud", json!(["gateway", "other"]), IdTokenError::Invalid),
        ("azp", json!("other"), IdTokenError::Invalid),
        ("exp", json!(NOW - 61), IdTokenError::Invalid),
        ("exp", Value::Null, IdTokenError::Invalid),
        ("sub", Value::Null, IdTokenError::Invalid),
        ("nonce", json!("other"), IdTokenError::Nonce),
        ("nonce", Value::Null, IdTokenError::Nonce),
    ] {
        let mut bad = good.clone();
        match value {
            Value::Null => drop(bad.as_object_mut().unwrap().remove(name)),
            value => bad[name] = value,
        }
        let (keys, token) = signed(&bad, &header);
        assert_eq!(verify(&token, &keys, &expected), Err(error), "{bad}");
    }
    header.kid = Some("newer".to_owned());
    let (keys, token) = signed(&good, &header);
    assert_eq!(
        verify(&token, &keys, &expected),
        Err(IdTokenError::UnknownKey)
    );
    let body = token.split('.').nth(1).unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let unsigned = format!("{none}.{body}.");
    assert!(verify(&unsigned, &keys, &expected).is_err());
    let secret = encode(&Header::default(), &good, &EncodingKey::from_secret(b"x")).unwrap();
    assert_eq!(
        verify(&secret, &keys, &expected),
        Err(IdTokenError::Malformed)
    );
}

#[test]
fn only_what_is_configured_is_taken_over() {
    let facade = facade();
    let claims = json!({
        "sub": "anna", "groups": ["staff"], "email": "anna@example.org", "secret": "x",
        "realm": { "roles": ["admin"], "other": 1 },
    });
    let Value::Object(claims) = claims else {
        panic!()
    };
    let identity = facade.identity(&claims).unwrap();
    assert_eq!(identity.subject, "https://id.example.org|anna");
    let expected = json!({
        "groups": ["staff"], "email": "anna@example.org", "realm": { "roles": ["admin"] },
    });
    assert_eq!(Value::Object(identity.claims), expected);
    let mut config = config();
    config.claims = vec!["iss".to_owned(), "aud".to_owned(), "scope".to_owned()];
    let Value::Object(evil) = json!({ "sub": "a", "iss": "x", "aud": "y", "scope": "all" }) else {
        panic!()
    };
    assert!(facade_of(config).identity(&evil).unwrap().claims.is_empty());
    let Value::Object(many) = json!({ "sub": "a", "groups": vec!["g".repeat(36); 200] }) else {
        panic!()
    };
    assert_eq!(facade.identity(&many), Err(IdTokenError::TooMuch));
}

#[test]
fn a_browser_is_led_back_with_everything_that_the_client_needs() {
    let facade = facade();
    let (_, client) = registered(&facade, "https://app.example.com/callback?a=b");
    let asked = asked(&[("redirect_uri", "https://app.example.com/callback?a=b")]);
    let authorization = facade.authorization(&client, &asked).unwrap();
    let back = facade
        .back_to_client(&authorization, &[("code", "x&y")])
        .unwrap();
    assert_eq!(
        back,
        "https://app.example.com/callback?a=b&code=x%26y&state=of+the+client&iss=https%3A%2F%2Fmcp.example.com",
    );
}
