//! Secrets in what is on its way out: found, and replaced by a word that says what was there.
//!
//! Three things are looked for: the exact values of the secrets of the configuration ([`Secrets`]), tokens
//! that their issuers' published formats tell ([`token_types`]), and the operator's own patterns. A text
//! is looked at once, for four bytes with which any of them begins (`anchors`); only where those stand is
//! more looked at, through the escapes of JSON and URLs (`text`), and where an escape of JSON may stand for
//! one of the four (`escaped`). Everything has a bound, so of a text that
//! comes in pieces only as much is held back as may begin something. Who writes the text may be hostile, so
//! what was walked over for one beginning is not walked over again for the next (`memory`): the work
//! grows with the length of the text alone.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use switchboard_protocol::delivery::{Redaction, Redactor, StepwiseRedaction};

mod anchors;
mod class;
pub mod config;
mod detector;
mod escaped;
mod memory;
mod named;
pub mod names;
mod patterns;
mod plausible;
mod replace;
mod runs;
mod search;
mod secrets;
mod shapes;
mod stream;
mod strings;
#[cfg(test)]
mod tests;
mod text;
mod things;
mod token;
mod tokens;
mod whole;
mod work;

pub use self::config::RedactionConfig;
pub use self::detector::{Detector, SECRET};
pub use self::patterns::{MOST_PATTERN_BYTES, check_pattern};
pub use self::replace::RedactionObserver;
pub use self::secrets::{LEAST_SECRET_BYTES, Secrets};

use self::replace::Counts;
use self::stream::Stream;
use self::whole::{Steps, Whole};

/// The names of all types of tokens that are known, in order.
#[must_use]
pub fn token_types() -> Vec<&'static str> {
    let tokens = tokens::TOKENS.iter().map(|token| token.name);
    let named = tokens::NAMED.iter().map(|named| named.name);
    let shapes = shapes::ALL.iter().map(|shape| shape.name);
    let all: BTreeSet<_> = tokens.chain(named).chain(shapes).collect();
    all.into_iter().collect()
}

/// Takes out of texts from one place what a [`Detector`] finds, and has it counted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PlaceRedactor {
    detector: Arc<Detector>,
    counts: Counts,
}

impl PlaceRedactor {
    /// One for texts from this place, such as a backend's name.
    #[must_use]
    pub fn new(
        detector: Arc<Detector>,
        place: Arc<str>,
        observer: Option<Arc<dyn RedactionObserver>>,
    ) -> Self {
        Self {
            detector,
            counts: Counts { observer, place },
        }
    }

    /// A JSON text without what is found in it.
    #[must_use]
    pub fn redact_json<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.without_findings(text.as_bytes(), true) {
            Some(redacted) => Cow::Owned(String::from_utf8_lossy(&redacted).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    /// The text without what was found; `None`: nothing was.
    fn without_findings(&self, text: &[u8], is_json: bool) -> Option<Vec<u8>> {
        let mut whole = Whole::new(&self.detector, is_json);
        while !whole.go_on(&self.detector, &self.counts, text, usize::MAX) {}
        whole.into_redacted(text)
    }
}

/// The redactors of all backends.
#[derive(Debug)]
pub struct Redactors {
    by_backend: HashMap<String, Option<Arc<dyn Redactor>>, foldhash::fast::RandomState>,
    /// That of a backend which is not among them.
    other: Arc<dyn Redactor>,
}

impl Redactors {
    /// One for each of these backends, of which those with `false` have none.
    #[must_use]
    pub fn new<'b>(
        detector: &Arc<Detector>,
        backends: impl IntoIterator<Item = (&'b str, bool)>,
        observer: &Arc<dyn RedactionObserver>,
    ) -> Self {
        let redactor = |place: &str| -> Arc<dyn Redactor> {
            let (detector, observer) = (Arc::clone(detector), Arc::clone(observer));
            Arc::new(PlaceRedactor::new(detector, place.into(), Some(observer)))
        };
        let backends = backends.into_iter();
        let by_backend =
            backends.map(|(name, is_on)| (name.to_owned(), is_on.then(|| redactor(name))));
        Self {
            by_backend: by_backend.collect(),
            other: redactor("other"),
        }
    }

    /// That of this backend; `None`: nothing is taken out of what it says.
    #[must_use]
    pub fn of(&self, backend: &str) -> Option<&Arc<dyn Redactor>> {
        match self.by_backend.get(backend) {
            Some(known) => known.as_ref(),
            None => Some(&self.other),
        }
    }
}

impl Redactor for PlaceRedactor {
    fn rules(&self) -> &[u8; 32] {
        &self.detector.rules
    }

    fn redact(&self, text: Bytes) -> Bytes {
        match self.without_findings(&text, true) {
            Some(redacted) => redacted.into(),
            None => text,
        }
    }

    fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.without_findings(text.as_bytes(), false) {
            Some(redacted) => Cow::Owned(String::from_utf8_lossy(&redacted).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    fn begin_whole(&self, text: Bytes) -> Box<dyn StepwiseRedaction> {
        Box::new(Steps::new(
            Arc::clone(&self.detector),
            self.counts.clone(),
            text,
        ))
    }

    fn begin(&self) -> Box<dyn Redaction> {
        Box::new(Stream::new(Arc::clone(&self.detector), self.counts.clone()))
    }
}
