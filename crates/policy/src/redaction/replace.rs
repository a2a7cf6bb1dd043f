//! What takes the place of what was found, and who is told.

use std::fmt;
use std::sync::Arc;

use super::detector::Detector;
use super::search::Finding;
use super::strings::Strings;

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
    text: &[u8],
    finding: Finding,
    strings: Option<&mut Strings>,
    out: &mut Vec<u8>,
) {
    let replacement = detector.replacement(finding.label);
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
                out.extend_from_slice(replacement);
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
