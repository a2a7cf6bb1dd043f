//! What is kept, of whom, for how long, and the room that it takes.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard_protocol::call::Call;
use switchboard_protocol::policy::{Target, TargetKind};
use tokio::time::Instant;

use super::NoRoom;
use super::body::Body;
use super::digest::Digest;
use super::parts::Part;
use crate::config::kept_results::KeptResultsConfig;

/// The most bytes of all results that stay in memory.
pub(super) const MAX_IN_MEMORY: u64 = 64 * 1024 * 1024;

/// The folder of the files.
pub(super) fn folder(config: &KeptResultsConfig) -> Arc<Path> {
    let default = || match std::env::var_os("TMPDIR") {
        Some(folder) => PathBuf::from(folder),
        // Where large temporary files belong: what is in `/tmp` may be in memory.
        None => PathBuf::from("/var/tmp"),
    };
    config.dir.clone().unwrap_or_else(default).into()
}

/// Who made the call that a result is of, and what it was aimed at.
#[derive(Debug)]
pub(super) struct Provenance {
    pub(super) principal: Arc<str>,
    pub(super) profile: Option<Arc<str>>,
    pub(super) kind: TargetKind,
    pub(super) backend: Arc<str>,
    pub(super) name: Box<str>,
}

impl Provenance {
    pub(super) fn of(call: &Call, target: &Target<'_>) -> Self {
        Self {
            principal: call.principal.id.as_str().into(),
            profile: call.profile.clone(),
            kind: target.kind,
            backend: target.backend.into(),
            name: target.name.into(),
        }
    }

    /// What the call was aimed at.
    pub(super) fn target(&self) -> Target<'_> {
        Target {
            kind: self.kind,
            backend: &self.backend,
            name: &self.name,
        }
    }

    /// Whether the result is the caller's of this call.
    fn is_of(&self, call: &Call) -> bool {
        *self.principal == *call.principal.id && self.profile == call.profile
    }
}

/// What is in a result.
#[derive(Debug)]
pub(super) enum Content {
    /// Text, in parts.
    Text(Vec<Part>),
    /// Something else, of this media type.
    Binary(Box<str>),
}

/// A result that is kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) provenance: Provenance,
    pub(super) content: Content,
    pub(super) body: Body,
    /// What is in it, in few words.
    pub(super) shape: Box<str>,
    /// Given back with it.
    pub(super) _room: Room,
}

/// The results that are kept, by the id of each.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: HashMap<Arc<str>, Held>,
    by_digest: HashMap<Digest, Arc<str>>,
    /// A number tells those apart that expire in one moment.
    expiries: BTreeMap<Expiry, Arc<str>>,
    next: u64,
}

type Expiry = (Instant, u64);

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    expiry: Expiry,
    /// Of what it was made of.
    digest: Option<Digest>,
    /// How many results lead to it.
    handles: usize,
}

impl Entries {
    /// Adds one to which a result leads. `digest`: of what it was made of, if that is to be kept once.
    pub(super) fn insert(
        &mut self,
        id: Arc<str>,
        entry: Entry,
        digest: Option<Digest>,
        expires: Instant,
    ) {
        let expiry = self.expiry(expires);
        self.expiries.insert(expiry, Arc::clone(&id));
        if let Some(digest) = digest {
            self.by_digest.insert(digest, Arc::clone(&id));
        }
        let held = Held {
            entry: Arc::new(entry),
            expiry,
            digest,
            handles: 1,
        };
        self.all.insert(id, held);
    }

    fn expiry(&mut self, at: Instant) -> Expiry {
        self.next += 1;
        (at, self.next)
    }

    /// The result of this id, if it is the caller's and has not expired.
    pub(super) fn find(&self, id: &str, call: &Call, now: Instant) -> Option<Arc<Entry>> {
        let held = self.all.get(id)?;
        (held.entry.provenance.is_of(call) && now < held.expiry.0).then(|| Arc::clone(&held.entry))
    }

    /// The result that was made of the same, unless it has expired; it stays until `expires` at least,
    /// since one more leads to it.
    pub(super) fn again(
        &mut self,
        digest: &Digest,
        now: Instant,
        expires: Instant,
    ) -> Option<(Arc<str>, Arc<Entry>)> {
        let id = Arc::clone(self.by_digest.get(digest)?);
        let later = self.expiry(expires);
        let held = self.all.get_mut(&id).filter(|held| now < held.expiry.0)?;
        held.handles += 1;
        if held.expiry.0 < expires {
            self.expiries.remove(&held.expiry);
            held.expiry = later;
            self.expiries.insert(later, Arc::clone(&id));
        }
        Some((id, Arc::clone(&held.entry)))
    }

