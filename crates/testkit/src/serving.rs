//! What the servers over HTTP have in common: where they listen, and how they answer plainly.

use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpListener;

/// A listener on a free loopback port, and its address.
///
/// # Panics
///
/// If no port can be had.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    (listener, address)
}

/// An answer of this media type.
pub(crate) fn answer(status: StatusCode, media_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
