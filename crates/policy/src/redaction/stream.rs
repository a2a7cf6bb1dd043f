//! A text that comes in pieces.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use switchboard_protocol::delivery::Redaction;
use switchboard_protocol::passage::Parts;

use super::detector::Detector;
use super::memory::Memory;
use super::replace::{Counts, replace};
use super::search::Search;
use super::strings::Strings;
use super::text::{CONTEXT, Text};

/// How many bytes of what is held back may be looked at again for each that comes, lest pieces of a byte have
/// all of it looked at each time.
const CREDIT: usize = 4;
/// How many at first.
const FIRST_CREDIT: usize = 64 * 1024;

/// A JSON text that comes in pieces.
pub(super) struct Stream {
    detector: Arc<Detector>,
    counts: Counts,
    /// The end of what was decided about, as it came.
    context: Vec<u8>,
    /// What is not decided about.
    held: BytesMut,
    /// How long that has to be before another look at it is worth it.
    look_again_at: usize,
    /// How many bytes may be looked at again before that is so: each piece brings some.
    credit: usize,
    strings: Strings,
}

impl Stream {
    pub(super) fn new(detector: Arc<Detector>, counts: Counts) -> Self {
        Self {
            detector,
            counts,
            context: Vec::with_capacity(CONTEXT),
            held: BytesMut::new(),
            look_again_at: 0,
            credit: FIRST_CREDIT,
            strings: Strings::default(),
        }
    }

    /// Looks through what is held and the piece behind it.
    fn look(&mut self, piece: Bytes, is_whole: bool, out: &mut Parts) {
        let buffer = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            self.held.split().freeze()
        };
        if self.detector.needs_context_in_text() {
            let mut joined = BytesMut::with_capacity(self.context.len() + buffer.len());
            joined.extend_from_slice(&self.context);
            joined.extend_from_slice(&buffer);
            self.look_through(&[], &joined.freeze(), self.context.len(), is_whole, out);
        } else {
            let context = std::mem::take(&mut self.context);
            self.look_through(&context, &buffer, 0, is_whole, out);
            if self.context.len() < CONTEXT {
                // What was decided about was short.
                let missing = CONTEXT - self.context.len();
                let kept = context.len().min(missing);
                self.context
                    .splice(0..0, context[context.len() - kept..].iter().copied());
            }
        }
    }

    fn look_through(
        &mut self,
        before: &[u8],
        buffer: &Bytes,
        from: usize,
        is_whole: bool,
        out: &mut Parts,
    ) {
        let text = Text {
            before,
            bytes: buffer,
            is_whole,
            memory: &Memory::default(),
        };
        let mut findings = Vec::new();
        let decided = Search::new(&self.detector, from).go_on(
            &self.detector,
            &text,
            usize::MAX,
            &mut findings,
        );
        let decided = findings
            .last()
            .map_or(from, |last| last.end)
            .max(decided.unwrap_or(from));
        let mut at = from;
        for finding in &findings {
            if finding.start > at {
                out.push(buffer.slice(at..finding.start));
            }
            let mut replaced = Vec::new();
            let strings = self
                .detector
                .looks_beyond_strings
                .then_some(&mut self.strings);
            replace(&self.detector, &text, *finding, strings, &mut replaced);
            self.counts.count(self.detector.name(finding.label));
            out.push(replaced.into());
            at = finding.end;
        }
        if decided > at {
            out.push(buffer.slice(at..decided));
        }
        if self.detector.looks_beyond_strings {
            self.strings.inside(buffer, decided);
        }
        let kept = decided.saturating_sub(CONTEXT);
        self.strings
            .forget(if self.detector.needs_context_in_text() {
                kept
            } else {
                decided
            });
        self.context.clear();
        self.context.extend_from_slice(&buffer[kept..decided]);
        self.held.extend_from_slice(&buffer[decided..]);
        self.look_again_at = self.held.len() + self.held.len() / 4 + 1;
    }
}

impl Redaction for Stream {
    fn push(&mut self, piece: Bytes, out: &mut Parts) {
        let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_.-".contains(byte);
        let length = self.held.len() + piece.len();
        self.credit = self.credit.saturating_add(piece.len() * CREDIT);
        if length < self.look_again_at {
            // Each look costs as much as is held.
            if length > self.credit || piece.iter().all(goes_on) {
                self.held.extend_from_slice(&piece);
                return;
            }
            self.credit -= length;
        }
        self.look(piece, false, out);
    }

    fn finish(&mut self, out: &mut Parts) {
        self.look(Bytes::new(), true, out);
    }
}
