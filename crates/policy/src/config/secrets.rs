//! Secrets that are none: placeholders that were never replaced, and texts that anybody guesses.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::KeyDigest;

/// How a good secret is made.
pub const MAKE_A_SECRET: &str = "openssl rand -base64 32";

/// Texts that stand for a secret in examples, and those that are tried first by whoever guesses.
/// Lower case; each is also looked for in upper case and with a capital.
const PLACEHOLDERS: &[&str] = &[
    "",
    "0",
    "123",
    "1234",
    "12345",
    "123456",
    "12345678",
    "123456789",
    "1234567890",
    "0123456789abcdef",
    "abc",
    "abc123",
    "admin",
    "admin123",
    "administrator",
    "api-key",
    "api_key",
    "apikey",
    "change-me",
    "change_me",
    "changeit",
    "changeme",
    "changethis",
    "ci",
    "default",
    "demo",
    "dev",
    "development",
    "dummy",
    "example",
    "foo",
    "foobar",
    "hunter2",
    "insecure",
    "key",
    "letmein",
    "mcp",
    "mykey",
    "mysecret",
    "my-secret",
    "my-secret-key",
    "mysecretkey",
    "none",
    "null",
    "ops",
    "pass",
    "passw0rd",
    "password",
    "password1",
    "password123",
    "placeholder",
    "qwerty",
    "replace-me",
    "replace_me",
    "replaceme",
    "root",
    "sample",
    "secret",
    "secret-key",
    "secretkey",
    "super-secret",
    "supersecret",
    "switchboard",
    "test",
    "test-key",
    "testing",
    "testkey",
    "todo",
    "token",
    "undefined",
    "xxx",
    "xxxxxxxx",
    "your-api-key",
    "your-key",
    "your-secret",
    "your-secret-key",
    "your_api_key",
    "$key",
    "${key}",
    "key-of-the-documentation",
];

/// Words that no secret made by chance has in it.
const TELLTALES: &[&str] = &[
    "change-me",
    "change_me",
    "changeme",
    "changethis",
    "example",
    "placeholder",
    "password",
    "replace-me",
    "replace_me",
    "replaceme",
    "your-secret",
    "your_secret",
    "mysecret",
    "my-secret",
    "my_secret",
];

/// The fewest different bytes of a secret: one of 32 random bytes in base64 has far more.
const LEAST_DIFFERENT_BYTES: usize = 8;

static DIGESTS: LazyLock<Vec<(KeyDigest, &'static str)>> = LazyLock::new(|| {
    let forms = |text: &&'static str| {
        let mut capital = text.to_string();
        if let Some(first) = capital.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let line = format!("{text}\n");
        [text.to_string(), text.to_uppercase(), capital, line].map(|form| (digest(&form), *text))
    };
    PLACEHOLDERS.iter().flat_map(forms).collect()
});

fn digest(text: &str) -> KeyDigest {
    KeyDigest::from(<[u8; 32]>::from(Sha256::digest(text)))
}

/// Checks that a digest is not that of a text which anybody guesses.
///
/// # Errors
///
/// Says which text it is of, and how to make a key.
pub fn check_key_digest(digest: &KeyDigest) -> Result<(), String> {
    let bytes = digest.as_bytes();
    if bytes.iter().all(|byte| byte == &bytes[0]) {
        return Err(format!(
            "is no digest of a key but a placeholder; make a key with `{MAKE_A_SECRET}`"
        ));
    }
    match DIGESTS.iter().find(|(known, _)| known == digest) {
        None => Ok(()),
        Some((_, "")) => Err(format!(
            "is the digest of an empty text; make a key with `{MAKE_A_SECRET}`"
        )),
        Some((_, text)) => Err(format!(
            "is the digest of `{text}`, which anybody guesses; make a key with `{MAKE_A_SECRET}`"
        )),
    }
}

/// Checks that a secret which somebody else has made is no placeholder. It may be a short one.
///
/// # Errors
///
/// Says which placeholder it is.
pub(crate) fn check_issued_secret(secret: &str) -> Result<(), String> {
    let lower = secret.trim().to_ascii_lowercase();
    let is_one = |known: &&&str| lower == **known || is_within(&lower, known);
    match PLACEHOLDERS.iter().chain(TELLTALES).find(is_one) {
        None => Ok(()),
        Some(&"") => Err("is empty".to_owned()),
        Some(known) => Err(format!("is a placeholder: `{known}`")),
    }
}

/// Whether a text has a word in it that no secret made by chance has.
fn is_within(text: &str, word: &str) -> bool {
    TELLTALES.contains(&word) && text.contains(word)
}

/// Checks that a secret may have been made by chance.
///
/// # Errors
///
/// Says what shows that it was not, without repeating it.
pub fn check_secret(secret: &str) -> Result<(), String> {
    let lower = secret.to_ascii_lowercase();
    if let Some(word) = TELLTALES.iter().find(|word| lower.contains(**word)) {
        return Err(format!("is a placeholder: it has `{word}` in it"));
    }
    let mut seen = [false; 256];
    secret
        .bytes()
        .for_each(|byte| seen[usize::from(byte)] = true);
    let different = seen.iter().filter(|seen| **seen).count();
    if different < LEAST_DIFFERENT_BYTES {
        return Err(format!(
            "is a secret of {different} different bytes, which is too easy to guess"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check_issued_secret, check_key_digest, check_secret, digest};

    #[test]
    fn digests_of_what_anybody_guesses_are_refused() {
        for text in [
            "", "changeme", "CHANGEME", "Changeme", "secret", "password", "test", "admin\n",
        ] {
            let problem = check_key_digest(&digest(text)).expect_err(text);
            assert!(problem.contains("openssl rand -base64 32"), "{problem}");
        }
        assert!(check_key_digest(&[0; 32].into()).is_err());
        assert!(check_key_digest(&[0xab; 32].into()).is_err());
        let good = digest("o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E=");
        assert_eq!(check_key_digest(&good), Ok(()));
    }

    #[test]
    fn secrets_of_others_may_be_short_but_no_placeholders() {
        for placeholder in [
            "",
            "changeme",
            "CHANGE-ME",
            "secret",
            "your-secret-of-the-client",
        ] {
            assert!(check_issued_secret(placeholder).is_err(), "{placeholder}");
        }
        for good in ["b", "of-the-client-51b2", "a secret & that it has"] {
            assert_eq!(check_issued_secret(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn secrets_that_were_not_made_by_chance_are_refused() {
        for secret in [
            "0".repeat(64),
            "abcabcabcabcabcabcabcabcabcabcabc".to_owned(),
            "changeme-changeme-changeme-changeme".to_owned(),
            "Your-Secret-Key-Goes-Here-0123456789".to_owned(),
        ] {
            let problem = check_secret(&secret).expect_err(&secret);
            assert!(!problem.contains(&secret), "{problem}");
        }
        assert_eq!(
            check_secret("o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E="),
            Ok(())
        );
    }
}
