//! What is shown in the metrics of a backend at the moment of a scrape.

use switchboard_telemetry::{
    BackendLoad, BackendState, BreakerShown, EndpointObserved, ListKind, ListSize, Observed,
};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::breaker::BreakerState;
use crate::endpoint::Endpoint;
use crate::lists::{Item, Lists};
use crate::status::State;

impl Backend {
    /// Tells its calls, its endpoints and what its lists cost.
    pub fn observe(&self, observed: &mut Observed) {
        let name = &**self.name();
        let config = self.config().bulkhead;
        let (in_flight, queued) = self.calls();
        let load = BackendLoad {
            in_flight,
            in_flight_max: config.max_concurrent.min(Semaphore::MAX_PERMITS),
            queued,
            queued_max: config.max_queue,
        };
        observed.backend(name, load);
        let endpoints = self.all_endpoints();
        let endpoints: Vec<EndpointObserved> = endpoints.iter().map(observe_endpoint).collect();
        observed.endpoints(name, &endpoints);
        if let Some(lists) = self.lists() {
            for (kind, items) in lists_of(&lists) {
                let items = items.iter().map(|item| &*item.raw);
                observed.list(name, kind, ListSize::of(items));
            }
        }
    }
}

fn observe_endpoint(endpoint: &Endpoint) -> EndpointObserved {
    EndpointObserved {
        label: endpoint.label().map_or(String::new(), |it| it.to_string()),
        state: shown_state(endpoint.status().state),
        breaker: match endpoint.breaker().state(Instant::now()) {
            BreakerState::Closed => BreakerShown::Closed,
            BreakerState::Open => BreakerShown::Open,
            BreakerState::HalfOpen => BreakerShown::HalfOpen,
        },
        in_flight: endpoint.in_flight(),
        ended: endpoint.ended(),
    }
}

/// The label of a state.
pub(crate) const fn shown_state(state: State) -> BackendState {
    match state {
        State::Starting => BackendState::Starting,
        State::Ready => BackendState::Ready,
        State::Degraded => BackendState::Degraded,
        State::Unavailable => BackendState::Unavailable,
        State::NeedsAuth => BackendState::NeedsAuth,
        State::NeedsAttention => BackendState::NeedsAttention,
    }
}

fn lists_of(lists: &Lists) -> [(ListKind, &[Item]); 5] {
    [
        (ListKind::Tools, &lists.tools),
        (ListKind::Prompts, &lists.prompts),
        (ListKind::Resources, &lists.resources),
        (ListKind::Templates, &lists.templates),
        (ListKind::Skills, &lists.skills),
    ]
}
