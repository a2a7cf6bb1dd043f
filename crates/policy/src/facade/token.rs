//! Codes, and the tokens that clients get for them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use switchboard_protocol::token::Purpose;

use super::client::digest_of;
use super::once::FamilyId;
use super::secrets::{random_bytes, random_text};
use super::{Authorization, Facade, Form, Identity, OAuthError, TokenClaims, Unable};

/// How long a code is good, in seconds.
const CODE_LIFETIME: u64 = 60;

/// What a code or a refresh token is good for. All that is known of it is in it, sealed.
#[derive(Deserialize, Serialize)]
struct Grant {
    client: String,
    client_claim: String,
    resource: String,
    scopes: Vec<String>,
    identity: Identity,
    family: FamilyId,
    generation: u64,
    /// When its user has to log in again, in seconds since 1970.
    ends_at: u64,
}

/// What is in a code.
#[derive(Deserialize, Serialize)]
struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
}

const SERVER_ERROR: OAuthError = OAuthError::new("server_error", "try again later");

fn invalid_grant(description: &'static str) -> OAuthError {
    OAuthError::new("invalid_grant", description)
}

impl Facade {
    /// A code for who has logged in.
    ///
    /// # Errors
    ///
    /// [`Unable`].
    pub fn code(
        &self,
        authorization: &Authorization,
        identity: Identity,
        now: u64,
    ) -> Result<String, Unable> {
        let code = Code {
            grant: Grant {
                client: authorization.client.clone(),
                client_claim: authorization.client_claim.clone(),
                resource: authorization.resource.clone(),
                scopes: self.may_have(&identity, &authorization.scopes),
                identity,
                family: random_bytes()?,
                generation: 0,
                ends_at: now + self.config().session_lifetime.as_secs(),
            },
            redirect_uri: authorization.redirect_uri.clone(),
            challenge: authorization.challenge.clone(),
        };
        self.seal(Purpose::AuthorizationCode, &[], now + CODE_LIFETIME, &code)
    }

    /// Answers a request for tokens (RFC 6749, sections 4.1.3 and 6).
    ///
    /// # Errors
    ///
    /// What is wrong with it. The client's fault, unless it is a `server_error`.
    pub fn token(&self, form: &Form, now: u64) -> Result<Value, OAuthError> {
        let client_id = form.get("client_id").ok_or_else(|| {
            OAuthError::new("invalid_request", "there is no `client_id` in the body")
        })?;
        let mut grant = match form.get("grant_type") {
            Some("authorization_code") => self.redeem(form, now)?,
            Some("refresh_token") => self.refresh(form, now)?,
            _ => {
                let description = "expected `authorization_code` or `refresh_token`";
                return Err(OAuthError::new("unsupported_grant_type", description));
            }
        };
        let client = digest_of(client_id);
        if !bool::from(client.as_bytes().ct_eq(grant.client.as_bytes())) {
            return Err(invalid_grant("it was given to another client"));
        }
        if let Some(named) = form.get("resource")
            && self.resource(Some(named)).as_ref() != Some(&grant.resource)
        {
            let description = "the user has agreed to another resource";
            return Err(OAuthError::new("invalid_target", description));
        }
        // Who may have what can have changed since the login.
        let may_have = self.may_have(&grant.identity, &grant.scopes);
        if may_have.is_empty() && !grant.scopes.is_empty() {
            return Err(invalid_grant(
                "its user may have none of its scopes any more",
            ));
        }
        let scope = narrowed(&may_have, form.get("scope"))?;
        let (family, generation) = (grant.family, grant.generation);
        self.secrets()
            .once()
            .take(family, generation, grant.ends_at, now)
            .map_err(|_| invalid_grant("it was used before"))?;
        grant.generation += 1;
        self.give(&grant, &scope, now)
            .map_err(|Unable| SERVER_ERROR)
    }

    fn redeem(&self, form: &Form, now: u64) -> Result<Grant, OAuthError> {
        let text = form.get("code").unwrap_or_default();
        let code: Code = self
            .open(Purpose::AuthorizationCode, &[], now, text)
            .ok_or_else(|| invalid_grant("the code is not valid, or has expired"))?;
        let verifier = form.get("code_verifier").unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        let has_length = (43..=128).contains(&verifier.len());
        let proves = challenge.as_bytes().ct_eq(code.challenge.as_bytes());
        if !has_length || !bool::from(proves) {
            return Err(invalid_grant("the `code_verifier` is not that of the code"));
        }
        // OAuth 2.1 has clients leave it out.
        let named = form.get("redirect_uri");
        if named.is_some_and(|named| named != code.redirect_uri) {
            return Err(invalid_grant("the redirect URI is not that of the code"));
        }
        Ok(code.grant)
    }

    fn refresh(&self, form: &Form, now: u64) -> Result<Grant, OAuthError> {
        let token = form.get("refresh_token").unwrap_or_default();
        let grant: Option<Grant> = self.open(Purpose::RefreshToken, &[], now, token);
        // Who has logged in at a provider that was configured before is not known to this one.
        let provider = self.config().issuer.as_str();
        let is_known = |grant: &Grant| {
            let subject = grant.identity.subject.strip_prefix(provider);
            subject.is_some_and(|rest| rest.starts_with('|'))
        };
        grant
            .filter(is_known)
            .ok_or_else(|| invalid_grant("the refresh token is not valid, or has expired"))
    }

    fn give(&self, grant: &Grant, scope: &str, now: u64) -> Result<Value, Unable> {
        let lifetime = self.config().access_token_lifetime.as_secs();
        let expires = (now + lifetime).min(grant.ends_at);
        let access_token = self.sign(&TokenClaims {
            iss: self.issuer(),
            sub: &grant.identity.subject,
            aud: &grant.resource,
            client_id: &grant.client_claim,
            scope,
            iat: now,
            exp: expires,
            jti: &random_text()?,
            others: &grant.identity.claims,
        })?;
        let refresh_token = self.seal(Purpose::RefreshToken, &[], grant.ends_at, grant)?;
        Ok(json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": expires.saturating_sub(now),
            "refresh_token": refresh_token,
            "scope": scope,
        }))
    }
}

/// The scopes of a token: those that were agreed to, or fewer where the client wants fewer.
fn narrowed(granted: &[String], asked: Option<&str>) -> Result<String, OAuthError> {
    let Some(asked) = asked else {
        return Ok(granted.join(" "));
    };
    let fewer: Vec<_> = granted
        .iter()
        .filter(|scope| asked.split_ascii_whitespace().any(|asked| asked == *scope))
        .map(String::as_str)
        .collect();
    if fewer.is_empty() && !granted.is_empty() {
        let description = "the user has agreed to other scopes";
        return Err(OAuthError::new("invalid_scope", description));
    }
    Ok(fewer.join(" "))
}
