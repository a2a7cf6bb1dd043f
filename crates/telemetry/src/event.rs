//! What happens to a call on its way, as events of its server span.

use std::time::Duration;

use opentelemetry::{KeyValue, Value};

use crate::span::short;

/// Something that happened to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEvent<'a> {
    /// A policy decided.
    Decision {
        /// Which kind: `access`, `rate`, `concurrency`, `budget`, `result_cap`.
        policy: &'static str,
        /// The name of the rule, limit or budget.
        rule: &'a str,
        /// What it said, such as `allowed`, `denied`, `would_deny` or `cut`.
        decision: &'static str,
    },
    /// A cached result was looked for.
    Cache {
        /// Whose.
        backend: &'a str,
        /// `hit`, `coalesced`, `stale` or `miss`.
        outcome: &'static str,
        /// How old what was found is.
        age: Option<Duration>,
    },
    /// The result had secrets in it, and goes on without them.
    Redacted {
        /// Whose result.
        backend: &'a str,
    },
    /// A backend did not let the call in.
    Refused {
        /// Which.
        backend: &'a str,
        /// Why: `breaker_open` or `overloaded`.
        reason: &'static str,
    },
    /// An attempt failed, and another is made at the same backend.
    Retry {
        /// Which.
        backend: &'a str,
        /// Why the last one failed.
        reason: &'static str,
        /// How long it waits first.
        pause: Duration,
    },
    /// Another tool is called in the place of the one that failed.
    Fallback {
        /// The tool that was called.
        from: &'a str,
        /// The one that is called now.
        to: &'a str,
        /// Why the last one failed: one of the words that a fallback's `when` has.
        reason: Option<&'static str>,
    },
    /// The client came back to a call that waited for it.
    Resumed {
        /// At which backend.
        backend: &'a str,
    },
}

impl CallEvent<'_> {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Decision { .. } => "decision",
            Self::Cache { .. } => "cache",
            Self::Redacted { .. } => "redacted",
            Self::Refused { .. } => "refused",
            Self::Retry { .. } => "retry",
            Self::Fallback { .. } => "fallback",
            Self::Resumed { .. } => "resumed",
        }
    }

    pub(crate) fn attributes(&self) -> Vec<KeyValue> {
        let owned = |text: &str| Value::from(short(text).to_owned());
        let ms = |time: Duration| Value::from(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let backend = |backend| KeyValue::new("switchboard.backend", owned(backend));
        match *self {
            Self::Decision {
                policy,
                rule,
                decision,
            } => vec![
                KeyValue::new("switchboard.policy", policy),
                KeyValue::new("switchboard.rule", owned(rule)),
                KeyValue::new("switchboard.decision", decision),
            ],
            Self::Cache {
                backend: of,
                outcome,
                age,
            } => {
                let mut attributes = vec![
                    backend(of),
                    KeyValue::new("switchboard.cache.outcome", outcome),
                ];
                let age = age.map(|age| KeyValue::new("switchboard.cache.age_ms", ms(age)));
                attributes.extend(age);
                attributes
            }
            Self::Redacted { backend: of } | Self::Resumed { backend: of } => vec![backend(of)],
            Self::Refused {
                backend: of,
                reason,
            } => vec![backend(of), KeyValue::new("switchboard.reason", reason)],
            Self::Retry {
                backend: of,
                reason,
                pause,
            } => vec![
                backend(of),
                KeyValue::new("switchboard.reason", reason),
                KeyValue::new("switchboard.pause_ms", ms(pause)),
            ],
            Self::Fallback { from, to, reason } => {
                let mut attributes = vec![
                    KeyValue::new("switchboard.from", owned(from)),
                    KeyValue::new("switchboard.to", owned(to)),
                ];
                let reason = reason.map(|reason| KeyValue::new("switchboard.reason", reason));
                attributes.extend(reason);
                attributes
            }
        }
    }
}
