//! What is held of a result that is larger than its cap, while more of it is read or kept.

use std::future::poll_fn;

use bytes::Bytes;
use switchboard_protocol::call::{Piece, ResultStream};
use switchboard_protocol::delivery::{Cap, STEP};
use switchboard_protocol::error::CallError;
use switchboard_protocol::method::Method;
use tokio::task::yield_now;

use super::Delivery;
use super::cut::Rest;
use super::skim::{Skimmed, Skimmer};

/// More bytes than what counts as one token can have.
const BYTES_A_TOKEN: usize = 6;
/// How much more of a result than the cap lets through is looked at when it is cut, in bytes.
const SPARE: usize = 64 * 1024;
/// Structured content of a result that is in memory anyway is noted up to so many times the cap, so that
/// cutting has more to choose from.
const TIMES_OF_WHOLE: usize = 2;

/// What was read of a result that is larger than its cap.
pub(super) struct TooLarge {
    /// Its beginning, or all of it.
    pub(super) text: Vec<u8>,
    /// How long it is in all, in bytes, if that is known.
    pub(super) total: Option<u64>,
    /// What follows; none: it is all there.
    pub(super) stream: Option<Box<dyn ResultStream>>,
    /// Whether it is known to say `isError: true`.
    pub(super) is_error: bool,
}

/// A result that is larger than its cap, of which more may be read.
pub(super) struct Held {
    result: TooLarge,
    /// How much of it was read, in bytes.
    length: u64,
    /// None of a result that has no structured content.
    skimmer: Option<Skimmer>,
    /// Whether it came whole, so that it is in memory anyway.
    is_whole: bool,
    /// How much is held of one that did not, in bytes.
    max_held: usize,
    has_left_out: bool,
}

/// What is cut.
pub(super) struct Read {
    /// The beginning of the result, or all of it.
    pub(super) text: Vec<u8>,
    /// How long it is in all, in bytes, if that is known.
    pub(super) total: Option<u64>,
    /// Whether it is known to say `isError: true`.
    pub(super) is_error: bool,
    /// What it has besides its content.
    pub(super) skimmed: Skimmed,
}

/// How much of a result is looked at when it is cut, in bytes: more of it is of no use, and it is read several
/// times.
pub(super) fn max_looked_at(cap: &Cap) -> usize {
    let max = usize::try_from(cap.always_within()).unwrap_or(usize::MAX);
    max.saturating_mul(BYTES_A_TOKEN).saturating_add(SPARE)
}

impl Held {
    /// This result, whose structured content is noted as far as it is there.
    pub(super) async fn of(method: Method, cap: &Cap, result: TooLarge) -> Self {
        let max = cap.most();
        let tokens = max.tokens().saturating_mul(BYTES_A_TOKEN as u64);
        let max = usize::try_from(max.bytes().min(tokens)).unwrap_or(usize::MAX);
        let max_noted = match result.stream {
            Some(_) => max,
            None => max.saturating_mul(TIMES_OF_WHOLE).min(result.text.len()),
        };
        let mut held = Self {
            length: result.text.len() as u64,
            skimmer: (method == Method::ToolsCall).then(|| Skimmer::new(max_noted)),
            is_whole: result.stream.is_none(),
            max_held: max.saturating_add(SPARE),
            has_left_out: false,
            result,
        };
        if let Some(skimmer) = &mut held.skimmer {
            for step in held.result.text.chunks(STEP) {
                skimmer.read(step);
                yield_now().await;
            }
        }
        held
    }

    /// What is there of the text.
    pub(super) fn text(&self) -> &[u8] {
        &self.result.text
    }

    /// Reads on up to the end of the structured content.
    pub(super) async fn read_structured(&mut self) {
        while self.skimmer.as_ref().is_some_and(|it| !it.has_all()) && self.next().await.is_some() {
        }
    }

    /// Cancels the call, since nothing more is taken of its result.
    pub(super) fn cut_off(&mut self) {
        if let Some(mut stream) = self.result.stream.take() {
            stream.cut_off();
        }
    }

    /// All that is cut.
    pub(super) fn finish(mut self) -> Read {
        self.make_room();
        let skimmed = self.skimmer.map(Skimmer::finish).unwrap_or_default();
        let length = skimmed.has_ended.then_some(self.length);
        Read {
            text: self.result.text,
            total: self.result.total.or(length),
            is_error: self.result.is_error || skimmed.is_error,
            skimmed,
        }
    }

    /// The next piece; `None` at the end, or where it breaks off.
    async fn next(&mut self) -> Option<Bytes> {
        match next_piece(&mut **self.result.stream.as_mut()?).await {
            Ok(Piece::Bytes(piece)) => {
                self.length += piece.len() as u64;
                if let Some(skimmer) = self.skimmer.as_mut().filter(|it| !it.has_all()) {
                    skimmer.read(&piece);
                    self.make_room();
                }
                return Some(piece);
            }
            Ok(Piece::End { is_error }) => {
                self.result.total = Some(self.length);
                self.result.is_error |= is_error;
            }
            Err(_) => {}
        }
        self.result.stream = None;
        None
    }

    /// What is noted of structured content need not be there twice, and what stands after it is looked at too.
    fn leave_out_structured(&mut self) {
        let at = self.skimmer.as_ref().and_then(Skimmer::structured_at);
        let Some((from, until)) = at.filter(|_| !self.has_left_out) else {
            return;
        };
        self.has_left_out = true;
        let text = &mut self.result.text;
        let in_text = |place: u64| usize::try_from(place).ok().filter(|it| *it <= text.len());
        match (in_text(from), until.and_then(in_text)) {
            (Some(from), Some(until)) => drop(text.splice(from..until, *b"0")),
            (Some(from), None) if !self.is_whole => text.truncate(from),
            _ => {}
        }
    }

    /// What is noted takes the room of what was read, of a result that did not come whole.
    fn make_room(&mut self) {
        self.leave_out_structured();
        let noted = self.skimmer.as_ref().map_or(0, Skimmer::held);
        let room = self.max_held.saturating_sub(noted);
        if !self.is_whole && self.result.text.capacity() > room {
            self.result.text.truncate(room);
            self.result.text.shrink_to_fit();
        }
    }
}

impl Delivery<'_> {
    /// Has the whole result kept: what was read of it, and what follows.
    pub(super) async fn keep(&self, held: &mut Held) -> Rest {
        if held.result.stream.is_none() {
            let kept = self.kept.keep_result(self.call, &self.target, held.text());
            return Rest::of(kept.await, true);
        }
        let Ok(mut keeping) = self.kept.begin(self.call, &self.target) else {
            return Rest::NoRoom;
        };
        if keeping.push(held.text()).await.is_err() {
            return Rest::NoRoom;
        }
        while let Some(piece) = held.next().await {
            if keeping.push(&piece).await.is_err() {
                return Rest::NoRoom;
            }
        }
        let is_whole = held.result.total.is_some();
        Rest::of(keeping.finish(is_whole).await, is_whole)
    }
}

pub(super) async fn next_piece(stream: &mut dyn ResultStream) -> Result<Piece, CallError> {
    poll_fn(|context| stream.poll_piece(context)).await
}
