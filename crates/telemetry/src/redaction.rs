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

impl Outlet {
    const ALL: [Self; 4] = [Self::Logs, Self::Traces, Self::Audit, Self::Operators];
}

/// In the order of [`Outlet::ALL`]; those of the process, as its log and its spans are the process's own.
static IN_FORCE: RwLock<Option<[Arc<dyn Redactor>; 4]>> = RwLock::new(None);

/// Has what this gives done to all that leaves the process from now on; `None`: nothing.
pub fn redact_with(redactor_of: Option<&dyn Fn(Outlet) -> Arc<dyn Redactor>>) {
    *IN_FORCE.write() = redactor_of.map(|redactor_of| Outlet::ALL.map(redactor_of));
}

/// The text without secrets, on its way there.
#[must_use]
pub fn redacted(outlet: Outlet, text: &str, is_json: bool) -> Cow<'_, str> {
    let redactor = match &*IN_FORCE.read() {
        None => return Cow::Borrowed(text),
        Some(known) => Arc::clone(&known[outlet as usize]),
    };
    redactor.redact(text, is_json)
}
