//! The answers of the admin API.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

/// An answer of one JSON value.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    respond(status, "application/json", value)
}

/// The answer to what is done and leaves nothing to say.
pub(super) fn empty() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Why something was not done (RFC 9457).
#[derive(Serialize, JsonSchema)]
pub(super) struct Problem<'a> {
    status: u16,
    title: &'static str,
    detail: &'a str,
}

/// Why there is none, as problem details (RFC 9457). Boxed, since it is rare.
pub(super) fn problem(status: StatusCode, detail: &str) -> Box<Response> {
    let problem = Problem {
        status: status.as_u16(),
        title: status.canonical_reason().unwrap_or_default(),
        detail,
    };
    Box::new(respond(status, "application/problem+json", &problem))
}

fn respond(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Response {
    // Fails only for maps with keys that are no text, and there are none.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
