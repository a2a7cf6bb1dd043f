//! What is told by more than how it begins: keys over many lines, tokens with structure, passwords in addresses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::class::{ALNUM, BASE64_ANY, Class, DIGIT, WORD};
use super::text::{Before, Stop, Text};
use super::token::{Attempt, Chars, MAX_LENGTH, Part, literal, plausible, run};
use super::tokens::Named;

/// A way to recognise something at a place where one of its anchors stands.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The type.
    pub(super) name: &'static str,
    /// What it is recognised at; each of at least four bytes.
    pub(super) anchors: fn() -> Vec<Vec<u8>>,
    /// Whether there is one.
    pub(super) at: fn(&Text<'_>, usize) -> Attempt,
}

/// All of them.
pub(super) const ALL: &[Shape] = &[
    Shape {
        name: "private_key",
        anchors: || vec![b"PRIVATE".to_vec()],
        at: private_key,
    },
    Shape {
        name: "jwt",
        anchors: jwt_anchors,
        at: jwt,
    },
    Shape {
        name: "url_password",
        anchors: url_anchors,
        at: url_password,
    },
    Shape {
        name: "authorization_header",
        anchors: authorization_anchors,
        at: authorization_header,
    },
    Shape {
        name: "telegram_bot_token",
        anchors: telegram_anchors,
        at: telegram_bot_token,
    },
    Shape {
        name: "discord_bot_token",
        anchors: discord_anchors,
        at: discord_bot_token,
    },
];

/// The value that stands behind one of the words.
pub(super) fn named(text: &Text<'_>, place: usize, named: &Named) -> Attempt {
    let mut open = false;
    for word in named.words {
        match behind_word(text, place, word, named.value) {
            Ok(None) => {}
            Ok(Some(found)) => return found,
            Err(Stop::More) => open = true,
            Err(Stop::End) => {}
        }
    }
    if open { Attempt::Open } else { Attempt::No }
}

