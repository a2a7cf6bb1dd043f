//! Whether a token is genuine (RFC 7515, RFC 7519, RFC 9068, RFC 8725).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, decode_header};

use super::claims::Claims;
use super::jwks::{Key, KeySet};
use super::refusal::Reason;
use crate::config::TokenAlgorithm;

/// The longest token, in bytes.
pub(super) const MAX_LEN: usize = 16 * 1024;

/// What `typ` may be, in any case: an access token says `at+jwt`, and older issuers `JWT` or nothing.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// A token taken apart; nothing that it says is to be believed yet.
pub(super) struct Token<'t> {
    header: Header,
    pub(super) claims: Claims,
    message: &'t [u8],
    signature: &'t str,
}

impl<'t> Token<'t> {
    /// Takes it apart.
    ///
    /// # Errors
    /// [`Reason::UnknownKey`] if it looks like no token at all.
    pub(super) fn parse(token: &'t [u8]) -> Result<Self, Reason> {
        let text = std::str::from_utf8(token).map_err(|_| Reason::UnknownKey)?;
        let (message, signature) = text.rsplit_once('.').ok_or(Reason::UnknownKey)?;
        let (head, payload) = message.split_once('.').ok_or(Reason::UnknownKey)?;
        if token.len() > MAX_LEN || payload.contains('.') {
            return Err(Reason::TokenMalformed);
        }
        // One that is signed by nothing names an algorithm that is none.
        let header = decode_header(token).map_err(|_| wrong_header(head))?;
        let typ = header.typ.as_ref().map(|typ| typ.to_ascii_lowercase());
        let is_known = typ.is_none_or(|typ| TYPES.contains(&&*typ));
        if !is_known || header.crit.is_some() {
            return Err(Reason::TokenMalformed);
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).ok();
        let claims = payload.and_then(|json| serde_json::from_slice(&json).ok());
        Ok(Self {
            header,
            claims: claims.ok_or(Reason::TokenMalformed)?,
            message: message.as_bytes(),
            signature,
        })
    }

    /// Which of these keys has signed it, by one of these algorithms.
    ///
    /// # Errors
    /// [`Reason::TokenKey`] if there is no key that it may be signed with.
    pub(super) fn verify(
        &self,
        keys: &KeySet,
        allowed: &[TokenAlgorithm],
    ) -> Result<Arc<Key>, Reason> {
        let algorithm = self.header.alg;
        if !allowed.iter().any(|allowed| algorithm == (*allowed).into()) {
            return Err(Reason::TokenAlgorithm);
        }
        let mut reason = Reason::TokenKey;
        for key in keys.candidates(self.header.kid.as_deref(), algorithm) {
            if key.has_signed(algorithm, self.message, self.signature) {
                return Ok(Arc::clone(key));
            }
            reason = Reason::TokenSignature;
        }
        Err(reason)
    }
}

/// Why a header cannot be read.
fn wrong_header(head: &str) -> Reason {
    let json = URL_SAFE_NO_PAD.decode(head).ok();
    let header = json.and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
    match header.is_some_and(|header| header.contains_key("alg")) {
        true => Reason::TokenAlgorithm,
        false => Reason::TokenMalformed,
    }
}

impl From<TokenAlgorithm> for Algorithm {
    fn from(algorithm: TokenAlgorithm) -> Self {
        match algorithm {
            TokenAlgorithm::RS256 => Self::RS256,
            TokenAlgorithm::RS384 => Self::RS384,
            TokenAlgorithm::RS512 => Self::RS512,
            TokenAlgorithm::PS256 => Self::PS256,
            TokenAlgorithm::PS384 => Self::PS384,
            TokenAlgorithm::PS512 => Self::PS512,
            TokenAlgorithm::ES256 => Self::ES256,
            TokenAlgorithm::ES384 => Self::ES384,
            TokenAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}
