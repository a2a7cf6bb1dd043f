//! Settings of a backend that are each right by themselves and wrong together.

use super::{
    BackendConfigError, EraPin, OAuthConfig, ProcessesConfig, SessionScope, TransportConfig,
    malformed,
};
use crate::process::runner;

/// Refuses those of the fields that are there although they would have no effect.
pub(super) fn misplaced<const N: usize>(
    beside: &'static str,
    fields: [(&'static str, bool); N],
) -> Result<(), BackendConfigError> {
    let present = fields.into_iter().filter(|(_, present)| *present);
    let fields: Vec<_> = present.map(|(field, _)| field).collect();
    if fields.is_empty() {
        return Ok(());
    }
    Err(BackendConfigError::Misplaced { fields, beside })
}

/// What `oauth` needs of the rest: a header of its own, and sessions that no two principals share.
pub(super) fn check_oauth(
    oauth: &OAuthConfig,
    transport: &TransportConfig,
    scope: SessionScope,
    era: EraPin,
) -> Result<(), BackendConfigError> {
    let malformed = malformed("oauth");
    if let TransportConfig::Http { headers, .. } = transport
        && headers
            .iter()
            .any(|(name, _)| name == http::header::AUTHORIZATION)
    {
        let problem = "stands beside an `Authorization` in `headers`; expected one of them";
        return Err(malformed(problem.to_owned()));
    }
    if oauth.is_per_principal() && scope == SessionScope::Shared && era != EraPin::Modern {
        let problem = "has `grant: token_exchange`, with which no two callers may share a session of a legacy server; expected `sessions: per_principal` or `per_client` beside it, or `era: modern`";
        return Err(malformed(problem.to_owned()));
    }
    Ok(())
}

/// What one caller may not see of another's must not be shared between them.
pub(super) fn check_shared_cache(
    oauth: Option<&OAuthConfig>,
    scope: SessionScope,
) -> Result<(), BackendConfigError> {
    let beside = if oauth.is_some_and(OAuthConfig::is_per_principal) {
        "`grant: token_exchange`"
    } else if scope != SessionScope::Shared {
        "`sessions` that are not `shared`"
    } else {
        return Ok(());
    };
    Err(malformed("cache.shared")(format!(
        "stands beside {beside}, so that what one caller gets may not be for another; expected `shared: false`"
    )))
}

/// A container with a name of its own is there once: another beside it would be refused by its daemon.
pub(super) fn check_container(
    transport: &TransportConfig,
    processes: &ProcessesConfig,
    scope: SessionScope,
) -> Result<(), BackendConfigError> {
    let TransportConfig::Stdio { command, args, .. } = transport else {
        return Ok(());
    };
    let named = runner::container("", command, args, 0).filter(|container| container.is_named);
    let Some(container) = named else {
        return Ok(());
    };
    let second = [
        ("instances", processes.instances > 1),
        ("max_calls", processes.max_calls.is_some()),
        ("max_age", processes.max_age.is_some()),
        ("sessions", scope != SessionScope::Shared),
    ];
    match second.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(malformed(field)(format!(
            "needs a second container beside the first, but `args` give it the name \"{}\", which \
             one alone can have; leave `--name` out: each gets a name of its own and is removed",
            container.name
        ))),
        None => Ok(()),
    }
}
