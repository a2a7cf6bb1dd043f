//! The search for all that a detector knows.

use super::anchors::ESCAPE;
use super::detector::{Detector, Label};
use super::patterns::Pattern;
use super::text::{Before, Text};
use super::things::Thing;
use super::token::Attempt;

/// A part of a text that is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) label: Label,
    /// Whether it may reach over the end of a string of JSON, or stand outside of all.
    pub(super) is_anywhere: bool,
    /// Whether a pattern of the operator matches it.
    is_of_pattern: bool,
    /// Where what told it begins: itself, or a name or a scheme before it.
    told_at: usize,
}

/// How far a search has come.
pub(super) struct Search {
    /// Behind the last finding.
    at: usize,
    by_anchor: Known,
    by_pattern: Vec<Known>,
}

/// What is known of what comes next.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// Nothing begins before this place.
    NoneBefore(usize),
    /// This is next.
    Finding(Finding),
    /// Something may begin here, which cannot be told yet.
    Open(usize),
}

impl Known {
    /// What is still known behind a finding that ends at this place.
    fn behind(self, place: usize) -> Self {
        match self {
            Self::NoneBefore(known) => Self::NoneBefore(known.max(place)),
            Self::Finding(finding) if finding.start >= place => self,
            Self::Open(open) if open >= place => self,
            Self::Finding(_) | Self::Open(_) => Self::NoneBefore(place),
        }
    }
}

/// By how much a finding may begin before the place at which it was recognised, in bytes: so much farther
/// anchors are looked for than patterns.
const BACK: usize = 32;

impl Search {
    /// One that begins at this place.
    pub(super) fn new(detector: &Detector, from: usize) -> Self {
        Self {
            at: from,
            by_anchor: Known::NoneBefore(from),
            by_pattern: vec![Known::NoneBefore(from); detector.patterns.len()],
        }
    }

    /// Goes on until it is known what begins before this place, or to the end; all that is found is in
    /// order. `Some`: how far the text is decided about, and there is no more to look for.
    pub(super) fn go_on(
        &mut self,
        detector: &Detector,
        text: &Text<'_>,
        until: usize,
        findings: &mut Vec<Finding>,
    ) -> Option<usize> {
        let until = until.min(text.bytes.len());
        let is_last = until == text.bytes.len();
        let limit = detector.limit_of_patterns(text).max(self.at);
        loop {
            if let Known::NoneBefore(known) = self.by_anchor {
                self.by_anchor = detector.next_by_anchor(text, known, self.at, until + BACK);
            }
            let mut first = detector.first_behind_what_tells(text, self.by_anchor, self.at);
            for ((pattern, label), known) in detector.patterns.iter().zip(&mut self.by_pattern) {
                if let Known::NoneBefore(from) = *known {
                    *known = pattern.next(text, from, self.at, until, *label);
                }
                first = earlier(first, *known);
            }
            if !text.is_whole
                && let (Known::Finding(told), Known::Finding(found)) = (self.by_anchor, first)
                && told.start >= limit
                && told.told_at < found.end
            {
                // What told it has to be there still when it is decided about.
                return Some(limit.min(told.told_at).min(found.start).max(self.at));
            }
            let finding = match first {
                Known::Open(open) => return Some(open.min(limit)),
                Known::NoneBefore(_) => return is_last.then_some(limit),
                Known::Finding(finding) if finding.start >= until && !is_last => return None,
                Known::Finding(finding) => finding,
            };
            if finding.start >= limit && !text.is_whole {
                return Some(limit.min(finding.told_at).max(self.at));
            }
            self.at = finding.end;
            findings.push(finding);
            self.by_anchor = self.by_anchor.behind(self.at);
            if text.back(self.at, 1) == Some(b'\\') {
                // What was found behind may begin with backslashes before this place.
                self.by_anchor = Known::NoneBefore(self.at);
            }
            for known in &mut self.by_pattern {
                *known = known.behind(self.at);
            }
        }
    }
}

