//! The last look at whatever leaves the process beside answers: log lines, spans, records of the audit,
//! what operators are told.

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
    /// What a server said last, where operators ask how it is doing: as often as they ask.
    Operators,
}

/// What takes secrets out, by where a text goes.
#[derive(Clone, Debug)]
pub struct OutletRedactors {
    /// For the log.
    pub logs: Arc<dyn Redactor>,
    /// For spans.
    pub traces: Arc<dyn Redactor>,
    /// For records of the audit.
    pub audit: Arc<dyn Redactor>,
    /// For what operators ask.
    pub operators: Arc<dyn Redactor>,
}

/// Those of the process, as its log and its spans are the process's own.
static IN_FORCE: RwLock<Option<OutletRedactors>> = RwLock::new(None);

/// Has these look at all that leaves the process from now on; `None`: nothing does.
pub fn redact_with(redactors: Option<OutletRedactors>) {
    *IN_FORCE.write() = redactors;
}

/// The text without secrets, on its way there.
#[must_use]
pub fn redacted(outlet: Outlet, text: &str, is_json: bool) -> Cow<'_, str> {
    let redactor = match &*IN_FORCE.read() {
        None => return Cow::Borrowed(text),
        Some(redactors) => Arc::clone(match outlet {
            Outlet::Logs => &redactors.logs,
            Outlet::Traces => &redactors.traces,
            Outlet::Audit => &redactors.audit,
            Outlet::Operators => &redactors.operators,
        }),
    };
    redactor.redact(text, is_json)
}
