//! How soon a process may be started for a session whose last one failed.
//!
//! Of each key by itself, since whoever has a server fail is not to keep others from it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::key::Key;
use crate::config::RestartsConfig;
use crate::pause::Pause;
use crate::process::restarts::{LEFT_ALONE, Restarts};
use crate::status::State;

/// Of how many keys is remembered that their processes failed; of more, those whose pause ends
/// first are forgotten.
const MAX_KEYS: usize = 256;

/// The failures of a pool's processes.
pub(super) struct Backoff {
    restarts: RestartsConfig,
    keys: HashMap<Key, Failures, RandomState>,
}

/// The failures of one key's processes.
struct Failures {
    restarts: Restarts,
    pause: Pause,
    /// Whether none was started since the last one.
    is_latest: bool,
    held: Held,
}

/// Why no process is started.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) until: Instant,
    /// Since when.
    pub(super) since: SystemTime,
    /// What callers are told.
    pub(super) reason: String,
    pub(super) state: State,
}

/// How many processes may be started.
#[derive(Clone, Debug)]
pub(super) enum MayOpen {
    /// As many as are waited for.
    AsNeeded,
    /// One, to see whether it goes well.
    One,
    /// None.
    None(Held),
}

impl Backoff {
    pub(super) fn new(restarts: RestartsConfig) -> Self {
        Self {
            restarts,
            keys: HashMap::default(),
        }
    }

    /// How many processes may be started for this key.
    pub(super) fn may_open(&self, key: &Key, now: Instant) -> MayOpen {
        match self.keys.get(key) {
            Some(failures) if failures.held.until > now => MayOpen::None(failures.held.clone()),
            Some(failures) if failures.is_latest => MayOpen::One,
            _ => MayOpen::AsNeeded,
        }
    }

    /// What was left alone last of all that is, because it failed too often.
    pub(super) fn needs_attention(&self, now: Instant) -> Option<&Held> {
        let all = self.keys.values().map(|failures| &failures.held);
        let left_alone = all.filter(|held| held.state == State::NeedsAttention && held.until > now);
        left_alone.max_by_key(|held| held.until)
    }

    /// A process of this key has begun well.
    pub(super) fn opened(&mut self, key: &Key) {
        if let Some(failures) = self.keys.get_mut(key) {
            failures.is_latest = false;
        }
    }

    /// A process of this key ended by itself after so long, or did not begin. Returns what its
    /// operator needs to know if that was one failure too many.
    pub(super) fn failed(
        &mut self,
        key: &Key,
        reason: &str,
        lasted: Duration,
        now: Instant,
    ) -> Option<String> {
        let within = self.restarts.within;
        self.keys
            .retain(|other, failures| other == key || failures.held.until + within > now);
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            let first = self.keys.iter().min_by_key(|(_, of)| of.held.until);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                self.keys.remove(&first);
            }
        }
        let failures = self.keys.entry(key.clone()).or_insert_with(|| Failures {
            restarts: Restarts::new(self.restarts),
            pause: Pause::default(),
            is_latest: true,
            held: Held {
                until: now,
                since: SystemTime::now(),
                reason: String::new(),
                state: State::Unavailable,
            },
        });
        failures.is_latest = true;
        let too_often = failures.restarts.failed(reason, now);
        let (pause, state) = match &too_often {
            Some(_) => {
                failures.pause = Pause::default();
                (LEFT_ALONE, State::NeedsAttention)
            }
            None => (failures.pause.after(lasted), State::Unavailable),
        };
        failures.held = Held {
            until: now + pause,
            since: SystemTime::now(),
            reason: too_often.clone().unwrap_or_else(|| reason.to_owned()),
            state,
        };
        too_often
    }

    /// Forgets all failures.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::legacy::Introduction;

    fn key(principal: usize) -> Key {
        Key {
            principal: Some(Arc::from(principal.to_string())),
            client: None,
            introduction: Introduction::BARE,
        }
    }

    fn held(backoff: &Backoff, key: &Key, now: Instant) -> Option<Held> {
        match backoff.may_open(key, now) {
            MayOpen::None(held) => Some(held),
            _ => None,
        }
    }

    #[test]
    fn pauses_grow_until_the_key_is_left_alone_and_others_are_not() {
        let mut backoff = Backoff::new(RestartsConfig::default());
        let (ann, ben) = (key(1), key(2));
        let mut now = Instant::now();
        for _ in 0..5 {
            assert_eq!(backoff.failed(&ann, "x", Duration::ZERO, now), None);
            let held = held(&backoff, &ann, now).expect("a pause");
            assert_eq!((&*held.reason, held.state), ("x", State::Unavailable));
            now = held.until;
            assert!(matches!(backoff.may_open(&ann, now), MayOpen::One));
            assert!(matches!(backoff.may_open(&ben, now), MayOpen::AsNeeded));
        }
        assert!(backoff.failed(&ann, "x", Duration::ZERO, now).is_some());
        let held = held(&backoff, &ann, now + LEFT_ALONE / 2).expect("left alone");
        assert_eq!(held.state, State::NeedsAttention);
        let told = backoff.needs_attention(now).map(|held| &*held.reason);
        assert_eq!(told, Some(&*held.reason));
        assert!(backoff.needs_attention(held.until).is_none());
        assert!(matches!(backoff.may_open(&ben, now), MayOpen::AsNeeded));
        backoff.forget();
        assert!(matches!(backoff.may_open(&ann, now), MayOpen::AsNeeded));
    }

    #[test]
    fn one_that_begins_well_is_followed_by_as_many_as_are_needed() {
        let mut backoff = Backoff::new(RestartsConfig::default());
        let now = Instant::now();
        backoff.failed(&key(1), "x", Duration::from_secs(60), now);
        backoff.opened(&key(1));
        let later = now + Duration::from_secs(1);
        assert!(matches!(
            backoff.may_open(&key(1), later),
            MayOpen::AsNeeded
        ));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut backoff = Backoff::new(RestartsConfig::default());
        let now = Instant::now();
        for at in 0..10 * MAX_KEYS {
            backoff.failed(&key(at), "x", Duration::ZERO, now);
            assert!(backoff.keys.len() <= MAX_KEYS);
        }
        backoff.failed(
            &key(0),
            "x",
            Duration::ZERO,
            now + Duration::from_secs(3600),
        );
        assert_eq!(backoff.keys.len(), 1);
    }
}
