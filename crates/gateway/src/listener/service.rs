//! The service as one connection sees it: bounds on the head, and a count of what is in flight.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use axum::Extension;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};

use super::Limits;
use super::activity::{Activity, Busy, Standing};

/// What a listener serves: gives each connection its service.
pub(crate) trait HttpApp {
    /// The service of a connection from `peer`; what it finds out of who that is goes to `standing`.
    fn serve(&self, peer: SocketAddr, standing: Standing) -> impl HttpService;
}

/// Each request carries the peer's address as the extension [`ConnectInfo`]`<SocketAddr>`.
impl HttpApp for axum::Router {
    fn serve(&self, peer: SocketAddr, standing: Standing) -> impl HttpService {
        // It asks nobody who he is.
        standing.is_of_a_principal();
        self.clone().layer(Extension(ConnectInfo(peer)))
    }
}

/// What one connection is served: any service of tower that answers every request.
pub(crate) trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<Self::ResponseBody>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type ResponseBody: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type ResponseBody = B;
}

/// The service of one connection.
pub(super) struct ConnectionService<S> {
    /// Called where it is: a clone of it is one of every layer.
    inner: RefCell<S>,
    activity: Arc<Activity>,
    max_headers: usize,
    max_uri_bytes: usize,
    max_body_bytes: usize,
}

impl<S> ConnectionService<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>, limits: &Limits) -> Self {
        Self {
            inner: RefCell::new(inner),
            activity,
            max_headers: limits.max_headers,
            max_uri_bytes: limits.max_uri_bytes,
            max_body_bytes: limits.max_body_bytes,
        }
    }

    /// How long the body of this request may be.
    fn longest_body(&self, request: &Request<Incoming>) -> usize {
        let exact = request.body().size_hint().exact();
        let exact = exact.and_then(|exact| usize::try_from(exact).ok());
        exact.unwrap_or(usize::MAX).min(self.max_body_bytes)
    }

    fn refusal(&self, request: &Request<Incoming>) -> Option<StatusCode> {
        let uri = request.uri();
        let target = uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
        let authority = uri
            .authority()
            .map_or(0, |authority| authority.as_str().len());
        if target + authority > self.max_uri_bytes {
            return Some(StatusCode::URI_TOO_LONG);
        }
        (request.headers().len() > self.max_headers)
            .then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    }
}

impl<S: HttpService> ConnectionService<S> {
    fn ask(&self, request: Request<Incoming>) -> Outcome<S> {
        let mut inner = self.inner.borrow_mut();
        match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(_) => Outcome::Asked {
                response: inner.call(request),
            },
            // None of ours ever is; one that waits does so for each request alone.
            Poll::Pending => Outcome::Waiting {
                response: Box::pin(inner.clone().oneshot(request)),
            },
        }
    }
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<InFlight<S::ResponseBody>>;
    type Error = Infallible;
    type Future = ResponseFuture<S>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let is_multiplexed = request.version() == Version::HTTP_2;
        let body = self.longest_body(&request);
        let busy = self.activity.begin(is_multiplexed, body);
        let outcome = match self.refusal(&request) {
            Some(status) => Outcome::Refused { status },
            None => self.ask(request),
        };
        ResponseFuture {
            outcome,
            busy: Some(busy),
        }
    }
}

pin_project! {
    /// The answer to come.
    pub(super) struct ResponseFuture<S>
    where
        S: Service<Request<Incoming>>,
    {
        #[pin]
        outcome: Outcome<S>,
        busy: Option<Busy>,
    }
}

pin_project! {
    #[project = OutcomeProjection]
    enum Outcome<S>
    where
        S: Service<Request<Incoming>>,
    {
        Asked { #[pin] response: S::Future },
        // Boxed, since it is large and never used by ours.
        Waiting { response: Pin<Box<Oneshot<S, Request<Incoming>>>> },
        Refused { status: StatusCode },
    }
}

impl<S: HttpService> Future for ResponseFuture<S> {
    type Output = Result<Response<InFlight<S::ResponseBody>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.outcome.project() {
            OutcomeProjection::Asked { response } => {
                let Ok(response) = ready!(response.poll(cx));
                response.map(Some)
            }
            OutcomeProjection::Waiting { response } => {
                let Ok(response) = ready!(response.as_mut().poll(cx));
                response.map(Some)
            }
            OutcomeProjection::Refused { status } => {
                let mut response = Response::new(None);
                *response.status_mut() = *status;
                response
            }
        };
        let mut busy = this.busy.take();
        if let Some(busy) = &mut busy {
            busy.offers();
        }
        Poll::Ready(Ok(response.map(|body| InFlight { body, busy })))
    }
}

pin_project! {
    /// The body of an answer; its request is in flight until this is dropped.
    pub(super) struct InFlight<B> {
        #[pin]
        body: Option<B>,
        busy: Option<Busy>,
    }
}

impl<B: Body<Data = Bytes>> Body for InFlight<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        // Over HTTP/2 hyper asks as soon as the peer has room for what comes next.
        if let Some(busy) = this.busy {
            busy.taken();
        }
        let frame = body.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(busy)) = (&frame, this.busy) {
            busy.offers();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
