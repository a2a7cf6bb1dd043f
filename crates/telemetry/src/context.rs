//! W3C trace context as it travels in `params._meta` and in the headers of HTTP.

use std::fmt;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A `tracestate` beyond this many bytes is not taken into a span; the recommendation asks for at
/// least 512.
const MAX_TRACESTATE: usize = 512;

/// The caller's span: a `traceparent`, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: TraceId,
    span_id: SpanId,
    sampled: bool,
}

impl TraceParent {
    /// Reads a `traceparent` as W3C Trace Context 3.2 defines it: lower-case hex, ids that are not
    /// all zero, no version `ff`, and nothing after the flags unless the version is a later one.
    /// `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (fields, rest) = bytes.split_at_checked(55)?;
        let dashes = fields[2] == b'-' && fields[35] == b'-' && fields[52] == b'-';
        let ends = match hex::<1>(&fields[..2])? {
            [0] => rest.is_empty(),
            [255] => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        if !dashes || !ends {
            return None;
        }
        let trace_id = TraceId::from_bytes(hex(&fields[3..35])?);
        let span_id = SpanId::from_bytes(hex(&fields[36..52])?);
        let [flags] = hex(&fields[53..])?;
        (trace_id != TraceId::INVALID && span_id != SpanId::INVALID).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// Whether the caller records this trace.
    pub fn sampled(&self) -> bool {
        self.sampled
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    pub(crate) fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The same for the OpenTelemetry library, without `tracestate`.
    pub(crate) fn to_remote(self) -> SpanContext {
        SpanContext::new(
            self.trace_id,
            self.span_id,
            TraceFlags::default().with_sampled(self.sampled),
            true,
            TraceState::default(),
        )
    }

    pub(crate) fn of(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| Self {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            sampled: span.is_sampled(),
        })
    }
}

/// The header's form, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            self.trace_id,
            self.span_id,
            u8::from(self.sampled)
        )
    }
}

/// The trace context of a request, borrowed from it. `tracestate` and `baggage` go on to the
/// backend as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext<'a> {
    /// The caller's span.
    pub parent: TraceParent,
    /// The caller's `tracestate`.
    pub tracestate: Option<&'a str>,
    /// The caller's `baggage`.
    pub baggage: Option<&'a str>,
}

impl<'a> TraceContext<'a> {
    /// The context of a request with these members of `_meta`; `None` if `traceparent` is not
    /// valid, since `tracestate` means nothing without it.
    pub fn parse(
        traceparent: &str,
        tracestate: Option<&'a str>,
        baggage: Option<&'a str>,
    ) -> Option<Self> {
        Some(Self {
            parent: TraceParent::parse(traceparent)?,
            tracestate,
            baggage,
        })
    }

    /// The same for the OpenTelemetry library. A `tracestate` that it does not understand is left
    /// out.
    pub(crate) fn to_remote(self) -> SpanContext {
        let state = self
            .tracestate
            .filter(|state| state.len() <= MAX_TRACESTATE)
            .and_then(|state| state.parse::<TraceState>().ok())
            .unwrap_or_default();
        SpanContext::new(
            self.parent.trace_id,
            self.parent.span_id,
            TraceFlags::default().with_sampled(self.parent.sampled),
            true,
            state,
        )
    }
}

/// The trace contexts that a call came with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming<'a> {
    /// That of the message, in `params._meta`.
    pub message: Option<TraceContext<'a>>,
    /// That of the HTTP request that carried it.
    pub http: Option<TraceContext<'a>>,
}

impl<'a> Incoming<'a> {
    /// The caller's span: the message's, or where it names none, that of its HTTP request.
    pub fn parent(&self) -> Option<&TraceContext<'a>> {
        self.message.as_ref().or(self.http.as_ref())
    }

    /// The HTTP request's own span, where the message has another.
    pub(crate) fn link(&self) -> Option<&TraceContext<'a>> {
        let message = self.message.as_ref()?;
        let http = self.http.as_ref();
        http.filter(|http| http.parent.span_id != message.parent.span_id)
    }
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_the_round_trip() {
        let parent = TraceParent::parse(VALID).expect("valid");
        assert!(parent.sampled());
        assert_eq!(parent.to_string(), VALID);
    }

    #[test]
    fn later_versions_may_be_longer_and_are_answered_in_ours() {
        for tail in ["", "-what the future brought"] {
            let later = format!("cc{}{tail}", &VALID[2..]);
            let parent = TraceParent::parse(&later).expect("valid");
            assert_eq!(parent.to_string(), VALID);
        }
    }

    #[test]
    fn malformed_traceparents_are_refused() {
        let replaced = |from: &str, to: &str| VALID.replacen(from, to, 1);
        for text in [
            String::new(),
            VALID[..54].to_owned(),
            format!("{VALID}-"),
            format!("{VALID}0"),
            format!("cc{}x", &VALID[2..]),
            replaced("00-", "ff-"),
            replaced("00-", "0g-"),
            replaced("4bf9", "4BF9"),
            replaced("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            replaced("00f067aa0ba902b7", &"0".repeat(16)),
            replaced("-01", "-+1"),
            replaced("36-", "36_"),
            replaced("4736", "47é"),
            format!(" {}", &VALID[..54]),
        ] {
            assert_eq!(TraceParent::parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn a_tracestate_that_is_not_understood_is_left_out() {
        let long = format!("a={}", "x".repeat(MAX_TRACESTATE));
        for (state, expected) in [
            (Some("a=1,b=2"), "a=1,b=2"),
            (Some("nonsense"), ""),
            (Some(long.as_str()), ""),
            (None, ""),
        ] {
            let context = TraceContext::parse(VALID, state, None).expect("valid");
            assert_eq!(context.to_remote().trace_state().header(), expected);
        }
    }

    #[test]
    fn the_message_comes_before_its_carrier() {
        let message = TraceContext::parse(VALID, None, None);
        let other = VALID.replace("00f067aa0ba902b7", "00f067aa0ba902b8");
        let http = TraceContext::parse(&other, None, None);
        let both = Incoming { message, http };
        assert_eq!(
            (both.parent(), both.link()),
            (message.as_ref(), http.as_ref())
        );
        let message_only = Incoming {
            message,
            http: message,
        };
        assert_eq!(message_only.link(), None);
        let http_only = Incoming {
            message: None,
            http,
        };
        assert_eq!(
            (http_only.parent(), http_only.link()),
            (http.as_ref(), None)
        );
    }
}
