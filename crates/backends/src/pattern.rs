//! The patterns of tools' names in the configuration: `*` stands for any characters, everything
//! else for itself.

/// Whether a tool of this name is shown.
pub(crate) fn is_shown(name: &str, include: &[String], exclude: &[String]) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
    (include.is_empty() || any(include)) && !any(exclude)
}

/// Whether the whole of `name` fits; linear in the name for each `*`.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
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
            ("get_*", "get_", true),
            ("get_*", "forget_", false),
            ("*delete*", "undeleted", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*ab*ab*", "ab", false),
            ("[a-z]", "b", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        let list = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        assert!(is_shown("a", &[], &[]));
        assert!(!is_shown("a", &list(&["b"]), &[]));
        assert!(!is_shown("a", &list(&["*"]), &list(&["a"])));
    }
}
