//! Why a request has no principal.

use http::{HeaderValue, StatusCode};

/// Why a request with a key has no principal. Answer both with status 401 and
/// [`AuthError::challenge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `Authorization` header.
    #[error("a credential is needed: send `Authorization: Bearer` with an API key")]
    Missing,
    /// There are several, or it is not one that is accepted.
    #[error("the credential is not accepted")]
    Invalid,
}

impl AuthError {
    /// The value of `WWW-Authenticate` for the answer (RFC 6750, section 3: a request without a
    /// credential is told no error code).
    #[must_use]
    pub fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Missing => "Bearer",
            Self::Invalid => "Bearer error=\"invalid_token\"",
        })
    }
}

/// Why a request has no principal. What the message says may be told to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// There is neither an `Authorization` header nor a certificate that counts.
    #[error("a credential is needed: send `Authorization: Bearer` with an API key or access token")]
    Missing,
    /// There are several headers, or it is no bearer credential.
    #[error("the credential is not accepted")]
    Malformed,
    /// It is no key that is accepted, nor a token.
    #[error("the credential is not accepted")]
    UnknownKey,
    /// The key was accepted until some day.
    #[error("the credential is not accepted")]
    ExpiredKey,
    /// The key is for other profiles.
    #[error("the credential is not for this endpoint")]
    Profile,
    /// The certificate has no name that counts, or has expired.
    #[error("the client certificate is not accepted")]
    Certificate,
    /// It is no token that could be read, or of a kind that is no access token.
    #[error("the token is not accepted")]
    TokenMalformed,
    /// It is signed by an algorithm that is not allowed, or not at all.
    #[error("the token is not accepted")]
    TokenAlgorithm,
    /// It is of an issuer that is not trusted.
    #[error("the token is not accepted")]
    TokenIssuer,
    /// Its issuer publishes no key of this name.
    #[error("the token is not accepted")]
    TokenKey,
    /// Its signature is not by the key that it names.
    #[error("the token is not accepted")]
    TokenSignature,
    /// It has expired.
    #[error("the token has expired")]
    TokenExpired,
    /// It is to be valid later.
    #[error("the token is not valid yet")]
    TokenEarly,
    /// It is for somebody else.
    #[error("the token is for another resource")]
    TokenAudience,
    /// It says not who its subject is, or says too much.
    #[error("the token is not accepted")]
    TokenClaims,
    /// It is good for less than what is asked.
    #[error("the scope of the token is not enough")]
    InsufficientScope,
    /// Its issuer has never been reached, so nobody knows.
    #[error("the issuer of the token cannot be reached; try again later")]
    IssuerAway,
}

impl Reason {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Profile | Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::IssuerAway => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The error code of RFC 6750, section 3.1; a request without a credential is told none.
    pub(super) fn error_code(self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::Profile | Self::IssuerAway => None,
            Self::InsufficientScope => Some("insufficient_scope"),
            _ => Some("invalid_token"),
        }
    }

    /// Whether a challenge goes with the answer.
    pub(super) fn is_challenged(self) -> bool {
        !matches!(self, Self::Profile | Self::IssuerAway)
    }

    /// The challenge where there are only keys.
    pub(super) fn challenge(self) -> Option<HeaderValue> {
        let challenge = match self.error_code() {
            None => AuthError::Missing.challenge(),
            Some(_) => AuthError::Invalid.challenge(),
        };
        self.is_challenged().then_some(challenge)
    }
}