fn behind_word(
    text: &Text<'_>,
    place: usize,
    word: &str,
    value: &[Part],
) -> Result<Option<Attempt>, Stop> {
    let mut chars = Chars::new();
    let Some(mut at) = literal(text, place, word, &mut chars)? else {
        return Ok(None);
    };
    // Quotes, an equals sign, blanks and whatever else languages put between a name and its value.
    let mut between = 0;
    loop {
        let (found, next) = text.char_at(at)?;
        if found == ESCAPE {
            at = colour_end(text, next)?;
            continue;
        }
        if !BETWEEN.has(found) {
            break;
        }
        between += 1;
        if between > MAX_BETWEEN {
            return Ok(None);
        }
        at = next;
    }
    if between == 0 {
        return Ok(None);
    }
    let start = at;
    chars.clear();
    for part in value {
        let next = match part {
            Part::Text(text_of_part) => literal(text, at, text_of_part, &mut chars)?,
            Part::Run(class, min, max) => run(text, at, *class, *min, *max, &mut chars)?,
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    let is_bounded = match text.char_at(at) {
        Ok((next, _)) => !ALNUM.has(next),
        Err(Stop::End) => true,
        Err(Stop::More) => return Err(Stop::More),
    };
    let is_one = is_bounded && plausible(&chars) && at - place <= MAX_LENGTH;
    Ok(is_one.then_some(Attempt::Found { start, end: at }))
}

/// With what a sequence begins that tells a terminal a colour.
const ESCAPE: u8 = 0x1b;

/// Where such a sequence ends that begins before this place.
fn colour_end(text: &Text<'_>, mut at: usize) -> Result<usize, Stop> {
    for _ in 0..12 {
        let (found, next) = text.char_at(at)?;
        at = next;
        if LETTER_LOWER.has(found) {
            break;
        }
    }
    Ok(at)
}

const BETWEEN: Class = Class::new(b" \t\n\"'`:=>,()[]\\");
const MAX_BETWEEN: usize = 16;

/// The lines between the first and the last of a private key in PEM.
fn private_key(text: &Text<'_>, place: usize) -> Attempt {
    // `-----BEGIN RSA ` stands before it.
    let begins = |back: &usize| (0..5).all(|at| text.back(place, back - at) == Some(b"BEGIN"[at]));
    if !(6..48).any(|back| begins(&back)) {
        return Attempt::No;
    }
    let start = match header_end(text, place) {
        Ok(Some(start)) => start,
        Ok(None) => return Attempt::No,
        Err(stop) => return stop.into(),
    };
    match key_end(text, start) {
        Ok(Some(end)) => Attempt::Found { start, end },
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

/// Where the first line of a key ends, of which this is a part.
fn header_end(text: &Text<'_>, place: usize) -> Result<Option<usize>, Stop> {
    let mut chars = Chars::new();
    let Some(at) = literal(text, place, "PRIVATE", &mut chars)? else {
        return Ok(None);
    };
    let (blank, at) = text.char_at(at)?;
    if !matches!(blank, b' ' | b'+') {
        return Ok(None);
    }
    let Some(mut at) = literal(text, at, "KEY", &mut chars)? else {
        return Ok(None);
    };
    let (next, behind) = text.char_at(at)?;
    if matches!(next, b' ' | b'+') {
        match literal(text, behind, "BLOCK", &mut chars)? {
            Some(end) => at = end,
            None => return Ok(None),
        }
    }
    literal(text, at, "-----", &mut chars)
}

/// How many short words may stand before the first line of a key: its headers, such as `Proc-Type`.
const MAX_SHORT_WORDS: usize = 12;
/// The fewest characters of a line of a key.
const LEAST_LINE: usize = 40;

/// Where the lines of a key end: before `-----END`, or with the last that is one.
fn key_end(text: &Text<'_>, start: usize) -> Result<Option<usize>, Stop> {
    let mut at = start;
    let mut last_line = None;
    let (mut short_words, mut length, mut dashes) = (0, 0, 0);
    let mut before_dashes = start;
    loop {
        let (found, next) = match text.char_at(at) {
            Ok(found) => found,
            Err(Stop::More) if at - start <= MAX_LENGTH => return Err(Stop::More),
            Err(_) => break,
        };
        if found == b'-' {
            if dashes == 0 {
                before_dashes = at;
            }
            dashes += 1;
            if dashes == 5 {
                return Ok(last_line.map(|_| before_dashes));
            }
        } else {
            dashes = 0;
        }
        if BASE64_ANY.has(found) && found != b'-' && found != b'_' {
            length += 1;
            if length >= LEAST_LINE {
                last_line = Some(next);
                short_words = 0;
            }
        } else {
            if (1..LEAST_LINE).contains(&length) {
                short_words += 1;
                if last_line.is_some() && short_words == 1 && length > 1 {
                    // The last line of a key is as long as it happens to be.
                    last_line = Some(at);
                }
            }
            length = 0;
            let ends_string = found == b'"' && text.bytes[at] == b'"';
            if short_words > MAX_SHORT_WORDS || ends_string || at - start > MAX_LENGTH {
                break;
            }
        }
        at = next;
    }
    Ok(last_line.map(|line| line.max(if length > 0 { at } else { line })))
}

fn jwt_anchors() -> Vec<Vec<u8>> {
    // The fourth character tells how the first key of the header begins: `{"alg`, `{"typ`, …
    let compact = b"h0rjl4q6p2biu1wxs5m".iter();
    let mut anchors: Vec<_> = compact.map(|c| vec![b'e', b'y', b'J', *c]).collect();
    anchors.extend([
        b"eyAi".to_vec(),
        b"ewog".to_vec(),
        b"ew0K".to_vec(),
        b"ewoJ".to_vec(),
    ]);
    anchors
}

/// A JSON Web Token (RFC 7519), signed or encrypted.
fn jwt(text: &Text<'_>, place: usize) -> Attempt {
    if matches!(text.before(place), Before::Word | Before::InEscape) {
        return Attempt::No;
    }
    match jwt_end(text, place) {
        Ok(Some(end)) => Attempt::Found { start: place, end },
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

fn jwt_end(text: &Text<'_>, place: usize) -> Result<Option<usize>, Stop> {
    let mut chars = Chars::new();
    let Some(mut at) = run(text, place, WORD, 16, 4096, &mut chars)? else {
        return Ok(None);
    };
    let (dot, behind) = text.char_at(at)?;
    if dot != b'.' {
        return Ok(None);
    }
    at = behind;
    let header = URL_SAFE_NO_PAD.decode(&chars).unwrap_or_default();
    let has_algorithm = header.windows(5).any(|window| window == b"\"alg\"");
    if !has_algorithm {
        return Ok(None);
    }
    // The second of a JWE with a key that is agreed on is empty.
    let mut parts = 1;
    while parts < 5 {
        let mut part = Chars::new();
        let Some(end) = run(text, at, WORD, 0, 16 * 1024, &mut part)? else {
            break;
        };
        at = end;
        parts += 1;
        match text.char_at(at) {
            Ok((b'.', behind)) if parts < 5 => {
                // A dot that ends a sentence is none of it.
                let goes_on = match text.char_at(behind) {
                    Ok((next, _)) => WORD.has(next) || (parts == 2 && next == b'.'),
                    Err(Stop::End) => false,
                    Err(Stop::More) => return Err(Stop::More),
                };
                if !goes_on {
                    break;
                }
                at = behind;
            }
            Ok(_) | Err(Stop::End) => break,
            Err(Stop::More) => return Err(Stop::More),
        }
    }
    Ok((parts >= 3 && at - place <= MAX_LENGTH).then_some(at))
}

fn url_anchors() -> Vec<Vec<u8>> {
    let schemes = ALNUM.iter().map(|c| vec![c, b':', b'/', b'/']);
    let escaped = [&b":\\/\\"[..], b"%3A%", b"%3a%", b"%253"].map(<[u8]>::to_vec);
    schemes.chain(escaped).collect()
}

/// What ends a user and password.
const NO_USERINFO: Class = Class::new(b"\"'`<>\\/?#,;(){}| ");
/// The longest user and password in an address.
const MAX_USERINFO: usize = 512;

/// The password in an address with a user: `postgres://me:password@host`.
fn url_password(text: &Text<'_>, place: usize) -> Attempt {
    let is_escaped = text.bytes[place] == b'%';
    let mut from = place + 4;
    if is_escaped {
        from = place;
        for wanted in [b':', b'/', b'/'] {
            match text.char_at(from) {
                Ok((found, next)) if found == wanted => from = next,
                Ok(_) => return Attempt::No,
                Err(stop) => return stop.into(),
            }
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

fn authorization_anchors() -> Vec<Vec<u8>> {
    [&b"Authorization"[..], b"authorization", b"AUTHORIZATION"]
        .map(<[u8]>::to_vec)
        .to_vec()
}

/// What a header `Authorization` has behind `Bearer`, `Basic` and the like.
fn authorization_header(text: &Text<'_>, place: usize) -> Attempt {
    match credentials(text, place) {
        Ok(Some(found)) => found,
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

fn credentials(text: &Text<'_>, place: usize) -> Result<Option<Attempt>, Stop> {
    let mut at = place + "Authorization".len();
    let known = text.bytes.get(place..at);
    match known {
        None => return Err(text.stop()),
        Some(word) if !word.eq_ignore_ascii_case(b"authorization") => return Ok(None),
        Some(_) => {}
    }
    let mut between = 0;
    let mut word = Chars::new();
    // The scheme is the first word.
    loop {
        let (found, next) = text.char_at(at)?;
        if LETTER_LOWER.has(found.to_ascii_lowercase()) {
            word.push(found.to_ascii_lowercase());
        } else if !word.is_empty() || !BETWEEN.has(found) {
            break;
        } else {
            between += 1;
        }
        if between > MAX_BETWEEN || word.len() > 8 {
            return Ok(None);
        }
        at = next;
    }
    if between == 0 || !matches!(&word[..], b"bearer" | b"basic" | b"token" | b"apikey") {
        return Ok(None);
    }
    let mut blanks = 0;
    while let (b' ' | b'+', next) = text.char_at(at)? {
        at = next;
        blanks += 1;
    }
    if blanks == 0 {
        return Ok(None);
    }
    let start = at;
    let mut chars = Chars::new();
    let Some(end) = run(text, at, CREDENTIALS, 16, 8192, &mut chars)? else {
        return Ok(None);
    };
    let has = |test: fn(&u8) -> bool| chars.iter().any(test);
    let is_one = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && plausible(&chars);
    Ok((is_one && end - place <= MAX_LENGTH).then_some(Attempt::Found { start, end }))
}

const LETTER_LOWER: Class = Class::new(b"a-z");
/// Those of RFC 6750 and RFC 7617.
const CREDENTIALS: Class = Class::new(b"A-Za-z0-9._~+/=-");

fn telegram_anchors() -> Vec<Vec<u8>> {
    let plain = WORD.iter().map(|c| vec![b':', b'A', b'A', c]);
    plain
        .chain([&b"%3AA"[..], b"%3aA", b"%253"].map(<[u8]>::to_vec))
        .collect()
}

/// What a token of a Telegram bot has behind the number of the bot.
fn telegram_bot_token(text: &Text<'_>, place: usize) -> Attempt {
    let is_digit = |back: usize| text.back(place, back).is_some_and(|byte| DIGIT.has(byte));
    let is_number = |length: usize| {
        let begins = !is_digit(length + 1) || text.url_escape_before(place, length).is_some();
        (1..=length).all(is_digit) && begins
    };
    if !(8..=10).any(is_number) {
        return Attempt::No;
    }
    let start = match text.char_at(place) {
        Ok((b':', start)) => start,
        Ok(_) => return Attempt::No,
        Err(stop) => return stop.into(),
    };
    let mut chars = Chars::new();
    let end = match run(text, start, WORD, 35, 35, &mut chars) {
        Ok(Some(end)) if chars.starts_with(b"AA") => end,
        Ok(_) => return Attempt::No,
        Err(stop) => return stop.into(),
    };
    match text.char_at(end) {
        Ok((next, _)) if WORD.has(next) => Attempt::No,
        Err(Stop::More) => Attempt::Open,
        _ if plausible(&chars[2..]) => Attempt::Found { start, end },
        _ => Attempt::No,
    }
}

fn discord_anchors() -> Vec<Vec<u8>> {
    // A token begins with the number of the bot in Base64: three digits each four characters.
    let mut anchors = Vec::new();
    for number in 0..1000 {
        let digits = format!("{number:03}");
        anchors.push(URL_SAFE_NO_PAD.encode(digits).into_bytes());
    }
    anchors
}

/// A token of a Discord bot: its number in Base64, a time, a signature.
fn discord_bot_token(text: &Text<'_>, place: usize) -> Attempt {
    if matches!(text.before(place), Before::Word | Before::InEscape) {
        return Attempt::No;
    }
    match discord_end(text, place) {
        Ok(Some(end)) => Attempt::Found { start: place, end },
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

fn discord_end(text: &Text<'_>, place: usize) -> Result<Option<usize>, Stop> {
    let mut number = Chars::new();
    let Some(at) = run(text, place, WORD, 22, 28, &mut number)? else {
        return Ok(None);
    };
    let decoded = URL_SAFE_NO_PAD.decode(&number).unwrap_or_default();
    if decoded.is_empty() || !decoded.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let mut rest = Chars::new();
    let Some(at) = literal(text, at, ".", &mut rest)? else {
        return Ok(None);
    };
    let Some(at) = run(text, at, WORD, 6, 6, &mut rest)? else {
        return Ok(None);
    };
    let Some(at) = literal(text, at, ".", &mut rest)? else {
        return Ok(None);
    };
    run(text, at, WORD, 27, 40, &mut rest)
}
