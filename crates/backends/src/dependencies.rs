//! Waiting for the backends that a backend depends on, before it is started.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::endpoint::Inner;
use crate::status::{Stage, State};

/// How long a backend waits for those that it depends on. Then it is started all the same: it may
/// do without them, and a gateway should not fail as a whole for one server.
pub(crate) const START_WAIT: Duration = Duration::from_secs(60);

/// Waits until all of these are ready, or for [`START_WAIT`], or until the endpoint is stopped.
pub(crate) async fn wait_for(inner: &Inner, dependencies: &[Backend]) {
    let awaited = || {
        let mut awaited = dependencies.iter();
        awaited
            .find(|backend| !is_ready(backend))
            .map(Backend::name)
    };
    let Some(first) = awaited() else { return };
    let reason = format!("it waits for \"{first}\"");
    inner.set_status(State::Starting, Stage::Connecting, &reason);
    let all_ready = join_all(dependencies.iter().map(|backend| backend.until(is_ready)));
    let waited = tokio::select! {
        () = inner.stop.cancelled() => return,
        waited = timeout(START_WAIT, all_ready) => waited,
    };
    if let (Err(_), Some(name)) = (waited, awaited()) {
        tracing::warn!(
            backend = %inner.name,
            waited_for = %name,
            "started without what it depends on, which is not ready after {} s",
            START_WAIT.as_secs()
        );
    }
    let reason = "it has not answered yet";
    inner.set_status(State::Starting, Stage::Connecting, reason);
}

fn is_ready(backend: &Backend) -> bool {
    backend.status().state.is_usable()
}
