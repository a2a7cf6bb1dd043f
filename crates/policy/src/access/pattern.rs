//! The patterns of names in rules: `*` stands for any characters, everything else for itself.

/// A pattern, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
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
        middle: Box<[Box<str>]>,
        last: Box<str>,
    },
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let Some((first, rest)) = text.split_once('*') else {
            return Self::Exact(text.into());
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty());
        let middle: Box<[Box<str>]> = middle.map(Into::into).collect();
        match (first, &*middle, last) {
            ("", [], "") => Self::Any,
            (_, [], "") => Self::Prefix(first.into()),
            // With one star: a second one would let the middle be found again in the end.
            ("", [], _) => Self::Suffix(last.into()),
            _ => Self::Parts {
                first: first.into(),
                middle,
                last: last.into(),
            },
        }
    }

    /// Whether the whole of `text` fits; linear in the text for each star.
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(first) => text.starts_with(&**first),
            Self::Suffix(last) => text.ends_with(&**last),
            Self::Parts {
                first,
                middle,
                last,
            } => {
                let Some(mut rest) = text.strip_prefix(&**first) else {
                    return false;
                };
                for part in middle {
                    match rest.find(&**part) {
                        Some(at) => rest = &rest[at + part.len()..],
                        None => return false,
                    }
                }
                rest.ends_with(&**last)
            }
        }
    }
}

/// Some patterns, any of which may fit.
#[derive(Clone, Debug)]
pub(super) struct Patterns(Box<[Pattern]>);

impl Patterns {
    pub(super) fn new(texts: &[String]) -> Self {
        Self(texts.iter().map(|text| Pattern::new(text)).collect())
    }

    pub(super) fn fit(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(text))
    }

    /// Whether every text fits.
    pub(super) fn fit_all(&self) -> bool {
        self.0.contains(&Pattern::Any)
    }

    /// Whether one of them is this text and no other, or every text.
    pub(super) fn name(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Any => true,
            Pattern::Exact(exact) => **exact == *text,
            _ => false,
        })
    }
}

/// Says what is wrong with a pattern. `is_of_names`: it is for names, which have none of the signs
/// that other languages of patterns use.
pub(super) fn check(text: &str, is_of_names: bool) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty, which fits nothing; expected a name, or a pattern with `*`".into());
    }
    if text.starts_with('!') {
        return Err(format!(
            "`{text}` is a negation, which patterns have none of; expected a rule of its own with \
             `effect: deny`"
        ));
    }
    if text.trim() != text || text.contains(char::is_control) {
        return Err(format!(
            "{text:?} begins or ends with a space, or has a character that no name has; expected it \
             without"
        ));
    }
    let strange = |c: char| "?[]{}()^$|\\".contains(c);
    if let Some(sign) = text.chars().find(|c| is_of_names && strange(*c)) {
        return Err(format!(
            "`{text}` has `{sign}`, which no name has; expected a pattern in which only `*` stands \
             for other characters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn what_other_languages_of_patterns_mean_is_refused() {
        for wrong in [
            "",
            "!gh__*",
            " gh__*",
            "gh__*\n",
            "gh__[a-z]*",
            "gh__?",
            "(a|b)",
            "^a$",
        ] {
            assert!(check(wrong, true).is_err(), "{wrong:?}");
        }
        for right in ["*", "gh__get_*", "a.b/c", "é"] {
            assert_eq!(check(right, true), Ok(()), "{right}");
        }
        for right in ["https://issuer.example/|user", "file:///a?b=[c]"] {
            assert_eq!(check(right, false), Ok(()), "{right}");
        }
    }
}
