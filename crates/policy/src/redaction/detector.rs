//! All that is looked for, put together, and the search for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use switchboard_protocol::token::digest;

use super::anchors::Anchors;
use super::config::PatternConfig;
use super::patterns::Pattern;
use super::secrets::{Form, Secrets, forms};
use super::shapes::{self, Shape};
use super::text::{Before, Stop, Text};
use super::token::{Attempt, Part, Token};
use super::tokens::{NAMED, Named, TOKENS};

/// The type of exact values.
pub const SECRET: &str = "secret";

/// Finds all that is to be taken out of a text. Immutable.
pub struct Detector {
    anchors: Anchors,
    things: Vec<(Thing, Label)>,
    patterns: Vec<(Pattern, Label)>,
    labels: Vec<LabelText>,
    /// Whether something is looked for that may stand outside of a string of JSON.
    pub(super) looks_beyond_strings: bool,
    /// See [`Redactor::rules`](switchboard_protocol::delivery::Redactor::rules).
    pub(super) rules: [u8; 32],
}

/// The type of what was found, by its place among all.
type Label = usize;

struct LabelText {
    name: Arc<str>,
    replacement: Box<[u8]>,
}

/// Something that begins with an anchor.
enum Thing {
    Form(Form),
    Token(&'static Token),
    Named(&'static Named),
    Shape(Shape),
    /// An escape in the place of a letter: what begins with it is found through it.
    Escape,
}

/// A part of a text that is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) label: Label,
    /// Whether it may reach over the end of a string of JSON, or stand outside of all.
    pub(super) is_anywhere: bool,
}

/// What is next in a text.
enum Next {
    Finding(Finding),
    /// Something may begin here, which cannot be told yet.
    Open(usize),
    Nothing,
}

/// A digest of what a detector looks for. What a type of tokens is changes with the program alone.
fn rules(secrets: &Secrets, types: &BTreeSet<&str>, patterns: &[PatternConfig]) -> [u8; 32] {
    let mut parts: Vec<&[u8]> = vec![env!("CARGO_PKG_VERSION").as_bytes(), b"secrets"];
    parts.extend(secrets.iter().map(str::as_bytes));
    parts.push(b"types");
    parts.extend(types.iter().map(|name| name.as_bytes()));
    parts.push(b"patterns");
    for pattern in patterns {
        parts.extend([pattern.name.as_bytes(), pattern.regex.as_bytes()]);
    }
    digest(&parts)
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector")
            .field("things", &self.things.len())
            .finish_non_exhaustive()
    }
}

impl Detector {
    /// One that finds these values, tokens of these types, and what these patterns match.
    ///
    /// # Errors
    /// A pattern that cannot be used: its place among them, and what is wrong with it.
    pub fn new(
        secrets: &Secrets,
        types: &BTreeSet<&str>,
        patterns: &[PatternConfig],
    ) -> Result<Self, (usize, String)> {
        let mut labels = Labels::default();
        let mut things = Vec::new();
        for value in secrets.iter() {
            let label = labels.of(SECRET);
            things.extend(
                forms(value)
                    .into_iter()
                    .map(|form| (Thing::Form(form), label)),
            );
        }
        let of_types = TOKENS.iter().filter(|token| types.contains(token.name));
        things.extend(of_types.map(|token| (Thing::Token(token), labels.of(token.name))));
        let of_types = shapes::ALL
            .iter()
            .filter(|shape| types.contains(shape.name));
        things.extend(of_types.map(|shape| (Thing::Shape(*shape), labels.of(shape.name))));
        let of_types = NAMED.iter().filter(|named| types.contains(named.name));
        things.extend(of_types.map(|named| (Thing::Named(named), labels.of(named.name))));
        if !things.is_empty() {
            things.push((Thing::Escape, 0));
        }
        let numbered = things.iter().zip(0_u32..);
        let anchors = numbered.flat_map(|((thing, _), number)| {
            thing
                .anchors()
                .into_iter()
                .map(move |anchor| (anchor, number))
        });
        let anchors = Anchors::new(anchors);
        let mut compiled = Vec::with_capacity(patterns.len());
        for (index, pattern) in patterns.iter().enumerate() {
            let regex = Pattern::new(&pattern.regex).map_err(|problem| (index, problem))?;
            compiled.push((regex, labels.of(&pattern.name)));
        }
        let rules = rules(secrets, types, patterns);
        let is_structure =
            |thing: &Thing| matches!(thing, Thing::Form(form) if form.may_be_structure);
        let has_structure = things.iter().any(|(thing, _)| is_structure(thing));
        Ok(Self {
            anchors,
            looks_beyond_strings: has_structure || !compiled.is_empty(),
            rules,
            things,
            patterns: compiled,
            labels: labels.0,
        })
    }

