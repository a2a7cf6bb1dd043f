//! From an HTTP request to a call (specification: `basic/transports/streamable-http`, Sending
//! Messages to Server Validation).

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::envelope::{Envelope, EnvelopeError, MAX_ID_BYTES, Message, is_id};
use switchboard_protocol::error::{ProtocolError, code};
use switchboard_protocol::header;
use switchboard_protocol::json::Span;
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;

use crate::legacy::{self, Posted};

/// A request that did not become a call.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The id of the request as written, if it could be read.
    pub(crate) id: Option<Bytes>,
    /// What is told to the client.
    pub(crate) error: ProtocolError,
}

impl Rejection {
    pub(crate) fn new(
        status: StatusCode,
        code: i64,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            id: None,
            error: ProtocolError::new(code, message),
        }
    }

    fn bad(error: ProtocolError) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            id: None,
            error,
        }
    }

    fn for_request(mut self, request: &Envelope) -> Self {
        self.id = request.keys.id.map(|span| request.bytes(span));
        self
    }
}

impl From<ProtocolError> for Rejection {
    fn from(error: ProtocolError) -> Self {
        let status = if error.code == code::METHOD_NOT_FOUND {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::BAD_REQUEST
        };
        Self {
            status,
            ..Self::bad(error)
        }
    }
}

/// A body, parsed, and sorted by era: here the edges part.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one: a box would cost every call"
)]
pub(crate) enum Parsed {
    /// A request or notification of 2026-07-28.
    Modern(Envelope),
    /// Anything of an older revision.
    Legacy(Posted),
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A call.
    Call(Box<Call>),
    /// A notification: accepted, and nothing more is said.
    Notification,
}

/// The bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

/// Checks what the headers say of the body, before it is read.
pub(crate) fn check_media_types(headers: &HeaderMap) -> Result<(), Rejection> {
    check_content_type(headers)?;
    // What nearly every client sends needs no parsing.
    let usual = headers
        .get(ACCEPT)
        .is_some_and(|value| value == "application/json, text/event-stream");
    if usual {
        return Ok(());
    }
    if !accepts(headers, b"application/json") || !accepts(headers, b"text/event-stream") {
        return Err(Rejection::new(
            StatusCode::NOT_ACCEPTABLE,
            code::INVALID_REQUEST,
            "Accept lists both application/json and text/event-stream",
        ));
    }
    Ok(())
}

/// Checks that the body is JSON as it is.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| {
        // What nearly every client sends needs no parsing.
        value == "application/json"
            || essence(value.as_bytes()).eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return Err(Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::INVALID_REQUEST,
            "Content-Type is application/json",
        ));
    }
    let encoded = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(Rejection::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            code::INVALID_REQUEST,
            "the body comes without Content-Encoding",
        ));
    }
    Ok(())
}

/// Checks that an event stream is a welcome answer.
pub(crate) fn check_accepts_events(headers: &HeaderMap) -> Result<(), Rejection> {
    if accepts(headers, b"text/event-stream") {
        return Ok(());
    }
    Err(Rejection::new(
        StatusCode::NOT_ACCEPTABLE,
        code::INVALID_REQUEST,
        "Accept lists text/event-stream",
    ))
}

fn essence(value: &[u8]) -> &[u8] {
    let end = value
        .iter()
        .position(|byte| *byte == b';')
        .unwrap_or(value.len());
    value[..end].trim_ascii()
}

fn accepts(headers: &HeaderMap, wanted: &[u8]) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|range| {
            let range = essence(range);
            let main = wanted
                .split(|byte| *byte == b'/')
                .next()
                .unwrap_or_default();
            range.eq_ignore_ascii_case(wanted)
                || range == b"*/*"
                || range
                    .strip_suffix(b"/*")
                    .is_some_and(|range| range.eq_ignore_ascii_case(main))
        })
}

