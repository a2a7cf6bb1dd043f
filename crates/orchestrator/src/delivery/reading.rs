//! Results that are read while they arrive, up to their cap.

use std::ops::ControlFlow;

use bytes::Bytes;
use switchboard_protocol::call::{Completed, Outcome, Payload, Piece, ResultStream};
use switchboard_protocol::delivery::{Cap, Over};
use switchboard_protocol::size::Size;

use super::Delivery;
use super::convert::{awaits_end, convert, ends_in_converted};
use super::held::{TooLarge, next_piece};
use super::links::Links;
use super::mend::mend;

/// How much more is read at least before it is counted again.
const LEAST_READ: usize = 16 * 1024;
/// Where content is converted, a part of what was read is read at least before all of it is looked at
/// again, so that the work goes with the length: one of so many.
const PART: usize = 4;
/// Room for what mending adds to a beginning, for all but the deepest, in bytes.
const MENDED: usize = 128;

/// So many pieces are held as they came, however small they are.
const FEW: usize = 16;
/// Of more, each has so many bytes on average at least.
const LEAST_PIECE: usize = 4096;

/// What was read so far.
struct Reading {
    text: Vec<u8>,
    /// It is looked at once it is longer.
    within: usize,
    /// It is in the middle of something of which nothing is needed.
    skips: bool,
    /// How much was looked at in all, in bytes.
    #[cfg(test)]
    looked: usize,
}

/// What was read so far of a result that is within its cap whatever is in it: as it came, so that nothing
/// is copied of what is not cut.
#[derive(Default)]
struct Pieces {
    result: Payload,
    length: usize,
}

/// What was found of a beginning.
enum Look {
    /// It may go on.
    Within,
    /// It is larger than its cap.
    TooLarge,
}

impl Delivery<'_> {
    /// Reads up to the cap.
    pub(super) async fn arriving(
        &self,
        cap: &Cap,
        mut stream: Box<dyn ResultStream>,
        links: &mut Links<'_>,
    ) -> ControlFlow<Outcome, TooLarge> {
        let mut reading = Reading::new(cap);
        let mut pieces = self.terms.conversions.is_none().then(Pieces::default);
        loop {
            match next_piece(&mut *stream).await {
                Ok(Piece::Bytes(piece)) => {
                    if let Some(so_far) = &mut pieces
                        && so_far.take(&piece, reading.within)
                    {
                        continue;
                    }
                    if let Some(so_far) = pieces.take() {
                        reading.join(so_far);
                    }
                    if !reading.add(&piece) {
                        stream.cut_off();
                        self.report(Over::Refuse);
                        return ControlFlow::Break(self.refused(cap));
                    }
                    drop(piece);
                    if reading.text.len() <= reading.within {
                        continue;
                    }
                    if let Look::TooLarge = reading.look(self, cap, links).await {
                        return ControlFlow::Continue(TooLarge {
                            text: reading.text,
                            total: None,
                            stream: Some(stream),
                            is_error: false,
                        });
                    }
                }
                Ok(Piece::End { is_error }) => {
                    drop(stream);
                    if let Some(Pieces { result, .. }) = pieces {
                        let completed = Completed { result, is_error };
                        return ControlFlow::Break(Outcome::Complete(completed));
                    }
                    return self.measured(cap, reading.text, is_error, links).await;
                }
                Err(error) => return ControlFlow::Break(Outcome::Failed(error)),
            }
        }
    }
}

impl Pieces {
    /// Adds a piece, if with it all is within so many bytes, and the pieces are not so small that a copy
    /// needs less room.
    fn take(&mut self, piece: &Bytes, within: usize) -> bool {
        let length = self.length + piece.len();
        let is_taken =
            length <= within && self.result.segments().len() < FEW + length / LEAST_PIECE;
        if is_taken {
            self.result.push(piece.clone());
            self.length = length;
        }
        is_taken
    }
}

impl Reading {
    fn new(cap: &Cap) -> Self {
        Self {
            text: Vec::new(),
            within: usize::try_from(cap.always_within()).unwrap_or(usize::MAX),
            skips: false,
            #[cfg(test)]
            looked: 0,
        }
    }

