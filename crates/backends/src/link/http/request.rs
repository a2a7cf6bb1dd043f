//! How requests are written: the headers that all of a link have, those of a session, and those of one
//! request.

use std::sync::Arc;

use ::http::header::CONTENT_LENGTH;
use ::http::uri::Authority;
use ::http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Uri};
use bytes::Bytes;
use http_body_util::Full;
use switchboard_protocol::credentials::OnBehalf;
use switchboard_protocol::header;
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;

use super::HttpLink;
use crate::link::{Outgoing, Wire};

/// The method of nearly every request.
const USUAL_METHOD: &str = Method::ToolsCall.as_str();

/// The headers that every request of a session has.
pub(super) struct SessionHeaders {
    wire: Wire,
    headers: HeaderMap,
}

impl SessionHeaders {
    fn is_of(&self, wire: &Wire) -> bool {
        self.wire.version == wire.version && self.wire.session == wire.session
    }
}

impl HttpLink {
    /// The request that is posted, and whose it is. Apart, since what is borrowed where is waited makes
    /// the future of every call larger.
    pub(super) fn posted(
        &self,
        wire: &Wire,
        mut out: Outgoing,
    ) -> (Request<Full<Bytes>>, Option<Arc<OnBehalf>>) {
        let caller = out.on_behalf.take();
        let trace = out.trace.take();
        let mut request = if wire.version.is_modern() {
            self.modern_request(wire, out)
        } else {
            self.request_of(HttpMethod::POST, wire, out.body)
        };
        if let Some(trace) = trace {
            trace.put_into(request.headers_mut());
        }
        (request, caller)
    }

    /// A request of 2026-07-28, with what it mirrors of its body (specification:
    /// `basic/transports/streamable-http`, Request Metadata).
    fn modern_request(&self, wire: &Wire, out: Outgoing) -> Request<Full<Bytes>> {
        let mut headers = self.inner.modern_headers.clone();
        if wire.version != Version::LATEST {
            let version = HeaderValue::from_static(wire.version.as_str());
            headers.insert(header::PROTOCOL_VERSION, version);
        }
        if out.method != USUAL_METHOD {
            headers.insert(header::METHOD, HeaderValue::from_static(out.method));
        }
        match out.name {
            Some(name) => headers.insert(header::NAME, name),
            None => headers.remove(header::NAME),
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(out.body.len()));
        // Extending makes room again, even for none.
        if !out.param_headers.is_empty() {
            headers.extend(out.param_headers);
        }
        self.request_with(HttpMethod::POST, headers, out.body)
    }

    pub(super) fn request_with(
        &self,
        method: HttpMethod,
        headers: HeaderMap,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.inner.target.clone();
        *request.headers_mut() = headers;
        request
    }

    pub(super) fn request_of(
        &self,
        method: HttpMethod,
        wire: &Wire,
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let known = self.inner.session.get();
        let headers = match known.filter(|session| session.is_of(wire)) {
            Some(session) => session.headers.clone(),
            None => self.headers_of(wire),
        };
        self.request_with(method, headers, body)
    }

    pub(super) fn headers_of(&self, wire: &Wire) -> HeaderMap {
        let mut headers = self.inner.headers.clone();
        if wire.version.has_version_header() {
            headers.insert(
                header::PROTOCOL_VERSION,
                HeaderValue::from_static(wire.version.as_str()),
            );
        }
        if let Some(session) = &wire.session {
            headers.insert(header::SESSION_ID, session.clone());
        }
        headers
    }

    /// Makes the headers once that all requests of a legacy session have, which is the link's from
    /// here on.
    pub(crate) fn speak_legacy(&self, wire: &Wire) {
        self.inner.session.get_or_init(|| SessionHeaders {
            wire: wire.clone(),
            headers: self.headers_of(wire),
        });
    }
}

/// Those headers, with the latest version and the usual method, and all others that a modern POST
/// has, whose values are still to come.
pub(super) fn with_modern_places(mut headers: HeaderMap) -> HeaderMap {
    let latest = HeaderValue::from_static(Version::LATEST.as_str());
    headers.insert(header::PROTOCOL_VERSION, latest);
    headers.insert(header::METHOD, HeaderValue::from_static(USUAL_METHOD));
    for name in [header::NAME, CONTENT_LENGTH] {
        headers.insert(name, HeaderValue::from_static(""));
    }
    headers
}

pub(super) fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .cloned()
        .map_or_else(Uri::default, Uri::from)
}

/// The value of `Host`: an authority without what stands before an `@`.
pub(super) fn host_of(authority: &Authority) -> Option<HeaderValue> {
    let host = authority.as_str().rsplit('@').next()?;
    HeaderValue::from_str(host).ok()
}
