//! Results that were too large to send, for their callers to read on in ([decision 19]).
//!
//! What is kept is text (`decode`), in memory or in files without names (`body`), under a quota of its
//! principal and of all (`store`). It belongs to the principal and the profile that made the call. They
//! read it (`read`) as a resource or with a tool of the gateway's own (`listed`), for as long as the
//! policy shows them what the call was aimed at.
//!
//! [decision 19]: ../../../docs/decisions/0019-what-comes-back.md

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_backends::config::limits::show_size;
use switchboard_protocol::call::Call;
use switchboard_protocol::policy::Target;
use switchboard_protocol::token::random_id;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::at::KeptAt;
use self::body::{Body, Growing, SPILL};
use self::decode::Decoder;
use self::store::{Accounts, Content, Entries, Entry, Owner, Room};
use crate::config::NamesConfig;
use crate::config::kept_results::KeptResultsConfig;

mod answer;
mod at;
mod body;
mod decode;
pub(crate) mod listed;
mod outline;
mod parts;
mod read;
mod request;
mod search;
mod store;
mod string;
#[cfg(test)]
mod tests;

/// What the URIs of kept results begin with; the id of one follows.
pub(crate) const SCHEME: &str = "switchboard-result://";

/// As much is decoded before other tasks have their turn, in bytes.
const TURN: usize = 64 * 1024;
/// The most readings of files, and searches, at once.
const MAX_READING: usize = 4;

/// Results that were too large to send, for their callers to read on in. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None`: nothing is kept.
    terms: ArcSwapOption<Terms>,
    accounts: Arc<Accounts>,
    entries: Mutex<Entries>,
    /// Wakes the task that lets results expire.
    changed: Notify,
    reading: Arc<Semaphore>,
    /// `None`: there are no other replicas.
    at: Option<KeptAt>,
}

/// What holds for what is kept from now on.
#[derive(Debug)]
struct Terms {
    config: Arc<KeptResultsConfig>,
    folder: Arc<Path>,
    /// The name of the tool that reads.
    tool: Arc<str>,
}

/// There is no room for it, for this principal or in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A result that is being kept. Dropped before its end it is forgotten.
#[derive(Debug)]
pub(crate) struct Keeping {
    kept: Kept,
    terms: Arc<Terms>,
    owner: Owner,
    room: Room,
    id: Arc<str>,
    decoder: Decoder,
    growing: Growing,
    /// Something that is no result came: what came before it is kept.
    is_broken: bool,
}

/// A result that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptResult {
    /// Where it can be read.
    pub(crate) uri: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// What it is.
    pub(crate) media_type: &'static str,
    /// What is in it, in few words.
    pub(crate) shape: String,
    /// The name of the tool that reads on in it, where a client cannot read resources.
    pub(crate) tool: Arc<str>,
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Kept {
    /// Where nothing is kept yet; `at` is this replica, if there are others.
    pub(crate) fn new(at: Option<KeptAt>) -> Self {
        Self(Arc::new(Shared {
            terms: ArcSwapOption::empty(),
            accounts: Arc::default(),
            entries: Mutex::default(),
            changed: Notify::new(),
            reading: Arc::new(Semaphore::new(MAX_READING)),
            at,
        }))
    }

    /// A new id, for a result of this principal that is kept by these terms.
    fn new_id(&self, owner: &Owner, terms: &Terms) -> Result<Arc<str>, NoRoom> {
        let id = match &self.0.at {
            None => random_id(),
            // It expires that long after it is whole, which may be a while from now.
            Some(at) => at.id(&owner.principal, 2 * terms.config.ttl),
        };
        Ok(id.map_err(|_| NoRoom)?.into())
    }

    /// Puts these bounds in force, for what is kept from now on; `None`: nothing is kept any more, and
    /// what was is forgotten.
    pub(crate) fn configure(&self, config: Option<&KeptResultsConfig>, names: &NamesConfig) {
        let terms = config.map(|config| {
            let folder = store::folder(config);
            let config = Arc::new(config.clone());
            let tool = listed::tool_name(names).into();
            Arc::new(Terms {
                config,
                folder,
                tool,
            })
        });
        if let (Some(terms), Ok(runtime)) = (&terms, Handle::try_current()) {
            let folder = Arc::clone(&terms.folder);
            runtime.spawn_blocking(move || {
                if let Err(error) = body::probe(&folder) {
                    tracing::warn!(
                        "kept_results.dir: no file can be made in {}: {error}; large results are not kept",
                        folder.display()
                    );
                }
            });
        }
        let is_off = terms.is_none();
        self.0.terms.store(terms);
        if is_off {
            self.clear();
        }
    }

    /// Begins to keep a result of this call, aimed at this target.
    ///
    /// # Errors
    /// [`NoRoom`], also where nothing is kept at all.
    pub(crate) fn begin(&self, call: &Call, target: &Target<'_>) -> Result<Keeping, NoRoom> {
        let terms = self.0.terms.load_full().ok_or(NoRoom)?;
        let owner = Owner::of(call, target);
        let room = Room::take(&self.0.accounts, &terms.config, &owner.principal)?;
        Ok(Keeping {
            kept: self.clone(),
            id: self.new_id(&owner, &terms)?,
            owner,
            room,
            decoder: Decoder::new(),
            growing: Growing::new(Arc::clone(&terms.folder)),
            is_broken: false,
            terms,
        })
    }

    /// Keeps one image, audio or blob, given in base64. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NoRoom`], also for what is no base64.
    pub(crate) fn keep_content(
        &self,
        call: &Call,
        target: &Target<'_>,
        media_type: &str,
        base64: &[u8],
    ) -> Result<KeptResult, NoRoom> {
        let terms = self.0.terms.load_full().ok_or(NoRoom)?;
        let owner = Owner::of(call, target);
        let mut room = Room::take(&self.0.accounts, &terms.config, &owner.principal)?;
        // Before it is decoded: what is not kept costs nothing.
        room.grow_to(base64.len() as u64 / 4 * 3)?;
        let content = Bytes::from(STANDARD.decode(base64).map_err(|_| NoRoom)?);
        let size = content.len() as u64;
        room.in_memory(size);
        let id = self.new_id(&owner, &terms)?;
        let body = Body::of_bytes(content);
        let entry = Entry::new(
            owner,
            Content::Binary(media_type.into()),
            body.clone(),
            Instant::now() + terms.config.ttl,
            room,
        );
        let entry = self.insert(&id, entry)?;
        if size > terms.config.in_memory || self.0.accounts.is_memory_full() {
            let folder = Arc::clone(&terms.folder);
            spawn_blocking(move || match body.in_file(&folder) {
                Ok(body) => entry.moved(body),
                Err(error) => tracing::warn!("a kept result stays in memory: {error}"),
            });
        }
        Ok(KeptResult {
            uri: format!("{SCHEME}{id}"),
            size,
            media_type: known_media_type(media_type),
            shape: format!("{} {}", known_media_type(media_type), show_size(size)),
            tool: Arc::clone(&terms.tool),
        })
    }

    /// Keeps it, unless nothing is kept any more.
    fn insert(&self, id: &Arc<str>, entry: Entry) -> Result<Arc<Entry>, NoRoom> {
        let entry = {
            let mut entries = self.0.entries.lock();
            // Under the lock: `configure` takes it to forget everything, after it took the terms away.
            if self.0.terms.load().is_none() {
                return Err(NoRoom);
            }
            entries.insert(Arc::clone(id), entry)
        };
        self.0.changed.notify_one();
        Ok(entry)
    }

    /// Lets results expire, until this is cancelled.
    pub(crate) async fn keep_expiring(self, stop: CancellationToken) {
        loop {
            let next = self.0.entries.lock().next_expiry();
            let expiry = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.changed.notified() => {}
                () = expiry => {
                    let expired = self.0.entries.lock().expired(Instant::now());
                    drop(expired);
                }
            }
        }
    }

    /// Forgets everything that is kept.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.entries.lock());
        drop(all);
    }
}

