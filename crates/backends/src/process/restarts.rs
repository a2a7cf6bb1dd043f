//! When starting a process again makes no sense any more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::RestartsConfig;

/// How long a process that failed too often is left alone.
pub(crate) const LEFT_ALONE: Duration = Duration::from_secs(5 * 60);

/// How often the process of one endpoint has failed of late.
#[derive(Debug)]
pub(crate) struct Restarts {
    config: RestartsConfig,
    failures: VecDeque<Instant>,
}

impl Restarts {
    pub(crate) fn new(config: RestartsConfig) -> Self {
        Self {
            config,
            failures: VecDeque::new(),
        }
    }

    /// Takes note of a failure; if it was one too many, says of the process what its operator needs
    /// to know, and begins anew.
    pub(crate) fn failed(&mut self, reason: &str, now: Instant) -> Option<String> {
        let RestartsConfig { max, within } = self.config;
        self.failures
            .retain(|failed| now.saturating_duration_since(*failed) < within);
        self.failures.push_back(now);
        if self.failures.len() <= max {
            return None;
        }
        let times = self.failures.len();
        self.failures.clear();
        let within = humantime::format_duration(within);
        Some(format!(
            "it failed {times} times within {within} and is left alone for 5 minutes; the last time: {reason}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restarts() -> Restarts {
        Restarts::new(RestartsConfig {
            max: 2,
            within: Duration::from_secs(10),
        })
    }

    #[test]
    fn one_failure_too_many_is_told_with_the_last_reason_and_begins_anew() {
        let mut restarts = restarts();
        let now = Instant::now();
        assert_eq!(restarts.failed("a", now), None);
        assert_eq!(restarts.failed("b", now), None);
        assert_eq!(
            restarts.failed("c", now).as_deref(),
            Some("it failed 3 times within 10s and is left alone for 5 minutes; the last time: c")
        );
        assert_eq!(restarts.failed("d", now), None);
    }

    #[test]
    fn failures_that_are_long_ago_do_not_count() {
        let mut restarts = restarts();
        let now = Instant::now();
        for at in 0..100 {
            assert_eq!(
                restarts.failed("a", now + Duration::from_secs(at * 5)),
                None
            );
        }
        assert!(restarts.failures.len() <= 2);
    }
}
