//! Results that are no larger than they may be: small ones pass, large ones are cut, kept or refused
//! before more of them is held than the cap allows.

use std::future::poll_fn;
use std::ops::ControlFlow;

use bytes::Bytes;
use switchboard_protocol::call::{Completed, Outcome, Payload, Piece, ResultStream};
use switchboard_protocol::delivery::{Cap, Over};
use switchboard_protocol::error::{CallError, Fault, Reason};
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::member;
use switchboard_protocol::trail::{Decision, Step};

use super::cut::{Beginning, Cut, CutResult, Rest};
use super::mend::mend;
use super::{Delivery, convert, error};

/// How much more is read at least before it is counted again.
const STEP: usize = 16 * 1024;
/// Room for what mending adds to a beginning, for all but the deepest, in bytes.
const MENDED: usize = 128;
/// More bytes than what counts as one token can have.
const BYTES_A_TOKEN: usize = 6;
/// How much of a result is handed on to be kept at once, in bytes.
const KEPT_AT_ONCE: usize = 64 * 1024;

/// What was read of a result that is larger than its cap.
struct TooLarge {
    /// Its beginning, or all of it.
    text: Vec<u8>,
    /// How long it is in all, in bytes, if that is known.
    total: Option<u64>,
    /// What follows; none: it is all there.
    stream: Option<Box<dyn ResultStream>>,
    /// Whether it is known to say `isError: true`.
    is_error: bool,
}

/// What was found of a beginning.
enum Look {
    /// It is within the cap, and so are this many bytes more.
    Within(usize),
    /// It is in the middle of something of which nothing is needed.
    Skip,
    /// It is larger.
    TooLarge,
}

