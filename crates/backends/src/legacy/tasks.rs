//! Tasks of 2025-11-25 as tasks of the extension (2025-11-25: `basic/utilities/tasks`; SEP-2663).
//!
//! A legacy server's task belongs to the session that it was created in, ends with a request of its
//! own (`tasks/result`), and asks on that request's stream. So for every task that is created for a
//! client which knows tasks, one task of the gateway's, its [`driver`], makes that request
//! at once, as a parked call that holds the session: what the server asks is what `tasks/get` shows
//! as `inputRequests`, what it answers is the task's result. A client that knows no tasks waits for
//! the result in the call itself ([`exchange_to_end`]).

use std::time::Duration;

use switchboard_protocol::envelope::Response;
use switchboard_protocol::extension::RELATED_TASK;
use switchboard_protocol::json;
use switchboard_protocol::splice::{filter_object, member};

use crate::link::{Outgoing, next_id};
use crate::message;

mod books;
mod driver;
mod plan;
mod requests;
mod said;
mod to_end;

pub(crate) use self::books::Tasks;
pub(super) use self::driver::create;
pub(super) use self::plan::{Plan, as_task, plan};
pub(super) use self::requests::answer;
pub(super) use self::to_end::exchange_to_end;

/// The longest of what a server says of a task that is kept, and the longest identifier, in bytes.
const MAX_SAID: usize = 4 * 1024;
/// How long a small request about a task may take.
const SMALL_REQUEST: Duration = Duration::from_secs(10);

/// A request of the gateway's own about a task.
fn about(method: &'static str, task: &str) -> Outgoing {
    let id = String::from_utf8_lossy(&json::quoted(task)).into_owned();
    message::own(method, next_id(), "", &format!("\"taskId\":{id}"))
}

fn response(message: Vec<u8>) -> Option<Response> {
    Response::parse(message.into()).ok()
}

/// A result without what names the server's own task.
fn without_relation(result: &[u8]) -> Vec<u8> {
    let Some(meta) = member(result, "_meta").filter(|meta| member(meta, RELATED_TASK).is_some())
    else {
        return result.to_vec();
    };
    let mut kept = b"\"_meta\":".to_vec();
    filter_object(meta, b"", |key| key != RELATED_TASK, &mut kept);
    let kept = if kept.ends_with(b":{}") {
        Vec::new()
    } else {
        kept
    };
    let mut out = Vec::with_capacity(result.len());
    filter_object(result, &kept, |key| key != "_meta", &mut out);
    out
}

#[cfg(test)]
mod tests;
