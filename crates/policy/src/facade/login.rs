//! The way to the identity provider and back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use switchboard_protocol::token::{Purpose, digest};

use super::secrets::random_text;
use super::{Authorization, Facade, Form, OAuthError, Unable, paths};

/// How long somebody may take to log in, in seconds.
pub const LOGIN_LIFETIME: u64 = 10 * 60;

/// A login that was begun: all that is known of it is in the browser's cookie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Login {
    /// For what.
    pub authorization: Authorization,
    /// What the identity provider has to bring back.
    state: String,
    /// What its token has to say.
    pub nonce: String,
    /// The secret of the exchange (RFC 7636): its code is good for nobody else.
    pub verifier: String,
}

/// What begins a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// For the browser's cookie.
    pub cookie: String,
    /// The parameters of the request to the identity provider.
    pub parameters: Vec<(&'static str, String)>,
}

impl Facade {
    /// Begins a login, for what was agreed to. To be called only then: whoever has the cookie gets on.
    ///
    /// # Errors
    ///
    /// [`Unable`].
    pub fn begin_login(&self, authorization: Authorization, now: u64) -> Result<Begun, Unable> {
        let login = Login {
            authorization,
            state: random_text()?,
            nonce: random_text()?,
            verifier: random_text()?,
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&login.verifier));
        let scopes = self.config().scopes.iter();
        let scopes: Vec<_> = scopes.map(|scope| scope.as_str()).collect();
        let parameters = vec![
            ("response_type", "code".to_owned()),
            ("client_id", self.config().client_id.clone()),
            ("redirect_uri", self.url(paths::CALLBACK)),
            ("scope", scopes.join(" ")),
            ("state", login.state.clone()),
            ("nonce", login.nonce.clone()),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256".to_owned()),
        ];
        let ends_at = now + LOGIN_LIFETIME;
        let cookie = self.seal(Purpose::Login, &[b"login"], ends_at, &login)?;
        Ok(Begun { cookie, parameters })
    }

    /// The login that a browser comes back from: its cookie and what the identity provider sent it with
    /// belong together, and were not used before. With `names_itself` the identity provider says who it
    /// is in every answer (RFC 9207, section 2.4).
    ///
    /// # Errors
    ///
    /// If they do not. Nothing of the answer counts then, and nobody is redirected.
    pub fn end_login(
        &self,
        cookie: Option<&str>,
        form: &Form,
        names_itself: bool,
        now: u64,
    ) -> Result<Login, OAuthError> {
        let wrong = |description| OAuthError::new("invalid_request", description);
        let login: Login = cookie
            .and_then(|cookie| self.open(Purpose::Login, &[b"login"], now, cookie))
            .ok_or_else(|| wrong("this browser has not begun to log in, or took too long"))?;
        let state = form.get("state").unwrap_or_default();
        if !bool::from(state.as_bytes().ct_eq(login.state.as_bytes())) {
            return Err(wrong("the answer belongs to another login"));
        }
        let named = form.get("iss");
        let is_other = named.is_some_and(|issuer| issuer != self.config().issuer.as_str());
        if is_other || (names_itself && named.is_none()) {
            return Err(wrong("the answer is of another identity provider"));
        }
        let digest = digest(&[b"state", state.as_bytes()]);
        let id = digest.first_chunk().copied().unwrap_or_default();
        let used = self.secrets().once().take(id, 0, now + LOGIN_LIFETIME, now);
        used.map_err(|_| wrong("the answer was used before"))?;
        Ok(login)
    }
}