impl Delivery<'_> {
    /// The outcome, converted, and no larger than its cap.
    pub(super) async fn capped(&self, outcome: Outcome) -> Outcome {
        let Some(cap) = self.terms.cap else {
            return self.converted(outcome);
        };
        let capped = match outcome {
            Outcome::Complete(completed) => self.whole(&cap, completed),
            Outcome::Arriving(stream) => self.arriving(&cap, stream).await,
            Outcome::InputRequired(question) => {
                // Nobody could answer a part of it.
                let is_within = question.len() as u64 <= cap.always_within() || {
                    let segments = question.segments().iter();
                    let size: Size = segments.map(|segment| Size::of_text(segment)).sum();
                    size.is_within(cap.most())
                };
                return match is_within {
                    true => Outcome::InputRequired(question),
                    false => self.refused(&cap),
                };
            }
            Outcome::Failed(error) => return Outcome::Failed(error::shortened(error, &cap)),
        };
        match capped {
            ControlFlow::Break(outcome) => outcome,
            ControlFlow::Continue(too_large) => self.too_large(&cap, too_large).await,
        }
    }

    fn converted(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Complete(completed) if !self.terms.conversions.is_none() => {
                let text = contiguous(completed.result);
                let length = text.len();
                let (text, _) = convert::convert(self, text, length);
                Outcome::Complete(Completed {
                    result: text.into(),
                    ..completed
                })
            }
            other => other,
        }
    }

    /// Whether a result of this length is passed on as it is, whatever is in it.
    fn passes(&self, cap: &Cap, length: usize) -> bool {
        self.terms.conversions.is_none() && length as u64 <= cap.always_within()
    }

    fn whole(&self, cap: &Cap, completed: Completed) -> ControlFlow<Outcome, TooLarge> {
        if self.passes(cap, completed.result.len()) {
            return ControlFlow::Break(Outcome::Complete(completed));
        }
        self.measured(cap, contiguous(completed.result), completed.is_error)
    }

    fn measured(&self, cap: &Cap, text: Vec<u8>, is_error: bool) -> ControlFlow<Outcome, TooLarge> {
        let length = text.len();
        if self.passes(cap, length) {
            return ControlFlow::Break(Outcome::Complete(Completed {
                result: text.into(),
                is_error,
            }));
        }
        let (text, _) = convert::convert(self, text, length);
        if Size::of_result(&text).is_within(cap.most()) {
            return ControlFlow::Break(Outcome::Complete(Completed {
                result: text.into(),
                is_error,
            }));
        }
        ControlFlow::Continue(TooLarge {
            total: Some(length as u64),
            text,
            stream: None,
            is_error,
        })
    }

    /// Reads up to the cap.
    async fn arriving(
        &self,
        cap: &Cap,
        mut stream: Box<dyn ResultStream>,
    ) -> ControlFlow<Outcome, TooLarge> {
        let mut text = Vec::new();
        let mut within = usize::try_from(cap.always_within()).unwrap_or(usize::MAX);
        let mut skips = false;
        loop {
            match next(&mut *stream).await {
                Ok(Piece::Bytes(mut piece)) => {
                    if skips {
                        let Some(end) = memchr::memchr2(b'"', b'\\', &piece) else {
                            continue;
                        };
                        if piece[end] == b'\\' {
                            // No base64, so it cannot be told where it ends.
                            stream.cut_off();
                            self.tell(Over::Refuse);
                            return ControlFlow::Break(self.refused(cap));
                        }
                        skips = false;
                        piece = piece.slice(end..);
                    }
                    collect(&mut text, &piece, within);
                    drop(piece);
                    if text.len() <= within {
                        continue;
                    }
                    match self.looked_at(cap, &mut text) {
                        Look::Within(more) => within = text.len() + more,
                        Look::Skip => skips = true,
                        Look::TooLarge => {
                            return ControlFlow::Continue(TooLarge {
                                text,
                                total: None,
                                stream: Some(stream),
                                is_error: false,
                            });
                        }
                    }
                }
                Ok(Piece::End { is_error }) => {
                    drop(stream);
                    return self.measured(cap, text, is_error);
                }
                Err(error) => return ControlFlow::Break(Outcome::Failed(error)),
            }
        }
    }

    /// Looks whether the beginning of a result is within the cap; converts what has to be where it is not.
    fn looked_at(&self, cap: &Cap, text: &mut Vec<u8>) -> Look {
        let mut mended = mend(text);
        let mut size = Size::of_result(text);
        let converts = !self.terms.conversions.is_none();
        if converts && !size.is_within(cap.most()) {
            let before = text.len();
            let (converted, sound) = convert::convert(self, std::mem::take(text), mended.sound);
            mended = mended.changed(before, converted.len(), sound);
            *text = converted;
            size = Size::of_result(text);
            if !size.is_within(cap.most()) && convert::ends_in_converted(self, text, mended.sound) {
                // All but its quote.
                text.truncate(mended.sound + 1);
                return Look::Skip;
            }
        }
        mended.undo(text);
        match size.is_within(cap.most()) {
            true => Look::Within(more_within(cap, size)),
            false => Look::TooLarge,
        }
    }

    async fn too_large(&self, cap: &Cap, too_large: TooLarge) -> Outcome {
        let TooLarge {
            mut text,
            mut total,
            stream,
            mut is_error,
        } = too_large;
        // Of a result of another shape nobody knows what it may be without.
        let is_task = || member(&text, "resultType") == Some(b"\"task\"");
        let over = match self.method.may_pass() && !(stream.is_none() && is_task()) {
            true => cap.over,
            false => Over::Refuse,
        };
        self.tell(over);
        let rest = match over {
            Over::Refuse => {
                cut_off(stream);
                return self.refused(cap);
            }
            Over::Truncate => {
                cut_off(stream);
                Rest::Lost
            }
            Over::Handle => self.keep(&text, stream, &mut total, &mut is_error).await,
        };
        // It is read several times, and far more of it than the cap lets through is of no use. Of content
        // that is converted it may be.
        if self.terms.conversions.is_none() {
            let most = usize::try_from(cap.always_within()).unwrap_or(usize::MAX);
            text.truncate(
                most.saturating_mul(BYTES_A_TOKEN)
                    .saturating_add(KEPT_AT_ONCE),
            );
        }
        let mended = mend(&mut text);
        let (text, sound) = convert::convert(self, text, mended.sound);
        let uri = self.call.target();
        let cut = Cut {
            method: self.method,
            cap: *cap,
            total,
            rest: &rest,
            knows_links: self.knows_links(),
            uri: uri
                .as_deref()
                .filter(|_| self.method == Method::ResourcesRead),
            is_error,
            output_schema: self.output_schema().filter(|_| !is_error),
            schemas: self.schemas,
        };
        let CutResult { text, is_error } = cut.of(&Beginning { text: &text, sound });
        Outcome::Complete(Completed {
            result: text.into(),
            is_error,
        })
    }

    /// Has the whole result kept: what was read of it, and what follows. What its end tells of it goes
    /// to `total` and `ends_in_error`.
    async fn keep(
        &self,
        beginning: &[u8],
        stream: Option<Box<dyn ResultStream>>,
        total: &mut Option<u64>,
        ends_in_error: &mut bool,
    ) -> Rest {
        let Ok(mut keeping) = self.kept.begin(self.call, &self.target) else {
            cut_off(stream);
            return Rest::NoRoom;
        };
        for piece in beginning.chunks(KEPT_AT_ONCE) {
            if keeping.push(&Bytes::copy_from_slice(piece)).await.is_err() {
                cut_off(stream);
                return Rest::NoRoom;
            }
        }
        let mut length = beginning.len() as u64;
        let mut is_whole = true;
        if let Some(mut stream) = stream {
            loop {
                match next(&mut *stream).await {
                    Ok(Piece::Bytes(piece)) => {
                        length += piece.len() as u64;
                        if keeping.push(&piece).await.is_err() {
                            cut_off(Some(stream));
                            return Rest::NoRoom;
                        }
                    }
                    Ok(Piece::End { is_error }) => {
                        *total = Some(length);
                        *ends_in_error = is_error;
                        break;
                    }
                    Err(_) => {
                        is_whole = false;
                        break;
                    }
                }
            }
        }
        Rest::Kept {
            result: keeping.finish(is_whole).await,
            is_whole,
        }
    }

    fn refused(&self, cap: &Cap) -> Outcome {
        let message = format!(
            "The result of this call is larger than results may be here ({cap}), so it is not passed on. The work may have been done all the same: to see a result, call again with arguments that ask for less, such as a filter or a page."
        );
        let fault = Fault::unknown(Reason::TooLarge, message).of(self.backend);
        Outcome::Failed(fault.into())
    }

    /// Tells whoever wants to know that a result is larger than it may be.
    fn tell(&self, over: Over) {
        self.metrics.result_capped(over.as_str(), self.backend);
        if let Some(trail) = &self.call.trail {
            trail.note(Step::Decision {
                policy: "result_cap",
                rule: over.as_str().into(),
                decision: match over {
                    Over::Refuse => Decision::Denied,
                    Over::Truncate | Over::Handle => Decision::Cut,
                },
            });
        }
    }
}

