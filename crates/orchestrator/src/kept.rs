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
use parking_lot::Mutex;
use switchboard_protocol::byte_size;
use switchboard_protocol::call::Call;
use switchboard_protocol::delivery::STEP;
use switchboard_protocol::policy::Target;
use switchboard_protocol::token::random_id;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::at::KeptAt;
use self::decode::Decoder;
use self::fair_semaphore::FairSemaphore;
use self::filling::Filling;
use self::store::{Accounts, Content, Entries, Entry, Provenance};
use crate::config::NamesConfig;
use crate::config::kept_results::KeptResultsConfig;

mod answer;
mod at;
mod body;
mod decode;
mod digest;
mod fair_semaphore;
mod filling;
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

/// How much base64 is decoded before others have their turn on the thread, in bytes: whole groups of
/// four.
const BASE64_STEP: usize = STEP / 3 * 4;
/// The most readings of files at once.
const MAX_READING: usize = 4;
/// The most searches at once.
const MAX_SEARCHING: usize = 4;

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
    reading: FairSemaphore,
    searching: FairSemaphore,
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
    filling: Filling,
    decoder: Decoder,
    /// Something that is no result came: what came before it is kept.
    is_broken: bool,
}

/// A result that was kept, as its caller is to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptResult {
    /// Where it can be read, for as long as it is kept.
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
            reading: FairSemaphore::new(MAX_READING),
            searching: FairSemaphore::new(MAX_SEARCHING),
            at,
        }))
    }

    /// A new id, for a result of this principal.
    fn new_id(&self, provenance: &Provenance) -> Result<Arc<str>, NoRoom> {
        let id = match &self.0.at {
            None => random_id(),
            Some(at) => at.id(&provenance.principal),
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
        Ok(Keeping {
            filling: Filling::begin(self, Provenance::of(call, target), true)?,
            decoder: Decoder::new(),
            is_broken: false,
        })
    }

    /// Keeps a whole result object of this call: once, however often the same comes back.
    ///
    /// # Errors
    /// [`NoRoom`], also where nothing is kept at all.
    pub(crate) async fn keep_result(
        &self,
        call: &Call,
        target: &Target<'_>,
        result: &[u8],
    ) -> Result<KeptResult, NoRoom> {
        let digest = digest::of_result(&Provenance::of(call, target), result).await;
        if let Some(kept) = self.again(&digest) {
            return Ok(kept);
        }
        let mut keeping = self.begin(call, target)?;
        keeping.filling.digest = Some(digest);
        keeping.push(result).await?;
        keeping.finish(true).await
    }

    /// Keeps one image, audio or blob, given in base64: once, however often the same comes back.
    ///
    /// # Errors
    /// [`NoRoom`], also for what is no base64.
    pub(crate) async fn keep_content(
        &self,
        call: &Call,
        target: &Target<'_>,
        media_type: &str,
        base64: &[u8],
    ) -> Result<KeptResult, NoRoom> {
        let provenance = Provenance::of(call, target);
        let digest = digest::of_content(&provenance, media_type, base64).await;
        if let Some(kept) = self.again(&digest) {
            return Ok(kept);
        }
        let mut filling = Filling::begin(self, provenance, false)?;
        filling.digest = Some(digest);
        // Before it is decoded: what is not kept costs nothing.
        filling.room.grow_to(base64.len() as u64 / 4 * 3)?;
        for (step, piece) in base64.chunks(BASE64_STEP).enumerate() {
            if step > 0 {
                yield_now().await;
            }
            STANDARD
                .decode_vec(piece, &mut filling.growing.rest)
                .map_err(|_| NoRoom)?;
            filling.grew().await?;
        }
        let (media_type, known) = (media_type.into(), known_media_type(media_type));
        let shape = format!("{known} {}", byte_size::shown(filling.growing.len()));
        filling.finish(Content::Binary(media_type), shape).await
    }

    /// What was kept of the same, to which one more result leads now.
    fn again(&self, digest: &digest::Digest) -> Option<KeptResult> {
        let terms = self.0.terms.load_full()?;
        let now = Instant::now();
        let again = self
            .0
            .entries
            .lock()
            .again(digest, now, now + terms.config.ttl);
        let (id, entry) = again?;
        Some(KeptResult::of(&id, &entry, &terms))
    }

    /// Forgets what was kept, unless some other result leads to it too.
    pub(crate) fn let_go(&self, kept: &KeptResult) {
        let id = kept.uri.strip_prefix(SCHEME).unwrap_or_default();
        let gone = self.0.entries.lock().let_go(id);
        drop(gone);
    }

    /// Keeps it, unless nothing is kept any more.
    fn insert(
        &self,
        id: &Arc<str>,
        entry: Entry,
        digest: Option<digest::Digest>,
        expires: Instant,
    ) -> Result<(), NoRoom> {
        {
            let mut entries = self.0.entries.lock();
            // Under the lock: `configure` takes it to forget everything, after it took the terms away.
            if self.0.terms.load().is_none() {
                return Err(NoRoom);
            }
            entries.insert(Arc::clone(id), entry, digest, expires);
        }
        self.0.changed.notify_one();
        Ok(())
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

    /// How many results are kept.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.usage().results
    }

    /// How much is kept, and being kept.
    pub(crate) fn usage(&self) -> store::Usage {
        self.0.accounts.total()
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
    pub(crate) async fn push(&mut self, piece: &[u8]) -> Result<(), NoRoom> {
        for (step, part) in piece.chunks(STEP).enumerate() {
            if step > 0 {
                yield_now().await;
            }
            if self.is_broken {
                return Ok(());
            }
            let text = &mut self.filling.growing.rest;
            self.is_broken = self.decoder.push(part, text).is_err();
            self.filling.grew().await?;
        }
        Ok(())
    }

    /// The result was whole, or broke off here.
    ///
    /// # Errors
    /// [`NoRoom`], as [`Keeping::push`]; also where nothing is kept any more.
    pub(crate) async fn finish(mut self, is_whole: bool) -> Result<KeptResult, NoRoom> {
        self.decoder.finish(&mut self.filling.growing.rest);
        self.filling.grew().await?;
        let (parts, shape) = self.decoder.parts.finish(is_whole && !self.is_broken);
        self.filling.finish(Content::Text(parts), shape).await
    }
}

impl KeptResult {
    fn of(id: &str, entry: &Entry, terms: &Terms) -> Self {
        Self {
            uri: format!("{SCHEME}{id}"),
            size: entry.body.len(),
            media_type: match &entry.content {
                Content::Text(_) => "text/plain",
                Content::Binary(media_type) => known_media_type(media_type),
            },
            shape: entry.shape.to_string(),
            tool: Arc::clone(&terms.tool),
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
