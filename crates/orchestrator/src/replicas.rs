//! Which replica of the gateway a call goes on at ([decision 20]).
//!
//! [decision 20]: ../../../docs/decisions/0020-replicas.md

use std::sync::Arc;

use switchboard_protocol::call::Call;
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::json;
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::{for_each_item, member};

use crate::continuation;
use crate::home::Replica;
use crate::orchestrator::{Inner, Orchestrator};
use crate::profiles::enter;
use crate::tasks;

impl Orchestrator {
    /// The address of the replica that has what this call goes on with, or remembers more of it, if
    /// that is another one: the call is for it to answer. `None` where there are no others.
    ///
    /// A call that comes here all the same, since that one cannot be reached, is answered with what
    /// became of it.
    #[must_use]
    pub fn replica_of(&self, call: &Call) -> Option<Arc<str>> {
        let inner = self.inner();
        let here = inner.replica.as_ref()?;
        let replica = match call.method {
            Method::Listen => inner.replica_of_listened(call),
            method if method.names_task() => inner.replica_of_task(call, &call.target()?),
            _ if inner.kept.concerns(call) => inner.kept.replica_of(call),
            method if method.may_require_input() && call.request.params.is_continuation() => {
                inner.replica_of_continuation(call)
            }
            _ => None,
        };
        replica.filter(|replica| replica != here)
    }
}

impl Inner {
    fn replica_of_task(&self, call: &Call, token: &str) -> Option<Arc<str>> {
        let task = tasks::open(&self.sealer, call, token)?;
        task.home.replica.as_ref().map(Replica::address).cloned()
    }

    /// The one that has all of the tasks whose news are wanted: a stream comes from one replica.
    fn replica_of_listened(&self, call: &Call) -> Option<Arc<str>> {
        let filter = call.request.params.notifications?;
        let ids = member(call.request.slice(filter), "taskIds")?;
        let mut replicas = Vec::new();
        for_each_item(ids, |item| {
            // What is wrong with others is told where the stream is opened.
            if replicas.len() <= tasks::MAX_LISTENED
                && let Some(id) = json::as_str(item.of(ids))
                && let Some(task) = tasks::open(&self.sealer, call, &id)
            {
                replicas.push(task.home.replica);
            }
        });
        let first = replicas.first()?.clone()?;
        let is_of_all = replicas
            .iter()
            .all(|replica| replica.as_ref() == Some(&first));
        is_of_all.then(|| Arc::clone(first.address()))
    }

    fn replica_of_continuation(&self, call: &Call) -> Option<Arc<str>> {
        let mut call = call.clone();
        // As the call will be made: its token is bound to the names that there are without a profile.
        if call.profile.is_some() {
            enter(&self.catalogue.load(), &mut call).ok()?;
        }
        if let Some(substitute) = self.substitute_of(&call).ok()? {
            call = substitute.call;
        }
        let token = call.request.text(call.request.params.request_state)?;
        let continuation = continuation::open(&self.sealer, &call, &token).ok()?;
        let replica = continuation.home.replica.as_ref();
        replica.map(Replica::address).cloned()
    }
}

/// The fault of a call that goes on with what a replica has that cannot be reached.
pub(crate) fn replica_away(backend: &Arc<str>) -> Fault {
    let message = format!(
        "What the server \"{backend}\" began is at a replica of the gateway that cannot be reached. Whether it goes on there, and what was done, is not known: check before you begin again."
    );
    Fault::unknown(Reason::Unavailable, message).of(backend)
}