/// Reads the body; in the common case of one frame without a copy.
pub(crate) async fn read_body(body: Body, limits: BodyLimits) -> Result<Bytes, Rejection> {
    let too_large = || {
        let message = format!("the body is larger than {} bytes", limits.bytes);
        Rejection::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            code::INVALID_REQUEST,
            message,
        )
    };
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(too_large());
    }
    let reading = async {
        let mut body = body;
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        // A body that says how long it is also says when it has ended.
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|_| {
                Rejection::new(
                    StatusCode::BAD_REQUEST,
                    code::PARSE_ERROR,
                    "the body ended early",
                )
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > limits.bytes {
                return Err(too_large());
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    };
    let mut reading = pin!(reading);
    // A small body comes with its head, and needs no timer.
    let at_once = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context)));
    if let Poll::Ready(body) = at_once.await {
        return body;
    }
    match tokio::time::timeout(limits.timeout, reading).await {
        Ok(result) => result,
        Err(_) => Err(Rejection::new(
            StatusCode::REQUEST_TIMEOUT,
            code::INVALID_REQUEST,
            "the body took too long to arrive",
        )),
    }
}

/// Whether a message belongs to the time before 2026-07-28: a modern header or `_meta` decides
/// first, whatever else is there; then a handshake or a session (specification: `basic/versioning`,
/// Backward Compatibility).
fn is_legacy(headers: &HeaderMap, message: &Message) -> bool {
    match message {
        Message::Request(request) => {
            request.meta.protocol_version.is_none()
                && legacy::is_legacy(headers)
                    .unwrap_or_else(|| &*request.method_name() == b"initialize")
        }
        Message::Response(_) => legacy::is_legacy(headers) == Some(true),
    }
}

/// Parses a body, once, and finds its era.
pub(crate) fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Parsed, Rejection> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') && legacy::is_legacy(headers) == Some(true) {
        return Ok(Parsed::Legacy(Posted::Batch(body.clone())));
    }
    let refused = |error: EnvelopeError| {
        let (code, id) = match error {
            EnvelopeError::Json(_) => (code::PARSE_ERROR, None),
            // JSON-RPC: an error names its request where that can be told.
            EnvelopeError::Shape(_) => (
                code::INVALID_REQUEST,
                member(body, "id").filter(|id| is_id(id)),
            ),
        };
        Rejection {
            id: id.map(|id| body.slice_ref(id)),
            ..Rejection::bad(ProtocolError::new(code, error.to_string()))
        }
    };
    let message = Message::parse(body.clone()).map_err(refused)?;
    if is_legacy(headers, &message) {
        return Ok(Parsed::Legacy(Posted::One(Box::new(message))));
    }
    match message {
        Message::Request(request) => Ok(Parsed::Modern(request)),
        Message::Response(_) => Err(refused(EnvelopeError::Shape(
            "a client sends requests and notifications, never responses".into(),
        ))),
    }
}

/// Makes a call of a request's headers and body.
pub(crate) fn decode(
    headers: &HeaderMap,
    request: Envelope,
    principal: Arc<Principal>,
    peer: Option<IpAddr>,
) -> Result<Incoming, Rejection> {
    if !request.is_request() {
        return Ok(Incoming::Notification);
    }
    match validate(headers, &request) {
        Ok((method, version, log_level)) => Ok(Incoming::Call(Box::new(Call {
            peer,
            param_headers: Some(param_headers(headers)),
            log_level,
            takes_arriving: true,
            ..Call::new(request, method, principal, version)
        }))),
        Err(rejection) => Err(rejection.for_request(&request)),
    }
}

fn validate(
    headers: &HeaderMap,
    request: &Envelope,
) -> Result<(Method, Version, Option<LogLevel>), Rejection> {
    let version = check_version(headers, request)?;
    let name = request.method_name();
    matches_header(headers, &header::METHOD, &name)?;
    let Some(method) = Method::of_name(&name) else {
        return Err(ProtocolError::method_not_found().into());
    };
    let log_level = check_meta(request)?;
    if method.has_name_header() {
        match request.name(request.params.target(method)) {
            Some(target) => matches_header(headers, &header::NAME, &target)?,
            None => return Err(ProtocolError::invalid_params("params name no target").into()),
        }
    }
    Ok((method, version, log_level))
}

