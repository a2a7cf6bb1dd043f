//! News of tasks of a modern server (SEP-2663, Task Status Notifications).

use std::sync::Arc;

use switchboard_protocol::call::Sink;
use switchboard_protocol::error::code;
use switchboard_protocol::json::quoted;
use tokio::time::{Instant, sleep};

use crate::connect::OWN_META;
use crate::endpoint::Endpoint;
use crate::link::watch::Watch;
use crate::link::{error_code, next_id};
use crate::message;
use crate::pause::Pause;

impl Endpoint {
    /// Has the server tell `sink` how these tasks, under its own names, go on, for as long as the
    /// future is polled: the sink gets the server's acknowledgements and its `notifications/tasks`,
    /// whole and as they came. A stream that breaks is opened again. Returns when the server tells
    /// no such news, as legacy ones and many others do not.
    pub(crate) async fn listen_to_tasks(&self, ids: &[String], sink: Arc<dyn Sink>) {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| quoted(id)).collect();
        let ids = String::from_utf8_lossy(&ids.join(&b',')).into_owned();
        let params = format!("\"notifications\":{{\"taskIds\":[{ids}]}}");
        let mut pause = Pause::default();
        let _listener = self.inner.demand.listen();
        loop {
            let opened = Instant::now();
            if let Ok(connection) = self.inner.connected().await {
                if !connection.wire.version.is_modern() {
                    return;
                }
                let out = message::own("subscriptions/listen", next_id(), OWN_META, &params);
                let watch = Watch::of_tasks(Arc::clone(&sink));
                let ended = connection.link.request(&connection.wire, out, watch).await;
                // What it says now it will say again.
                if let Some(
                    code::METHOD_NOT_FOUND | code::INVALID_PARAMS | code::MISSING_CLIENT_CAPABILITY,
                ) = error_code(&ended)
                {
                    return;
                }
            }
            sleep(pause.after(opened.elapsed())).await;
        }
    }
}