    /// Takes out the result of this id if nothing else leads to it.
    pub(super) fn let_go(&mut self, id: &str) -> Option<Arc<Entry>> {
        let held = self.all.get_mut(id)?;
        held.handles -= 1;
        if held.handles > 0 {
            return None;
        }
        let expiry = held.expiry;
        self.expiries.remove(&expiry);
        self.take_out(id)
    }

    /// When the next one expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.keys().next().map(|(at, _)| *at)
    }

    /// Takes out what has expired.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Arc<Entry>> {
        let mut expired = Vec::new();
        while let Some(first) = self.expiries.first_entry().filter(|it| it.key().0 <= now) {
            let id = first.remove();
            expired.extend(self.take_out(&id));
        }
        expired
    }

    fn take_out(&mut self, id: &str) -> Option<Arc<Entry>> {
        let held = self.all.remove(id)?;
        if let Some(digest) = held.digest
            && self.by_digest.get(&digest).is_some_and(|it| **it == *id)
        {
            self.by_digest.remove(&digest);
        }
        Some(held.entry)
    }
}

/// Who has how much.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    total: Usage,
    by_principal: HashMap<Arc<str>, Usage>,
    in_memory: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) results: usize,
}

impl Accounts {
    /// What all have together.
    pub(super) fn total(&self) -> Usage {
        self.0.lock().total
    }

    /// How much of it is in memory, in bytes.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> u64 {
        self.0.lock().in_memory
    }

    /// Lets this much less stay in memory.
    #[cfg(test)]
    pub(super) fn fill_memory(&self, bytes: u64) {
        self.0.lock().in_memory += bytes;
    }
}

/// The room of one result; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    accounts: Arc<Accounts>,
    config: Arc<KeptResultsConfig>,
    principal: Arc<str>,
    bytes: u64,
    in_memory: u64,
}

impl Room {
    /// Room for one more result of a principal.
    pub(super) fn take(
        accounts: &Arc<Accounts>,
        config: &Arc<KeptResultsConfig>,
        principal: &Arc<str>,
    ) -> Result<Self, NoRoom> {
        let mut used = accounts.0.lock();
        let own = used
            .by_principal
            .get(principal)
            .copied()
            .unwrap_or_default();
        let is_full = used.total.results >= config.total.results
            || own.results >= config.per_principal.results
            || used.total.bytes >= config.total.bytes
            || own.bytes >= config.per_principal.bytes;
        if is_full {
            return Err(NoRoom);
        }
        used.total.results += 1;
        let own = used.by_principal.entry(Arc::clone(principal)).or_default();
        own.results += 1;
        Ok(Self {
            accounts: Arc::clone(accounts),
            config: Arc::clone(config),
            principal: Arc::clone(principal),
            bytes: 0,
            in_memory: 0,
        })
    }

    /// Room for it to be so long.
    pub(super) fn grow_to(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        let mut used = self.accounts.0.lock();
        let own = used.by_principal.get(&self.principal).copied();
        let own = own.unwrap_or_default().bytes;
        if bytes > self.config.max_result
            || own + more > self.config.per_principal.bytes
            || used.total.bytes + more > self.config.total.bytes
        {
            return Err(NoRoom);
        }
        used.total.bytes += more;
        if let Some(own) = used.by_principal.get_mut(&self.principal) {
            own.bytes += more;
        }
        self.bytes += more;
        Ok(())
    }

    /// So much of it is in memory from now on; whether there is room for that. Else it has as much as
    /// before.
    pub(super) fn in_memory(&mut self, bytes: u64) -> bool {
        let mut used = self.accounts.0.lock();
        let all = used.in_memory - self.in_memory + bytes;
        let fits = bytes <= self.in_memory || all <= MAX_IN_MEMORY;
        if fits {
            used.in_memory = all;
            self.in_memory = bytes;
        }
        fits
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut used = self.accounts.0.lock();
        used.total.bytes -= self.bytes;
        used.total.results -= 1;
        used.in_memory -= self.in_memory;
        if let Some(own) = used.by_principal.get_mut(&self.principal) {
            own.bytes -= self.bytes;
            own.results -= 1;
            if own.results == 0 {
                used.by_principal.remove(&self.principal);
            }
        }
    }
}
