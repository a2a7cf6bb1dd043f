//! A layer that counts answers by HTTP status.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use switchboard_telemetry::Metrics;
use tower::{Layer, Service};

/// Makes [`Count`].
#[derive(Clone)]
pub(crate) struct CountLayer {
    pub(crate) metrics: Arc<Metrics>,
}

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;

    fn layer(&self, inner: S) -> Count<S> {
        Count {
            inner,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// See [`CountLayer`].
#[derive(Clone)]
pub(crate) struct Count<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for Count<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture {
            inner: self.inner.call(request),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

pin_project! {
    /// Counts the answer when it is there.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        metrics: Arc<Metrics>,
    }
}

impl<F, R> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(context));
        if let Ok(response) = &answer {
            this.metrics.http_request(response.status().as_u16());
        }
        Poll::Ready(answer)
    }
}