    /// Whether nothing is looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty() && self.patterns.is_empty()
    }

    /// Whether a text has to be in one piece with what stood before it.
    pub(super) fn needs_context_in_text(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The name of a type.
    pub(super) fn name(&self, label: Label) -> &Arc<str> {
        &self.labels[label].name
    }

    /// What takes the place of what is of this type.
    pub(super) fn replacement(&self, label: Label) -> &[u8] {
        &self.labels[label].replacement
    }

    /// All that is found from this place on, in order; answers how far the text is decided about.
    pub(super) fn search(
        &self,
        text: &Text<'_>,
        from: usize,
        findings: &mut Vec<Finding>,
    ) -> usize {
        let mut at = from;
        let mut of_patterns = vec![None; self.patterns.len()];
        let limit = self.limit_of_patterns(text).max(from);
        loop {
            let next = self.next(text, at);
            let by_pattern = self.next_by_pattern(text, at, &mut of_patterns);
            let finding = match (next, by_pattern) {
                (Next::Finding(one), Some(other)) if other.start < one.start => other,
                (Next::Finding(one), _) => one,
                (Next::Open(open), Some(other)) if other.start < open => other,
                (Next::Open(open), _) => return open.min(limit),
                (Next::Nothing, Some(other)) => other,
                (Next::Nothing, None) => return limit,
            };
            if finding.start >= limit && !text.is_whole {
                return limit.max(at);
            }
            at = finding.end;
            findings.push(finding);
        }
    }

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

    fn next_by_pattern(
        &self,
        text: &Text<'_>,
        from: usize,
        known: &mut [Option<Option<Finding>>],
    ) -> Option<Finding> {
        let mut first: Option<Finding> = None;
        for ((pattern, label), known) in self.patterns.iter().zip(known) {
            let is_past = matches!(known, Some(Some(finding)) if finding.start < from);
            if known.is_none() || is_past {
                let found = pattern
                    .regex
                    .find_at(text.bytes, from.min(text.bytes.len()));
                *known = Some(found.map(|found| {
                    let start = start_of_escape(text, found.start()).max(from);
                    let end = text.end_of_escape(found.end()).unwrap_or(text.bytes.len());
                    Finding {
                        start,
                        end,
                        label: *label,
                        is_anywhere: true,
                    }
                }));
            }
            let found = known.flatten();
            if let Some(found) = found
                && first.is_none_or(|first| (found.start, first.end) < (first.start, found.end))
            {
                first = Some(found);
            }
        }
        first
    }

    /// The next thing that begins with an anchor.
    fn next(&self, text: &Text<'_>, from: usize) -> Next {
        if self.anchors.is_empty() {
            return Next::Nothing;
        }
        let mut at = from;
        while let Some(place) = self.anchors.next(text.bytes, at) {
            match self.at(text, place, from) {
                Next::Nothing => at = place + 1,
                Next::Open(open) => return Next::Open(before_backslashes(text, open, from)),
                finding @ Next::Finding(_) => return finding,
            }
        }
        if !text.is_whole {
            let length = text.bytes.len();
            let mut ends = length.saturating_sub(3).max(at)..length;
            if let Some(open) = ends.find(|end| self.anchors.may_begin(&text.bytes[*end..])) {
                return Next::Open(before_backslashes(text, open, from));
            }
        }
        Next::Nothing
    }

    /// What stands at a place where an anchor does: the longest.
    fn at(&self, text: &Text<'_>, place: usize, from: usize) -> Next {
        let Some(anchor) = text.bytes[place..].first_chunk::<4>() else {
            return Next::Nothing;
        };
        let mut place = place;
        let mut beginners = self.anchors.beginners(*anchor);
        let mut through_escape = [0; 4];
        if beginners
            .iter()
            .any(|number| matches!(self.things[*number as usize].0, Thing::Escape))
        {
            place = before_backslashes(text, place, from);
            match chars(text, place, &mut through_escape) {
                Ok(true) => {}
                Ok(false) | Err(Stop::End) => return Next::Nothing,
                Err(Stop::More) => return Next::Open(place),
            }
            beginners = self.anchors.beginners(through_escape);
        }
        let mut longest: Option<Finding> = None;
        for number in beginners {
            let (thing, label) = &self.things[*number as usize];
            match thing.at(text, place) {
                Attempt::No => {}
                Attempt::Open => return Next::Open(place),
                Attempt::Found { start, end } => {
                    let is_anywhere = matches!(thing, Thing::Form(form) if form.may_be_structure);
                    let finding = Finding {
                        start,
                        end,
                        label: *label,
                        is_anywhere,
                    };
                    if longest.is_none_or(|longest| end > longest.end) {
                        longest = Some(finding);
                    }
                }
            }
        }
        let Some(mut finding) = longest else {
            return Next::Nothing;
        };
        if finding.start > place {
            // Its name, its scheme or its first line told it. It may be of a type that tells more.
            match self.at(text, finding.start, finding.start) {
                Next::Finding(inner)
                    if inner.start == finding.start && inner.end >= finding.end =>
                {
                    finding = inner;
                }
                Next::Open(_) => return Next::Open(place),
                _ => {}
            }
        }
        if let Before::Backslashes(_) = text.before(finding.start)
            && ESCAPES.contains(&text.bytes[finding.start])
        {
            // Else a backslash would be left before something that it does not go with.
            finding.start = before_backslashes(text, finding.start, from);
        }
        Next::Finding(finding)
    }
}

