//! Who a caller is: access tokens of a real issuer, what a client without one is told, client
//! certificates, and keys that are none.

mod certificates;
mod keys;
mod metadata;
mod profiles;
mod refusals;
mod sdks;
mod sessions;
mod tokens;

use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, call};
use switchboard_testkit::issuer::Issuer;
use switchboard_tests::front::{Front, faulty};
use switchboard_tests::waiting::until;

/// A gateway that trusts an issuer and needs the scope `mcp`.
pub(crate) struct Guarded {
    pub(crate) front: Front,
    pub(crate) issuer: Issuer,
}

impl Guarded {
    /// With this laid over what it says of the issuer.
    pub(crate) async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// The same, with these members laid over its `auth`.
    pub(crate) async fn with(more: Value) -> Self {
        let issuer = Issuer::start().await;
        let front = Front::start(config(&issuer, more)).await;
        let guarded = Self { front, issuer };
        guarded.ready().await;
        guarded
    }

    /// The resource that tokens are for.
    pub(crate) fn resource(&self) -> String {
        self.front.gateway.url().to_owned()
    }

    /// A token of this subject that is good for a call.
    pub(crate) fn token(&self, subject: &str) -> String {
        self.issuer.token(subject, &self.resource(), "mcp")
    }

    /// A token that says this too.
    pub(crate) fn token_with(&self, claims: Value) -> String {
        self.issuer.sign(&self.claims_with(claims))
    }

    /// The claims of such a token.
    #[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
    pub(crate) fn claims_with(&self, changes: Value) -> Value {
        let mut claims = self.issuer.claims("anna", &self.resource());
        claims["scope"] = json!("mcp");
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        if let Value::Object(claims) = &mut claims {
            claims.retain(|_, value| !value.is_null());
        }
        claims
    }

    /// Calls a tool with this token.
    pub(crate) async fn call(&self, token: &str) -> Answer {
        call_with(&self.front, token).await
    }

    async fn ready(&self) {
        let token = self.token("probe");
        until("a call with a token", async || {
            let answer = self.call(&token).await;
            (answer.status == 200 && !answer.raw.contains("isError\":true")).then_some(())
        })
        .await;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
pub(crate) fn config(issuer: &Issuer, more: Value) -> Value {
    let mut auth = json!({
        "jwt": [{ "issuer": issuer.url() }],
        "scopes": { "required": ["mcp"] },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        auth[name] = value.clone();
    }
    json!({ "auth": auth, "profiles": { "coding": {} }, "backends": { "f": faulty(&[]) } })
}

pub(crate) async fn call_with(front: &Front, token: &str) -> Answer {
    let draft = front.client.draft(&call("f__echo", &json!({ "x": 1 })));
    let draft = draft.with_header("authorization", &format!("Bearer {token}"));
    front.client.send(draft).await.finish().await
}

pub(crate) fn challenge(answer: &Answer) -> &str {
    let value = answer.headers.get(WWW_AUTHENTICATE);
    value.map_or("", |value| value.to_str().expect("a header of text"))
}

/// Where the metadata of an endpoint is.
pub(crate) fn metadata_of(endpoint: &str) -> String {
    endpoint.replacen("/mcp", "/.well-known/oauth-protected-resource/mcp", 1)
}

pub(crate) fn assert_unauthorized(guarded: &Guarded, answer: &Answer, what: &str) {
    assert_eq!(answer.status, 401, "{what}: {}", answer.raw);
    let challenge = challenge(answer);
    assert!(
        challenge.starts_with("Bearer error=\"invalid_token\""),
        "{what}: {challenge}"
    );
    let metadata = format!("resource_metadata=\"{}\"", metadata_of(&guarded.resource()));
    assert!(challenge.contains(&metadata), "{what}: {challenge}");
    assert!(challenge.contains("scope=\"mcp\""), "{what}: {challenge}");
}
