//! How tokens are got.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use super::{Shared, TokenRequest, USER, as_json, claims};

type Form = HashMap<String, String>;

/// What a token is to say of whom: kept with its code or refresh token.
fn grant(subject: &str, client: &str, form: &Form, scope: &str) -> Value {
    json!({
        "sub": subject,
        "client_id": client,
        "aud": form.get("resource").or(form.get("audience")),
        "scope": scope,
        "redirect_uri": form.get("redirect_uri"),
        "code_challenge": form.get("code_challenge"),
        "nonce": form.get("nonce"),
    })
}

/// Registers whoever asks, and gives out a secret where the client wants to use one.
pub(super) async fn register(State(_): State<Arc<Shared>>, body: Bytes) -> Response {
    let Ok(Value::Object(mut client)) = serde_json::from_slice(&body) else {
        return error("invalid_client_metadata");
    };
    let method = client.get("token_endpoint_auth_method");
    if method.is_some_and(|method| method != "none") {
        client.insert("client_secret".to_owned(), json!(random()));
        client.insert("client_secret_expires_at".to_owned(), json!(0));
    }
    client.insert("client_id".to_owned(), json!(random()));
    as_json(StatusCode::CREATED, &Value::Object(client))
}

/// Consents, and sends the browser back with a code.
pub(super) async fn authorize(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let form = parse(uri.query().unwrap_or_default().as_bytes());
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let Ok(mut back) = Url::parse(field("redirect_uri")) else {
        return error("invalid_request");
    };
    let by_s256 = field("code_challenge_method") == "S256" && !field("code_challenge").is_empty();
    let answer = if field("response_type") != "code" || !by_s256 {
        ("error", "invalid_request".to_owned())
    } else {
        let code = random();
        let subject = form.get("login_hint").map_or(USER, String::as_str);
        let granted = grant(subject, field("client_id"), &form, field("scope"));
        shared.state().codes.insert(code.clone(), granted);
        ("code", code)
    };
    back.query_pairs_mut()
        .append_pair(answer.0, &answer.1)
        .append_pair("iss", &shared.url);
    if let Some(state) = form.get("state") {
        back.query_pairs_mut().append_pair("state", state);
    }
    (StatusCode::FOUND, [(LOCATION, back.to_string())]).into_response()
}

/// Gives out a token.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = parse(&body);
    let authorization = headers.get(AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok());
    shared.state().token_requests.push(TokenRequest {
        form: form.clone(),
        authorization: authorization.map(str::to_owned),
    });
    if shared.is_away.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let Some(client) = client(&form, authorization) else {
        return error("invalid_client");
    };
    let granted = match field("grant_type") {
        "authorization_code" => redeem(&shared, &form),
        "refresh_token" => refresh(&shared, &form),
        "client_credentials" => Ok(grant(&client, &client, &form, field("scope"))),
        "urn:ietf:params:oauth:grant-type:token-exchange" => exchange(&client, &form),
        _ => Err("unsupported_grant_type"),
    };
    match granted {
        Ok(granted) => as_json(
            StatusCode::OK,
            &issue(&shared, field("grant_type"), &granted),
        ),
        Err(code) => error(code),
    }
}

/// Who asks, whichever way it says so; that it can prove it is taken for granted.
fn client(form: &Form, authorization: Option<&str>) -> Option<String> {
    if let Some(encoded) = authorization.and_then(|value| value.strip_prefix("Basic ")) {
        let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let id = pair.split(':').next()?;
        let decoded = form_urlencoded::parse(id.as_bytes()).next()?.0;
        return Some(decoded.into_owned());
    }
    if let Some(assertion) = form.get("client_assertion") {
        return payload(assertion)?["sub"].as_str().map(str::to_owned);
    }
    form.get("client_id").cloned()
}

fn redeem(shared: &Shared, form: &Form) -> Result<Value, &'static str> {
    let code = form.get("code").ok_or("invalid_request")?;
    let granted = shared.state().codes.remove(code).ok_or("invalid_grant")?;
    let verifier = form.get("code_verifier").ok_or("invalid_grant")?;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let same_page = granted["redirect_uri"] == json!(form.get("redirect_uri"));
    if granted["code_challenge"] != json!(challenge) || !same_page {
        return Err("invalid_grant");
    }
    Ok(granted)
}

fn refresh(shared: &Shared, form: &Form) -> Result<Value, &'static str> {
    let token = form.get("refresh_token").ok_or("invalid_request")?;
    // Once only, as public clients must (OAuth 2.1, section 4.3.1).
    shared.state().refresh.remove(token).ok_or("invalid_grant")
}

fn exchange(client: &str, form: &Form) -> Result<Value, &'static str> {
    let subject = form.get("subject_token").ok_or("invalid_request")?;
    let subject = payload(subject).ok_or("invalid_request")?;
    let subject = subject["sub"].as_str().ok_or("invalid_request")?;
    let scope = form.get("scope").map_or("", String::as_str);
    Ok(grant(subject, client, form, scope))
}

fn issue(shared: &Shared, grant_type: &str, granted: &Value) -> Value {
    let (more, lifetime) = {
        let state = shared.state();
        (state.claims.clone(), state.lifetime)
    };
    let subject = granted["sub"].as_str().unwrap_or_default();
    let audience = granted["aud"].as_str().unwrap_or_default();
    let mut claims = claims(&shared.url, subject, audience, lifetime);
    claims["scope"] = granted["scope"].clone();
    claims["client_id"] = granted["client_id"].clone();
    if let (Value::Object(claims), Value::Object(more)) = (&mut claims, more) {
        claims.extend(more);
    }
    let mut state = shared.state();
    let mut answer = json!({
        "access_token": state.keys[0].sign(&claims),
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": claims["scope"],
    });
    if grant_type == "authorization_code" && has_scope(granted, "openid") {
        let mut id_token = claims.clone();
        id_token["aud"] = granted["client_id"].clone();
        id_token["nonce"] = granted["nonce"].clone();
        if let (Value::Object(id_token), Value::Object(more)) = (&mut id_token, &state.id_claims) {
            id_token.extend(more.clone());
        }
        answer["id_token"] = json!(state.keys[0].sign(&id_token));
    }
    if matches!(grant_type, "authorization_code" | "refresh_token") {
        let token = random();
        answer["refresh_token"] = json!(token);
        state.refresh.insert(token, granted.clone());
    }
    if grant_type.ends_with("token-exchange") {
        answer["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
    }
    answer
}

fn has_scope(granted: &Value, scope: &str) -> bool {
    let scopes = granted["scope"].as_str().unwrap_or_default();
    scopes.split(' ').any(|granted| granted == scope)
}

fn payload(token: &str) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn parse(form: &[u8]) -> Form {
    form_urlencoded::parse(form).into_owned().collect()
}

fn random() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn error(code: &str) -> Response {
    let status = match code {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        _ => StatusCode::BAD_REQUEST,
    };
    as_json(status, &json!({ "error": code }))
}
