//! The decision whether a call is traced, before there is any span and after it has ended.

use std::sync::Arc;

use opentelemetry::trace::TraceId;

use crate::context::{Incoming, TraceContext};
use crate::late::LateSpans;

/// Decides whether a call is traced, before there is any span: the caller's decision counts if it
/// made one, else chance does.
#[derive(Clone, Debug)]
pub struct Sampler {
    enabled: bool,
    ratio: f64,
    late: Option<Arc<LateSpans>>,
}

impl Sampler {
    /// Traces nothing, whatever a caller says.
    pub const OFF: Self = Self {
        enabled: false,
        ratio: 0.0,
        late: None,
    };

    /// Traces this share (0.0 to 1.0) of the calls whose caller has not decided.
    pub fn new(ratio: f64) -> Self {
        Self {
            enabled: true,
            ratio,
            late: None,
        }
    }

    pub(crate) fn with_late(self, late: Arc<LateSpans>) -> Self {
        Self {
            late: Some(late),
            ..self
        }
    }

    /// Whether anything is traced at all.
    pub fn is_on(&self) -> bool {
        self.enabled
    }

    /// What exports calls afterwards that were not sampled, if anything does.
    pub fn late(&self) -> Option<&LateSpans> {
        self.late.as_deref()
    }

    /// Decides for one call. Allocates nothing and takes no lock.
    pub fn sample(&self, context: Option<&TraceContext<'_>>) -> bool {
        self.enabled
            && match context {
                Some(context) => context.parent.sampled(),
                None => fastrand::f64() < self.ratio,
            }
    }

    /// The trace of a call that is not sampled: the caller's, or one of its own by which its log
    /// lines and its record belong together, where anything is traced. Allocates nothing.
    pub fn unsampled_trace(&self, incoming: &Incoming<'_>) -> Option<TraceId> {
        let own = || {
            self.enabled
                .then(|| TraceId::from(fastrand::u128(..).max(1)))
        };
        let given = incoming.parent().map(|context| context.parent.trace_id());
        given.or_else(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_caller_decides_and_then_chance() {
        let sampled = TraceContext::parse(VALID, None, None);
        let unsampled = TraceContext::parse(&VALID.replace("-01", "-00"), None, None);
        assert!(sampled.is_some() && unsampled.is_some());

        assert!(Sampler::new(0.0).sample(sampled.as_ref()));
        assert!(!Sampler::new(1.0).sample(unsampled.as_ref()));
        assert!(Sampler::new(1.0).sample(None));
        assert!(!Sampler::new(0.0).sample(None));
        assert!(!Sampler::OFF.sample(sampled.as_ref()));

        let half = Sampler::new(0.5);
        let taken = (0..10_000).filter(|_| half.sample(None)).count();
        assert!((4_000..6_000).contains(&taken), "{taken}");
    }

    #[test]
    fn a_call_that_is_not_sampled_has_the_trace_of_its_caller_or_one_of_its_own() {
        let message = TraceContext::parse(VALID, None, None);
        let given = Incoming {
            message,
            http: None,
        };
        let none = Incoming::default();
        let trace = |sampler: &Sampler, incoming| sampler.unsampled_trace(incoming);
        let own = TraceContext::parse(VALID, None, None).map(|it| it.parent.trace_id());
        assert_eq!(trace(&Sampler::OFF, &given), own);
        assert_eq!(trace(&Sampler::new(0.0), &given), own);
        assert_eq!(trace(&Sampler::OFF, &none), None);
        let first = trace(&Sampler::new(0.0), &none);
        assert!(first.is_some() && first != trace(&Sampler::new(0.0), &none));
    }
}
