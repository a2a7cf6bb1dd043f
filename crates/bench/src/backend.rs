//! The MCP server that everything is measured against: modern, stateless, as cheap as hyper is.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::wire::{MAX_MESSAGE_BYTES, RequestHead, TOOL, json};
use crate::{Failure, listener};

/// The bytes of a call's result.
const RESULT_BYTES: usize = 200;

/// The results, ready to be put behind an id.
struct Results {
    discover: String,
    list: String,
    call: String,
}

impl Results {
    fn new() -> Self {
        let list = format!(
            concat!(
                r#"{{"resultType":"complete","tools":[{{"name":"{}","description":"Answers a constant text","#,
                r#""inputSchema":{{"type":"object","properties":{{"text":{{"type":"string"}}}}}}}}],"#,
                r#""ttlMs":3600000,"cacheScope":"public"}}"#
            ),
            TOOL
        );
        let (before, after) = (
            r#"{"resultType":"complete","content":[{"type":"text","text":""#,
            r#""}]}"#,
        );
        let text = "a".repeat(RESULT_BYTES - before.len() - after.len());
        Self {
            discover: concat!(
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"#,
                r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"switchboard-bench","version":"1.0.0"}},"#,
                r#""ttlMs":3600000,"cacheScope":"public"}"#
            )
            .to_owned(),
            list,
            call: format!("{before}{text}{after}"),
        }
    }

    fn answer(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let Ok(request) = serde_json::from_slice::<RequestHead<'_>>(body) else {
            let error = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid request"}}"#;
            return json(StatusCode::BAD_REQUEST, error);
        };
        let id = request.id.get();
        let result = match request.method.as_ref() {
            "tools/call" => &self.call,
            "tools/list" => &self.list,
            "server/discover" => &self.discover,
            _ => {
                let error = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#
                );
                return json(StatusCode::NOT_FOUND, error);
            }
        };
        let response = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        json(StatusCode::OK, response)
    }
}

/// Answers MCP requests until the process ends.
///
/// # Errors
/// As [`listener::serve`].
pub(crate) async fn serve(listen: SocketAddr) -> Result<(), Failure> {
    let results = Arc::new(Results::new());
    listener::serve(listen, move |request: Request<Incoming>| {
        let results = Arc::clone(&results);
        async move {
            let body = Limited::new(request.into_body(), MAX_MESSAGE_BYTES);
            match body.collect().await {
                Ok(body) => results.answer(&body.to_bytes()),
                Err(_) => json(StatusCode::BAD_REQUEST, Bytes::new()),
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_result_is_json_and_a_calls_is_of_the_promised_size() {
        let results = Results::new();
        assert_eq!(results.call.len(), RESULT_BYTES);
        for result in [&results.call, &results.list, &results.discover] {
            let value: Value = serde_json::from_str(result).unwrap();
            assert_eq!(value["resultType"], "complete");
        }
    }

    #[test]
    fn unknown_methods_and_broken_requests_are_refused() {
        let results = Results::new();
        let unknown = results.answer(br#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#);
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
        assert_eq!(results.answer(b"[]").status(), StatusCode::BAD_REQUEST);
    }
}
