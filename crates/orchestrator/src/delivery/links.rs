//! What is kept of the content of one result, and led to by links in its place.

use memchr::memmem;
use switchboard_protocol::call::Payload;

use super::Delivery;
use crate::kept::{Kept, KeptResult, NoRoom};

/// The most links of one result.
pub(super) const MAX_LINKS: usize = 16;

/// Why something is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It was not to be, or there was no room.
    Dropped,
    /// As much is kept of this result as may be.
    TooMany,
}

/// What was kept of one result. What nothing leads to in the end is let go with this.
pub(super) struct Links<'k> {
    kept: &'k Kept,
    made: usize,
    /// Those that nothing leads to yet.
    pub(super) unlinked: Vec<KeptResult>,
}

impl<'k> Links<'k> {
    pub(super) const fn new(kept: &'k Kept) -> Self {
        Self {
            kept,
            made: 0,
            unlinked: Vec::new(),
        }
    }

    /// Keeps one image, audio or blob, given in base64.
    pub(super) async fn keep(
        &mut self,
        delivery: &Delivery<'_>,
        media_type: &str,
        base64: &[u8],
    ) -> Result<KeptResult, Missing> {
        if self.made == MAX_LINKS {
            return Err(Missing::TooMany);
        }
        let Delivery { call, target, .. } = delivery;
        let kept = self.kept.keep_content(call, target, media_type, base64);
        let kept = kept.await.map_err(|NoRoom| Missing::Dropped)?;
        self.made += 1;
        self.unlinked.push(kept.clone());
        Ok(kept)
    }

    /// Those that nothing leads to if somebody can read this text.
    pub(super) fn unlinked_beside(&self, text: &[u8]) -> Vec<KeptResult> {
        let leads_to = |kept: &&KeptResult| memmem::find(text, kept.uri.as_bytes()).is_some();
        let unlinked = self.unlinked.iter();
        unlinked.filter(|kept| !leads_to(kept)).cloned().collect()
    }

    /// Somebody has this result, with all that it leads to.
    pub(super) fn linked_from(&mut self, result: &Payload) {
        for segment in result.segments() {
            self.unlinked = self.unlinked_beside(segment);
        }
    }
}

impl Drop for Links<'_> {
    fn drop(&mut self) {
        for kept in &self.unlinked {
            self.kept.let_go(kept);
        }
    }
}
