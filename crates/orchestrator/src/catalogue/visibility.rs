//! Whether what a backend offers is listed while it is away, and again when it is back: with time
//! to settle, so that one that comes and goes does not make tools come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use switchboard_backends::Backend;
use switchboard_backends::config::DegradeConfig;
use tokio::time::Instant;

/// Whether each backend is shown.
#[derive(Debug, Default)]
pub(crate) struct ListingHysteresis(HashMap<Arc<str>, Visibility>);

impl ListingHysteresis {
    /// Whether a backend is hidden now.
    pub(crate) fn is_hidden(&mut self, backend: &Backend, now: Instant) -> bool {
        // What was never listed cannot leave the lists, and is shown as soon as it is there.
        if backend.lists().is_none() {
            return false;
        }
        let is_well = backend.status().state.is_usable();
        let visibility = self.0.entry(Arc::clone(backend.name()));
        let visibility = visibility.or_insert_with(|| Visibility::new(&backend.config().degrade));
        visibility.observe(is_well, now)
    }

    /// When some backend is to be hidden, or shown again, by time alone.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        self.0.values().filter_map(Visibility::next_turn).min()
    }

    /// A backend of this name is there no longer, or is another one.
    pub(crate) fn forget(&mut self, backend: &str) {
        self.0.remove(backend);
    }
}

/// Whether one backend is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visibility {
    hide_after: Option<Duration>,
    show_after: Duration,
    is_hidden: bool,
    /// Since when it has been well, if it is hidden, or away, if it is shown.
    since: Option<Instant>,
}

impl Visibility {
    pub(crate) fn new(config: &DegradeConfig) -> Self {
        Self {
            hide_after: config.hidden_after(),
            show_after: config.show_after,
            is_hidden: false,
            since: None,
        }
    }

    /// Takes note of how the backend is doing now. Answers whether it is hidden.
    pub(crate) fn observe(&mut self, is_well: bool, now: Instant) -> bool {
        let is_settled = self.is_hidden != is_well;
        if is_settled {
            self.since = None;
            return self.is_hidden;
        }
        let since = *self.since.get_or_insert(now);
        if self.settling().is_some_and(|time| now >= since + time) {
            self.is_hidden = !self.is_hidden;
            self.since = None;
        }
        self.is_hidden
    }

    /// When it turns, if nothing changes before.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        Some(self.since? + self.settling()?)
    }

    /// How long the other state has to last before it is believed; `None`: it never is.
    fn settling(&self) -> Option<Duration> {
        if self.is_hidden {
            Some(self.show_after)
        } else {
            self.hide_after
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_backends::config::OnUnavailable;

    fn visibility(stale_if_error: Option<Duration>, on_unavailable: OnUnavailable) -> Visibility {
        Visibility::new(&DegradeConfig {
            on_unavailable,
            stale_if_error,
            ..DegradeConfig::default()
        })
    }

    /// Whether it is hidden after each second of a history: `+` is well, `-` is away.
    fn history(visibility: &mut Visibility, start: Instant, seconds: &str) -> Vec<bool> {
        let seconds = seconds.chars().zip(0..);
        seconds
            .map(|(is, second)| visibility.observe(is == '+', start + Duration::from_secs(second)))
            .collect()
    }

    #[test]
    fn it_is_hidden_after_a_time_away_and_shown_after_a_time_well() {
        let mut visibility = visibility(None, OnUnavailable::Hide);
        let start = Instant::now();
        let seen = history(
            &mut visibility,
            start,
            &format!("{}{}", "-".repeat(35), "+".repeat(15)),
        );
        let hidden_at = seen.iter().position(|hidden| *hidden);
        assert_eq!(hidden_at, Some(30));
        let shown_at = seen[35..].iter().position(|hidden| !*hidden);
        assert_eq!(shown_at, Some(10));
    }

    #[test]
    fn one_that_flaps_stays_as_it_is() {
        let flapping = "-".repeat(29) + "+";
        let mut shown = visibility(None, OnUnavailable::Hide);
        let start = Instant::now();
        assert!(!history(&mut shown, start, &flapping.repeat(20)).contains(&true));

        let mut hidden = visibility(None, OnUnavailable::Hide);
        history(&mut hidden, start, &"-".repeat(31));
        let flapping = "+".repeat(9) + "-";
        let later = start + Duration::from_secs(31);
        assert!(!history(&mut hidden, later, &flapping.repeat(20)).contains(&false));
    }

    #[test]
    fn it_is_looked_at_again_exactly_when_it_turns() {
        let mut visibility = visibility(None, OnUnavailable::Hide);
        let start = Instant::now();
        assert!(!visibility.observe(true, start));
        assert_eq!(visibility.next_turn(), None);
        assert!(!visibility.observe(false, start));
        let next = visibility.next_turn().expect("a time");
        assert_eq!(next, start + Duration::from_secs(30));
        assert!(visibility.observe(false, next));
        assert_eq!(visibility.next_turn(), None);
    }

    #[test]
    fn stale_lists_are_shown_for_their_time_alone() {
        let minute = Duration::from_secs(60);
        let start = Instant::now();
        for (stale, on_unavailable, expected) in [
            (None, OnUnavailable::KeepListed, None),
            (Some(minute), OnUnavailable::KeepListed, Some(60)),
            (Some(minute), OnUnavailable::Hide, Some(30)),
            (Some(Duration::from_secs(5)), OnUnavailable::Hide, Some(5)),
        ] {
            let mut visibility = visibility(stale, on_unavailable);
            let seen = history(&mut visibility, start, &"-".repeat(100));
            assert_eq!(seen.iter().position(|hidden| *hidden), expected);
        }
    }
}
