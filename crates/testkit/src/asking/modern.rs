//! The modern era: no sessions, every request is answered by itself.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::talk::{Replay, Side, Stop, Talk};
use super::{Outlet, Shared, lists, tools};

/// The revision that is spoken.
const VERSION: &str = "2026-07-28";

/// Answers one request, unless it is cancelled first. Everything sent goes to `out`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: Value,
    out: Outlet,
    cancelled: CancellationToken,
) {
    let method = request["method"].as_str().unwrap_or_default();
    let params = &request["params"];
    if let Some(refusal) = refusal(method, params) {
        let response = json!({ "jsonrpc": "2.0", "id": request["id"], "error": refusal });
        out.send(&response).await;
        return;
    }
    if !matches!(method, "tools/call" | "prompts/get" | "resources/read") {
        let mut response = json!({ "jsonrpc": "2.0", "id": request["id"] });
        match result(method) {
            Some(result) => response["result"] = result,
            None => response["error"] = json!({ "code": -32601, "message": "Method not found" }),
        }
        out.send(&response).await;
        return;
    }
    let (known, replay) = match Replay::of(params) {
        Some((execution, replay)) => (execution, Some(replay)),
        None => (None, None),
    };
    let event = if known.is_some() { "resumed" } else { "begin" };
    let execution = known.unwrap_or_else(|| shared.new_execution());
    let is_wrong = replay.is_none();
    let side = Side::Modern(replay.unwrap_or_default());
    let mut talk = Talk::new(shared, execution, &request, out, side);
    if is_wrong {
        let refusal = Stop::Error(-32602, "This requestState is not mine", None);
        return talk.answer(Err(refusal)).await;
    }
    let brought = params["inputResponses"].clone();
    talk.note(
        event,
        json!({ "id": request["id"], "name": talk.name, "brought": brought }),
    );
    let running = async {
        let end = tools::run(&mut talk, method).await;
        talk.answer(end).await;
    };
    tokio::select! {
        biased;
        () = cancelled.cancelled() => talk.note("cancelled", json!({})),
        () = running => {}
    }
}

fn refusal(method: &str, params: &Value) -> Option<Value> {
    if matches!(method, "initialize" | "ping" | "logging/setLevel") {
        return Some(json!({ "code": -32601, "message": "Method not found" }));
    }
    let meta = &params["_meta"];
    match meta["io.modelcontextprotocol/protocolVersion"].as_str() {
        Some(VERSION) => {}
        Some(_) => {
            let data = json!({ "supported": [VERSION] });
            let message = "Unsupported protocol version";
            return Some(json!({ "code": -32022, "message": message, "data": data }));
        }
        None => return Some(json!({ "code": -32602, "message": "The request has no metadata" })),
    }
    let declares = meta["io.modelcontextprotocol/clientCapabilities"].is_object();
    (!declares).then(|| json!({ "code": -32602, "message": "The request has no metadata" }))
}

fn result(method: &str) -> Option<Value> {
    let mut result = if method == "server/discover" {
        json!({
            "supportedVersions": [VERSION],
            "capabilities": lists::capabilities(),
            "_meta": { "io.modelcontextprotocol/serverInfo": lists::info() },
        })
    } else {
        lists::list(method, None)?
    };
    result["resultType"] = json!("complete");
    result["ttlMs"] = json!(300_000);
    result["cacheScope"] = json!("public");
    Some(result)
}
