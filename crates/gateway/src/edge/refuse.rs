//! An answer to a request whose body nobody reads.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use axum::response::Response;
use futures_util::future::{BoxFuture, FutureExt};
use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

/// How much of a body is thrown away, and for how long it may come.
const MAX_DISCARDED: usize = 64 * 1024;
const MAX_TIME: Duration = Duration::from_secs(5);

/// An early answer. In a box, since every request's future would have room for it.
pub(crate) type Refused = BoxFuture<'static, Result<Response, Infallible>>;

/// Answers a request without a look at its body. Over HTTP/2 the stream of a request that was not
/// read is reset right behind the answer, and there are clients that lose the answer then; so what
/// the client is about to send is thrown away first. Over HTTP/1 the connection sees to it.
pub(crate) fn refuse<B>(request: Request<B>, response: Response) -> Refused
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    if request.version() != Version::HTTP_2 || request.body().is_end_stream() {
        return ready(Ok(response)).boxed();
    }
    let discarding = discard(request.into_body());
    discarding.map(|()| Ok(response)).boxed()
}

/// Reads a body that is of no use, as far as it is short and comes in time.
pub(crate) async fn discard(body: impl Body) {
    let discard = async {
        let (mut body, mut discarded) = (pin!(body), 0);
        while let Some(Ok(frame)) = body.frame().await
            && discarded < MAX_DISCARDED
        {
            discarded += frame.data_ref().map_or(0, bytes::Buf::remaining);
        }
    };
    // Whether all of it came does not matter.
    let _ = timeout(MAX_TIME, discard).await;
}
