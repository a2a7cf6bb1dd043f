//! The keys that access tokens are signed with.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use switchboard_protocol::token::derive_secret;
use zeroize::Zeroizing;

use super::{Facade, Unable};

/// What stands before the secret number of a key of the curve P-256 in PKCS #8 (RFC 5958, RFC 5915),
/// where the public key is left out.
const PKCS8_PREFIX: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// How often a number is derived until one is a key: each is none once in four thousand million.
const ATTEMPTS: u8 = 8;

/// A key that signs by ES256.
pub(super) struct SigningKey {
    public: PublicKey,
    private: EncodingKey,
}

/// What others verify its signatures with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The name of the key: `kid` of the tokens that it has signed.
    pub id: String,
    /// The key (RFC 7517).
    pub jwk: Value,
}

impl SigningKey {
    /// Derives the key that belongs to a sealing key. All replicas that have one have the other.
    pub(super) fn derive(material: &[u8]) -> Option<Self> {
        (0..ATTEMPTS).find_map(|attempt| {
            let label = format!("switchboard facade 1 signing {attempt}");
            Self::of_number(&derive_secret(material, &label))
        })
    }

    fn of_number(number: &[u8; 32]) -> Option<Self> {
        let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], number].concat());
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        // Uncompressed: one byte that says so, then both coordinates.
        let point = pair.public_key().as_ref();
        let (x, y) = point.get(1..65)?.split_at(32);
        let id = URL_SAFE_NO_PAD.encode(&Sha256::digest(point)[..12]);
        let jwk = json!({
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": id,
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        });
        Some(Self {
            public: PublicKey { id, jwk },
            private: EncodingKey::from_ec_der(&pkcs8),
        })
    }

    fn sign(&self, claims: &TokenClaims<'_>) -> Result<String, Unable> {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.public.id.clone());
        encode(&header, claims, &self.private).map_err(|_| Unable)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public.id).finish()
    }
}

/// What an access token says (RFC 9068, section 2.2).
#[derive(Debug, Serialize)]
pub struct TokenClaims<'t> {
    /// The facade.
    pub iss: &'t str,
    /// Who has logged in: the issuer of the identity provider, `|`, and its subject.
    pub sub: &'t str,
    /// The one resource that it is for.
    pub aud: &'t str,
    /// The client that it was given to.
    pub client_id: &'t str,
    /// Its scopes, with spaces between them.
    pub scope: &'t str,
    /// From when on it is valid, in seconds since 1970.
    pub iat: u64,
    /// Until when.
    pub exp: u64,
    /// Its own name.
    pub jti: &'t str,
    /// What the identity provider said of who has logged in.
    #[serde(flatten)]
    pub others: &'t Map<String, Value>,
}

impl Facade {
    /// The keys that its tokens are verified with: the first is that of new ones.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.secrets.signing.iter().map(|key| &key.public)
    }

    /// They as a set (RFC 7517, section 5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys: Vec<_> = self.public_keys().map(|key| &key.jwk).collect();
        json!({ "keys": keys })
    }

    pub(super) fn sign(&self, claims: &TokenClaims<'_>) -> Result<String, Unable> {
        let key = self.secrets.signing.first().ok_or(Unable)?;
        key.sign(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::SigningKey;

    #[test]
    fn a_sealing_key_has_one_signing_key() {
        let one = SigningKey::derive(&[1; 32]).unwrap();
        let same = SigningKey::derive(&[1; 32]).unwrap();
        let other = SigningKey::derive(&[2; 32]).unwrap();
        assert_eq!(one.public, same.public);
        assert_ne!(one.public.jwk, other.public.jwk);
        assert_ne!(one.public.id, other.public.id);
        // No number is zero.
        assert!(SigningKey::of_number(&[0; 32]).is_none());
        assert!(SigningKey::of_number(&[0xff; 32]).is_none());
    }
}