impl Keeping {
    /// The next piece of the result object: raw JSON, without secrets.
    ///
    /// # Errors
    /// [`NoRoom`]: there is no more of it, or the disk is full. What was kept is gone then.
    pub(crate) async fn push(&mut self, piece: &Bytes) -> Result<(), NoRoom> {
        for (turn, part) in piece.chunks(TURN).enumerate() {
            if turn > 0 {
                yield_now().await;
            }
            if self.is_broken {
                return Ok(());
            }
            self.is_broken = self.decoder.push(part, &mut self.growing.rest).is_err();
            self.grew().await?;
        }
        Ok(())
    }

    /// Takes the room of what was added, and writes to a file what is not to stay in memory.
    async fn grew(&mut self) -> Result<(), NoRoom> {
        self.growing.note();
        let has_room = self.room.grow_to(self.growing.len());
        // What is in memory counts, whether there is room for more of it or not.
        self.room.in_memory(self.growing.rest.len() as u64);
        has_room?;
        if self.must_leave_memory() && self.growing.rest.len() >= SPILL {
            self.spill().await?;
        }
        Ok(())
    }

    /// Whether it is too large to stay in memory, or there is no room for it there.
    fn must_leave_memory(&self) -> bool {
        self.growing.len() > self.terms.config.in_memory || self.kept.0.accounts.is_memory_full()
    }

    async fn spill(&mut self) -> Result<(), NoRoom> {
        self.growing.spill().await.map_err(|error| {
            tracing::warn!("a large result cannot be kept: {error}");
            NoRoom
        })?;
        self.room.in_memory(self.growing.rest.len() as u64);
        Ok(())
    }

    /// The result was whole, or broke off here.
    pub(crate) async fn finish(mut self, is_whole: bool) -> KeptResult {
        self.decoder.finish(&mut self.growing.rest);
        // What is left is less than a piece, and was counted but for that: it stays in any case.
        let _ = self.grew().await;
        if self.must_leave_memory() {
            let _ = self.spill().await;
        }
        let body = self.growing.finish();
        let (parts, shape) = self.decoder.parts.finish(is_whole && !self.is_broken);
        let size = body.len();
        let expires = Instant::now() + self.terms.config.ttl;
        let entry = Entry::new(self.owner, Content::Text(parts), body, expires, self.room);
        // Where it was switched off meanwhile, the result is gone like those before it.
        let _ = self.kept.insert(&self.id, entry);
        KeptResult {
            uri: format!("{SCHEME}{}", self.id),
            size,
            media_type: "text/plain",
            shape,
            tool: Arc::clone(&self.terms.tool),
        }
    }
}

/// The usual media types of binary content.
const MEDIA_TYPES: [&str; 12] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/svg+xml",
    "audio/wav",
    "audio/mpeg",
    "audio/ogg",
    "audio/webm",
    "video/mp4",
    "application/pdf",
    "application/zip",
];

/// The media type, if it is a usual one: what a server calls it else is for those who read it.
fn known_media_type(media_type: &str) -> &'static str {
    let known = MEDIA_TYPES.into_iter().find(|it| *it == media_type);
    known.unwrap_or("application/octet-stream")
}
