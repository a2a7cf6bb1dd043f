//! The metadata of the protected resource (RFC 9728): what a client without a token is told.

use axum::body::Body;
use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW,
    CACHE_CONTROL, CONTENT_TYPE,
};
use http::{HeaderValue, Method, Request, StatusCode};
use switchboard_policy::authenticate::METADATA;

use crate::access::Access;
use crate::edge::respond;

/// Whether this is a path of the metadata's.
pub(crate) fn is_of_metadata(path: &str) -> bool {
    let rest = path.strip_prefix(METADATA);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The answer to a request for the metadata; `None` for all others. It is for everybody: pages of any
/// origin may read it, for it says nothing that depends on who asks.
pub(crate) fn answer(access: &Access, request: &Request<Body>) -> Option<Response> {
    let path = request.uri().path();
    if !is_of_metadata(path) {
        return None;
    }
    let any = HeaderValue::from_static("*");
    let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
    let Some(metadata) = access.authenticator.metadata(path) else {
        return Some(respond::empty(StatusCode::NOT_FOUND));
    };
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => {
            let mut response = Response::new(Body::from(metadata));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
            response
        }
        Method::OPTIONS => {
            let mut response = respond::empty(StatusCode::NO_CONTENT);
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, any.clone());
            response
        }
        _ => {
            let mut response = respond::empty(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, methods);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    Some(response)
}
