//! Which calls of a tool go out as tasks, and how.

use switchboard_protocol::TASK_KEY;
use switchboard_protocol::call::Call;
use switchboard_protocol::extension;
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::{filter_object, member};

use crate::endpoint::Inner;
use crate::link::Outgoing;
use crate::lists::TaskSupport;
use crate::message::Rewrite;

/// How a call of a tool goes to a legacy server that has tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::legacy) enum Plan {
    /// As any other.
    Plainly,
    /// As a task that its client asks for, with these parameters of `task`.
    AsTask(Vec<u8>),
    /// As a task whose end the call waits for.
    ToItsEnd,
}

/// Decides how a call goes out: a tool that has to be a task is one; one that may be is one if its
/// client said so.
pub(in crate::legacy) fn plan(inner: &Inner, call: &Call, rewrite: &Rewrite<'_>) -> Plan {
    let lists = inner.lists.load();
    let Some(lists) = lists.as_ref().filter(|lists| lists.server.features.tasks) else {
        return Plan::Plainly;
    };
    let (Method::ToolsCall, Some(name)) = (call.method, rewrite.target) else {
        return Plan::Plainly;
    };
    let tool = lists.tools.iter().find(|tool| tool.key == name);
    let Some(support) = tool.and_then(|tool| tool.task_support) else {
        return Plan::Plainly;
    };
    let meta = call
        .request
        .params
        .meta
        .map(|span| call.request.slice(span));
    let wanted = meta.and_then(|meta| member(meta, TASK_KEY));
    match (support, call.declares(extension::TASKS), wanted) {
        (_, true, Some(wanted)) => Plan::AsTask(parameters(wanted)),
        (TaskSupport::Required, true, None) => Plan::AsTask(b"{}".to_vec()),
        (TaskSupport::Required, false, _) => Plan::ToItsEnd,
        (TaskSupport::Optional, _, _) => Plan::Plainly,
    }
}

/// `task` as it goes to the server: of what a client wrote only the time to live.
pub(super) fn parameters(wanted: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    filter_object(wanted, b"", |key| key == "ttl", &mut out);
    out
}

/// The same request, as a task.
pub(in crate::legacy) fn as_task(out: Outgoing, parameters: &[u8]) -> Outgoing {
    const BEFORE: &[u8] = b"\"params\":{";
    // The message is the gateway's own: its head is short, and its parameters are never empty.
    let Some(at) = memchr::memmem::find(&out.body, BEFORE).map(|at| at + BEFORE.len()) else {
        return out;
    };
    let body = [
        &out.body[..at],
        b"\"task\":",
        parameters,
        b",",
        &out.body[at..],
    ]
    .concat();
    Outgoing {
        body: body.into(),
        ..out
    }
}
