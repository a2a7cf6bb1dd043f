//! The server of tasks over standard input and output.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::TaskServer;

/// How many messages wait to be written.
const OUTBOX: usize = 1024;

/// Serves until the input ends.
pub async fn serve(
    server: TaskServer,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin + Send + 'static,
) {
    let server = Arc::new(server);
    let (out, mut messages) = mpsc::channel::<Value>(OUTBOX);
    let writing = tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            let line = format!("{message}\n");
            let written = output.write_all(line.as_bytes()).await;
            if written.is_err() || output.flush().await.is_err() {
                return;
            }
        }
    });
    let mut requests = JoinSet::new();
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let (server, out) = (Arc::clone(&server), out.clone());
        requests.spawn(async move {
            if let Some(answer) = server.handle("", &message, &out).await {
                let _ = out.send(answer).await;
            }
        });
        while requests.try_join_next().is_some() {}
    }
    requests.shutdown().await;
    drop(out);
    let _ = writing.await;
}
