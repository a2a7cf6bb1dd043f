//! A text that is there as a whole, looked through at once or step by step.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_protocol::delivery::{STEP, StepwiseRedaction};

use super::detector::Detector;
use super::memory::Memory;
use super::replace::{Counts, replace};
use super::search::Search;
use super::strings::Strings;
use super::text::Text;

/// How far a text was looked through, and what is left of that.
pub(super) struct Whole {
    search: Search,
    memory: Memory,
    /// How far the search has come.
    at: usize,
    /// Where strings are, if it is JSON and something may stand outside of them.
    strings: Option<Strings>,
    /// What was found is taken out of it; nothing before the first finding.
    out: Vec<u8>,
    /// Behind the last finding.
    copied: usize,
    has_found: bool,
}

impl Whole {
    pub(super) fn new(detector: &Detector, is_json: bool) -> Self {
        let has_strings = is_json && detector.looks_beyond_strings;
        Self {
            search: Search::new(detector, 0),
            memory: Memory::default(),
            at: 0,
            strings: has_strings.then(Strings::default),
            out: Vec::new(),
            copied: 0,
            has_found: false,
        }
    }

    /// Looks through so many more bytes; whether that was all.
    pub(super) fn go_on(
        &mut self,
        detector: &Detector,
        counts: &Counts,
        text: &[u8],
        bytes: usize,
    ) -> bool {
        let mut findings = Vec::new();
        self.at = self.at.saturating_add(bytes);
        let whole = Text::whole(text, &self.memory);
        let end = self.search.go_on(detector, &whole, self.at, &mut findings);
        if !findings.is_empty() && !self.has_found {
            self.has_found = true;
            self.out.reserve(text.len());
        }
        for finding in findings {
            self.out
                .extend_from_slice(&text[self.copied..finding.start]);
            replace(
                detector,
                &whole,
                finding,
                self.strings.as_mut(),
                &mut self.out,
            );
            counts.count(detector.name(finding.label));
            self.copied = finding.end;
        }
        end.is_some()
    }

    /// The text without what was found; `None`: nothing was.
    pub(super) fn into_redacted(mut self, text: &[u8]) -> Option<Vec<u8>> {
        if !self.has_found {
            return None;
        }
        self.out.extend_from_slice(&text[self.copied..]);
        Some(self.out)
    }
}

/// The same with all that it takes.
pub(super) struct Steps {
    detector: Arc<Detector>,
    counts: Counts,
    text: Bytes,
    /// `None`: all was looked through.
    whole: Option<Whole>,
}

impl Steps {
    pub(super) fn new(detector: Arc<Detector>, counts: Counts, text: Bytes) -> Self {
        let whole = Some(Whole::new(&detector, true));
        Self {
            detector,
            counts,
            text,
            whole,
        }
    }
}

impl StepwiseRedaction for Steps {
    fn step(&mut self) -> Option<Bytes> {
        let Some(whole) = &mut self.whole else {
            return Some(Bytes::new());
        };
        if !whole.go_on(&self.detector, &self.counts, &self.text, STEP) {
            return None;
        }
        let text = std::mem::take(&mut self.text);
        let redacted = self.whole.take()?.into_redacted(&text);
        Some(redacted.map_or(text, Bytes::from))
    }
}
