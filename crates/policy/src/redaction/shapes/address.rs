//! Passwords in addresses.

use super::super::class::{ALNUM, Class};
use super::super::text::Text;
use super::super::token::{Attempt, literal};
use super::super::work;

/// Behind a scheme, plain or escaped.
pub(super) fn anchors() -> Vec<Vec<u8>> {
    let schemes = ALNUM.iter().map(|c| vec![c, b':', b'/', b'/']);
    let escaped = [&b":\\/\\"[..], b"%3A%", b"%3a%", b"%253"].map(<[u8]>::to_vec);
    schemes.chain(escaped).collect()
}

/// What ends a user and password.
const NO_USERINFO: Class = Class::new(b"\"'`<>\\/?#,;(){}| ");
/// The longest user and password in an address.
const MAX_USERINFO: usize = 512;

/// The password in an address with a user: `postgres://me:password@host`.
pub(super) fn url_password(text: &Text<'_>, place: usize) -> Attempt {
    let is_escaped = text.bytes[place] == b'%';
    let mut from = place + 4;
    let is_written = text.bytes[place..].get(1..4) == Some(&b"://"[..]);
    if is_escaped || (text.bytes[place] != b':' && !is_written) {
        let begin = match (is_escaped, text.char_at(place)) {
            (true, _) => Ok(place),
            (false, Ok((_, next))) => Ok(next),
            (false, Err(stop)) => Err(stop),
        };
        match begin.and_then(|begin| literal(text, begin, "://")) {
            Ok(Some(next)) => from = next,
            Ok(None) => return Attempt::No,
            Err(stop) => return stop.into(),
        }
    } else if text.bytes[place] == b':' {
        // Any number of backslashes, for JSON in JSON.
        let is_slash = |byte: &&u8| matches!(byte, b'\\' | b'/');
        let rest = &text.bytes[place + 1..];
        from = place + 1 + rest.iter().take(32).take_while(is_slash).count();
    }
    let mut password = None;
    let mut at = from;
    loop {
        let Some(&byte) = text.bytes.get(at) else {
            return text.stop().into();
        };
        work::note(1);
        // What is escaped in a plain address is a part of the password.
        let (found, next) = match is_escaped {
            false => (byte, at + 1),
            true => match text.char_at(at) {
                Ok(found) => found,
                Err(stop) => return stop.into(),
            },
        };
        if at - from > MAX_USERINFO || !found.is_ascii_graphic() || NO_USERINFO.has(found) {
            return Attempt::No;
        }
        match found {
            b'@' => break,
            b':' if password.is_none() => password = Some(next),
            _ => {}
        }
        at = next;
    }
    match password {
        Some(start) if is_password(&text.bytes[start..at]) => {
            // An image is named so: `docker://alpine:3.19@sha256:…`.
            let host = text
                .char_at(at)
                .map_or(&[][..], |(_, behind)| &text.bytes[behind..]);
            let digest: &[u8] = b"sha256:";
            if host.len() < digest.len() && !text.is_whole && digest.starts_with(host) {
                return Attempt::Open;
            }
            match host.starts_with(digest) {
                true => Attempt::No,
                false => Attempt::Found { start, end: at },
            }
        }
        _ => Attempt::No,
    }
}

/// Whether it is more than what stands for a password in a manual.
fn is_password(text: &[u8]) -> bool {
    work::note(8 * text.len());
    let is_wildcard = text
        .iter()
        .any(|byte| matches!(byte, b'$' | b'*' | b'[' | b']'));
    let lower = text.to_ascii_lowercase();
    let bare: Vec<u8> = lower
        .iter()
        .copied()
        .filter(u8::is_ascii_alphanumeric)
        .collect();
    let is_word = COMMON.iter().any(|word| bare == *word);
    let is_example = [
        &b"password"[..],
        b"example",
        b"xxxx",
        b"your",
        b"secret",
        b"redacted",
    ]
    .iter()
    .any(|word| lower.windows(word.len()).any(|window| window == *word));
    text.len() >= 4 && !is_wildcard && !is_word && !is_example
}

/// Passwords that are none.
const COMMON: &[&[u8]] = &[
    b"pass",
    b"passwd",
    b"pwd",
    b"pw",
    b"passw",
    b"test",
    b"user",
    b"username",
    b"root",
    b"admin",
    b"guest",
    b"token",
    b"postgres",
    b"mysql",
    b"redis",
    b"mongo",
    b"none",
    b"null",
    b"1234",
    b"12345",
    b"123456",
    b"key",
    b"apikey",
    b"changeme",
    b"default",
    b"mypass",
    b"login",
    b"name",
    b"bar",
    b"foobar",
    b"baz",
    b"hunter2",
    b"minioadmin",
    b"rabbitmq",
    b"demo",
    b"xoauthbasic",
    b"dbpass",
    b"letmein",
    b"port",
    b"host",
    b"prod",
    b"accesstoken",
    b"personalaccesstoken",
    b"pat",
    b"oauth2",
    b"ctx",
];