/// Which is first: of two that begin at one place what no pattern found, or else the longer one.
fn earlier(one: Known, pattern: Known) -> Known {
    match (one, pattern) {
        (Known::NoneBefore(_), Known::Finding(_)) => pattern,
        (Known::Open(open), Known::Finding(other)) if other.end <= open => pattern,
        // What is open may be a name whose value stands behind what the pattern matches.
        (Known::Open(open), Known::Finding(other)) if other.start < open => {
            Known::Open(other.start)
        }
        (Known::Finding(one), Known::Finding(other)) if other.start < one.start => pattern,
        (Known::Finding(known), Known::Finding(other))
            if known.is_of_pattern && other.start == known.start && other.end > known.end =>
        {
            pattern
        }
        _ => one,
    }
}

impl Pattern {
    /// What it matches next, from a place on, and begins before another. Nothing before `least` is a
    /// part of it.
    fn next(
        &self,
        text: &Text<'_>,
        from: usize,
        least: usize,
        until: usize,
        label: Label,
    ) -> Known {
        if from >= until {
            return Known::NoneBefore(from);
        }
        // All that it can look at.
        let end = text.bytes.len().min(until + self.longest + LOOK_AHEAD);
        let found = self.regex.find_at(&text.bytes[..end], from);
        match found.filter(|found| found.start() < until) {
            None => Known::NoneBefore(until),
            Some(found) => {
                let start = start_of_escape(text, found.start()).max(least);
                Known::Finding(Finding {
                    start,
                    end: text.end_of_escape(found.end()).unwrap_or(text.bytes.len()),
                    label,
                    is_anywhere: true,
                    is_of_pattern: true,
                    told_at: start,
                })
            }
        }
    }
}

impl Detector {
    /// Up to where it is certain what patterns match.
    fn limit_of_patterns(&self, text: &Text<'_>) -> usize {
        let length = text.bytes.len();
        let longest = self
            .patterns
            .iter()
            .map(|(pattern, _)| pattern.longest)
            .max();
        match longest {
            Some(longest) if !text.is_whole => length.saturating_sub(longest + LOOK_AHEAD),
            _ => length,
        }
    }

    /// The next thing that begins with an anchor, from a place on and before another. Nothing before
    /// `least` is a part of it.
    fn next_by_anchor(&self, text: &Text<'_>, from: usize, least: usize, until: usize) -> Known {
        if self.anchors.is_empty() || from >= until {
            return Known::NoneBefore(from.max(until));
        }
        let mut at = from;
        while let Some(place) = self.anchors.next(text.bytes, at, until) {
            match self.at(text, place, least) {
                Known::NoneBefore(_) => at = place + 1,
                Known::Open(open) => {
                    let open = before_backslashes(text, open, least);
                    // Letters before it may go on with an escape that is a part of it.
                    let mut anchor = text.bytes[place..].iter().take(4);
                    let escape = anchor.position(|byte| *byte == b'\\');
                    let begun = escape.map(|escape| self.begun_before(text, place + escape, least));
                    return Known::Open(open.min(begun.unwrap_or(open)));
                }
                finding @ Known::Finding(_) => return finding,
            }
        }
        let length = text.bytes.len();
        if !text.is_whole && until >= length {
            let mut ends = length.saturating_sub(3).max(at)..length;
            let is_escape = |end: &usize| ESCAPE.starts_with(&text.bytes[*end..]);
            let escape = ends.clone().find(is_escape);
            let escape = escape.map(|end| self.begun_before(text, end, least));
            let open = ends.find(|end| self.anchors.may_begin(&text.bytes[*end..]));
            let open = open.map(|open| before_backslashes(text, open, least));
            if let Some(open) = escape.into_iter().chain(open).min() {
                return Known::Open(open);
            }
        }
        Known::NoneBefore(until)
    }

    /// What was found, or what stands between it and the name or scheme that told it: the user in an address may be
    /// a secret as well as the password. Nothing before `least` is a part of it.
    fn first_behind_what_tells(&self, text: &Text<'_>, found: Known, least: usize) -> Known {
        let Known::Finding(told) = found else {
            return found;
        };
        let from = (told.told_at + 1).max(least);
        if from >= told.start {
            return found;
        }
        match self.next_by_anchor(text, from, least, told.start) {
            Known::Finding(inner) if inner.start < told.start => {
                let is_apart = inner.end <= told.start;
                let end = if is_apart {
                    inner.end
                } else {
                    inner.end.max(told.end)
                };
                Known::Finding(Finding { end, ..inner })
            }
            // What told the other has to be there still.
            Known::Open(open) if open < told.start => Known::Open(told.told_at.max(least)),
            _ => found,
        }
    }

