//! Versions: what may become a part of a command.

/// An exact version, checked: nothing in it could be an option, another argument or a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(String);

/// The longest text that is taken for a version.
const MAX_VERSION: usize = 128;
/// The digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

impl Version {
    /// A version of a package of npm: strict semantic versioning.
    #[must_use]
    pub fn of_npm(text: &str) -> Option<Self> {
        let is_version = text.len() <= MAX_VERSION && semver::Version::parse(text).is_ok();
        is_version.then(|| Self(text.to_owned()))
    }

    /// A version of a Python package: the normal form of PEP 440.
    #[must_use]
    pub fn of_python(text: &str) -> Option<Self> {
        let is_version = text.len() <= MAX_VERSION && is_normal_python_version(text);
        is_version.then(|| Self(text.to_owned()))
    }

    /// The digest of an image: `sha256:` and 64 digits.
    #[must_use]
    pub fn of_image(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?;
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let is_digest = digits.len() == DIGEST_DIGITS && digits.bytes().all(is_digit);
        is_digest.then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[N!]N(.N)*[{a|b|rc}N][.postN][.devN][+local]`.
fn is_normal_python_version(text: &str) -> bool {
    let (public, local) = match text.split_once('+') {
        Some((public, local)) => (public, Some(local)),
        None => (text, None),
    };
    let is_local = |local: &str| {
        let mut parts = local.split('.');
        let is_part = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        parts.all(|part| !part.is_empty() && part.bytes().all(is_part))
    };
    if !local.is_none_or(is_local) {
        return false;
    }
    let mut rest = public;
    if let Some((epoch, release)) = rest.split_once('!') {
        if number(epoch) != Some("") {
            return false;
        }
        rest = release;
    }
    let Some(mut rest) = number(rest) else {
        return false;
    };
    while let Some(next) = rest.strip_prefix('.').and_then(number) {
        rest = next;
    }
    for prefixes in [&["a", "b", "rc"][..], &[".post"], &[".dev"]] {
        let found = prefixes.iter().find_map(|prefix| rest.strip_prefix(prefix));
        if let Some(behind) = found {
            let Some(behind) = number(behind) else {
                return false;
            };
            rest = behind;
        }
    }
    rest.is_empty()
}

/// What is behind the digits that the text begins with; `None` without any.
fn number(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}
