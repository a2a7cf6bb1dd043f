//! What patterns of rules may be.

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