/// Version in `_meta` and header (specification: `basic/transports/streamable-http`, Protocol
/// Version Header).
fn check_version(headers: &HeaderMap, request: &Envelope) -> Result<Version, ProtocolError> {
    let Some(in_meta) = request.name(request.meta.protocol_version) else {
        return Err(missing(
            "io.modelcontextprotocol/protocolVersion, a string; or, of 2025-11-25 and older, the \
             request needs the Mcp-Session-Id that initialize was answered with",
        ));
    };
    matches_header(headers, &header::PROTOCOL_VERSION, &in_meta)?;
    let mut supported = Version::SUPPORTED_MODERN.iter();
    supported
        .find(|version| version.as_str().as_bytes() == &*in_meta)
        .copied()
        .ok_or_else(|| unsupported(&String::from_utf8_lossy(&in_meta)))
}

fn unsupported(requested: &str) -> ProtocolError {
    let supported: Vec<&str> = Version::SUPPORTED_MODERN
        .iter()
        .map(|version| version.as_str())
        .collect();
    let requested: String = requested.chars().take(64).collect();
    ProtocolError {
        code: code::UNSUPPORTED_VERSION,
        message: format!(
            "Unsupported protocol version: this endpoint speaks {}",
            supported.join(", ")
        )
        .into(),
        data: Some(
            serde_json::json!({ "supported": supported, "requested": requested }).to_string(),
        ),
    }
}

fn missing(what: &str) -> ProtocolError {
    ProtocolError::invalid_params(format!("params._meta needs {what}"))
}

/// The other fields of `_meta` (specification: `basic/index`, `_meta`).
fn check_meta(request: &Envelope) -> Result<Option<LogLevel>, ProtocolError> {
    let first = |span: Span| request.slice(span)[0];
    let meta = &request.meta;
    if meta.client_capabilities.map(first) != Some(b'{') {
        return Err(missing(
            "io.modelcontextprotocol/clientCapabilities, an object",
        ));
    }
    if meta.client_info.is_some_and(|span| first(span) != b'{') {
        return Err(ProtocolError::invalid_params(
            "io.modelcontextprotocol/clientInfo is an object",
        ));
    }
    if let Some(token) = meta.progress_token {
        let raw = request.slice(token);
        if raw.len() > MAX_ID_BYTES {
            return Err(ProtocolError::invalid_params(
                "progressToken has at most 1 KiB",
            ));
        }
        let is_integer = raw
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'-');
        if raw[0] != b'"' && !is_integer {
            return Err(ProtocolError::invalid_params(
                "progressToken is a string or an integer",
            ));
        }
    }
    match meta.log_level {
        None => Ok(None),
        Some(_) => match request
            .text(meta.log_level)
            .as_deref()
            .and_then(LogLevel::parse)
        {
            Some(level) => Ok(Some(level)),
            None => Err(ProtocolError::invalid_params(
                "io.modelcontextprotocol/logLevel is not one of the eight levels, debug to emergency",
            )),
        },
    }
}

/// Checks that a header says what the body says: exactly one of it, decoded where it may be
/// encoded.
fn matches_header(
    headers: &HeaderMap,
    name: &HeaderName,
    body: &[u8],
) -> Result<(), ProtocolError> {
    let mut values = headers.get_all(name).iter();
    let mismatch = |why: &str| {
        ProtocolError::new(
            code::HEADER_MISMATCH,
            format!("Header mismatch: {name} {why}"),
        )
    };
    let value: &HeaderValue = values.next().ok_or_else(|| mismatch("is missing"))?;
    if values.next().is_some() {
        return Err(mismatch("stands more than once"));
    }
    let equal = if *name == header::NAME {
        header::matches_bytes(value, body).map_err(|error| mismatch(&error.to_string()))?
    } else {
        value.as_bytes() == body
    };
    if equal {
        Ok(())
    } else {
        Err(mismatch("does not match the body"))
    }
}

/// The `Mcp-Param-*` headers, which are checked where the tool's schema is known.
fn param_headers(headers: &HeaderMap) -> HeaderMap {
    let mut found = HeaderMap::new();
    for (name, value) in headers {
        if name.as_str().starts_with(header::PARAM_PREFIX) {
            found.append(name, value.clone());
        }
    }
    found
}
