//! A signed assertion of who the client is, instead of a secret (RFC 7523, 2.2 and 3).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

use crate::config::oauth::{KeySource, PrivateKeyConfig, SigningAlgorithm};

/// How long an assertion is valid, in seconds.
const LIFETIME: u64 = 60;
/// The longest file with a key, in bytes.
const MAX_KEY: u64 = 64 * 1024;

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'c str,
    sub: &'c str,
    aud: &'c str,
    /// No two assertions have the same.
    jti: String,
    iat: u64,
    exp: u64,
}

/// An assertion of this client for this authorization server.
///
/// # Errors
/// Says what is wrong with the key, for operators.
pub(super) async fn assertion(
    key: &PrivateKeyConfig,
    client_id: &str,
    audience: &str,
) -> Result<Zeroizing<String>, String> {
    let pem = match &key.source {
        KeySource::Pem(pem) => Zeroizing::new(pem.expose_secret().as_bytes().to_vec()),
        KeySource::File(path) => read(path)
            .await
            .map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti: format!("{:032x}", fastrand::u128(..)),
        iat: now,
        exp: now + LIFETIME,
    };
    let (algorithm, encoding) = match key.alg {
        SigningAlgorithm::ES256 => (Algorithm::ES256, EncodingKey::from_ec_pem(&pem)),
        SigningAlgorithm::ES384 => (Algorithm::ES384, EncodingKey::from_ec_pem(&pem)),
        SigningAlgorithm::RS256 => (Algorithm::RS256, EncodingKey::from_rsa_pem(&pem)),
        SigningAlgorithm::PS256 => (Algorithm::PS256, EncodingKey::from_rsa_pem(&pem)),
        SigningAlgorithm::EdDSA => (Algorithm::EdDSA, EncodingKey::from_ed_pem(&pem)),
    };
    let mut header = Header::new(algorithm);
    header.kid.clone_from(&key.kid);
    let signed = encoding.and_then(|encoding| encode(&header, &claims, &encoding));
    signed
        .map(Zeroizing::new)
        .map_err(|error| format!("the key does not fit its algorithm: {error}"))
}

async fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = tokio::fs::File::open(path).await?;
    let mut pem = Zeroizing::new(Vec::new());
    file.take(MAX_KEY).read_to_end(&mut pem).await?;
    Ok(pem)
}
