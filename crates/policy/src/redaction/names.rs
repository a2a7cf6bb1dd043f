//! Which variables of a server's environment are secrets.

/// Words in a name that say so.
const SECRET_WORDS: &[&str] = &[
    "APIKEY",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PRIVATE",
    "PWD",
    "SALT",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "WEBHOOK",
];

/// Words at the end of a name that say that it is something else about a secret.
const OTHER_WORDS: &[&str] = &[
    "ALG",
    "ALGORITHM",
    "AUDIENCE",
    "COUNT",
    "DIR",
    "ENABLED",
    "EXPIRY",
    "FILE",
    "FORMAT",
    "HEADER",
    "HOST",
    "ISSUER",
    "LENGTH",
    "LIMIT",
    "LOCATION",
    "METHOD",
    "MODE",
    "NAME",
    "PATH",
    "PORT",
    "PREFIX",
    "PROVIDER",
    "REGION",
    "SCHEME",
    "SCOPE",
    "SCOPES",
    "SIZE",
    "TIMEOUT",
    "TTL",
    "TYPE",
    "USER",
    "USERNAME",
];

/// Whether the name of a variable says that its value is a secret: one of its words does (`TOKEN`, `KEY`,
/// `SECRET`, `PASSWORD`, …), and the last does not say that it is something else (`FILE`, `TYPE`, …).
#[must_use]
pub fn says_secret(name: &str) -> bool {
    let words = words(name);
    let is_other = words
        .last()
        .is_some_and(|last| OTHER_WORDS.contains(&&**last));
    let is_secret = |word: &String| {
        let ends = ["KEY", "TOKEN", "SECRET", "PASSWORD"];
        SECRET_WORDS.contains(&&**word) || ends.iter().any(|end| word.ends_with(end))
    };
    !is_other && words.iter().any(is_secret)
}

/// The words of `SOME_NAME`, `some-name` and `someName`, in capitals.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (was_lower && c.is_ascii_uppercase()) {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_uppercase());
        }
        was_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether a value is a word that stands in many a text: small letters alone, and not many.
#[must_use]
pub fn is_plain_word(value: &str) -> bool {
    let value = value.trim();
    let is_lower = value.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_upper = value.bytes().all(|byte| byte.is_ascii_uppercase());
    value.len() < 12 && (is_lower || is_upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in [
            "GITHUB_TOKEN",
            "api-key",
            "apiKey",
            "OPENAI_APIKEY",
            "DB_PASSWORD",
            "AWS_SECRET_ACCESS_KEY",
            "SECRET_KEY_BASE",
            "PGPASSWORD",
            "AUTH",
            "GITHUB_PAT",
        ] {
            assert!(says_secret(name), "{name}");
        }
        for name in [
            "MAX_TOKENS",
            "KEY_FILE",
            "TOKEN_TYPE",
            "AUTH_MODE",
            "PATH",
            "KEYBOARD",
            "LOG_LEVEL",
            "AUTHOR",
            "SECRET_NAME",
        ] {
            assert!(!says_secret(name), "{name}");
        }
    }

    #[test]
    fn words_are_no_secrets() {
        assert!(is_plain_word("postgres") && is_plain_word("disabled"));
        assert!(!is_plain_word("correcthorsebattery") && !is_plain_word("hunter22"));
    }
}