    /// Goes on behind these pieces.
    fn join(&mut self, pieces: Pieces) {
        for piece in pieces.result.into_segments() {
            collect(&mut self.text, &piece, self.within);
        }
    }

    /// Adds what is needed of a piece; whether that is certain: what is skipped and has an escape is no
    /// base64, so it cannot be told where it ends.
    fn add(&mut self, mut piece: &[u8]) -> bool {
        if self.skips {
            let Some(end) = memchr::memchr2(b'"', b'\\', piece) else {
                return true;
            };
            if piece[end] == b'\\' {
                return false;
            }
            self.skips = false;
            piece = &piece[end..];
        }
        collect(&mut self.text, piece, self.within);
        true
    }

    /// Looks whether it is within the cap; converts what has to be where it is not.
    async fn look(&mut self, delivery: &Delivery<'_>, cap: &Cap, links: &mut Links<'_>) -> Look {
        #[cfg(test)]
        {
            self.looked += self.text.len();
        }
        let text = &mut self.text;
        let mut mended = mend(text);
        let mut size = Size::of_beginning(text, mended.sound);
        let converts = !delivery.terms.conversions.is_none();
        if converts && !size.is_within(cap.most()) {
            let before = text.len();
            let (converted, sound) =
                convert(delivery, links, std::mem::take(text), mended.sound).await;
            mended = mended.changed(before, converted.len(), sound);
            *text = converted;
            size = Size::of_beginning(text, mended.sound);
            if !size.is_within(cap.most()) && ends_in_converted(delivery, text, mended.sound) {
                // All but its quote.
                text.truncate(mended.sound + 1);
                self.skips = true;
                self.within = text.len() + (text.len() / PART).max(LEAST_READ);
                return Look::Within;
            }
            if !size.is_within(cap.most()) && awaits_end(delivery, text, mended.sound) {
                mended.undo(text);
                self.within = text.len() + LEAST_READ;
                return Look::Within;
            }
        }
        mended.undo(text);
        if !size.is_within(cap.most()) {
            return Look::TooLarge;
        }
        let least = if converts { text.len() / PART } else { 0 };
        self.within = text.len().saturating_add(more_within(cap, size).max(least));
        Look::Within
    }
}

