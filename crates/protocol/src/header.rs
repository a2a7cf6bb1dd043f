//! The HTTP headers that mirror a message, and how text travels in them.
//!
//! "Streamable HTTP: Request Metadata" and "Value Encoding" of 2026-07-28. A value that is safe as
//! visible ASCII travels as it is; any other travels as the Base64 of its UTF-8 between the marks
//! `=?base64?` and `?=`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};

#[cfg(test)]
mod tests;

/// `MCP-Protocol-Version`: the revision of the request.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method`: the JSON-RPC method of the request.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`: `params.name` or `params.uri` of the request.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Mcp-Session-Id`: a legacy session. Modern requests have none.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Last-Event-ID`: where a legacy stream is to be resumed.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// `traceparent`: the span that an HTTP request belongs to (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`: what goes with it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// What the name of every header that mirrors a tool's parameter begins with, in lower case.
pub const PARAM_PREFIX: &str = "mcp-param-";

const BASE64_PREFIX: &str = "=?base64?";
const BASE64_SUFFIX: &str = "?=";

/// Why a header's value cannot be read. The messages quote nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It has a byte that is not visible ASCII, a space or a tab.
    #[error("the header value contains invalid characters")]
    InvalidCharacter,
    /// It is marked as Base64, and what stands between the marks is not padded standard Base64.
    #[error("the header value is marked as Base64 and is not valid Base64")]
    InvalidBase64,
    /// It is marked as Base64, and the bytes it stands for are not UTF-8.
    #[error("the Base64 header value does not decode to UTF-8 text")]
    InvalidUtf8,
}

/// Writes a text as a header value: as it is where that is safe, in the Base64 form where it has
/// non-ASCII or control characters, begins or ends with white space, or looks like the Base64 form
/// itself.
///
/// A tab is a control character here even between words, for intermediaries may turn it into a
/// space. The length is not bounded: it is the text's own, or four thirds of it.
#[must_use]
pub fn encode_value(text: &str) -> HeaderValue {
    if is_plain(text)
        && let Ok(value) = HeaderValue::from_str(text)
    {
        return value;
    }
    let mut encoded = String::with_capacity(
        BASE64_PREFIX.len() + text.len().div_ceil(3) * 4 + BASE64_SUFFIX.len(),
    );
    encoded.push_str(BASE64_PREFIX);
    STANDARD.encode_string(text, &mut encoded);
    encoded.push_str(BASE64_SUFFIX);
    HeaderValue::try_from(encoded).expect("Base64 and its marks are visible ASCII")
}

/// Reads a header value that may be in the Base64 form. A plain value is borrowed.
///
/// # Errors
/// [`HeaderError`] if it has characters that no header value may have, or is marked as Base64 and
/// is not Base64 of UTF-8.
pub fn decode_value(value: &HeaderValue) -> Result<Cow<'_, str>, HeaderError> {
    let text = visible(value)?;
    let Some(encoded) = base64_part(text) else {
        return Ok(Cow::Borrowed(text));
    };
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|_| HeaderError::InvalidBase64)?;
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| HeaderError::InvalidUtf8)
}

/// Whether a header value, decoded where it is in the Base64 form, is exactly this text of the
/// body. Case counts.
///
/// Nothing is allocated for a plain value.
///
/// # Errors
/// As [`decode_value`].
pub fn matches(header: &HeaderValue, body: &str) -> Result<bool, HeaderError> {
    matches_bytes(header, body.as_bytes())
}

/// As [`matches()`], of the bytes of a text.
///
/// # Errors
/// As [`decode_value`].
pub fn matches_bytes(header: &HeaderValue, body: &[u8]) -> Result<bool, HeaderError> {
    Ok(decode_value(header)?.as_bytes() == body)
}

/// Whether a text can travel as it is and be read back as itself.
fn is_plain(text: &str) -> bool {
    // Wider than what `base64_part` accepts: a peer may take marks that overlap for the Base64
    // form.
    let looks_encoded = text.starts_with(BASE64_PREFIX) && text.ends_with(BASE64_SUFFIX);
    let is_padded = text.starts_with(' ') || text.ends_with(' ');
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !is_padded && !looks_encoded
}

/// The value as text, if it is visible ASCII, spaces and tabs only.
fn visible(value: &HeaderValue) -> Result<&str, HeaderError> {
    value.to_str().map_err(|_| HeaderError::InvalidCharacter)
}

/// What stands between the marks, if the value has both. They are case-sensitive.
fn base64_part(text: &str) -> Option<&str> {
    text.strip_prefix(BASE64_PREFIX)?
        .strip_suffix(BASE64_SUFFIX)
}
