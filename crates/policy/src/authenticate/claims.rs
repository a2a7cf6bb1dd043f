//! What a token says of its subject, once it is known to be genuine.

use std::sync::Arc;

use serde_json::{Map, Value};
use switchboard_protocol::call::Principal;

use super::refusal::Reason;
use crate::config::JwtConfig;

/// How far clocks may be apart, in seconds.
pub(super) const LEEWAY: u64 = 60;

/// The longest subject, in bytes (OpenID Connect Core, section 2: 255 characters of ASCII).
const MAX_SUBJECT_LEN: usize = 255;

/// How many groups, scopes or audiences of a token are looked at.
const MAX_ITEMS: usize = 256;

/// What changes from one token of a principal to the next, and says nothing of the principal.
const OF_THE_TOKEN: [&str; 4] = ["exp", "iat", "nbf", "jti"];

/// A date that no token lives to see, in seconds since 1970, and that can be added to.
const LATEST: u64 = 1 << 40;

/// The claims of a token whose signature is good.
pub(super) type Claims = Map<String, Value>;

/// When a token that is valid now expires, in seconds since 1970 (RFC 7519, sections 4.1.4, 4.1.5).
pub(super) fn expiry(claims: &Claims, now: u64) -> Result<u64, Reason> {
    let seconds = |value: &Value| {
        let value = value
            .as_f64()
            .filter(|value| value.is_finite() && *value >= 0.0);
        // Whole seconds: `as` takes the nearest that there is.
        let seconds = value.map(|value| (value as u64).min(LATEST));
        seconds.ok_or(Reason::TokenClaims)
    };
    let expires = claims
        .get("exp")
        .map(seconds)
        .ok_or(Reason::TokenClaims)??;
    if now > expires.saturating_add(LEEWAY) {
        return Err(Reason::TokenExpired);
    }
    if let Some(from) = claims.get("nbf") {
        let from = seconds(from)?;
        if now.saturating_add(LEEWAY) < from {
            return Err(Reason::TokenEarly);
        }
    }
    Ok(expires)
}

/// For whom it is: one text, or several (RFC 7519, section 4.1.3).
pub(super) fn audiences(claims: &Claims) -> Vec<&str> {
    claims.get("aud").map(texts).unwrap_or_default()
}

/// What it is good for: a text with spaces between (RFC 8693, section 4.2), or a list.
pub(super) fn scopes(claims: &Claims, config: &JwtConfig) -> Vec<String> {
    let value = match &config.scopes_claim {
        Some(name) => find(claims, name),
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    let texts = value.map(texts).unwrap_or_default();
    let words = texts.iter().flat_map(|text| text.split(' '));
    let words = words.filter(|word| !word.is_empty()).take(MAX_ITEMS);
    words.map(str::to_owned).collect()
}

/// The subject.
pub(super) fn subject(claims: &Claims) -> Result<&str, Reason> {
    let subject = claims.get("sub").and_then(Value::as_str);
    let is_name = |text: &&str| {
        (1..=MAX_SUBJECT_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    subject.filter(is_name).ok_or(Reason::TokenClaims)
}

/// On whose behalf its bearer calls: named by issuer and subject, whatever else the token says.
pub(super) fn principal(claims: Claims, config: &JwtConfig) -> Result<Principal, Reason> {
    let id = format!("{}|{}", config.issuer, subject(&claims)?);
    let groups = named_by(&claims, &config.groups_claim).into_iter();
    let prefix = &config.group_prefix;
    let groups = groups.map(|group| format!("{prefix}{group}")).collect();
    let client = match &config.client_claim {
        Some(name) => find(&claims, name),
        None => claims.get("azp").or_else(|| claims.get("client_id")),
    };
    let client = client.and_then(Value::as_str).map(str::to_owned);
    let kept = claims.into_iter();
    let kept = kept.filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()));
    Ok(Principal {
        groups,
        client,
        claims: Some(Arc::new(kept.collect())),
        ..Principal::new(id)
    })
}

/// The texts of a claim: one, or a list of at most 256.
pub(crate) fn named_by<'c>(claims: &'c Claims, name: &str) -> Vec<&'c str> {
    find(claims, name).map(texts).unwrap_or_default()
}

/// A claim by its name, or a member of one.
fn find<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => {
            let texts = items.iter().filter_map(Value::as_str);
            texts.take(MAX_ITEMS).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_valid_from_one_time_to_another() {
        let claims = |from: u64, to: u64| match json!({ "nbf": from, "exp": to }) {
            Value::Object(claims) => claims,
            _ => unreachable!("it is an object"),
        };
        let now = 1_000_000;
        assert_eq!(expiry(&claims(now, now + 9), now), Ok(now + 9));
        let soon = now + LEEWAY;
        assert_eq!(expiry(&claims(soon, now + 99), now), Ok(now + 99));
        let early = expiry(&claims(soon + 1, now + 99), now);
        assert_eq!(early, Err(Reason::TokenEarly));
        let late = expiry(&claims(1, now - LEEWAY - 1), now);
        assert_eq!(late, Err(Reason::TokenExpired));
    }
}
