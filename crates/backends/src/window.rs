//! Counts of the recent past.

use std::time::Duration;

use tokio::time::Instant;

/// Into how many parts the past is cut: so much of the oldest is forgotten at once.
const BUCKETS: usize = 10;

/// How many calls there were, and how many marks were made, for those that failed or were retried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) marked: u64,
}

/// What was counted within a span of time that ends now. It takes the same memory whatever is
/// counted.
#[derive(Debug)]
pub(crate) struct Window {
    bucket: Duration,
    counts: [Counts; BUCKETS],
    newest: usize,
    /// When the newest bucket began; `None` before the first call.
    since: Option<Instant>,
}

impl Window {
    /// An empty window of at least 10 ns.
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            bucket: (span / BUCKETS as u32).max(Duration::from_nanos(1)),
            counts: [Counts::default(); BUCKETS],
            newest: 0,
            since: None,
        }
    }

    /// Counts a call. One that is told late counts as of the latest that is known.
    pub(crate) fn add(&mut self, now: Instant) {
        self.advance(now);
        self.counts[self.newest].calls += 1;
    }

    /// Makes a mark.
    pub(crate) fn mark(&mut self, now: Instant) {
        self.advance(now);
        self.counts[self.newest].marked += 1;
    }

    /// How many there were.
    pub(crate) fn sums(&mut self, now: Instant) -> Counts {
        self.advance(now);
        let mut sums = Counts::default();
        for bucket in &self.counts {
            sums.calls += bucket.calls;
            sums.marked += bucket.marked;
        }
        sums
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts = Default::default();
        self.since = None;
    }

    fn advance(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed < self.bucket {
            return;
        }
        if passed >= self.bucket * BUCKETS as u32 {
            self.clear();
            self.since = Some(now);
            return;
        }
        let mut since = since;
        while now.duration_since(since) >= self.bucket {
            since += self.bucket;
            self.newest = (self.newest + 1) % BUCKETS;
            self.counts[self.newest] = Counts::default();
        }
        self.since = Some(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let start = Instant::now();
        let mut window = Window::new(SPAN);
        window.add(start);
        window.mark(start + Duration::from_secs(5));
        let counts = |calls, marked| Counts { calls, marked };
        let almost = start + Duration::from_millis(9_999);
        assert_eq!(window.sums(almost), counts(1, 1));
        assert_eq!(window.sums(start + SPAN), counts(0, 1));
        assert_eq!(window.sums(start + SPAN * 100), counts(0, 0));
    }

    #[test]
    fn an_event_that_is_told_late_still_counts() {
        let start = Instant::now();
        let mut window = Window::new(SPAN);
        window.add(start + SPAN);
        window.add(start);
        assert_eq!(window.sums(start + SPAN).calls, 2);
    }

    proptest! {
        #[test]
        fn it_counts_nine_tenths_of_its_span_at_least_and_all_of_it_at_most(
            pauses in proptest::collection::vec(0..3_000u64, 1..60),
        ) {
            let mut now = Instant::now();
            let mut window = Window::new(SPAN);
            let mut events = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                window.add(now);
                events.push(now);
                let within = |span: Duration| {
                    events.iter().filter(|event| now.duration_since(**event) <= span).count() as u64
                };
                let sum = window.sums(now).calls;
                prop_assert!(sum >= within(SPAN * 9 / 10 - Duration::from_millis(1)));
                prop_assert!(sum <= within(SPAN));
            }
        }
    }
}
