//! The endpoints of one backend: which there are, and what their states come to.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::{BackendConfig, CanaryConfig, TransportConfig};
use crate::discovery;
use crate::endpoint::{Endpoint, EndpointSpec};
use crate::status::{State, Status};

/// Ends these endpoints and all that they own.
pub(crate) async fn shut_down(endpoints: &[Endpoint]) {
    join_all(endpoints.iter().map(Endpoint::shut_down)).await;
}

/// The endpoints that a configuration names, in its order: each with the configuration of a backend
/// that is nowhere else.
pub(crate) fn configured(config: &BackendConfig) -> Vec<(EndpointSpec, BackendConfig)> {
    let TransportConfig::Http { headers, kind, .. } = &config.transport else {
        return instances(config);
    };
    if config.discovery.is_some() {
        return Vec::new();
    }
    if config.endpoints.is_empty() {
        return vec![(EndpointSpec::only(), config.clone())];
    }
    let several = config.endpoints.iter().map(|endpoint| {
        let spec = EndpointSpec {
            weight: endpoint.weight,
            canary: endpoint.canary.clone(),
            ..EndpointSpec::at(endpoint.url.as_str(), endpoint.url.authority())
        };
        let transport = TransportConfig::Http {
            url: endpoint.url.clone(),
            address: None,
            headers: headers.clone(),
            kind: *kind,
        };
        let config = BackendConfig {
            transport,
            endpoints: Vec::new(),
            ..config.clone()
        };
        (spec, config)
    });
    several.collect()
}

/// The processes that calls to a local server are spread over: alike but for their names.
fn instances(config: &BackendConfig) -> Vec<(EndpointSpec, BackendConfig)> {
    let count = config.processes.instances;
    if count == 1 {
        return vec![(EndpointSpec::only(), config.clone())];
    }
    let each = (1..=count).map(|number| {
        let name = format!("instance {number}");
        (EndpointSpec::at(&name, &name), config.clone())
    });
    each.collect()
}

/// An endpoint that was found, with its configuration.
pub(crate) fn found(
    config: &BackendConfig,
    found: &discovery::Place,
) -> (EndpointSpec, BackendConfig) {
    let discovery::Place {
        priority,
        address,
        host,
        weight,
    } = found;
    let spec = EndpointSpec {
        weight: *weight,
        priority: *priority,
        ..EndpointSpec::at(
            &format!("{priority} {address} {host}"),
            &address.to_string(),
        )
    };
    let mut config = config.clone();
    if let TransportConfig::Http { address: at, .. } = &mut config.transport {
        *at = Some(*address);
    }
    (spec, config)
}

impl EndpointSpec {
    /// That of a backend with one endpoint.
    fn only() -> Self {
        Self {
            key: 0,
            label: None,
            weight: 1,
            priority: 0,
            canary: CanaryConfig::default(),
        }
    }

    /// One of several, which `id` tells from each other. `label` is what a person calls it.
    fn at(id: &str, label: &str) -> Self {
        Self {
            key: digest(id),
            label: Some(Arc::from(label)),
            ..Self::only()
        }
    }
}

/// FNV-1a (draft-eastlake-fnv, 64 bits): the same everywhere, which the standard library's hashes
/// do not promise. Nobody who could gain by a collision chooses what is hashed.
pub(crate) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What the states of a backend's endpoints come to.
pub(crate) fn aggregate_status(statuses: impl Iterator<Item = Status>) -> Status {
    let all: Vec<Status> = statuses.collect();
    if let [only] = all.as_slice() {
        return only.clone();
    }
    let first = |state: State| all.iter().find(|status| status.state == state);
    let count = |state: State| all.iter().filter(|status| status.state == state).count();
    let ready = count(State::Ready);
    let bad = all.iter().find(|status| status.state != State::Ready);
    match bad {
        None => first(State::Ready).cloned().unwrap_or_else(|| Status {
            state: State::Unavailable,
            reason: "it has no endpoint".to_owned(),
            ..Status::starting()
        }),
        Some(bad) if ready > 0 || count(State::Degraded) > 0 => Status {
            stage: bad.stage,
            state: State::Degraded,
            reason: format!(
                "{ready} of its {} endpoints are well; of another: {}",
                all.len(),
                bad.reason
            ),
            cause: bad.cause.clone(),
            since: bad.since,
        },
        Some(bad) => first(State::Starting)
            .or_else(|| first(State::Unavailable))
            .or_else(|| first(State::NeedsAttention))
            .unwrap_or(bad)
            .clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State) -> Status {
        Status {
            state,
            reason: format!("it is {}", state.as_str()),
            ..Status::starting()
        }
    }

    #[test]
    fn a_backend_is_as_well_as_its_endpoints() {
        use State::{Degraded, NeedsAuth, Ready, Starting, Unavailable};
        for (endpoints, expected) in [
            (&[][..], Unavailable),
            (&[Starting], Starting),
            (&[Ready, Ready], Ready),
            (&[Ready, Unavailable], Degraded),
            (&[Degraded, Unavailable], Degraded),
            (&[Starting, Unavailable], Starting),
            (&[NeedsAuth, Unavailable], Unavailable),
            (&[NeedsAuth, NeedsAuth], NeedsAuth),
        ] {
            let together = aggregate_status(endpoints.iter().map(|state| status(*state)));
            assert_eq!(together.state, expected, "{endpoints:?}");
        }
    }

    #[test]
    fn keys_differ_and_stay_what_they_are() {
        let spec = EndpointSpec::at("http://a:1/mcp", "a:1");
        assert_eq!(spec, EndpointSpec::at("http://a:1/mcp", "a:1"));
        assert_ne!(spec.key, EndpointSpec::at("http://b:1/mcp", "b:1").key);
        assert_eq!(spec.key, 12_280_658_947_389_918_300);
    }
}
