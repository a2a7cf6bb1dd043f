//! Calls that were not sampled, and turned out to be worth a span when they had ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks, SpanProcessor as _};

use crate::config::TracesConfig;
use crate::context::TraceParent;
use crate::export::BoundedProcessor;
use crate::labels::ErrorType;
use crate::span::{IncomingCall, SCOPE, TargetFields, short};

/// At most so many calls are exported afterwards in a second: when all of them fail, a few tell it as
/// well as all.
const MOST_A_SECOND: u32 = 100;

/// Exports calls that were not sampled, after their end.
#[derive(Debug)]
pub struct LateSpans {
    processor: Arc<BoundedProcessor>,
    failed: bool,
    slow: Duration,
    allowance: Allowance,
}

/// A call that was not sampled, and has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedCall<'a> {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The caller's span.
    pub parent: Option<TraceParent>,
    /// What was known of it when it came in.
    pub call: IncomingCall<'a>,
    /// How long it took.
    pub took: Duration,
    /// How it failed, if it did.
    pub error: Option<ErrorType>,
    /// The code of its error, if it had one.
    pub code: Option<i64>,
}

impl LateSpans {
    pub(crate) fn new(config: &TracesConfig, processor: Arc<BoundedProcessor>) -> Self {
        Self {
            processor,
            failed: config.failed_calls,
            slow: config.slow_calls,
            allowance: Allowance::new(),
        }
    }

    /// Whether a call that ended like this is to be exported. Asked once for each call, and cheap for
    /// one that ended well and quickly; of others at most 100 a second are.
    pub fn wants(&self, error: Option<ErrorType>, code: Option<i64>, took: Duration) -> bool {
        let has_failed =
            || self.failed && error_of_server(error, code).is_some_and(is_worth_a_span);
        (took >= self.slow || has_failed()) && self.allowance.take()
    }

    /// Exports it as one server span.
    pub fn export(&self, ended: &EndedCall<'_>) {
        self.processor.on_end(span_of(ended, SystemTime::now()));
    }
}

/// Whether a call that failed so is worth a span by itself. What a policy refuses its audit and its
/// metrics tell, and one caller beyond a limit would use up what all may have.
const fn is_worth_a_span(error: ErrorType) -> bool {
    !matches!(
        error,
        ErrorType::LimitReached | ErrorType::OverBudget | ErrorType::Forbidden
    )
}

/// The error that a server's span shows: none for a code that is the caller's fault.
pub(crate) fn error_of_server(error: Option<ErrorType>, code: Option<i64>) -> Option<ErrorType> {
    error.filter(|_| !ErrorType::is_excused(code))
}

pub(crate) fn span_of(ended: &EndedCall<'_>, end_time: SystemTime) -> SpanData {
    let EndedCall {
        trace,
        parent,
        call,
        took,
        error,
        code,
    } = *ended;
    let target = TargetFields::new(call.target);
    let mut attributes = Vec::with_capacity(16);
    let mut add = |key: &'static str, value: Option<Value>| {
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    };
    let owned = |text: &str| Some(Value::from(short(text).to_owned()));
    add("mcp.method.name", owned(call.method));
    add(
        "mcp.protocol.version",
        call.protocol_version.and_then(owned),
    );
    add("mcp.resource.uri", target.resource.and_then(owned));
    add("gen_ai.tool.name", target.tool.and_then(owned));
    add("gen_ai.prompt.name", target.prompt.and_then(owned));
    add("gen_ai.operation.name", target.operation().map(Value::from));
    add("jsonrpc.request.id", call.request_id.and_then(owned));
    add("network.transport", Some(call.network.transport().into()));
    add(
        "network.protocol.name",
        call.network.protocol().map(Value::from),
    );
    let address = call.client_address.map(|address| address.to_string());
    add("client.address", address.map(Value::from));
    let code_text = code.map(|code| code.to_string());
    add("rpc.response.status_code", code_text.map(Value::from));
    let error = error_of_server(error, code);
    add("error.type", error.map(|error| error.as_str().into()));
    add("switchboard.sampled_late", Some(true.into()));

    SpanData {
        span_context: SpanContext::new(
            trace,
            SpanId::from(fastrand::u64(1..)),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: parent.map_or(SpanId::INVALID, |parent| parent.span_id()),
        parent_span_is_remote: parent.is_some(),
        span_kind: SpanKind::Server,
        name: target.span_name(call.method).into(),
        start_time: end_time.checked_sub(took).unwrap_or(end_time),
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match error {
            Some(_) => Status::error(""),
            None => Status::Unset,
        },
        instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
    }
}

/// So many in each second, and no more.
#[derive(Debug)]
struct Allowance {
    began: Instant,
    second: AtomicU64,
    taken: AtomicU32,
}

impl Allowance {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            second: AtomicU64::new(0),
            taken: AtomicU32::new(0),
        }
    }

    fn take(&self) -> bool {
        self.take_at(self.began.elapsed().as_secs())
    }

    fn take_at(&self, second: u64) -> bool {
        // Where two threads begin a second, one of them may have a few more.
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.taken.store(0, Ordering::Relaxed);
        }
        self.taken.load(Ordering::Relaxed) < MOST_A_SECOND
            && self.taken.fetch_add(1, Ordering::Relaxed) < MOST_A_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_second_there_are_so_many_and_in_the_next_again() {
        let allowance = Allowance::new();
        for second in [0, 1, 7] {
            let taken = (0..1000).filter(|_| allowance.take_at(second)).count();
            assert_eq!(taken, MOST_A_SECOND as usize);
        }
    }

    #[test]
    fn what_the_caller_did_wrong_is_no_failure() {
        let other = Some(ErrorType::InvalidParams);
        assert_eq!(error_of_server(other, Some(-32602)), None);
        let timeout = Some(ErrorType::GatewayTimeout);
        assert_eq!(error_of_server(timeout, Some(504)), timeout);
        assert_eq!(error_of_server(None, None), None);
    }
}
