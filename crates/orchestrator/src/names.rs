//! The names that clients see.
//!
//! A name is `{prefix}{separator}{name}` of `[A-Za-z0-9_-]`, within the configured length. One that
//! would be longer, has other characters or would stand in another backend's namespace gets a
//! suffix made of the backend's name and the original name. So such a name depends on the
//! configuration and the original name alone, never on who is up. What becomes of plain names that
//! several backends claim is decided with the catalogue.

use sha2::{Digest, Sha256};

use crate::config::NamesConfig;

#[cfg(test)]
mod tests;

/// `_` and eight hexadecimal digits.
const SUFFIX_LEN: usize = 9;

/// Which beginnings of names belong to which backend.
#[derive(Clone, Debug)]
pub struct Namespaces {
    max_length: usize,
    spaces: Vec<Namespace>,
}

/// The namespace of one backend: of its names or, where its prefix is empty, of their qualified
/// forms.
#[derive(Clone, Debug)]
struct Namespace {
    backend: String,
    /// Prefix and separator as configured.
    written: String,
    /// The same of allowed characters.
    clean: String,
    /// How much of `clean` every name of the backend begins with.
    claim_len: usize,
    is_plain: bool,
}

impl Namespace {
    fn claim(&self) -> &str {
        &self.clean[..self.claim_len]
    }

    /// How much of the name is this namespace.
    fn reach(&self, name: &str) -> usize {
        if name.starts_with(&self.clean) {
            self.clean.len()
        } else if name.starts_with(self.claim()) {
            self.claim_len
        } else {
            0
        }
    }
}

/// A name as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Whether it is other than namespace and original name put together.
    pub shortened: bool,
}

impl Namespaces {
    /// The namespaces of these backends: name and configured prefix of each (`None`: its name).
    pub fn new<'a>(
        config: &NamesConfig,
        backends: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Self {
        let cut = config.max_length.saturating_sub(SUFFIX_LEN);
        let space = |(backend, prefix): (&'a str, Option<&'a str>)| {
            let is_plain = prefix.is_some_and(str::is_empty);
            let prefix = prefix.filter(|prefix| !prefix.is_empty());
            let written = format!("{}{}", prefix.unwrap_or(backend), config.separator);
            let clean = sanitize(&written);
            Namespace {
                backend: backend.to_owned(),
                claim_len: clean.len().min(cut),
                written,
                clean,
                is_plain,
            }
        };
        Self {
            max_length: config.max_length,
            spaces: backends.into_iter().map(space).collect(),
        }
    }

    /// Whether the prefix of this backend is empty: its names stay as they are where nobody else
    /// has a claim on them. Backends are counted in the order given to [`Namespaces::new`], here
    /// and below.
    #[must_use]
    pub fn is_plain(&self, backend: usize) -> bool {
        self.spaces[backend].is_plain
    }

    /// What the names of this backend begin with (where its prefix is empty: their qualified
    /// forms).
    #[must_use]
    pub fn claim(&self, backend: usize) -> &str {
        self.spaces[backend].claim()
    }

    /// The name of a backend's tool or prompt within the backend's namespace.
    #[must_use]
    pub fn qualify(&self, backend: usize, original: &str) -> Name {
        let written = format!("{}{original}", self.spaces[backend].written);
        let is_fit = written.len() <= self.max_length
            && written.bytes().all(is_allowed)
            && self.intruded(backend, &written).is_none();
        if is_fit {
            return Name {
                text: written,
                shortened: false,
            };
        }
        self.shorten(backend, original)
    }

    /// The form with a suffix, whether the name needs it or not.
    #[must_use]
    pub fn shorten(&self, backend: usize, original: &str) -> Name {
        let space = &self.spaces[backend];
        let mut clean = format!("{}{}", space.clean, sanitize(original));
        // What would be read as another backend's namespace is left out; the suffix still tells the
        // names apart.
        while let Some(reach) = self.intruded(backend, &clean) {
            clean.replace_range(space.clean.len()..reach, "");
        }
        let suffix = suffix(&space.backend, original);
        clean.truncate(self.max_length.saturating_sub(SUFFIX_LEN));
        let mut text = format!("{clean}_{suffix}");
        if self.intruded(backend, &text).is_some() {
            text = format!("{}{suffix}", space.claim());
        }
        Name {
            text,
            shortened: true,
        }
    }

    /// The backend among those that `admits` which has the closest claim on the name by its
    /// namespace.
    pub fn claimant(&self, name: &str, admits: impl Fn(usize) -> bool) -> Option<usize> {
        self.spaces
            .iter()
            .enumerate()
            .filter(|(index, space)| name.starts_with(space.claim()) && admits(*index))
            .max_by_key(|(_, space)| space.claim_len)
            .map(|(index, _)| index)
    }

    /// Where another backend's namespace ends, if the name would stand in one that goes further
    /// than this backend's own.
    fn intruded(&self, backend: usize, name: &str) -> Option<usize> {
        let own = self.spaces[backend].reach(name);
        let others = self.spaces.iter().map(|other| other.reach(name));
        others.max().filter(|&reach| reach > own)
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn sanitize(text: &str) -> String {
    let allowed = |c: char| u8::try_from(c).is_ok_and(is_allowed);
    text.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

/// Eight hexadecimal digits that stand for a backend's tool or prompt.
fn suffix(backend: &str, original: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(backend);
    hash.update([0]);
    hash.update(original);
    hash.finalize()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
