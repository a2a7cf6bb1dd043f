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
    /// Whether there certainly are more, of which there was no room to tell.
    pub(super) has_more: bool,
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
    // As many as there is room for by themselves: what is around them has what they leave.
    let most = limit.lines(&format!("…{}…", wanted.text), ABOUT);
    let most = wanted.most.min(most).max(1);
    let places = places(body, wanted, &pattern, most)?;
    let mut limit = *limit;
    let mut matches = Vec::with_capacity(places.all.len());
    for (at, (offset, length)) in places.all.iter().enumerate() {
        let share = limit.share(places.all.len() - at, ABOUT);
        let excerpt = excerpt(body, wanted.context as u64, *offset, *length, &share)?;
        limit.take(&excerpt, ABOUT);
        matches.push(Match {
            offset: *offset,
            length: *length,
            line: body.line_at(*offset)?,
            excerpt,
        });
    }
    Ok(Found {
        matches,
        until: places.until,
        next: places.next,
        has_more: places.has_more,
    })
}

/// Where a text is.
struct Places {
    /// Offset and length of each.
    all: Vec<(u64, u64)>,
    until: u64,
    next: Option<u64>,
    has_more: bool,
}

/// The first places, at most so many.
fn places(body: &Body, wanted: &Search, pattern: &Regex, most: usize) -> io::Result<Places> {
    // A character may be four times as long in its other case.
    let overlap = wanted.text.chars().count() * 4;
    let total = body.len();
    let first = wanted.from.min(total);
    let end = total.min(first.saturating_add(MAX_SCAN));
    let mut all = Vec::new();
    let mut from = first;
    while from < end {
        let window = body.read(from, WINDOW + overlap)?;
        let mut at = 0;
        // One that begins behind the window is the next one's.
        while let Some(found) = pattern
            .find_at(&window, at)
            .filter(|it| it.start() < WINDOW)
        {
            let offset = from + found.start() as u64;
            if all.len() == most {
                return Ok(Places {
                    all,
                    until: offset,
                    next: Some(offset),
                    has_more: true,
                });
            }
            all.push((offset, found.len() as u64));
            at = found.end();
        }
        from += at.max(WINDOW.min(window.len())) as u64;
    }
    Ok(Places {
        all,
        until: from.min(total),
        next: (from < total).then_some(from),
        has_more: false,
    })
}

/// A match and so much on both sides of it, less where there is no room for that.
fn excerpt(
    body: &Body,
    mut context: u64,
    offset: u64,
    length: u64,
    limit: &Limit,
) -> io::Result<String> {
    loop {
        let start = offset.saturating_sub(context);
        let end = offset + length + context;
        let around = body.read(start, (end - start) as usize)?;
        let mut excerpt = plain(&around);
        if start > 0 {
            excerpt.insert(0, '…');
        }
        if end < body.len() {
            excerpt.push('…');
        }
        let fits = limit.fit(&excerpt);
        if fits == excerpt.len() || context == 0 {
            excerpt.truncate(fits);
            return Ok(excerpt);
        }
        context /= 2;
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
