//! The trace of the call that a thread works for right now, for its log lines.

use std::cell::Cell;
use std::marker::PhantomData;

use opentelemetry::trace::TraceId;

thread_local! {
    static CURRENT: Cell<TraceId> = const { Cell::new(TraceId::INVALID) };
}

/// Log lines of this thread belong to a trace until this is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct InTrace {
    before: Option<TraceId>,
    // It is of the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl InTrace {
    /// From here on they belong to this trace; to that of whoever called, if it is none.
    #[inline]
    pub(crate) fn enter(trace: TraceId) -> Self {
        let before = (trace != TraceId::INVALID).then(|| CURRENT.replace(trace));
        Self {
            before,
            _thread: PhantomData,
        }
    }
}

impl Drop for InTrace {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            CURRENT.set(before);
        }
    }
}

/// The trace that this thread works for right now.
pub(crate) fn current() -> Option<TraceId> {
    // A thread that ends may still log.
    let current = CURRENT.try_with(Cell::get).ok()?;
    (current != TraceId::INVALID).then_some(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_left_in_the_order_in_which_they_were_entered() {
        let (one, two) = (TraceId::from(1_u128), TraceId::from(2_u128));
        assert_eq!(current(), None);
        let outer = InTrace::enter(one);
        {
            let _inner = InTrace::enter(two);
            assert_eq!(current(), Some(two));
            let _none = InTrace::enter(TraceId::INVALID);
            assert_eq!(current(), Some(two));
        }
        assert_eq!(current(), Some(one));
        drop(outer);
        assert_eq!(current(), None);
    }
}
