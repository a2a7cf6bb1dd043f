//! What has an escape of JSON in the place of one of its first four letters, and so no anchor as it is written.

use super::anchors::Anchor;
use super::detector::Detector;
use super::search::Known;
use super::text::{Stop, Text};
use super::work;

/// In which places of an anchor each byte stands, as bits.
pub(super) struct Places(Box<[u8; 256]>);

impl Places {
    /// Those in these anchors.
    pub(super) fn new(anchors: impl IntoIterator<Item = Anchor>) -> Self {
        let mut places = Box::new([0; 256]);
        for anchor in anchors {
            for (place, byte) in anchor.into_iter().enumerate() {
                places[usize::from(byte)] |= 1 << place;
            }
        }
        Self(places)
    }

    fn may_have(&self, byte: u8, place: usize) -> bool {
        self.0[usize::from(byte)] >> place & 1 == 1
    }
}

impl Detector {
    /// What begins with a letter that is written as the escape at this place, or up to three letters before it,
    /// and where. Most escapes are of what begins nothing.
    pub(super) fn through_escape(
        &self,
        text: &Text<'_>,
        escape: usize,
        least: usize,
    ) -> (usize, Known) {
        let (escaped, next) = match text.char_at(escape) {
            Ok(escaped) => escaped,
            Err(Stop::End) => return (escape, Known::NoneBefore(escape + 1)),
            Err(Stop::More) => {
                let open = self.may_begin_before(text, escape, least);
                return (open, Known::Open(open));
            }
        };
        // What begins first.
        for place in (0..4).rev() {
            if !self.places.may_have(escaped, place) {
                continue;
            }
            let Some(start) = letters_before(text, escape, place, least) else {
                continue;
            };
            let mut anchor = [0; 4];
            anchor[..place].copy_from_slice(&text.bytes[start..escape]);
            anchor[place] = escaped;
            let found = match letters(text, next, &mut anchor[place + 1..]) {
                Ok(true) => self.longest_of(text, start, self.anchors.beginners(anchor)),
                Ok(false) | Err((Stop::End, _)) => continue,
                Err((Stop::More, count)) => {
                    match self.anchors.may_begin(&anchor[..place + 1 + count]) {
                        true => Known::Open(start),
                        false => continue,
                    }
                }
            };
            if !matches!(found, Known::NoneBefore(_)) {
                return (start, found);
            }
        }
        (escape, Known::NoneBefore(escape + 1))
    }

    /// Where something may begin that goes on with an escape at this place, of which not all is known.
    pub(super) fn may_begin_before(&self, text: &Text<'_>, escape: usize, least: usize) -> usize {
        let may_begin = |count: &usize| {
            let start = letters_before(text, escape, *count, least);
            start.is_some_and(|start| self.anchors.may_begin(&text.bytes[start..escape]))
        };
        let count = (1..4).rev().find(may_begin).unwrap_or_default();
        escape - count
    }
}

/// Where so many letters begin that stand right before an escape, as they are.
fn letters_before(text: &Text<'_>, escape: usize, count: usize, least: usize) -> Option<usize> {
    let start = escape.checked_sub(count).filter(|start| *start >= least)?;
    work::note(count);
    let mut letters = text.bytes[start..escape].iter();
    letters
        .all(|byte| is_letter(*byte) && *byte != b'%')
        .then_some(start)
}

/// Whether it may be in an anchor as it is.
fn is_letter(found: u8) -> bool {
    matches!(found, b' '..=b'~') && found != b'\\'
}

/// The next characters, if they are all letters; else why not, and how many are known.
fn letters(text: &Text<'_>, mut at: usize, letters: &mut [u8]) -> Result<bool, (Stop, usize)> {
    for (index, to) in letters.iter_mut().enumerate() {
        let (found, next) = text.char_at(at).map_err(|stop| (stop, index))?;
        if !is_letter(found) {
            return Ok(false);
        }
        *to = found;
        at = next;
    }
    Ok(true)
}
