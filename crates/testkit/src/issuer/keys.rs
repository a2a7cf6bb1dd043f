//! The keys that tokens are signed with.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use aws_lc_rs::{encoding, rsa};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// How long what PKCS #8 puts before an RSA key of 2048 bits is.
const PKCS8_PREFIX: usize = 26;

/// The RSA key of this process: to make one takes long.
static RSA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
    let der: encoding::Pkcs8V1Der<'_> = encoding::AsDer::as_der(&pair).expect("the key in PKCS #8");
    der.as_ref()[PKCS8_PREFIX..].to_vec()
});

/// A key, its name, and what it is for.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// A new key of the curve P-256, which signs by ES256.
    ///
    /// # Panics
    ///
    /// If there is no randomness.
    #[must_use]
    pub fn p256(id: &str) -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(pkcs8.expect("a key").as_ref()),
        }
    }

    /// The RSA key of this process, of 2048 bits, which signs by this algorithm of its family.
    #[must_use]
    pub fn rsa(id: &str, algorithm: Algorithm) -> Self {
        Self {
            id: id.to_owned(),
            algorithm,
            key: EncodingKey::from_rsa_der(&RSA),
        }
    }

    /// A token of these claims.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token of these claims with this header.
    ///
    /// # Panics
    ///
    /// If the key cannot sign so.
    #[must_use]
    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).expect("the key fits its algorithm")
    }

    /// What its tokens begin with.
    #[must_use]
    pub fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.id.clone());
        header
    }

    /// What is published of it.
    ///
    /// # Panics
    ///
    /// If there is nothing public to it.
    #[must_use]
    pub fn public(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        let mut jwk = json!(jwk);
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}
