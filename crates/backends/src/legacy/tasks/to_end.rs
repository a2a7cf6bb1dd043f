//! A call that has to be a task, of a client that knows none.

use std::sync::Arc;

use switchboard_protocol::envelope::Response;
use switchboard_protocol::json;
use switchboard_protocol::splice::member;
use tokio::time::timeout;

use super::{SMALL_REQUEST, about, response, without_relation};
use crate::connect::Connection;
use crate::endpoint::Inner;
use crate::link::LinkError;
use crate::link::watch::Watch;

/// Makes a call that has to be a task, and waits for its end. Dropped before that, it cancels the
/// task. `again` hears the second request.
pub(in crate::legacy) async fn exchange_to_end(
    first: impl Future<Output = Result<Response, LinkError>>,
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    again: Watch,
) -> Result<Response, LinkError> {
    let made = first.await?;
    let result = made.result.map(|span| made.slice(span)).unwrap_or_default();
    let id = member(result, "task")
        .and_then(|task| member(task, "taskId"))
        .and_then(json::as_str);
    let Some(id) = id else {
        return Ok(made);
    };
    let cancel = CancelTask {
        task: Some((inner, Arc::clone(&connection), id.clone().into_owned())),
    };
    let out = about("tasks/result", &id);
    let ended = connection.link.request(&connection.wire, out, again).await;
    if ended.is_ok() {
        cancel.disarm();
    }
    let ended = ended?;
    let Some(result) = ended.result else {
        return Ok(ended);
    };
    let plain = [
        b"{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":",
        &without_relation(ended.slice(result))[..],
        b"}",
    ]
    .concat();
    Ok(response(plain).unwrap_or(ended))
}

/// Cancels a task that nobody waits for any more.
struct CancelTask {
    task: Option<(Arc<Inner>, Arc<Connection>, String)>,
}

impl CancelTask {
    fn disarm(mut self) {
        self.task = None;
    }
}

impl Drop for CancelTask {
    fn drop(&mut self) {
        let Some((inner, connection, id)) = self.task.take() else {
            return;
        };
        let tasks = inner.tasks.clone();
        tasks.spawn(async move {
            let out = about("tasks/cancel", &id);
            let request = connection
                .link
                .request(&connection.wire, out, Watch::deaf());
            let _ = timeout(SMALL_REQUEST, request).await;
        });
    }
}
