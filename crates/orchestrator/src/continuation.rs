//! `requestState`: how the retry of a call that needed input finds its way home (specification:
//! `basic/patterns/mrtr`).
//!
//! The client gets a sealed token in the place of the backend's own state, always, also where the
//! backend sent none. It names the backend that asked, and opens only for the same principal and
//! the same request. What comes back is a continuation of the same call, not a new one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchboard_protocol::call::Call;
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::json::{self, JsonError, Scanner};
use switchboard_protocol::token::{Binding, Purpose, Sealer, digest};

/// How long a client may take to gather the input.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// What the token holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// The backend that asked.
    pub(crate) backend: String,
    /// Its own state, if it sent any.
    pub(crate) state: Option<String>,
}

/// Seals a continuation of this call.
///
/// # Errors
/// If the backend's state is too long to be sealed.
pub(crate) fn seal(
    sealer: &Sealer,
    call: &Call,
    continuation: &Continuation,
) -> Result<String, String> {
    let Continuation { backend, state } = continuation;
    let payload = match state {
        Some(state) => format!("{backend}\0{state}"),
        None => backend.clone(),
    };
    let request = request_digest(call);
    let binding = Binding {
        principal: &call.principal.id,
        request,
    };
    let expires = now_ms().saturating_add(u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX));
    sealer
        .seal(Purpose::RequestState, &binding, expires, payload.as_bytes())
        .map_err(|error| error.to_string())
}

/// Opens the token that came with this call.
///
/// # Errors
/// −32602 for anything but a token that was given to this principal for this request and has not
/// expired.
pub(crate) fn open(
    sealer: &Sealer,
    call: &Call,
    token: &str,
) -> Result<Continuation, ProtocolError> {
    let request = request_digest(call);
    let binding = Binding {
        principal: &call.principal.id,
        request,
    };
    let payload = sealer.open(Purpose::RequestState, &binding, now_ms(), token).map_err(|_| {
        ProtocolError::invalid_params(
            "requestState is not valid for this request: it was changed, has expired or belongs to another call; make the call again without it",
        )
    })?;
    let payload = String::from_utf8(payload).unwrap_or_default();
    Ok(match payload.split_once('\0') {
        Some((backend, state)) => Continuation {
            backend: backend.to_owned(),
            state: Some(state.to_owned()),
        },
        None => Continuation {
            backend: payload,
            state: None,
        },
    })
}

/// What makes a request the same one: method, target and arguments. A client may write the
/// arguments anew, so the order of keys, white space and escapes do not count; everything else
/// does, a doubled key included.
fn request_digest(call: &Call) -> [u8; 32] {
    let target = call.target().unwrap_or_default();
    let arguments = call.arguments().unwrap_or_default();
    let canonical = canonical(&mut Scanner::over_utf8(arguments), arguments).unwrap_or_default();
    digest(&[
        call.method.as_str().as_bytes(),
        target.as_bytes(),
        &canonical,
    ])
}

/// The one form that all spellings of the next value share: of a scalar its text, of an array or
/// object the digest of its parts, so that every byte is looked at once however deep it lies. The
/// depth itself is bounded by the scanner.
fn canonical(scanner: &mut Scanner<'_>, text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut first = true;
    match scanner.peek() {
        Some(b'{') => {
            let mut members = Vec::new();
            scanner.enter_object()?;
            while let Some(key) = scanner.next_key(&mut first)? {
                members.push((key.text(), canonical(scanner, text)?));
            }
            // Stable: of doubled keys the order counts.
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            let parts = members
                .iter()
                .flat_map(|(key, value)| [key.as_bytes(), value]);
            Ok(composed(b"object", parts))
        }
        Some(b'[') => {
            let mut items = Vec::new();
            scanner.enter_array()?;
            while scanner.next_item(&mut first)? {
                items.push(canonical(scanner, text)?);
            }
            Ok(composed(b"array", items.iter().map(Vec::as_slice)))
        }
        Some(b'"') => {
            let raw = scanner.string()?.of(text);
            let mut out = Vec::with_capacity(raw.len());
            json::write_str(&mut out, &json::as_str(raw).unwrap_or_default());
            Ok(out)
        }
        _ => Ok(scanner.value()?.of(text).to_vec()),
    }
}

fn composed<'a>(kind: &'a [u8], parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let parts: Vec<&[u8]> = std::iter::once(kind).chain(parts).collect();
    digest(&parts).to_vec()
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(raw: &str) -> Vec<u8> {
        canonical(&mut Scanner::over_utf8(raw.as_bytes()), raw.as_bytes()).expect("JSON")
    }

    #[test]
    fn spellings_of_one_value_are_one() {
        assert_eq!(
            form(r#"{"b":[1, "\u0061"],"a":{} }"#),
            form(r#"{ "a":{}, "b":[1,"a"]}"#)
        );
    }

    #[test]
    fn what_is_not_the_same_stays_apart() {
        let distinct = [
            r#"{"a":1}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":12345678901234567890123}"#,
            r#"{"a":12345678901234567890124}"#,
            "{}",
            "[]",
        ];
        let forms: std::collections::HashSet<_> = distinct.iter().map(|raw| form(raw)).collect();
        assert_eq!(forms.len(), distinct.len());
    }
}
