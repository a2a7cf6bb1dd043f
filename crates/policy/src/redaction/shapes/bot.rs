//! Tokens of bots, which have a number in them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::class::{DIGIT, WORD};
use super::super::plausible::is_plausible;
use super::super::text::{Before, Stop, Text};
use super::super::token::{Attempt, literal, run};

/// The colon before what follows the number of the bot.
pub(super) fn telegram_anchors() -> Vec<Vec<u8>> {
    let plain = WORD.iter().map(|c| vec![b':', b'A', b'A', c]);
    plain
        .chain([&b"%3AA"[..], b"%3aA", b"%253"].map(<[u8]>::to_vec))
        .collect()
}

/// What a token of a Telegram bot has behind the number of the bot.
pub(super) fn telegram_bot_token(text: &Text<'_>, place: usize) -> Attempt {
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
    let end = match run(text, start, WORD, 35, 35) {
        Ok(Some(end)) if matches!(literal(text, start, "AA"), Ok(Some(_))) => end,
        Ok(_) => return Attempt::No,
        Err(stop) => return stop.into(),
    };
    match text.char_at(end) {
        Ok((next, _)) if WORD.has(next) => Attempt::No,
        Err(Stop::More) => Attempt::Open,
        _ if is_plausible(text, start, end) => Attempt::Found { start, end },
        _ => Attempt::No,
    }
}

pub(super) fn discord_anchors() -> Vec<Vec<u8>> {
    // A token begins with the number of the bot in Base64: three digits each four characters.
    let mut anchors = Vec::new();
    for number in 0..1000 {
        let digits = format!("{number:03}");
        anchors.push(URL_SAFE_NO_PAD.encode(digits).into_bytes());
    }
    anchors
}

/// A token of a Discord bot: its number in Base64, a time, a signature.
pub(super) fn discord_bot_token(text: &Text<'_>, place: usize) -> Attempt {
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
    let Some(at) = run(text, place, WORD, 22, 28)? else {
        return Ok(None);
    };
    let (number, _) = text.chars(place, at, usize::MAX);
    let decoded = URL_SAFE_NO_PAD.decode(&number).unwrap_or_default();
    if decoded.is_empty() || !decoded.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let Some(at) = literal(text, at, ".")? else {
        return Ok(None);
    };
    let Some(at) = run(text, at, WORD, 6, 6)? else {
        return Ok(None);
    };
    let Some(at) = literal(text, at, ".")? else {
        return Ok(None);
    };
    run(text, at, WORD, 27, 40)
}
