//! Tokens of the gateway's own authorization server: whoever has logged in through it is the same
//! principal as with a token of the identity provider itself.

use serde_json::Value;

use super::claims::Claims;
use super::refusal::Reason;
use crate::config::{JwtConfig, TokenAlgorithm};

/// How its tokens are read, where `provider` is who has logged people in.
pub(super) fn as_issuer(provider: &JwtConfig) -> JwtConfig {
    JwtConfig {
        issuer: provider.issuer.clone(),
        // They are for the address of an endpoint, whatever those of the provider may be for.
        audience: Vec::new(),
        jwks_url: None,
        algorithms: vec![TokenAlgorithm::ES256],
        groups_claim: provider.groups_claim.clone(),
        group_prefix: provider.group_prefix.clone(),
        client_claim: Some("client_id".to_owned()),
        scopes_claim: Some("scope".to_owned()),
    }
}

/// What a token says, with the subject as the identity provider names it. One whose user has logged in
/// at another provider, which was configured before, says nothing.
pub(super) fn as_said_by_provider(
    mut claims: Claims,
    provider: &JwtConfig,
) -> Result<Claims, Reason> {
    let subject = claims.get_mut("sub").ok_or(Reason::TokenClaims)?;
    let own = subject
        .as_str()
        .and_then(|subject| {
            subject
                .strip_prefix(provider.issuer.as_str())?
                .strip_prefix('|')
        })
        .ok_or(Reason::TokenClaims)?;
    *subject = Value::String(own.to_owned());
    Ok(claims)
}
