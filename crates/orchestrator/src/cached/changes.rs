//! What servers tell of changes, as far as it makes cached results wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::RwLock;
use switchboard_backends::status::ChangedLists;
use switchboard_protocol::policy::TargetKind;

/// The most resources of one backend whose changes are told apart. More are taken for a change of all.
const MAX_URIS: usize = 1024;
/// The longest URI of them, in bytes. The change of one with a longer URI is taken for a change of all.
const MAX_URI: usize = 2048;

/// When something changed last, by backend. A result that was asked for before is not served.
#[derive(Default)]
pub(crate) struct Changes {
    /// Whether anything ever did: else nobody has to look.
    any: AtomicBool,
    of_backends: RwLock<HashMap<Arc<str>, OfBackend>>,
}

#[derive(Default)]
struct OfBackend {
    tools: Option<Instant>,
    resources: Option<Instant>,
    by_uri: HashMap<Arc<str>, Instant>,
}

impl Changes {
    /// A backend told that its lists changed.
    pub(crate) fn lists_changed(&self, backend: &str, lists: ChangedLists, now: Instant) {
        self.note(backend, |changes| {
            if lists.tools {
                changes.tools = Some(now);
            }
            if lists.resources {
                changes.resources = Some(now);
                changes.by_uri.clear();
            }
        });
    }

    /// A backend told that a resource changed; `uri` is its own.
    pub(crate) fn resource_updated(&self, backend: &str, uri: &str, now: Instant) {
        self.note(backend, |changes| {
            let is_known = changes.by_uri.contains_key(uri);
            let has_room = is_known || changes.by_uri.len() < MAX_URIS;
            if uri.len() > MAX_URI || !has_room {
                changes.resources = Some(now);
                changes.by_uri.clear();
            } else {
                changes.by_uri.insert(Arc::from(uri), now);
            }
        });
    }

    fn note(&self, backend: &str, note: impl FnOnce(&mut OfBackend)) {
        let mut of_backends = self.of_backends.write();
        note(of_backends.entry(Arc::from(backend)).or_default());
        self.any.store(true, Ordering::Release);
    }

    /// When this changed last, as far as is known; `target` is the server's own name or URI.
    pub(crate) fn last(&self, backend: &str, kind: TargetKind, target: &str) -> Option<Instant> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let of_backends = self.of_backends.read();
        let changes = of_backends.get(backend)?;
        match kind {
            TargetKind::Tool => changes.tools,
            TargetKind::Resource => changes.resources.max(changes.by_uri.get(target).copied()),
            TargetKind::Prompt => None,
        }
    }

    /// Forgets the backends that are there no longer: what was cached of them is found by nobody.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        if self.any.load(Ordering::Acquire) {
            self.of_backends.write().retain(|name, _| is_there(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_change_counts_for_what_it_is_about() {
        let (changes, at) = (Changes::default(), Instant::now());
        let of = |kind, target| changes.last("b", kind, target);
        assert_eq!(of(TargetKind::Resource, "u"), None);
        changes.resource_updated("b", "u", at);
        assert_eq!(of(TargetKind::Resource, "u"), Some(at));
        assert_eq!(of(TargetKind::Resource, "v"), None);
        assert_eq!(of(TargetKind::Tool, "u"), None);
        let later = at + Duration::from_secs(1);
        let lists = ChangedLists {
            resources: true,
            ..ChangedLists::default()
        };
        changes.lists_changed("b", lists, later);
        assert_eq!(of(TargetKind::Resource, "v"), Some(later));
        assert_eq!(of(TargetKind::Tool, "t"), None);
        for number in 0..=MAX_URIS {
            changes.resource_updated("b", &number.to_string(), later + Duration::from_secs(1));
        }
        assert!(of(TargetKind::Resource, "v") > Some(later));
        let last = later + Duration::from_secs(2);
        changes.resource_updated("b", &"u".repeat(MAX_URI + 1), last);
        assert_eq!(of(TargetKind::Resource, "v"), Some(last));
        changes.retain(|_| false);
        assert_eq!(of(TargetKind::Resource, "v"), None);
    }
}
