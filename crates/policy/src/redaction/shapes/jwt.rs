//! JSON Web Tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::class::WORD;
use super::super::runs::Reach;
use super::super::text::{Before, Stop, Text};
use super::super::token::{Attempt, MAX_LENGTH, run};
use super::super::work;

/// How the first key of a header may begin.
pub(super) fn anchors() -> Vec<Vec<u8>> {
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
pub(super) fn jwt(text: &Text<'_>, place: usize) -> Attempt {
    if matches!(text.before(place), Before::Word | Before::InEscape) {
        return Attempt::No;
    }
    match end(text, place) {
        Ok(Some(end)) => Attempt::Found { start: place, end },
        Ok(None) => Attempt::No,
        Err(stop) => stop.into(),
    }
}

/// What is known of headers that end at one place: in a text made of many beginnings they all do.
#[derive(Clone, Copy, Default)]
pub(in super::super) struct Headers {
    end: usize,
    /// Which name an algorithm, by how many characters more than whole groups of Base64 they have: of those
    /// that begin at this place or behind it the ones of at least so many characters.
    named: [Option<(usize, usize)>; 4],
    /// Where the parts behind end, once they were looked at; `None`: they are too few.
    parts: Option<Option<usize>>,
}

/// The longest header, in characters.
const MAX_HEADER: usize = 4096;
/// The longest of the other parts, in characters.
const MAX_PART: usize = 16 * 1024;

fn end(text: &Text<'_>, place: usize) -> Result<Option<usize>, Stop> {
    let header = text.memory.runs.reach(text, place, WORD, MAX_HEADER)?;
    if header.count < 16 {
        return Ok(None);
    }
    let (dot, behind) = text.char_at(header.end)?;
    if dot != b'.' {
        return Ok(None);
    }
    let mut known = text.memory.headers.get();
    if known.end != header.end {
        known = Headers {
            end: header.end,
            ..Headers::default()
        };
    }
    let named = &mut known.named[header.count % 4];
    let least = match *named {
        Some((from, least)) if from <= place => least,
        _ => {
            let least = least_with_algorithm(text, place, header);
            named.insert((place, least)).1
        }
    };
    text.memory.headers.set(known);
    if header.count < least {
        return Ok(None);
    }
    let end = match known.parts {
        Some(end) => end,
        None => *known.parts.insert(parts_end(text, behind)?),
    };
    text.memory.headers.set(known);
    Ok(end.filter(|end| end - place <= MAX_LENGTH))
}

/// How many of the last characters of a header there must be, a multiple of four fewer than all, for an
/// algorithm to be named in them.
fn least_with_algorithm(text: &Text<'_>, place: usize, header: Reach) -> usize {
    let (chars, _) = text.chars(place, header.end, MAX_HEADER);
    work::note(2 * chars.len());
    let decoded = URL_SAFE_NO_PAD.decode(&chars).unwrap_or_default();
    let last = decoded.windows(5).rposition(|window| window == b"\"alg\"");
    // Each group of four characters is three bytes.
    last.map_or(usize::MAX, |last| header.count - last / 3 * 4)
}

/// Where the parts end that stand here, behind the header and its dot, if they are enough.
fn parts_end(text: &Text<'_>, mut at: usize) -> Result<Option<usize>, Stop> {
    // The second of a JWE with a key that is agreed on is empty.
    let mut parts = 1;
    while parts < 5 {
        let Some(end) = run(text, at, WORD, 0, MAX_PART)? else {
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
    Ok((parts >= 3).then_some(at))
}
