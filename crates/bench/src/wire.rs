//! What is said on the wire: headers and bodies of the measured requests, and what is read of a
//! message on its way. "Streamable HTTP" and "Tools" of 2026-07-28, "Transports" and "Lifecycle" of
//! 2025-11-25.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Failure;

/// The path of Switchboard's endpoint.
pub(crate) const PATH: &str = "/mcp";
/// The tool that is called.
pub(crate) const TOOL: &str = "echo";
/// The largest message that anything here holds, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// The media type of one message.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The media type of a stream of messages.
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// The header that names a legacy session.
pub(crate) const SESSION: &str = "mcp-session-id";

/// The headers that a modern request mirrors its metadata in. A legacy one has the first.
pub(crate) const METADATA: [HeaderName; 3] = [
    HeaderName::from_static("mcp-protocol-version"),
    HeaderName::from_static("mcp-method"),
    HeaderName::from_static("mcp-name"),
];

/// Which era a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2026-07-28: every request says all of itself.
    Modern,
    /// 2025-11-25: a session is begun first.
    Legacy,
}

impl Era {
    const fn version(self) -> &'static str {
        match self {
            Self::Modern => "2026-07-28",
            Self::Legacy => "2025-11-25",
        }
    }

    /// The headers of a request, the same for every request of this method and name to one host.
    ///
    /// # Errors
    /// If `host` or `name` is no header value.
    pub(crate) fn headers(
        self,
        host: &str,
        method: &'static str,
        name: Option<&str>,
    ) -> Result<HeaderMap, Failure> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(Failure::at("cannot be said in a header"))
        };
        let [version_key, method_key, name_key] = METADATA;
        let mut headers = HeaderMap::from_iter([
            (HOST, value(host)?),
            (CONTENT_TYPE, JSON),
            (
                ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            ),
        ]);
        // The version is agreed on first.
        if method != "initialize" {
            headers.insert(version_key, HeaderValue::from_static(self.version()));
        }
        if self == Self::Modern {
            headers.insert(method_key, HeaderValue::from_static(method));
            if let Some(name) = name {
                headers.insert(name_key, value(name)?);
            }
        }
        Ok(headers)
    }

    /// What stands before and after the id of a request with these members of `params`, which are
    /// either none or end with a comma.
    pub(crate) fn around_id(self, method: &str, members: &str) -> (Bytes, Bytes) {
        let params = match self {
            Self::Modern => format!(
                concat!(
                    r#"{}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                    r#""io.modelcontextprotocol/clientInfo":{{"name":"switchboard-bench","version":"1.0.0"}},"#,
                    r#""io.modelcontextprotocol/clientCapabilities":{{}}}}"#
                ),
                members
            ),
            Self::Legacy => members.trim_end_matches(',').to_owned(),
        };
        let after = format!(r#","method":"{method}","params":{{{params}}}}}"#);
        (
            Bytes::from_static(br#"{"jsonrpc":"2.0","id":"#),
            Bytes::from(after),
        )
    }
}

/// The parameters of a `tools/call` with a text of `argument_bytes`, as [`Era::around_id`] takes
/// them.
pub(crate) fn call_members(name: &str, argument_bytes: usize) -> String {
    let text = "h".repeat(argument_bytes);
    format!(r#""name":"{name}","arguments":{{"message":"{text}"}},"#)
}

/// What is read of a request on its way.
#[derive(Deserialize)]
pub(crate) struct RequestHead<'a> {
    /// As it stands in the text, so that it can be replaced there.
    #[serde(borrow)]
    pub(crate) id: &'a RawValue,
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
        for era in [Era::Modern, Era::Legacy] {
            let (before, after) = era.around_id("tools/call", &call_members(TOOL, 5));
            let body = [&before[..], b"7", &after].concat();
            let head: RequestHead<'_> = serde_json::from_slice(&body).unwrap();
            assert_eq!(head.id.get(), "7");
            assert_eq!(head.params.unwrap().name.unwrap().get(), r#""echo""#);
        }
    }

    #[test]
    fn only_a_modern_request_mirrors_itself() {
        let modern = Era::Modern
            .headers("a:1", "tools/call", Some(TOOL))
            .unwrap();
        assert_eq!(modern["mcp-name"], TOOL);
        assert_eq!(modern["mcp-protocol-version"], "2026-07-28");
        let legacy = Era::Legacy.headers("a:1", "initialize", None).unwrap();
        assert!(!legacy.contains_key("mcp-method"));
        assert!(!legacy.contains_key("mcp-protocol-version"));
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
}
