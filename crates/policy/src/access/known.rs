//! What was decided about targets, kept so that a call need not walk through the rules again.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use switchboard_protocol::policy::{Audience, Target, TargetKind};

use super::decide::Decided;

/// How many targets are remembered for an audience; a power of two.
const TARGETS: usize = 512;
/// For how many audiences.
const AUDIENCES: usize = 64;

/// What was decided about targets for one audience, as far as it does not depend on arguments. Each
/// target has one place, which another may take: forgotten is worked out again.
pub(super) struct Known {
    places: Box<[ArcSwapOption<Entry>]>,
    hasher: foldhash::fast::RandomState,
}

struct Entry {
    kind: TargetKind,
    backend: Box<str>,
    name: Box<str>,
    decided: Decided,
}

impl Entry {
    fn is_of(&self, target: &Target<'_>) -> bool {
        self.kind == target.kind && *self.name == *target.name && *self.backend == *target.backend
    }
}

impl Known {
    fn new() -> Self {
        Self {
            places: (0..TARGETS).map(|_| ArcSwapOption::empty()).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Where a target has its place. The URIs of resources are a client's choice, and have none.
    fn place(&self, target: &Target<'_>) -> Option<&ArcSwapOption<Entry>> {
        if target.kind == TargetKind::Resource {
            return None;
        }
        let hash = self.hasher.hash_one((target.backend, target.name));
        self.places.get(hash as usize % TARGETS)
    }

    pub(super) fn get(&self, target: &Target<'_>) -> Option<Decided> {
        let entry = self.place(target)?.load();
        let entry = entry.as_ref().filter(|entry| entry.is_of(target))?;
        Some(entry.decided)
    }

    pub(super) fn put(&self, target: &Target<'_>, decided: Decided) {
        if let Some(place) = self.place(target) {
            place.store(Some(Arc::new(Entry {
                kind: target.kind,
                backend: target.backend.into(),
                name: target.name.into(),
                decided,
            })));
        }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

/// What is known for each audience, as long as somebody of it is.
#[derive(Debug, Default)]
pub(super) struct KnownByAudience(Mutex<HashMap<Audience, Weak<Known>>>);

impl KnownByAudience {
    /// That of an audience; `None`: there are too many, so that its calls walk through the rules.
    pub(super) fn of(&self, audience: &Audience) -> Option<Arc<Known>> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(audience).and_then(Weak::upgrade) {
            return Some(known);
        }
        if all.len() >= AUDIENCES {
            all.retain(|_, known| known.strong_count() > 0);
        }
        if all.len() >= AUDIENCES {
            return None;
        }
        let known = Arc::new(Known::new());
        let audience = Audience(Arc::clone(&audience.0));
        all.insert(audience, Arc::downgrade(&known));
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_known_until_another_takes_its_place() {
        let known = Known::new();
        let names: Vec<String> = (0..10 * TARGETS).map(|it| format!("b__{it}")).collect();
        let target = |kind, name| Target {
            kind,
            backend: "b",
            name,
        };
        for (index, name) in (0_u16..).zip(&names) {
            let tool = target(TargetKind::Tool, name);
            assert_eq!(known.get(&tool), None);
            known.put(&tool, Decided::Allowed(Some(index)));
            assert_eq!(known.get(&tool), Some(Decided::Allowed(Some(index))));
            assert_eq!(known.get(&target(TargetKind::Prompt, name)), None);
        }
        let still = names.iter().zip(0_u16..).filter(|(name, index)| {
            let decided = known.get(&target(TargetKind::Tool, name));
            assert!(decided.is_none_or(|it| it == Decided::Allowed(Some(*index))));
            decided.is_some()
        });
        assert!((1..=TARGETS).contains(&still.count()));
        let resource = target(TargetKind::Resource, "file:///a");
        known.put(&resource, Decided::Denied(None));
        assert_eq!(known.get(&resource), None);
    }

    #[test]
    fn audiences_that_are_gone_make_room() {
        let all = KnownByAudience::default();
        let audience = |number| Audience([number].into());
        let held: Vec<_> = (0..AUDIENCES as u64)
            .map(|n| all.of(&audience(n)))
            .collect();
        assert!(held.iter().all(Option::is_some));
        assert!(all.of(&audience(1000)).is_none());
        let (one, same) = (all.of(&audience(1)), held[1].clone());
        assert!(Arc::ptr_eq(&one.expect("known"), &same.expect("known")));
        drop(held);
        assert!(all.of(&audience(1000)).is_some());
    }
}
