//! Which endpoint a call is sent to.

use std::time::Duration;

use smallvec::SmallVec;
use switchboard_protocol::call::Call;
use switchboard_protocol::error::CallError;
use switchboard_telemetry::Refusal;
use tokio::time::Instant;

use super::Inner;
use crate::answer;
use crate::balance::{Candidate, sticky};
use crate::breaker::Refused;
use crate::call_attempts::CallAttempts;
use crate::config::SessionScope;
use crate::endpoint::Endpoint;
use crate::endpoints::digest;
use crate::message::Rewrite;
use crate::status::Status;

impl Inner {
    /// The endpoint to ask next, of those whose breaker lets calls in: where the call belongs, or
    /// out of those that are well, or of all if none is; first of those that have not failed it.
    pub(super) fn choose(
        &self,
        call: &Call,
        rewrite: &Rewrite<'_>,
        attempts: &CallAttempts,
        now: Instant,
    ) -> Result<Endpoint, CallError> {
        let endpoints = self.endpoints.load();
        if let Some(key) = rewrite.endpoint {
            // A call that is parked in a legacy server holds its session itself.
            let parked = || {
                endpoints
                    .iter()
                    .find(|at| at.finds_parked(rewrite))
                    .cloned()
            };
            let home = self.home(key).or_else(parked);
            let home = home.ok_or_else(|| answer::endpoint_gone(&self.name))?;
            self.open_of(std::slice::from_ref(&home), now)?;
            return Ok(home);
        }
        if endpoints.is_empty() {
            let Status { state, reason, .. } = self.status.lock().clone();
            return Err(answer::not_connected(&self.name, state, &reason).into());
        }
        let open = self.open_of(&endpoints, now)?;
        if let [only] = open.as_slice() {
            return Ok(Endpoint::clone(only));
        }
        let untried = |endpoint: &&&Endpoint| !attempts.has_failed_at(endpoint.key());
        let well = |endpoint: &&&Endpoint| untried(endpoint) && endpoint.is_well();
        let any = |_: &&&Endpoint| true;
        let tiers: [&dyn Fn(&&&Endpoint) -> bool; 3] = [&well, &untried, &any];
        let mut picked = tiers
            .iter()
            .filter_map(|tier| self.pick(call, open.iter().filter(tier).copied(), now));
        picked.next().ok_or_else(|| self.breaker_open(None))
    }

    /// Those of these whose breaker lets a call in; an error if there are none.
    fn open_of<'e>(
        &self,
        endpoints: &'e [Endpoint],
        now: Instant,
    ) -> Result<SmallVec<[&'e Endpoint; 8]>, CallError> {
        let mut soonest = None::<Duration>;
        let is_open = |endpoint: &&Endpoint| match endpoint.breaker().refuses(now) {
            None => true,
            Some(Refused { retry_after }) => {
                soonest = Some(soonest.map_or(retry_after, |soonest| soonest.min(retry_after)));
                false
            }
        };
        let open: SmallVec<[&Endpoint; 8]> = endpoints.iter().filter(is_open).collect();
        match open.is_empty() {
            true => Err(self.breaker_open(soonest)),
            false => Ok(open),
        }
    }

    fn breaker_open(&self, retry_after: Option<Duration>) -> CallError {
        self.metrics.refused(Refusal::BreakerOpen);
        answer::breaker_open(&self.name, retry_after.unwrap_or_default()).into()
    }

    /// The endpoint of this key, which may be about to leave.
    pub(super) fn home(&self, key: u64) -> Option<Endpoint> {
        let endpoints = self.endpoints.load();
        let found = endpoints.iter().find(|endpoint| endpoint.key() == key);
        found.cloned().or_else(|| {
            let leaving = self.leaving.lock();
            leaving.iter().find(|leaving| leaving.key() == key).cloned()
        })
    }

    /// One of these, for this call.
    fn pick<'e>(
        &self,
        call: &Call,
        endpoints: impl Iterator<Item = &'e Endpoint>,
        now: Instant,
    ) -> Option<Endpoint> {
        let mut all: SmallVec<[&Endpoint; 8]> = endpoints.collect();
        let first = all.iter().map(|endpoint| endpoint.priority()).min();
        all.retain(|endpoint| Some(endpoint.priority()) == first);
        let canaries = || all.iter().filter(|endpoint| endpoint.is_canary_of(call));
        let some: SmallVec<[&Endpoint; 8]> = canaries().copied().collect();
        let some = if some.is_empty() { all } else { some };
        let candidates: SmallVec<[Candidate; 8]> = some
            .iter()
            .map(|endpoint| endpoint.candidate(now))
            .collect();
        let index = match self.owner(call) {
            Some(owner) => sticky(digest(owner), &candidates),
            None => self.balancer.pick(&candidates),
        };
        index.map(|index| some[index].clone())
    }

    /// Whose state in one endpoint the call needs, if anybody's.
    fn owner<'c>(&self, call: &'c Call) -> Option<&'c str> {
        let client = || call.client.as_ref().map(|client| client.id());
        match self.config.sessions.scope {
            SessionScope::Shared => None,
            SessionScope::PerPrincipal => Some(&call.principal.id),
            SessionScope::PerClient => client().or(Some(&call.principal.id)),
        }
    }
}
