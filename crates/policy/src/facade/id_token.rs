//! What the identity provider says of who has logged in (OpenID Connect Core, section 3.1.3.7).

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Facade;

/// The longest token that is looked at, in characters.
const LONGEST: usize = 64 * 1024;
/// How far the clocks may be apart, in seconds.
const LEEWAY: u64 = 60;
/// The most that is taken over of it, in bytes of JSON: it is in every token of the facade.
pub const MOST_CLAIMS: usize = 4096;

/// The algorithms by which it may be signed: none with a secret that both sides know.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Identity {
    /// The issuer, `|`, and its subject.
    pub subject: String,
    /// What is taken over into tokens.
    pub claims: Map<String, Value>,
}

/// Why nobody has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It cannot be read, or is signed in a way that does not count.
    #[error("the token of the identity provider is malformed")]
    Malformed,
    /// None of the keys is the one that it names. There may be a newer one.
    #[error("the key of the token is not known")]
    UnknownKey,
    /// Its signature is wrong, or it is of somebody else, for somebody else, or has expired.
    #[error("the token of the identity provider does not hold")]
    Invalid,
    /// It is of another login.
    #[error("the token is of another login")]
    Nonce,
    /// It says more of somebody than fits a token.
    #[error(
        "the claims to be taken over are more than {MOST_CLAIMS} bytes: have fewer groups sent"
    )]
    TooMuch,
}

/// What a token has to say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// The identity provider.
    pub issuer: &'e str,
    /// The id of the registered client.
    pub client_id: &'e str,
    /// What the login was begun with.
    pub nonce: &'e str,
    /// Seconds since 1970.
    pub now: u64,
}

/// Verifies an ID token, and gives its claims.
///
/// # Errors
///
/// [`IdTokenError`]: the identity provider's fault, or that of who claims to come from it.
pub fn verify(
    token: &str,
    keys: &JwkSet,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>, IdTokenError> {
    if token.len() > LONGEST {
        return Err(IdTokenError::Malformed);
    }
    let header = decode_header(token).map_err(|_| IdTokenError::Malformed)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(IdTokenError::Malformed);
    }
    let key = find(keys, header.kid.as_deref()).ok_or(IdTokenError::UnknownKey)?;
    let key = DecodingKey::from_jwk(key).map_err(|_| IdTokenError::UnknownKey)?;
    // The key decides which family of algorithms counts: `decode` refuses the others.
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // By the clock that everything here goes by, below.
    validation.validate_exp = false;
    let claims: Map<String, Value> = decode(token, &key, &validation)
        .map_err(|_| IdTokenError::Invalid)?
        .claims;
    let expires = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0);
    if expires + (LEEWAY as f64) < expected.now as f64 {
        return Err(IdTokenError::Invalid);
    }
    check_party(&claims, expected.client_id)?;
    if claims.get("nonce").and_then(Value::as_str) != Some(expected.nonce) {
        return Err(IdTokenError::Nonce);
    }
    Ok(claims)
}

/// A token for several has to say which of them asked for it.
fn check_party(claims: &Map<String, Value>, client_id: &str) -> Result<(), IdTokenError> {
    let audiences = claims.get("aud").and_then(Value::as_array);
    let is_for_several = audiences.is_some_and(|audiences| audiences.len() > 1);
    match claims.get("azp") {
        None if is_for_several => Err(IdTokenError::Invalid),
        Some(party) if party != client_id => Err(IdTokenError::Invalid),
        _ => Ok(()),
    }
}

fn find<'k>(keys: &'k JwkSet, id: Option<&str>) -> Option<&'k Jwk> {
    let signs = |key: &&Jwk| {
        let purpose = key.common.public_key_use.as_ref();
        purpose.is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
    };
    let mut keys = keys.keys.iter().filter(signs);
    match id {
        Some(id) => keys.find(|key| key.common.key_id.as_deref() == Some(id)),
        // One that names no key is of the only one.
        None => keys.next().filter(|_| keys.next().is_none()),
    }
}

impl Facade {
    /// Who has logged in, according to these claims of a verified token.
    ///
    /// # Errors
    ///
    /// If they say not who, or too much.
    pub fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, IdTokenError> {
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject.filter(|subject| !subject.is_empty() && subject.len() <= 255);
        let subject = subject.ok_or(IdTokenError::Invalid)?;
        let mut taken = Map::new();
        take(claims, &self.groups_claim, &mut taken);
        for name in &self.config().claims {
            take(claims, name, &mut taken);
        }
        // What the facade says itself.
        for own in [
            "iss",
            "sub",
            "aud",
            "client_id",
            "scope",
            "iat",
            "exp",
            "nbf",
            "jti",
            "azp",
            "scp",
        ] {
            taken.remove(own);
        }
        let size = serde_json::to_vec(&taken).map_or(usize::MAX, |json| json.len());
        if size > MOST_CLAIMS {
            return Err(IdTokenError::TooMuch);
        }
        Ok(Identity {
            subject: format!("{}|{subject}", self.config().issuer),
            claims: taken,
        })
    }
}

/// Takes a claim over: `a.b` is the member `b` of the claim `a`, unless there is a claim of that name.
fn take(claims: &Map<String, Value>, name: &str, taken: &mut Map<String, Value>) {
    if let Some(value) = claims.get(name) {
        taken.insert(name.to_owned(), value.clone());
        return;
    }
    let Some((outer, rest)) = name.split_once('.') else {
        return;
    };
    let Some(Value::Object(inner)) = claims.get(outer) else {
        return;
    };
    let into = taken
        .entry(outer)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(into) = into {
        take(inner, rest, into);
    }
}
