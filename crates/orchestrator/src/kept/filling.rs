//! What is being kept, as it grows: its room, in memory and in all, and when it goes to a file.

use std::sync::Arc;

use tokio::time::Instant;

use super::body::{Growing, SPILL};
use super::digest::Digest;
use super::store::{Content, Entry, Provenance, Room};
use super::{Kept, KeptResult, NoRoom, Terms};

/// Something that is being kept. Dropped before its end it is forgotten.
#[derive(Debug)]
pub(super) struct Filling {
    kept: Kept,
    terms: Arc<Terms>,
    provenance: Provenance,
    id: Arc<str>,
    pub(super) room: Room,
    /// Whoever adds to it says so with [`Filling::grew`].
    pub(super) growing: Growing,
    /// Of what it is made of, if that is to be kept once.
    pub(super) digest: Option<Digest>,
}

impl Filling {
    /// # Errors
    /// [`NoRoom`], also where nothing is kept at all.
    pub(super) fn begin(
        kept: &Kept,
        provenance: Provenance,
        is_text: bool,
    ) -> Result<Self, NoRoom> {
        let terms = kept.0.terms.load_full().ok_or(NoRoom)?;
        Ok(Self {
            kept: kept.clone(),
            room: Room::take(&kept.0.accounts, &terms.config, &provenance.principal)?,
            id: kept.new_id(&provenance)?,
            provenance,
            growing: Growing::new(Arc::clone(&terms.folder), is_text),
            digest: None,
            terms,
        })
    }

    /// Takes the room of what was added, and writes to a file what is not to stay in memory.
    ///
    /// # Errors
    /// [`NoRoom`]: there is no more of it, or the disk is full.
    pub(super) async fn grew(&mut self) -> Result<(), NoRoom> {
        self.growing.note();
        self.room.grow_to(self.growing.len())?;
        let has_memory = self.takes_memory();
        if !has_memory || (self.is_large() && self.growing.rest.len() >= SPILL) {
            self.spill().await?;
        }
        Ok(())
    }

    /// Whether it is too large to stay in memory.
    fn is_large(&self) -> bool {
        self.growing.len() > self.terms.config.in_memory
    }

    /// Whether there is room in memory for what is there, which is taken then.
    fn takes_memory(&mut self) -> bool {
        self.room.in_memory(self.growing.rest.len() as u64)
    }

    async fn spill(&mut self) -> Result<(), NoRoom> {
        self.growing.spill().await.map_err(|error| {
            tracing::warn!("a large result cannot be kept: {error}");
            NoRoom
        })?;
        self.takes_memory();
        Ok(())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// [`NoRoom`]: there is none in memory, and no file can be made; also where nothing is kept any more.
    pub(super) async fn finish(
        mut self,
        content: Content,
        shape: String,
    ) -> Result<KeptResult, NoRoom> {
        let has_memory = self.takes_memory();
        if (self.is_large() || !has_memory) && !self.growing.rest.is_empty() {
            let written = self.spill().await;
            // Less than is written at once stays where it is, if there is room.
            if !has_memory {
                written?;
            }
        }
        let entry = Entry {
            provenance: self.provenance,
            content,
            body: self.growing.finish(),
            shape: shape.into(),
            _room: self.room,
        };
        let kept = KeptResult::of(&self.id, &entry, &self.terms);
        let expires = Instant::now() + self.terms.config.ttl;
        self.kept.insert(&self.id, entry, self.digest, expires)?;
        Ok(kept)
    }
}