/// How many more bytes are within the cap whatever they are, or what is worth another look.
fn more_within(cap: &Cap, size: Size) -> usize {
    let left = cap.most() - size;
    let more = left.bytes().min(left.tokens().saturating_mul(2));
    usize::try_from(more).unwrap_or(usize::MAX).max(LEAST_READ)
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

#[cfg(test)]
mod tests {
    use switchboard_protocol::delivery::{Conversion, Conversions, Over, Terms};
    use switchboard_protocol::method::Method;

    use super::super::tests::{Scene, images};
    use super::*;

    /// Images that are dropped leave the rest as near to the cap as it was.
    #[tokio::test]
    async fn what_is_looked_at_goes_with_the_length_however_near_the_cap() {
        let cap = Cap {
            bytes: Some(100 * 1024),
            tokens: None,
            over: Over::Truncate,
        };
        let scene = Scene::new(Conversion::Drop, Some(cap));
        let delivery = scene.delivery();
        for (count, bytes, each) in [(150, 4000, 4000), (250, 1500, 700), (10, 60_000, 4000)] {
            let result = images(count, bytes, &"x".repeat(95 * 1024 - count * 117));
            let mut links = Links::new(&scene.kept);
            let mut reading = Reading::new(&cap);
            for piece in result.chunks(each) {
                assert!(reading.add(piece));
                if reading.text.len() > reading.within {
                    let look = reading.look(&delivery, &cap, &mut links).await;
                    assert!(matches!(look, Look::Within));
                }
                assert!(reading.text.len() < 150 * 1024, "{}", reading.text.len());
            }
            let times = reading.looked / result.len();
            assert!(times <= 2 * PART, "{times} times all of {count}");
            let end = delivery
                .measured(&cap, reading.text, false, &mut links)
                .await;
            assert!(matches!(end, ControlFlow::Break(Outcome::Complete(_))));
        }
    }

    /// However a result comes in pieces, what will be dropped does not count.
    #[tokio::test]
    async fn the_end_of_what_is_dropped_is_awaited_wherever_a_piece_ends() {
        let cap = Cap {
            bytes: Some(64 * 1024),
            tokens: None,
            over: Over::Truncate,
        };
        let terms = Terms {
            conversions: Conversions {
                image: Conversion::Drop,
                audio: Conversion::Drop,
                blob: Conversion::Drop,
            },
            cap: Some(cap),
            ..Terms::default()
        };
        let params = serde_json::json!({ "name": "b__t" });
        let scene = Scene::of(Method::ToolsCall, &params, terms);
        let delivery = scene.delivery();
        let base64 = "A".repeat(120_000);
        for (before, after) in [
            (
                r#"{"data":""#,
                r#"","mimeType":"image/png","type":"image"}"#,
            ),
            (
                r#"{"resource":{"blob":""#,
                r#"","mimeType":"a/b","uri":"a:b"},"type":"resource"}"#,
            ),
        ] {
            let behind = r#"{"type":"text","text":"behind"}"#;
            let result = format!(r#"{{"content":[{before}{base64}{after},{behind}]}}"#);
            let data_ends = result.find(r#"AA","#).expect("base64") + 3;
            for cut in data_ends - 2..data_ends + after.len() + 4 {
                let mut links = Links::new(&scene.kept);
                let mut reading = Reading::new(&cap);
                for piece in [&result.as_bytes()[..cut], &result.as_bytes()[cut..]] {
                    assert!(reading.add(piece));
                    if reading.text.len() > reading.within {
                        let look = reading.look(&delivery, &cap, &mut links).await;
                        assert!(matches!(look, Look::Within), "cut at {}", &result[cut..]);
                    }
                }
                let end = delivery
                    .measured(&cap, reading.text, false, &mut links)
                    .await;
                let ControlFlow::Break(Outcome::Complete(completed)) = end else {
                    panic!("it was cut");
                };
                let text = completed.result.into_contiguous();
                assert!(text.ends_with(format!("{behind}]}}").as_bytes()));
            }
        }
        // What goes on without one is not read for ever.
        let mut links = Links::new(&scene.kept);
        let mut reading = Reading::new(&cap);
        let result = format!(
            r#"{{"content":[{{"data":"{base64}","other":"{}"#,
            "x".repeat(100_000)
        );
        let mut looks = 0;
        let is_cut = 'cut: {
            for piece in result.as_bytes().chunks(1000) {
                assert!(reading.add(piece));
                if reading.text.len() > reading.within {
                    looks += 1;
                    let look = reading.look(&delivery, &cap, &mut links).await;
                    if let Look::TooLarge = look {
                        break 'cut true;
                    }
                }
            }
            false
        };
        assert!(is_cut && looks < 20, "{looks}");
        assert!(reading.text.len() < base64.len() + 2 * LEAST_READ + TOLERATED);
    }

    /// More than an end is awaited within.
    const TOLERATED: usize = 8 * 1024;

    #[test]
    fn pieces_are_held_as_they_came_within_the_cap_unless_they_are_small() {
        let large = Bytes::from(vec![b'x'; 2 * LEAST_PIECE]);
        let within = 100 * large.len();
        let mut pieces = Pieces::default();
        for _ in 0..100 {
            assert!(pieces.take(&large, within));
        }
        assert_eq!(pieces.result.segments()[99].as_ptr(), large.as_ptr());
        assert!(!pieces.take(&large.slice(..1), within));
        assert_eq!(pieces.result.len(), within);
        let small = Bytes::from_static(b"x");
        let mut pieces = Pieces::default();
        let taken = (0..100).filter(|_| pieces.take(&small, within)).count();
        assert_eq!(taken, FEW);
        let mut reading = Reading::new(&Cap {
            bytes: Some(100),
            tokens: None,
            over: Over::Truncate,
        });
        reading.join(pieces);
        assert_eq!(reading.text, [b'x'; FEW]);
    }

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
