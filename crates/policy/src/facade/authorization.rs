//! What a client sends a browser with.

use serde::{Deserialize, Serialize};
use switchboard_protocol::token::digest;

use super::{Client, Facade, Form, OAuthError};

/// The longest `state` of a client, in characters: it has to fit a cookie.
const LONGEST_STATE: usize = 768;

/// What a client asks for, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Authorization {
    /// What stands for its id.
    pub(super) client: String,
    /// What rules know it by.
    pub(super) client_claim: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What it wants to see again there.
    pub(super) state: Option<String>,
    /// The digest of its secret (RFC 7636).
    pub(super) challenge: String,
    /// What it wants to call.
    pub resource: String,
    /// For what.
    pub scopes: Vec<String>,
}

impl Facade {
    /// Checks what a client asks for (RFC 6749, section 4.1.1). Nobody is redirected because of a
    /// mistake: that would lead a browser to wherever a stranger has registered.
    ///
    /// # Errors
    ///
    /// What is wrong with it. The client's fault.
    pub fn authorization(&self, client: &Client, form: &Form) -> Result<Authorization, OAuthError> {
        let invalid = |description| OAuthError::new("invalid_request", description);
        let redirect_uri = form
            .get("redirect_uri")
            .ok_or_else(|| invalid("there is no redirect URI"))?;
        client.may_redirect(redirect_uri, self)?;
        if form.get("response_type") != Some("code") {
            let description = "the only response type here is `code`";
            return Err(OAuthError::new("unsupported_response_type", description));
        }
        if form.get("request").is_some() || form.get("request_uri").is_some() {
            return Err(OAuthError::new(
                "request_not_supported",
                "send plain parameters",
            ));
        }
        if form
            .get("response_mode")
            .is_some_and(|mode| mode != "query")
        {
            return Err(invalid("the only response mode here is `query`"));
        }
        let challenge = form.get("code_challenge").unwrap_or_default();
        let is_digest = challenge.len() == 43 && challenge.chars().all(is_base64url);
        if !is_digest || form.get("code_challenge_method") != Some("S256") {
            return Err(invalid("a `code_challenge` by the method S256 is needed"));
        }
        let state = form.get("state");
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(invalid("the state is too long"));
        }
        let resource = self.resource(form.get("resource")).ok_or_else(|| {
            OAuthError::new("invalid_target", "the resource is none of this gateway's")
        })?;
        Ok(Authorization {
            client: client.digest.clone(),
            client_claim: client.claim.clone(),
            redirect_uri: redirect_uri.to_owned(),
            state: state.map(str::to_owned),
            challenge: challenge.to_owned(),
            resource,
            scopes: self.granted_scopes(form.get("scope")),
        })
    }

    /// Where the browser goes when all is over: back to the client, with these parameters, its state,
    /// and who says so (RFC 9207).
    #[must_use]
    pub fn back_to_client(
        &self,
        authorization: &Authorization,
        parameters: &[(&str, &str)],
    ) -> Option<String> {
        let mut url = url::Url::parse(&authorization.redirect_uri).ok()?;
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(parameters);
            if let Some(state) = &authorization.state {
                query.append_pair("state", state);
            }
            query.append_pair("iss", self.issuer());
        }
        Some(url.into())
    }
}

impl Authorization {
    /// What somebody agrees to, as one number: the client, where the answer goes, and what for.
    pub(super) fn consent_digest(&self) -> [u8; 32] {
        let mut parts = vec![
            self.client.as_bytes(),
            self.redirect_uri.as_bytes(),
            self.resource.as_bytes(),
        ];
        parts.extend(self.scopes.iter().map(String::as_bytes));
        digest(&parts)
    }
}

fn is_base64url(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}
