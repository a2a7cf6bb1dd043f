//! Counts what is looked at, for the test that it has a bound.

#[cfg(test)]
thread_local! {
    static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many bytes were looked at.
#[inline(always)]
pub(super) fn note(_bytes: usize) {
    #[cfg(test)]
    LOOKED_AT.set(LOOKED_AT.get() + _bytes);
}

/// How many bytes were looked at on this thread since the last time.
#[cfg(test)]
pub(super) fn take() -> usize {
    LOOKED_AT.take()
}