/// How many more bytes are within the cap whatever they are, or what is worth another look.
fn more_within(cap: &Cap, size: Size) -> usize {
    let left = cap.most() - size;
    let more = left.bytes().min(left.tokens().saturating_mul(2));
    usize::try_from(more).unwrap_or(usize::MAX).max(STEP)
}

/// Adds a piece to what was read, without room for more than is read before the next look.
fn collect(text: &mut Vec<u8>, piece: &[u8], within: usize) {
    let length = text.len() + piece.len();
    if length > text.capacity() {
        // A vector would double beyond it.
        let room = text.capacity().saturating_mul(2).min(within).max(length);
        text.reserve_exact((room - text.len()).saturating_add(MENDED));
    }
    text.extend_from_slice(piece);
}

async fn next(stream: &mut dyn ResultStream) -> Result<Piece, CallError> {
    poll_fn(|context| stream.poll_piece(context)).await
}

/// Cancels the call of a result of which nothing more is taken.
fn cut_off(stream: Option<Box<dyn ResultStream>>) {
    if let Some(mut stream) = stream {
        stream.cut_off();
    }
}

/// All of it in one piece.
pub(super) fn contiguous(payload: Payload) -> Vec<u8> {
    let mut text = Vec::with_capacity(payload.len());
    for segment in payload.into_segments() {
        text.extend_from_slice(&segment);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_takes_no_more_room_than_the_cap() {
        let mut text = Vec::new();
        for _ in 0..100 {
            collect(&mut text, &[b'x'; 1000], 100_500);
        }
        assert_eq!(text.len(), 100_000);
        assert!(text.capacity() <= 100_500 + MENDED, "{}", text.capacity());
        collect(&mut text, &[b'x'; 3000], 100_500);
        assert!(text.capacity() <= 103_000 + MENDED, "{}", text.capacity());
    }
}
