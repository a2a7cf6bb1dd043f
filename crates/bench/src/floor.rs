//! The least that a gateway of this kind can cost: hyper on both sides, a request and an answer
//! each read once and spliced, connections to the backend kept, and no layer between.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::SendRequest;

use crate::connect::connect;
use crate::wire::{AnswerHead, JSON, MAX_MESSAGE_BYTES, METADATA, RequestHead, json, splice};
use crate::{Failure, listener};

/// As many as nginx keeps in its configuration here.
const MAX_IDLE: usize = 64;

/// The way to the backend, and what is the same for every call.
struct Floor {
    backend: SocketAddr,
    host: HeaderValue,
    next_id: AtomicU64,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// Passes calls on until the process ends.
///
/// # Errors
/// As [`listener::serve`].
pub(crate) async fn serve(listen: SocketAddr, backend: SocketAddr) -> Result<(), Failure> {
    let floor = Arc::new(Floor {
        backend,
        host: HeaderValue::from_str(&backend.to_string())
            .map_err(Failure::at("cannot name the backend"))?,
        next_id: AtomicU64::new(1),
        idle: Mutex::default(),
    });
    listener::serve(listen, move |request| {
        let floor = Arc::clone(&floor);
        async move {
            floor
                .pass(request)
                .await
                .unwrap_or_else(|failure| json(StatusCode::BAD_GATEWAY, failure.to_string()))
        }
    })
    .await
}

impl Floor {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let (parts, body) = request.into_parts();
        let body = collect(body).await?;
        let head: RequestHead<'_> =
            serde_json::from_slice(&body).map_err(Failure::at("no request"))?;

        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let name = head.params.as_ref().and_then(|params| params.name);
        // Without a prefix to take off, a name is spliced back as it was: the work is the same.
        let mut edits = [(head.id, id.as_str()), (head.id, "")];
        let edits = match name {
            Some(name) => {
                edits[1] = (name, name.get());
                // A client may write its parameters before its id.
                edits.sort_by_key(|(part, _)| part.get().as_ptr().addr());
                &edits[..]
            }
            None => &edits[..1],
        };
        let sent = self.request(&parts, splice(&body, edits));

        let mut connection = self.connection().await?;
        let answer = connection
            .send_request(sent)
            .await
            .map_err(Failure::at("the backend did not answer"))?;
        let status = answer.status();
        let answer = collect(answer.into_body()).await?;
        self.keep(connection);

        let answered: AnswerHead<'_> =
            serde_json::from_slice(&answer).map_err(Failure::at("no response"))?;
        let body = splice(&answer, &[(answered.id, head.id.get())]);
        Ok(json(status, body))
    }

    fn request(&self, from: &Parts, body: Vec<u8>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = from.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, JSON);
        for name in METADATA.into_iter().chain([ACCEPT]) {
            if let Some(value) = from.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        request
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        while let Some(mut idle) = self.take_idle() {
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        connect(self.backend).await
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

async fn collect<B>(body: B) -> Result<Bytes, Failure>
where
    B: Body,
    B::Error: Display + Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Limited::new(body, MAX_MESSAGE_BYTES)
        .collect()
        .await
        .map_err(Failure::at("cannot read a body"))?;
    Ok(collected.to_bytes())
}