    /// What stands at a place where an anchor does: the longest.
    fn at(&self, text: &Text<'_>, place: usize, least: usize) -> Known {
        let (place, found) = self.longest_at(text, place, least);
        let Known::Finding(mut finding) = found else {
            return found;
        };
        if finding.start > place {
            // Its name, its scheme or its first line told it. It may be of a type that tells more.
            match self.longest_at(text, finding.start, finding.start).1 {
                Known::Finding(inner)
                    if inner.start == finding.start && inner.end >= finding.end =>
                {
                    finding = Finding {
                        told_at: finding.told_at,
                        ..inner
                    };
                }
                Known::Open(_) => return Known::Open(place),
                _ => {}
            }
        }
        if let Before::Backslashes(_) = text.before(finding.start)
            && ESCAPES.contains(&text.bytes[finding.start])
        {
            // Else a backslash would be left before something that it does not go with.
            finding.start = before_backslashes(text, finding.start, least);
        }
        finding.told_at = before_backslashes(text, finding.told_at, least).min(finding.start);
        Known::Finding(finding)
    }

    /// Where something may begin that goes on with the escape that stands here or begins before here,
    /// and with the backslashes before it.
    fn begun_before(&self, text: &Text<'_>, escape: usize, least: usize) -> usize {
        let escape = before_backslashes(text, escape, least);
        before_backslashes(text, self.may_begin_before(text, escape, least), least)
    }

    /// The longest of what begins with the anchor at a place, and where it begins.
    fn longest_at(&self, text: &Text<'_>, place: usize, least: usize) -> (usize, Known) {
        let Some(anchor) = text.bytes[place..].first_chunk::<4>() else {
            return (place, Known::NoneBefore(place + 1));
        };
        let beginners = self.anchors.beginners(*anchor);
        let longest = self.longest_of(text, place, beginners);
        if matches!(longest, Known::NoneBefore(_)) && *anchor == ESCAPE {
            return self.through_escape(text, before_backslashes(text, place, least), least);
        }
        (place, longest)
    }

    /// The longest of these things that begins at a place.
    pub(super) fn longest_of(&self, text: &Text<'_>, place: usize, things: &[u32]) -> Known {
        let mut longest: Option<Finding> = None;
        for number in things {
            let (thing, label) = &self.things[*number as usize];
            match thing.at(text, place) {
                Attempt::No => {}
                Attempt::Open => return Known::Open(place),
                Attempt::Found { start, end } => {
                    let is_anywhere = matches!(thing, Thing::Form(form) if form.may_be_structure);
                    let finding = Finding {
                        start,
                        end,
                        label: *label,
                        is_anywhere,
                        is_of_pattern: false,
                        told_at: place.min(start),
                    };
                    if longest.is_none_or(|longest| end > longest.end) {
                        longest = Some(finding);
                    }
                }
            }
        }
        longest.map_or(Known::NoneBefore(place + 1), Known::Finding)
    }
}

/// How much a pattern may look at behind what it matches: one character.
const LOOK_AHEAD: usize = 4;
/// What may follow a backslash in JSON.
const ESCAPES: &[u8] = b"\"\\/bfnrtu";

/// The first of the backslashes that stand right before a place.
fn before_backslashes(text: &Text<'_>, place: usize, least: usize) -> usize {
    place
        .saturating_sub(text.backslashes_before(place))
        .max(least)
}

/// Where the escape begins in whose middle this place is; this place if it is in none.
fn start_of_escape(text: &Text<'_>, place: usize) -> usize {
    for back in 0..=place.min(5) {
        let start = place - back;
        let is_start = text.bytes.get(start) == Some(&b'\\')
            && text.backslashes_before(start).is_multiple_of(2);
        let is_within =
            is_start && back > 0 && text.end_of_escape(start + 1).is_ok_and(|end| end > place);
        if is_within {
            return start;
        }
    }
    place
}
