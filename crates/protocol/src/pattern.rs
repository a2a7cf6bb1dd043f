//! The patterns of names in the configuration: `*` stands for any characters, everything else for
//! itself.

use std::ops::Deref;

use memchr::memmem::{self, Finder};

/// Whether the whole of `name` fits; linear in the name for each `*`. Of a pattern that is asked again
/// and again [`Pattern`] is quicker.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    fits(name, first, middle.split('*'), last, |rest, part| {
        let at = memmem::find(rest.as_bytes(), part.as_bytes())?;
        Some(&rest[at + part.len()..])
    })
}

/// Whether a name begins with `first`, ends with `last`, and has all of `middle` between them in this
/// order. `behind` cuts off a text until behind the first of a part.
fn fits<'n, P>(
    name: &'n str,
    first: &str,
    mut middle: impl Iterator<Item = P>,
    last: &str,
    behind: impl Fn(&'n str, P) -> Option<&'n str>,
) -> bool {
    let rest = name.strip_prefix(first);
    let rest = rest.and_then(|rest| middle.try_fold(rest, behind));
    rest.is_some_and(|rest| rest.ends_with(last))
}

/// A pattern, taken apart once.
#[derive(Clone, Debug)]
pub struct Pattern(Form);

#[derive(Clone, Debug)]
enum Form {
    /// `*`
    Any,
    /// Without a star.
    Exact(Box<str>),
    /// `first*`
    Prefix(Box<str>),
    /// `*last`
    Suffix(Box<str>),
    /// Whatever else.
    Parts {
        first: Box<str>,
        middle: Box<[Finder<'static>]>,
        last: Box<str>,
    },
}

impl Pattern {
    /// Takes a pattern apart. Every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let Some((first, rest)) = text.split_once('*') else {
            return Self(Form::Exact(text.into()));
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle: Vec<&str> = middle.split('*').filter(|part| !part.is_empty()).collect();
        Self(match (first, &*middle, last) {
            ("", [], "") => Form::Any,
            (_, [], "") => Form::Prefix(first.into()),
            // With one star: a second one would let the middle be found again in the end.
            ("", [], _) => Form::Suffix(last.into()),
            _ => Form::Parts {
                first: first.into(),
                middle: middle
                    .into_iter()
                    .map(|part| Finder::new(part).into_owned())
                    .collect(),
                last: last.into(),
            },
        })
    }

    /// Whether the whole of `name` fits; linear in the name for each star.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match &self.0 {
            Form::Any => true,
            Form::Exact(exact) => **exact == *name,
            Form::Prefix(first) => name.starts_with(&**first),
            Form::Suffix(last) => name.ends_with(&**last),
            Form::Parts {
                first,
                middle,
                last,
            } => fits(name, first, middle.iter(), last, |rest, part| {
                let at = part.find(rest.as_bytes())?;
                Some(&rest[at + part.needle().len()..])
            }),
        }
    }

    /// Whether every name fits.
    #[must_use]
    pub fn is_any(&self) -> bool {
        matches!(self.0, Form::Any)
    }

    /// Whether it is this name and no other, or every name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        match &self.0 {
            Form::Any => true,
            Form::Exact(exact) => **exact == *name,
            _ => false,
        }
    }
}

/// Some patterns, any of which may fit.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Box<[Pattern]>);

impl Patterns {
    /// Takes patterns apart.
    #[must_use]
    pub fn new<T: Deref<Target = str>>(texts: &[T]) -> Self {
        Self(texts.iter().map(|text| Pattern::new(text)).collect())
    }

    /// Whether there is none, so that nothing fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name fits one of them.
    #[must_use]
    pub fn fit(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether every name fits.
    #[must_use]
    pub fn fit_all(&self) -> bool {
        self.0.iter().any(Pattern::is_any)
    }

    /// Whether one of them is this name and no other, or every name.
    #[must_use]
    pub fn name(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.names(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything_and_nothing_else_does() {
        for (pattern, name, fits) in [
            ("get", "get", true),
            ("get", "gets", false),
            ("*", "", true),
            ("**", "a", true),
            ("get_*", "get_", true),
            ("get_*", "forget_", false),
            ("*_get", "a_get", true),
            ("*_get", "a_gets", false),
            ("*delete*", "undeleted", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab*", "ab", false),
            ("file:///srv/*", "file:///srv-evil/x", false),
            ("[a-z]", "b", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }

    proptest! {
        /// What a pattern is taken apart into fits the same names.
        #[test]
        fn both_ways_agree(pattern in "[ab*é]{0,8}", name in "[abé]{0,8}") {
            prop_assert_eq!(matches(&pattern, &name), Pattern::new(&pattern).matches(&name));
        }
    }
}
