//! Where a text is in a kept result, whatever its case.

use std::io;

use regex::bytes::{Regex, RegexBuilder};

use super::body::Body;
use super::read::Limit;
use super::request::Search;

/// As much is looked through at once, in bytes.
const WINDOW: usize = 256 * 1024;
/// As much is looked through for one request, in bytes.
const MAX_SCAN: u64 = 32 * 1024 * 1024;
/// The most memory of the compiled text, in bytes.
const MAX_COMPILED: usize = 1024 * 1024;
/// The longest line about a match, but for its excerpt, in bytes.
const ABOUT: usize = 80;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) matches: Vec<Match>,
    /// Up to here was looked.
    pub(super) until: u64,
    /// Where to look on, if there may be more.
    pub(super) next: Option<u64>,
}

/// A place where the text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Counted from 1.
    pub(super) line: u64,
    /// What is around it.
    pub(super) excerpt: String,
}

/// Looks for a text, as far as is done for one request. Not for a thread of a runtime.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn search(body: &Body, wanted: &Search, limit: &Limit) -> io::Result<Found> {
    let text = regex::escape(&wanted.text);
    let mut builder = RegexBuilder::new(&text);
    let builder = builder.case_insensitive(true).size_limit(MAX_COMPILED);
    let pattern = builder.build().map_err(io::Error::other)?;
    let mut looking = Looking {
        body,
        wanted,
        limit: *limit,
        found: Found::default(),
    };
    looking.look(&pattern)?;
    Ok(looking.found)
}

struct Looking<'a> {
    body: &'a Body,
    wanted: &'a Search,
    /// What is left of it.
    limit: Limit,
    found: Found,
}

impl Looking<'_> {
    fn look(&mut self, pattern: &Regex) -> io::Result<()> {
        // A character may be four times as long in its other case.
        let overlap = self.wanted.text.chars().count() * 4;
        let total = self.body.len();
        let first = self.wanted.from.min(total);
        let end = total.min(first.saturating_add(MAX_SCAN));
        let mut from = first;
        while from < end {
            let window = self.body.read(from, WINDOW + overlap)?;
            let mut at = 0;
            // One that begins behind the window is the next one's.
            while let Some(found) = pattern
                .find_at(&window, at)
                .filter(|it| it.start() < WINDOW)
            {
                let offset = from + found.start() as u64;
                if !self.tell(offset, found.as_bytes())? {
                    self.found.until = offset;
                    self.found.next = Some(offset);
                    return Ok(());
                }
                at = found.end();
            }
            from += at.max(WINDOW.min(window.len())) as u64;
        }
        self.found.until = from.min(total);
        self.found.next = (from < total).then_some(from);
        Ok(())
    }

    /// Takes note of a match, if there is room for another.
    fn tell(&mut self, offset: u64, text: &[u8]) -> io::Result<bool> {
        if self.found.matches.len() >= self.wanted.most {
            return Ok(false);
        }
        let context = self.wanted.context as u64;
        let start = offset.saturating_sub(context);
        let end = offset + text.len() as u64 + context;
        let around = self.body.read(start, (end - start) as usize)?;
        let mut excerpt = plain(&around);
        if start > 0 {
            excerpt.insert(0, '…');
        }
        if end < self.body.len() {
            excerpt.push('…');
        }
        let fits = self.limit.fit(&excerpt);
        // The first is told in any case, or nobody could go on.
        let is_first = self.found.matches.is_empty();
        if fits < excerpt.len() && !is_first {
            return Ok(false);
        }
        excerpt.truncate(fits);
        self.limit.take(&excerpt, ABOUT);
        self.found.matches.push(Match {
            offset,
            length: text.len() as u64,
            line: self.body.line_at(offset)?,
            excerpt,
        });
        Ok(true)
    }
}

/// A piece of text in one line, without the characters that it cuts.
fn plain(text: &[u8]) -> String {
    let is_inside = |byte: &u8| *byte & 0xc0 == 0x80;
    let start = text.iter().take_while(|byte| is_inside(byte)).count();
    let text = String::from_utf8_lossy(&text[start..]);
    // What is cut at the end is one U+FFFD.
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    text.replace("\r\n", "⏎").replace(['\n', '\r'], "⏎")
}
