//! The last look at whatever leaves the process beside answers: log lines, spans, records of the audit.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

/// Takes secrets out of text.
pub trait Redactor: fmt::Debug + Send + Sync {
    /// The same text without them. `is_json`: it is JSON, and is to stay it.
    fn redact<'t>(&self, text: &'t str, is_json: bool) -> Cow<'t, str>;
}

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// The log.
    Logs,
    /// Spans.
    Traces,
    /// Records of the audit.
    Audit,
}

/// Those in force for the process, as its log and its spans are the process's own.
#[derive(Debug)]
struct InForce {
    logs: Arc<dyn Redactor>,
    traces: Arc<dyn Redactor>,
    audit: Arc<dyn Redactor>,
}

static IN_FORCE: RwLock<Option<InForce>> = RwLock::new(None);

/// Has this done to all that leaves the process from now on; `None`: nothing.
pub fn redact_with(redactors: Option<[Arc<dyn Redactor>; 3]>) {
    *IN_FORCE.write() = redactors.map(|[logs, traces, audit]| InForce {
        logs,
        traces,
        audit,
    });
}

/// The text without secrets, on its way there.
#[must_use]
pub fn redacted(outlet: Outlet, text: &str, is_json: bool) -> Cow<'_, str> {
    let redactor = match &*IN_FORCE.read() {
        None => return Cow::Borrowed(text),
        Some(known) => Arc::clone(match outlet {
            Outlet::Logs => &known.logs,
            Outlet::Traces => &known.traces,
            Outlet::Audit => &known.audit,
        }),
    };
    redactor.redact(text, is_json)
}
