//! The server over standard input and output.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::session::{Aside, Session};
use super::{OUTBOX, Options, Outlet, Shared, modern};
use crate::fake::Era;

/// Serves `input` and `output` until the input is closed.
///
/// # Errors
///
/// If the journal cannot be opened.
pub async fn serve_stdio<R, W>(options: Options, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let shared = Shared::new(options)?;
    let (out, queue) = mpsc::channel(OUTBOX);
    tokio::spawn(write(queue, output));
    let out = Outlet(out);
    match shared.options.era {
        Era::Legacy => legacy(&shared, input, out).await,
        Era::Modern => modern(&shared, input, out).await,
    }
    Ok(())
}

async fn legacy<R: AsyncRead + Unpin>(shared: &Arc<Shared>, input: R, out: Outlet) {
    let session = Session::new(shared, Aside::Channel(out.clone()));
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // What is no JSON gets no answer, as with many servers.
        if let Ok(message) = serde_json::from_str::<Value>(&line) {
            session.receive(message, out.clone()).await;
        }
    }
    session.close();
}

async fn modern<R: AsyncRead + Unpin>(shared: &Arc<Shared>, input: R, out: Outlet) {
    let mut lines = BufReader::new(input).lines();
    let mut running: HashMap<String, CancellationToken> = HashMap::new();
    let mut requests = JoinSet::new();
    while let Ok(Some(line)) = lines.next_line().await {
        while requests.try_join_next().is_some() {}
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        match (message["method"].as_str(), message.get("id")) {
            (Some("notifications/cancelled"), None) => {
                let id = &message["params"]["requestId"];
                if let Some(running) = running.remove(&id.to_string()) {
                    running.cancel();
                }
            }
            (Some(_), Some(id)) => {
                running.retain(|_, running| !running.is_cancelled());
                let token = CancellationToken::new();
                running.insert(id.to_string(), token.clone());
                let (shared, out) = (Arc::clone(shared), out.clone());
                requests.spawn(async move {
                    // What is over counts as cancelled, and so is forgotten.
                    let _over = token.clone().drop_guard();
                    modern::serve(shared, message, out, token).await;
                });
            }
            _ => {}
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(mut queue: mpsc::Receiver<String>, mut output: W) {
    while let Some(mut line) = queue.recv().await {
        line.push('\n');
        let written = output.write_all(line.as_bytes()).await;
        if written.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
