//! The gateway's own authorization server, in front of an identity provider where nobody can register:
//! a client that knows nothing but the address, a browser, and those who mean ill.

mod abuse;
mod consent;
mod documents;
mod flow;
mod sdk;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use switchboard_testkit::client::{Answer, call};
use switchboard_testkit::issuer::Issuer;
use switchboard_tests::front::{Front, faulty};
use url::Url;

pub(crate) const BACK: &str = "https://app.example.com/callback";
pub(crate) const VERIFIER: &str = "a-verifier-of-this-test-that-is-43-characters";

/// A gateway with a facade, and what is behind it.
pub(crate) struct Place {
    pub(crate) front: Front,
    pub(crate) issuer: Issuer,
}

impl Place {
    pub(crate) async fn start() -> Self {
        Self::with(json!({}), &[]).await
    }

    /// With these members laid over the section of the facade, and these variables.
    pub(crate) async fn with(more: Value, variables: &[(&str, &str)]) -> Self {
        let issuer = Issuer::start().await;
        issuer.set_metadata(json!({ "registration_endpoint": null }));
        let front = Front::start_with(config(&issuer, more), variables).await;
        front_is_ready(&front).await;
        Self { front, issuer }
    }

    /// The address of the gateway, without a path.
    pub(crate) fn base(&self) -> String {
        self.resource().trim_end_matches("/mcp").to_owned()
    }

    pub(crate) fn resource(&self) -> String {
        self.front.gateway.url().to_owned()
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::new()
    }

    pub(crate) async fn register(&self, metadata: Value) -> (u16, Value) {
        let url = format!("{}/oauth/register", self.base());
        let sent = http().post(url).json(&metadata).send().await;
        let response = sent.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// The id of a client that has registered itself.
    pub(crate) async fn client(&self, redirect_uri: &str) -> String {
        let metadata = json!({ "client_name": "A <b>client</b>", "redirect_uris": [redirect_uri] });
        let (status, answer) = self.register(metadata).await;
        assert_eq!(status, 201, "{answer}");
        text(&answer["client_id"])
    }

    /// Where a client sends a browser, but for these parameters.
    pub(crate) fn authorize(&self, client: &str, instead: &[(&str, &str)]) -> Url {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let resource = self.resource();
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", BACK),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", &resource),
            ("state", "of-the-client"),
        ];
        fields.retain(|(name, _)| instead.iter().all(|(other, _)| name != other));
        fields.extend(instead);
        let url = format!("{}/oauth/authorize", self.base());
        Url::parse_with_params(&url, fields).expect("a URL")
    }

    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> (u16, Value) {
        let url = format!("{}/oauth/token", self.base());
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let sent = http()
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.finish())
            .send()
            .await;
        let response = sent.expect("an answer");
        let status = response.status().as_u16();
        assert_eq!(response.headers()["cache-control"], "no-store");
        (status, response.json().await.expect("JSON"))
    }

    pub(crate) async fn redeem(
        &self,
        client: &str,
        code: &str,
        instead: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", BACK),
        ];
        fields.retain(|(name, _)| instead.iter().all(|(other, _)| name != other));
        fields.extend(instead);
        self.token(&fields).await
    }

    /// Logs in with a new browser, and gives the code that the client gets.
    pub(crate) async fn code(&self, client: &str, instead: &[(&str, &str)]) -> String {
        let mut browser = self.browser();
        let asked = browser.get(self.authorize(client, instead)).await;
        let there = browser.answer(self, asked, "allow").await;
        let back = browser.get(location(&there)).await;
        let end = browser.get(location(&back)).await;
        let end = location(&end);
        query(&end, "code").unwrap_or_else(|| panic!("no code in {end}"))
    }

    /// Calls a tool with this token.
    pub(crate) async fn call(&self, token: &str) -> Answer {
        let draft = self
            .front
            .client
            .draft(&call("f__echo", &json!({ "x": 1 })));
        let draft = draft.with_header("authorization", &format!("Bearer {token}"));
        self.front.client.send(draft).await.finish().await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
pub(crate) fn config(issuer: &Issuer, more: Value) -> Value {
    let mut facade = json!({
        "issuer": issuer.url(),
        "client_id": "the gateway",
        "client_secret": "a secret & that it has",
        "name": "the gateway of this test",
        "claims": ["email"],
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        facade[name] = value.clone();
    }
    json!({
        "server": { "sealing_keys": ["WQ0q5Uq3b1cLrVq2mZ8tHk4nYx7sJd9e"] },
        "auth": {
            "jwt": [{ "issuer": issuer.url() }],
            "scopes": { "required": ["mcp"], "profiles": { "coding": ["code"] } },
            "facade": facade,
        },
        "profiles": { "coding": {} },
        "backends": { "f": faulty(&[]) },
    })
}

/// Waits until the gateway answers whoever has no token.
async fn front_is_ready(front: &Front) {
    let answer = front.client.ask(&call("f__echo", &json!({}))).await;
    assert_eq!(answer.status, 401, "{}", answer.raw);
}

pub(crate) fn http() -> reqwest::Client {
    let http = reqwest::Client::builder().redirect(Policy::none()).build();
    http.expect("a client")
}

/// A browser, as far as it matters: it keeps cookies, and is told where to go.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) async fn get(&mut self, url: Url) -> Response {
        self.send(http().get(url)).await
    }

    /// Answers the question of a page.
    pub(crate) async fn answer(
        &mut self,
        place: &Place,
        page: Response,
        decision: &str,
    ) -> Response {
        let page = page.text().await.expect("a page");
        let request = field(&page, "request");
        let fields = [("request", &*request), ("decision", decision)];
        self.send(consent(place, &fields).header("origin", place.base()))
            .await
    }

    pub(crate) async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let cookies: Vec<_> = cookies.collect();
        let sent = request.header(COOKIE, cookies.join("; ")).send().await;
        let response = sent.expect("an answer");
        for cookie in response.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("ASCII");
            let (pair, attributes) = cookie.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a value");
            assert!(attributes.contains("HttpOnly"), "{cookie}");
            assert!(attributes.contains("SameSite=Lax"), "{cookie}");
            match attributes.contains("Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        response
    }
}

/// A form that somebody sends in answer to the question.
pub(crate) fn consent(place: &Place, fields: &[(&str, &str)]) -> RequestBuilder {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    http()
        .post(format!("{}/oauth/consent", place.base()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.finish())
}

/// The value of a hidden field.
pub(crate) fn field(page: &str, name: &str) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let rest = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .1;
    rest.split_once('"')
        .expect("the end of a value")
        .0
        .to_owned()
}

/// Where a browser is sent.
pub(crate) fn location(response: &Response) -> Url {
    let status = response.status();
    let location = response.headers().get(LOCATION);
    let location = location.unwrap_or_else(|| panic!("{status} leads nowhere"));
    Url::parse(location.to_str().expect("ASCII")).expect("a URL")
}

pub(crate) fn query(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// What a token says.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("claims")
}