/// How much a pattern may look at behind what it matches: one character.
const LOOK_AHEAD: usize = 4;
/// What may follow a backslash in JSON.
const ESCAPES: &[u8] = b"\"\\/bfnrtu";

/// The first of the backslashes that stand right before a place.
fn before_backslashes(text: &Text<'_>, place: usize, from: usize) -> usize {
    place
        .saturating_sub(text.backslashes_before(place))
        .max(from)
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

/// The next four characters, if they are all ASCII.
fn chars(text: &Text<'_>, mut at: usize, chars: &mut [u8; 4]) -> Result<bool, Stop> {
    for to in chars {
        let (found, next) = text.char_at(at)?;
        if !found.is_ascii_graphic() || found == b'\\' {
            return Ok(false);
        }
        *to = found;
        at = next;
    }
    Ok(true)
}

impl Thing {
    fn at(&self, text: &Text<'_>, place: usize) -> Attempt {
        match self {
            Self::Form(form) => form.at(text, place),
            Self::Token(token) => token.at(text, place),
            Self::Named(named) => shapes::named(text, place, named),
            Self::Shape(shape) => (shape.at)(text, place),
            Self::Escape => Attempt::No,
        }
    }

    fn anchors(&self) -> Vec<[u8; 4]> {
        let first = |text: &[u8]| text.first_chunk::<4>().copied();
        match self {
            Self::Form(form) => form.anchor().into_iter().collect(),
            Self::Token(token) => token.anchors(),
            Self::Named(named) => named
                .words
                .iter()
                .filter_map(|word| first(word.as_bytes()))
                .collect(),
            Self::Shape(shape) => (shape.anchors)()
                .iter()
                .filter_map(|text| first(text))
                .collect(),
            Self::Escape => vec![*b"\\u00"],
        }
    }
}

impl Token {
    /// How it may begin, in four bytes; where the prefix is shorter, with each character that may follow.
    fn anchors(&self) -> Vec<[u8; 4]> {
        let mut anchors = Vec::new();
        for start in self.starts {
            let mut beginnings = vec![start.as_bytes().to_vec()];
            while let Some(short) = beginnings.iter().position(|beginning| beginning.len() < 4) {
                let short = beginnings.swap_remove(short);
                if let Some(Part::Run(class, ..)) = self.rest.first() {
                    let longer = class.iter().map(|byte| [&short[..], &[byte]].concat());
                    beginnings.extend(longer);
                }
            }
            anchors.extend(
                beginnings
                    .iter()
                    .filter_map(|text| text.first_chunk::<4>().copied()),
            );
        }
        anchors
    }
}

#[derive(Default)]
struct Labels(Vec<LabelText>);

impl Labels {
    fn of(&mut self, name: &str) -> Label {
        let known = self.0.iter().position(|label| &*label.name == name);
        known.unwrap_or_else(|| {
            self.0.push(LabelText {
                name: name.into(),
                replacement: format!("[redacted:{name}]").into_bytes().into(),
            });
            self.0.len() - 1
        })
    }
}
