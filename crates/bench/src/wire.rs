//! The messages of the measured calls: what a modern client sends, and what is read of them on
//! the way. "Streamable HTTP" and "Tools" of 2026-07-28.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Failure;

/// The path of the endpoint, at every subject and at the backend.
pub(crate) const PATH: &str = "/mcp";
/// The only tool there is.
pub(crate) const TOOL: &str = "echo";
/// The largest message that anything here takes, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// `application/json`, as every body is labelled.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The headers that a modern request mirrors its metadata in.
pub(crate) const METADATA: [HeaderName; 3] = [
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];

/// The headers of a `tools/call`, the same for every call to one host.
///
/// # Errors
/// If `host` is no header value.
pub(crate) fn call_headers(host: &str) -> Result<HeaderMap, Failure> {
    let host = HeaderValue::from_str(host).map_err(Failure::at("cannot name the host"))?;
    let [version, method, name] = METADATA;
    Ok(HeaderMap::from_iter([
        (HOST, host),
        (CONTENT_TYPE, JSON),
        (
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        ),
        (version, HeaderValue::from_static("2026-07-28")),
        (method, HeaderValue::from_static("tools/call")),
        (name, HeaderValue::from_static(TOOL)),
    ]))
}

/// The body of a small `tools/call`.
pub(crate) fn call_body(id: u64) -> Bytes {
    Bytes::from(format!(
        concat!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{{"name":"{}","#,
            r#""arguments":{{"text":"hello"}},"_meta":{{"#,
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
            r#""io.modelcontextprotocol/clientInfo":{{"name":"switchboard-bench","version":"1.0.0"}},"#,
            r#""io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        ),
        id, TOOL
    ))
}

/// What is read of a request on its way.
#[derive(Deserialize)]
pub(crate) struct RequestHead<'a> {
    /// As it stands in the text, so that it can be replaced there.
    #[serde(borrow)]
    pub(crate) id: &'a RawValue,
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) params: Option<ParamsHead<'a>>,
}

/// What is read of a request's parameters on its way.
#[derive(Deserialize)]
pub(crate) struct ParamsHead<'a> {
    /// As it stands in the text, so that it can be replaced there.
    #[serde(borrow)]
    pub(crate) name: Option<&'a RawValue>,
}

/// What is read of an answer on its way.
#[derive(Deserialize)]
pub(crate) struct AnswerHead<'a> {
    /// As it stands in the text, so that it can be replaced there.
    #[serde(borrow)]
    pub(crate) id: &'a RawValue,
    #[serde(borrow)]
    pub(crate) result: Option<&'a RawValue>,
}

/// Whether an answer is the result of the call with this id.
///
/// # Errors
/// Says how it differs.
pub(crate) fn check_answer(status: StatusCode, body: &[u8], id: u64) -> Result<(), Failure> {
    let excerpt = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
    if status != StatusCode::OK {
        return Err(Failure(format!("answered {status}: {}", excerpt())));
    }
    let answer: AnswerHead<'_> = serde_json::from_slice(body)
        .map_err(|error| Failure(format!("answered no response ({error}): {}", excerpt())))?;
    if answer.id.get().parse() != Ok(id) {
        return Err(Failure(format!("call {id} was answered: {}", excerpt())));
    }
    if answer.result.is_none() {
        return Err(Failure(format!("answered no result: {}", excerpt())));
    }
    Ok(())
}

/// An HTTP answer with a JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Copies `text` with each `part` of it, in their order in `text`, replaced by what stands beside
/// it.
pub(crate) fn splice(text: &[u8], parts: &[(&RawValue, &str)]) -> Vec<u8> {
    let longer: usize = parts.iter().map(|(_, with)| with.len()).sum();
    let mut out = Vec::with_capacity(text.len() + longer);
    let mut done = 0;
    for (part, with) in parts {
        let part = part.get();
        let start = part.as_ptr().addr() - text.as_ptr().addr();
        out.extend_from_slice(&text[done..start]);
        out.extend_from_slice(with.as_bytes());
        done = start + part.len();
    }
    out.extend_from_slice(&text[done..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_back() {
        let body = call_body(7);
        let head: RequestHead<'_> = serde_json::from_slice(&body).unwrap();
        assert_eq!(head.id.get(), "7");
        assert_eq!(head.method, "tools/call");
        assert_eq!(head.params.unwrap().name.unwrap().get(), r#""echo""#);
    }

    #[test]
    fn a_splice_touches_only_its_parts() {
        let text = br#"{"id": 1 ,"x":[2],"result":{"a":3}}"#;
        let head: AnswerHead<'_> = serde_json::from_slice(text).unwrap();
        let spliced = splice(
            text,
            &[(head.id, r#""long id""#), (head.result.unwrap(), "{}")],
        );
        assert_eq!(spliced, br#"{"id": "long id" ,"x":[2],"result":{}}"#);
        assert_eq!(splice(text, &[]), text);
    }

    #[test]
    fn only_the_result_of_the_call_itself_passes() {
        let check = |status, body: &str| check_answer(status, body.as_bytes(), 7);
        assert!(check(StatusCode::OK, r#"{"jsonrpc":"2.0","id":7,"result":{}}"#).is_ok());
        assert!(check(StatusCode::ACCEPTED, r#"{"id":7,"result":{}}"#).is_err());
        assert!(check(StatusCode::OK, r#"{"id":8,"result":{}}"#).is_err());
        assert!(check(StatusCode::OK, r#"{"id":"7","result":{}}"#).is_err());
        assert!(check(StatusCode::OK, r#"{"id":7,"error":{"code":-32602}}"#).is_err());
        assert!(check(StatusCode::OK, "data: {}").is_err());
    }
}
