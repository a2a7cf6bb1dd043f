//! All that is looked for, put together.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use switchboard_protocol::token::digest;

use super::anchors::Anchors;
use super::config::PatternConfig;
use super::escaped::Places;
use super::patterns::Pattern;
use super::secrets::{Secrets, forms};
use super::shapes;
use super::things::Thing;
use super::tokens::{NAMED, TOKENS};

/// The type of exact values.
pub const SECRET: &str = "secret";

/// Finds all that is to be taken out of a text. Immutable.
pub struct Detector {
    pub(super) anchors: Anchors,
    pub(super) places: Places,
    pub(super) things: Vec<(Thing, Label)>,
    pub(super) patterns: Vec<(Pattern, Label)>,
    labels: Vec<LabelText>,
    /// Whether something is looked for that may stand outside of a string of JSON.
    pub(super) looks_beyond_strings: bool,
    /// See [`Redactor::rules`](switchboard_protocol::delivery::Redactor::rules).
    pub(super) rules: [u8; 32],
}

/// The type of what was found, by its place among all.
pub(super) type Label = usize;

struct LabelText {
    name: Arc<str>,
    replacement: Box<[u8]>,
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
        let numbered = things.iter().zip(0_u32..);
        let anchors = numbered.flat_map(|((thing, _), number)| {
            thing
                .anchors()
                .into_iter()
                .map(move |anchor| (anchor, number))
        });
        let places = Places::new(things.iter().flat_map(|(thing, _)| thing.anchors()));
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
            places,
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
