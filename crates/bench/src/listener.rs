//! The accept loop that the fake backend and the floor share.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::Failure;

/// More connections than this wait to be accepted.
const MAX_CONNECTIONS: usize = 16 * 1024;

/// Answers every request with `answer` until the process ends.
///
/// # Errors
/// If the address cannot be listened on, or accepting fails.
pub(crate) async fn serve<A, F, B>(listen: SocketAddr, answer: A) -> Result<(), Failure>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let listener = TcpListener::bind(listen)
        .await
        .map_err(Failure::at("cannot listen"))?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .map_err(Failure::at("cannot accept"))?;
        let (stream, _) = listener
            .accept()
            .await
            .map_err(Failure::at("cannot accept"))?;
        stream
            .set_nodelay(true)
            .map_err(Failure::at("cannot set TCP_NODELAY"))?;
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        tokio::spawn(async move {
            // A client that breaks off sees that itself; there is nobody else to tell.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}
