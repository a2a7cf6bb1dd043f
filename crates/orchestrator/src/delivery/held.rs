//! What is held of a result that is larger than its cap, while more of it is read or kept.

use switchboard_protocol::call::{Piece, ResultStream};
use switchboard_protocol::delivery::{Cap, STEP};
use switchboard_protocol::method::Method;
use tokio::task::yield_now;

use super::Delivery;
use super::cap::{BYTES_A_TOKEN, SPARE, TooLarge, next};
use super::cut::Rest;
use super::skim::{Skimmed, Skimmer};

/// Of structured content that is there as a whole so many times more is looked at than the cap lets
/// through.
const TIMES_OF_WHOLE: usize = 8;

/// What is held of a result, of which more may follow.
pub(super) struct Held {
    text: Vec<u8>,
    /// How long the result is in all, if that is known, and how much of it was read, in bytes.
    total: Option<u64>,
    length: u64,
    /// What follows; none: it is all there, or nothing more is taken of it.
    stream: Option<Box<dyn ResultStream>>,
    is_error: bool,
    /// None of a result that has no structured content.
    skimmer: Option<Skimmer>,
    /// How much may be held, in bytes.
    most: usize,
}

/// What was read of a result.
pub(super) struct Read {
    /// Its beginning.
    pub(super) text: Vec<u8>,
    /// How long it is in all, in bytes, if that is known.
    pub(super) total: Option<u64>,
    /// Whether it is known to say `isError: true`.
    pub(super) is_error: bool,
    /// What it has besides its content.
    pub(super) skimmed: Skimmed,
}

impl Held {
    /// This result, whose own structured content is taken note of.
    pub(super) async fn of(method: Method, cap: &Cap, too_large: TooLarge) -> Self {
        let TooLarge {
            text,
            total,
            stream,
            is_error,
        } = too_large;
        let most = cap.most();
        let tokens = most.tokens().saturating_mul(BYTES_A_TOKEN as u64);
        let most = usize::try_from(most.bytes().min(tokens)).unwrap_or(usize::MAX);
        let noted = match stream {
            Some(_) => most,
            None => most.saturating_mul(TIMES_OF_WHOLE).min(text.len()),
        };
        let mut skimmer = (method == Method::ToolsCall).then(|| Skimmer::new(noted));
        if let Some(skimmer) = &mut skimmer {
            for step in text.chunks(STEP) {
                skimmer.read(step);
                yield_now().await;
            }
        }
        Self {
            length: text.len() as u64,
            text,
            total,
            stream,
            is_error,
            skimmer,
            most: most.saturating_add(SPARE),
        }
    }

    /// The next piece; `None` at the end, or where it breaks off. What is noted of it takes the room of
    /// what is there already.
    async fn next(&mut self) -> Option<bytes::Bytes> {
        match next(&mut **self.stream.as_mut()?).await {
            Ok(Piece::Bytes(piece)) => {
                self.length += piece.len() as u64;
                self.skim(&piece);
                Some(piece)
            }
            Ok(Piece::End { is_error }) => {
                self.total = Some(self.length);
                self.is_error |= is_error;
                self.stream = None;
                None
            }
            Err(_) => {
                self.stream = None;
                None
            }
        }
    }

    fn skim(&mut self, piece: &[u8]) {
        let Some(skimmer) = &mut self.skimmer else {
            return;
        };
        skimmer.read(piece);
        let room = self.most.saturating_sub(skimmer.held());
        if self.text.capacity() > room {
            self.text.truncate(room);
            self.text.shrink_to_fit();
        }
    }

    /// Reads on up to the end of the structured content.
    pub(super) async fn read_structured(&mut self) {
        while self.skimmer.as_ref().is_some_and(|it| !it.has_all()) && self.next().await.is_some() {
        }
    }

    /// Cancels the call, since nothing more is taken of its result.
    pub(super) fn cut_off(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.cut_off();
        }
    }

    /// All that was read.
    pub(super) fn finish(self) -> Read {
        let skimmed = self.skimmer.map(Skimmer::finish).unwrap_or_default();
        let length = skimmed.has_ended.then_some(self.length);
        Read {
            text: self.text,
            total: self.total.or(length),
            is_error: self.is_error || skimmed.is_error,
            skimmed,
        }
    }
}

impl Delivery<'_> {
    /// Has the whole result kept: what was read of it, and what follows.
    pub(super) async fn keep(&self, held: &mut Held) -> Rest {
        if held.stream.is_none() {
            let kept = self.kept.keep_result(self.call, &self.target, &held.text);
            return Rest::of(kept.await, true);
        }
        let Ok(mut keeping) = self.kept.begin(self.call, &self.target) else {
            return Rest::NoRoom;
        };
        if keeping.push(&held.text).await.is_err() {
            return Rest::NoRoom;
        }
        while let Some(piece) = held.next().await {
            if keeping.push(&piece).await.is_err() {
                return Rest::NoRoom;
            }
        }
        let is_whole = held.total.is_some();
        Rest::of(keeping.finish(is_whole).await, is_whole)
    }
}
