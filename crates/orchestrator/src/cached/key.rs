//! All that decides about a result, as a digest.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use switchboard_backends::Backend;
use switchboard_backends::config::SessionScope;
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::call::Call;
use switchboard_protocol::canonical::canonical;
use switchboard_protocol::policy::TargetKind;
use switchboard_protocol::result_cache::CacheKey;
use switchboard_protocol::splice::for_each_member;

/// The keys of `_meta` that begin with this are the protocol's.
const PROTOCOL_PREFIX: &str = "io.modelcontextprotocol/";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// What carries a trace, or asks for progress, decides nothing.
const CARRIED: [&str; 4] = ["progressToken", "traceparent", "tracestate", "baggage"];

/// What all keys of one call share.
pub(super) struct KeyBase(Sha256);

/// What is asked for.
pub(super) struct Subject<'s> {
    pub(super) kind: TargetKind,
    /// The server's own name or URI.
    pub(super) target: &'s str,
    pub(super) param_headers: &'s [(HeaderName, HeaderValue)],
    /// The rules by which secrets are taken out of the result, if any are.
    pub(super) rules: Option<&'s [u8; 32]>,
    /// What tells the backend from any other.
    pub(super) fingerprint: &'s [u8; 32],
}

/// Where a member of the request stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Params,
    Meta,
}

impl KeyBase {
    /// That of a call. `None`: its result is nobody else's, whatever it is.
    pub(super) fn of(call: &Call, subject: &Subject<'_>) -> Option<Self> {
        let params = &call.request.params;
        if params.is_continuation() {
            return None;
        }
        let mut base = Self(Sha256::new());
        base.add(b"switchboard result 1");
        base.add(subject.rules.map_or(&[], |rules| &rules[..]));
        base.add(subject.fingerprint);
        base.add(match subject.kind {
            TargetKind::Tool => b"tool",
            TargetKind::Resource => b"resource",
            TargetKind::Prompt => return None,
        });
        base.add(subject.target.as_bytes());
        base.add(&subject.param_headers.len().to_be_bytes());
        for (name, value) in subject.param_headers {
            base.add(name.as_str().as_bytes());
            base.add(value.as_bytes());
        }
        base.add_params(call)?;
        Some(base)
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// Arguments, and what else stands beside them. The order of members does not count.
    fn add_params(&mut self, call: &Call) -> Option<()> {
        let request = &call.request;
        let params = request.slice(request.keys.params?);
        let mut others: Vec<(Place, Cow<'_, str>, Vec<u8>)> = Vec::new();
        let mut may_be_cached = true;
        for_each_member(params, |key, _, value| match key {
            "name" | "uri" => {}
            "_meta" => for_each_member(value, |key, _, value| {
                if key == switchboard_protocol::TASK_KEY {
                    may_be_cached = false;
                } else if key == CAPABILITIES {
                    // Each client writes them in its own way, and always the same.
                    others.push((Place::Meta, Cow::Borrowed(CAPABILITIES), value.to_vec()));
                } else if !is_carried(key) {
                    others.push((Place::Meta, Cow::Owned(key.to_owned()), canonical(value)));
                }
            }),
            "task" => may_be_cached = false,
            "arguments" => {
                others.push((Place::Params, Cow::Borrowed("arguments"), canonical(value)));
            }
            other => others.push((
                Place::Params,
                Cow::Owned(other.to_owned()),
                canonical(value),
            )),
        });
        if !may_be_cached {
            return None;
        }
        others.sort_unstable();
        self.add(&others.len().to_be_bytes());
        for (place, key, value) in &others {
            self.add(&[*place as u8]);
            self.add(key.as_bytes());
            self.add(value);
        }
        Some(())
    }

    /// The key of a result that anybody may have.
    pub(super) fn of_anybody(&self) -> CacheKey {
        let mut base = Self(self.0.clone());
        base.add(b"anybody");
        CacheKey::new(base.0.finalize().into())
    }

    /// The key of a result that is for the caller alone, in the session at the backend that is the
    /// caller's.
    pub(super) fn of_caller(&self, call: &Call, backend: &Backend) -> CacheKey {
        let mut base = Self(self.0.clone());
        base.add(b"caller");
        base.add(call.principal.id.as_bytes());
        let config = backend.config();
        if config.sessions.scope == SessionScope::PerClient
            && let Some(client) = &call.client
        {
            base.add(b"client");
            base.add(client.id().as_bytes());
        }
        // Two tokens of one person may be good for different things.
        let oauth = config.oauth.as_ref();
        if oauth.is_some_and(|oauth| oauth.is_per_principal())
            && let Some(token) = &call.subject_token
        {
            base.add(b"token");
            base.add(token.expose().as_bytes());
        }
        CacheKey::new(base.0.finalize().into())
    }
}

fn is_carried(key: &str) -> bool {
    key.starts_with(PROTOCOL_PREFIX) || key.starts_with(OWN_META_PREFIX) || CARRIED.contains(&key)
}
