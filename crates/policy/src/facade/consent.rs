//! Whether the person in front of the browser has agreed.
//!
//! The identity provider knows one client only and asks nobody about another one, so the facade has to
//! ask before it forwards anybody there. What was agreed to is remembered in a cookie, for one client
//! with one redirect URI and one set of scopes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use switchboard_protocol::token::Purpose;

use super::{Authorization, Facade, OAuthError, Unable};

/// How long a consent is remembered, in seconds: 30 days.
pub const CONSENT_LIFETIME: u64 = 30 * 24 * 60 * 60;
/// How long a question may stand, in seconds.
const QUESTION_LIFETIME: u64 = 10 * 60;
/// The most consents that a browser keeps; the oldest goes first.
const MOST: usize = 16;

/// The consents that a browser keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consents(Vec<(String, u64)>);

impl Consents {
    /// Whether this was agreed to.
    #[must_use]
    pub fn has(&self, authorization: &Authorization, now: u64) -> bool {
        let digest = URL_SAFE_NO_PAD.encode(authorization.consent_digest());
        let mut known = self.0.iter();
        known.any(|(known, ends_at)| *known == digest && now < *ends_at)
    }

    /// The same and this one.
    #[must_use]
    pub fn with(mut self, authorization: &Authorization, now: u64) -> Self {
        let digest = URL_SAFE_NO_PAD.encode(authorization.consent_digest());
        self.0
            .retain(|(known, ends_at)| *known != digest && now < *ends_at);
        let surplus = (self.0.len() + 1).saturating_sub(MOST);
        self.0.drain(..surplus);
        self.0.push((digest, now + CONSENT_LIFETIME));
        self
    }
}

/// What is put into the page that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What the answer has to bring back: the request, sealed for this browser alone.
    pub sealed: String,
}

impl Facade {
    /// Reads the consents from a browser's cookie. One that cannot be read is as good as none.
    #[must_use]
    pub fn consents(&self, cookie: Option<&str>, now: u64) -> Consents {
        let read = |cookie| self.open(Purpose::Login, &[b"consents"], now, cookie);
        Consents(cookie.and_then(read).unwrap_or_default())
    }

    /// Writes them for a cookie.
    ///
    /// # Errors
    ///
    /// [`Unable`].
    pub fn seal_consents(&self, consents: &Consents, now: u64) -> Result<String, Unable> {
        let ends_at = now + CONSENT_LIFETIME;
        self.seal(Purpose::Login, &[b"consents"], ends_at, &consents.0)
    }

    /// Makes the question whether this client may call. `browser` is a secret of the browser that is
    /// asked: no other one can answer, and no page of a stranger knows it.
    ///
    /// # Errors
    ///
    /// [`Unable`].
    pub fn question(
        &self,
        authorization: &Authorization,
        browser: &str,
        now: u64,
    ) -> Result<Question, Unable> {
        let bound = [&b"question"[..], browser.as_bytes()];
        let ends_at = now + QUESTION_LIFETIME;
        let sealed = self.seal(Purpose::Login, &bound, ends_at, authorization)?;
        Ok(Question { sealed })
    }

    /// What was agreed to or refused, if this browser was asked.
    ///
    /// # Errors
    ///
    /// If it was not: then a page of somebody else wants to answer for the person in front of it.
    pub fn answered(
        &self,
        sealed: &str,
        browser: Option<&str>,
        now: u64,
    ) -> Result<Authorization, OAuthError> {
        let bound = [&b"question"[..], browser.unwrap_or_default().as_bytes()];
        let opened = match browser {
            Some(_) => self.open(Purpose::Login, &bound, now, sealed),
            None => None,
        };
        let description = "this browser was not asked, or the question has expired";
        opened.ok_or(OAuthError::new("invalid_request", description))
    }
}
