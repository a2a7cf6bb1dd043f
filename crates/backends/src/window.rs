//! Counts of the recent past.

use std::time::Duration;

use tokio::time::Instant;

/// Into how many parts the past is cut: so much of the oldest is forgotten at once.
const BUCKETS: usize = 10;

/// What was counted within a span of time that ends now, for `N` kinds of events. It takes the same
/// memory whatever is counted, and a count that would overflow stays at its highest.
#[derive(Debug)]
pub(crate) struct Window<const N: usize> {
    bucket: Duration,
    counts: [[u32; N]; BUCKETS],
    newest: usize,
    /// When the newest bucket began; `None` before the first event.
    since: Option<Instant>,
}

impl<const N: usize> Window<N> {
    /// An empty window of at least 10 ns.
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            bucket: (span / BUCKETS as u32).max(Duration::from_nanos(1)),
            counts: [[0; N]; BUCKETS],
            newest: 0,
            since: None,
        }
    }

    /// Counts one event. One that is told late counts as of the latest that is known.
    pub(crate) fn add(&mut self, kind: usize, now: Instant) {
        self.advance(now);
        let count = &mut self.counts[self.newest][kind];
        *count = count.saturating_add(1);
    }

    /// How many events of each kind there were.
    pub(crate) fn sums(&mut self, now: Instant) -> [u64; N] {
        self.advance(now);
        let mut sums = [0; N];
        for bucket in &self.counts {
            for (sum, count) in sums.iter_mut().zip(bucket) {
                *sum += u64::from(*count);
            }
        }
        sums
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.counts = [[0; N]; BUCKETS];
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
            self.counts[self.newest] = [0; N];
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
        let mut window = Window::<2>::new(SPAN);
        window.add(0, start);
        window.add(1, start + Duration::from_secs(5));
        assert_eq!(window.sums(start + Duration::from_millis(9_999)), [1, 1]);
        assert_eq!(window.sums(start + SPAN), [0, 1]);
        assert_eq!(window.sums(start + SPAN * 100), [0, 0]);
    }

    #[test]
    fn an_event_that_is_told_late_still_counts() {
        let start = Instant::now();
        let mut window = Window::<1>::new(SPAN);
        window.add(0, start + SPAN);
        window.add(0, start);
        assert_eq!(window.sums(start + SPAN), [2]);
    }

    proptest! {
        #[test]
        fn it_counts_nine_tenths_of_its_span_at_least_and_all_of_it_at_most(
            pauses in proptest::collection::vec(0..3_000u64, 1..60),
        ) {
            let mut now = Instant::now();
            let mut window = Window::<1>::new(SPAN);
            let mut events = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                window.add(0, now);
                events.push(now);
                let within = |span: Duration| {
                    events.iter().filter(|event| now.duration_since(**event) <= span).count() as u64
                };
                let [sum] = window.sums(now);
                prop_assert!(sum >= within(SPAN * 9 / 10 - Duration::from_millis(1)));
                prop_assert!(sum <= within(SPAN));
            }
        }
    }
}
