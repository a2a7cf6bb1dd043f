use std::sync::mpsc::{self, Receiver, SyncSender};

use opentelemetry::trace::{
    Link, TraceContextExt as _, TraceFlags, Tracer as _, TracerProvider as _,
};
use opentelemetry_sdk::error::OTelSdkError;
use parking_lot::Mutex;

use super::*;

const BOUND: Duration = Duration::from_secs(30);

/// Takes batches only as the test lets it, and answers what the test says.
#[derive(Debug)]
struct Slow {
    taken: SyncSender<usize>,
    answers: Mutex<Receiver<OTelSdkResult>>,
}

impl SpanExporter for Slow {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let _ = self.taken.send(batch.len());
        self.answers.lock().recv().unwrap_or(Ok(()))
    }
}

fn slow() -> (Slow, Receiver<usize>, SyncSender<OTelSdkResult>) {
    let (taken, batches) = mpsc::sync_channel(MAX_QUEUED);
    let (answer, answers) = mpsc::sync_channel(1);
    let answers = Mutex::new(answers);
    (Slow { taken, answers }, batches, answer)
}

#[test]
fn spans_beyond_the_queue_are_dropped_and_counted() {
    let (exporter, batches, answer) = slow();
    let dropped = Arc::new(AtomicU64::new(0));
    let provider = exporting(exporter, &dropped).provider;
    let tracer = provider.tracer("test");
    for _ in 0..MAX_QUEUED + 100 {
        drop(tracer.start("span"));
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 100);

    drop(answer);
    provider.shutdown_with_timeout(BOUND).expect("flushed");
    assert_eq!(batches.try_iter().sum::<usize>(), MAX_QUEUED);
}

#[test]
fn spans_that_the_collector_refuses_are_counted() {
    let (exporter, batches, answer) = slow();
    let dropped = Arc::new(AtomicU64::new(0));
    let provider = exporting(exporter, &dropped).provider;
    let tracer = provider.tracer("test");
    drop(tracer.start("span"));
    let refusal = OTelSdkError::InternalFailure("refused".into());
    answer.send(Err(refusal)).expect("the exporter lives");
    // It reports the refusal, which is counted by then.
    let _ = provider.force_flush();
    assert_eq!(batches.recv_timeout(BOUND), Ok(1));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);

    drop(answer);
    drop(tracer.start("span"));
    provider.shutdown_with_timeout(BOUND).expect("flushed");
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn a_bare_address_gets_the_usual_path() {
    for (endpoint, expected) in [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://c.example/otlp/x", "https://c.example/otlp/x"),
    ] {
        let endpoint = Url::parse(endpoint).expect("a URL");
        assert_eq!(traces_url(&endpoint), expected);
    }
}

/// Nobody is asked before there is something to send, but what is needed to trust somebody is there.
#[test]
fn a_collector_over_grpc_may_be_encrypted() {
    for endpoint in ["http://collector:4317", "https://collector.example:4317"] {
        let endpoint = Url::parse(endpoint).expect("a URL");
        let exporter = GrpcExporter::new(&endpoint).expect("a client");
        drop(exporter);
    }
}

/// Knows one secret.
#[derive(Debug)]
struct OneSecret;

const SECRET: &str = "a-secret-of-the-test-8f2c";

impl crate::Redactor for OneSecret {
    fn redact<'t>(&self, text: &'t str, _: bool) -> Cow<'t, str> {
        match text.contains(SECRET) {
            true => text.replace(SECRET, "[redacted]").into(),
            false => text.into(),
        }
    }
}

/// Keeps what is sent.
#[derive(Clone, Debug, Default)]
struct Sent(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Sent {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().extend(batch);
        Ok(())
    }
}

#[test]
fn a_secret_leaves_in_no_part_of_a_span() {
    let no_secret: Arc<dyn crate::Redactor> = Arc::new(OneSecret);
    crate::redact_with(Some(crate::OutletRedactors {
        logs: Arc::clone(&no_secret),
        traces: Arc::clone(&no_secret),
        audit: Arc::clone(&no_secret),
        operators: no_secret,
    }));
    let sent = Sent::default();
    let provider = exporting(sent.clone(), &Arc::default()).provider;
    let tracer = provider.tracer("test");
    let state = TraceState::from_key_value([("v", SECRET)]).expect("a state");
    let parent = SpanContext::new(1.into(), 2.into(), TraceFlags::SAMPLED, true, state);
    // It lies across the place where what is exported is cut.
    let across = format!("{}{SECRET}", "x".repeat(MAX_SHOWN - 5));
    let span = tracer
        .span_builder(format!("tools/call {SECRET}"))
        .with_attributes([KeyValue::new("gen_ai.tool.name", across)])
        .with_links(vec![Link::with_context(parent.clone())])
        .start_with_context(&tracer, &Context::new().with_remote_span_context(parent));
    drop(span);
    provider.shutdown_with_timeout(BOUND).expect("flushed");
    crate::redact_with(None);

    let spans = sent.0.lock();
    let [span] = &**spans else {
        panic!("not one span: {spans:#?}");
    };
    let shown = format!("{span:?}");
    assert!(!shown.contains("a-sec"), "{shown}");
    assert_eq!(span.name, "tools/call [redacted]");
    assert_eq!(span.attributes[0].value.as_str().len(), MAX_SHOWN);
}
