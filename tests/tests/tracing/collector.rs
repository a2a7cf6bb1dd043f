//! A collector of OpenTelemetry's own protocol, over HTTP or gRPC.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::{Value, json};
use switchboard_tests::waiting::until;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// What is written of spans. Whatever is seen in any test stands in it.
const DOCUMENT: &str = include_str!("../../../docs/tracing.md");

/// A span, with its attributes as text.
pub(crate) struct Seen {
    pub(crate) span: Span,
    pub(crate) attributes: BTreeMap<String, String>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen")
            .field("name", &self.span.name)
            .field("kind", &self.span.kind())
            .field("trace", &hex(&self.span.trace_id))
            .field("id", &hex(&self.span.span_id))
            .field("parent", &hex(&self.span.parent_span_id))
            .field("status", &self.span.status)
            .field("attributes", &self.attributes)
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}

/// Attributes as text, by key.
fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = attribute.value.as_ref()?.value.as_ref()?;
        let text = match value {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(number) => number.to_string(),
            any_value::Value::BoolValue(truth) => truth.to_string(),
            other => format!("{other:?}"),
        };
        Some((attribute.key.clone(), text))
    };
    attributes.iter().filter_map(text).collect()
}

/// An event: its name, and its attributes as text.
pub(crate) type Happening = (String, BTreeMap<String, String>);

impl Seen {
    fn of(span: Span) -> Self {
        let seen = Self {
            attributes: texts(&span.attributes),
            span,
        };
        seen.assert_documented();
        seen
    }

    /// Every attribute, event and span of a wait stands in the document.
    fn assert_documented(&self) {
        let events = self.events();
        let of_events = events.iter().flat_map(|(_, attributes)| attributes.keys());
        let names = self.attributes.keys().chain(of_events);
        let names = names.chain(events.iter().map(|(name, _)| name));
        let is_wait = self.span.kind == SpanKind::Internal as i32;
        let names = names.chain(is_wait.then_some(&self.span.name));
        for name in names {
            let quoted = format!("`{name}`");
            assert!(
                DOCUMENT.contains(&quoted),
                "{quoted} is in no table: {self:#?}"
            );
        }
    }

    /// What happened, in order.
    pub(crate) fn events(&self) -> Vec<Happening> {
        let events = self.span.events.iter();
        let events = events.map(|event| (event.name.clone(), texts(&event.attributes)));
        events.collect()
    }

    /// What happened of this kind, in order.
    pub(crate) fn events_of(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let events = self.events().into_iter();
        let events = events.filter(|(known, _)| known == name);
        events.map(|(_, attributes)| attributes).collect()
    }

    /// Whether it is right below this span.
    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.span.parent_span_id == parent.span.span_id
            && self.span.trace_id == parent.span.trace_id
    }

    pub(crate) fn assert_attributes(&self, expected: &[(&str, &str)]) {
        for (key, value) in expected {
            let found = self.attributes.get(*key).map(String::as_str);
            assert_eq!(found, Some(*value), "{key} of {self:#?}");
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code == StatusCode::Error as i32)
    }
}

/// Takes traces on the loopback; stops when it is dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    taken: Taken,
    task: JoinHandle<()>,
}

/// The spans that came so far.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<Span>>>);

impl Taken {
    fn take(&self, request: ExportTraceServiceRequest) {
        let batch = request
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.extend(batch);
    }
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.take(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// One that is spoken to over HTTP.
    pub(crate) async fn start() -> Self {
        let taken = Taken::default();
        let of_route = taken.clone();
        let take = async move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).expect("OTLP in protobuf");
            of_route.take(request);
        };
        let router = Router::new().route("/v1/traces", post(take));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a collector");
        });
        Self {
            url: format!("http://{address}/v1/traces"),
            taken,
            task,
        }
    }

    /// One that is spoken to over gRPC.
    pub(crate) async fn start_grpc() -> Self {
        let taken = Taken::default();
        let incoming =
            tonic::transport::server::TcpIncoming::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
                .expect("a free port");
        let address = incoming.local_addr().expect("a bound address");
        let service = TraceServiceServer::new(taken.clone());
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming);
        let task = tokio::spawn(async move {
            serving.await.expect("a collector");
        });
        Self {
            url: format!("http://{address}"),
            taken,
            task,
        }
    }

    /// The section `telemetry` that has spans sent here, of those calls alone whose callers trace them.
    pub(crate) fn telemetry(&self) -> Value {
        json!({ "traces": { "endpoint": self.url, "sample_ratio": 0.0 } })
    }

    /// What came so far. The gateway sends the rest when it stops.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        let spans = self.taken.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.iter().cloned().map(Seen::of).collect()
    }

    /// What came of this kind, in the order in which it began.
    pub(crate) fn of_kind(&self, kind: SpanKind) -> Vec<Seen> {
        let mut spans = self.spans();
        spans.retain(|seen| seen.span.kind == kind as i32);
        spans.sort_by_key(|seen| seen.span.start_time_unix_nano);
        spans
    }

    /// The one span of this kind.
    pub(crate) fn one(&self, kind: SpanKind) -> Seen {
        let mut spans = self.of_kind(kind);
        match (spans.pop(), spans.is_empty()) {
            (Some(span), true) => span,
            other => panic!("not one {kind:?}: {other:#?}"),
        }
    }

    /// The first span for which this is true, as soon as it is there.
    pub(crate) async fn wait_for(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        until(what, async || self.spans().into_iter().find(&is_it)).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
