//! What takes the place of what was found, and who is told.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::detector::Detector;
use super::search::Finding;
use super::strings::Strings;
use super::text::{CONTEXT, Text};

/// The most backslashes before a quote, and the most blanks around a colon, that are looked at to tell a key.
const MAX_BACKSLASHES: usize = 31;
const MAX_BLANKS: usize = 8;
const _: () = assert!(MAX_BACKSLASHES + 2 * (MAX_BLANKS + 1) <= CONTEXT);

/// A quote behind its backslashes.
type Quote = SmallVec<[u8; 8]>;

/// Is told of everything that was taken out, to count it.
pub trait RedactionObserver: fmt::Debug + Send + Sync {
    /// Something of this type was taken out of what came from here.
    fn redacted(&self, kind: &str, place: &str);
}

/// Whom to tell, and of which place.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) observer: Option<Arc<dyn RedactionObserver>>,
    pub(super) place: Arc<str>,
}

impl Counts {
    pub(super) fn count(&self, kind: &str) {
        if let Some(observer) = &self.observer {
            observer.redacted(kind, &self.place);
        }
    }
}

/// Puts in what takes the place of a finding. `strings`: where strings of JSON are, if it is JSON and
/// something may stand outside of them.
pub(super) fn replace(
    detector: &Detector,
    around: &Text<'_>,
    finding: Finding,
    strings: Option<&mut Strings>,
    out: &mut Vec<u8>,
) {
    let replacement = detector.replacement(finding.label);
    let text = around.bytes;
    let Some(strings) = strings.filter(|_| finding.is_anywhere) else {
        out.extend_from_slice(replacement);
        return;
    };
    // Part by part: what is in a string becomes one word, quotes and marks between strings stay, and a
    // number stays one.
    let mut is_in_part = false;
    let mut at = finding.start;
    while at < finding.end {
        let byte = text[at];
        let is_inside = strings.inside(text, at);
        let is_quote = byte == b'"' && (!is_inside || !strings.inside(text, at + 1));
        if is_inside && !is_quote {
            if !is_in_part {
                let quotes = quotes_of_value(around, finding);
                out.extend_from_slice(&quotes);
                out.extend_from_slice(replacement);
                out.extend_from_slice(&quotes);
            }
            is_in_part = true;
        } else {
            is_in_part = false;
            // Ones, since a number does not begin with zero.
            out.push(if byte.is_ascii_digit() { b'1' } else { byte });
        }
        at += 1;
    }
}

/// The quotes that the replacement of a number needs which is the value of a key in JSON within a string: those of
/// the key. None of anything else.
fn quotes_of_value(text: &Text<'_>, finding: Finding) -> Quote {
    let found = &text.bytes[finding.start..finding.end];
    if !found.iter().all(u8::is_ascii_digit) {
        return Quote::new();
    }
    let skip_blanks = |back: usize| {
        let is_blank = |more: &usize| text.back(finding.start, back + more) == Some(b' ');
        back + (0..MAX_BLANKS).take_while(is_blank).count()
    };
    let colon = skip_blanks(1);
    if text.back(finding.start, colon) != Some(b':') {
        return Quote::new();
    }
    let quote = skip_blanks(colon + 1);
    if text.back(finding.start, quote) != Some(b'"') {
        return Quote::new();
    }
    let is_backslash = |more: &usize| text.back(finding.start, quote + more) == Some(b'\\');
    let backslashes = (1..=MAX_BACKSLASHES).take_while(is_backslash).count();
    if backslashes % 2 == 0 || backslashes == MAX_BACKSLASHES {
        return Quote::new();
    }
    let mut quote = SmallVec::from_elem(b'\\', backslashes);
    quote.push(b'"');
    quote
}
