//! Input: a text for a header, and the bytes of a header's value.

use http::HeaderValue;
use switchboard_protocol::header::{decode_value, encode_value, matches};

pub(super) fn check(data: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(data) {
        check_value(&value);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        check_text(text);
    }
}

fn check_value(value: &HeaderValue) {
    let decoded = decode_value(value);
    let raw = value.as_bytes();
    let is_visible = raw.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let is_encoded = raw
        .strip_prefix(b"=?base64?")
        .is_some_and(|rest| rest.ends_with(b"?="));
    match &decoded {
        Ok(text) => {
            assert!(is_visible);
            assert!(is_encoded || text.as_bytes() == raw);
            assert_eq!(matches(value, text), Ok(true));
            assert_eq!(matches(value, &format!("{text} ")), Ok(false));
            check_text(text);
        }
        Err(error) => {
            assert!(!is_visible || is_encoded);
            assert_eq!(matches(value, ""), Err(*error));
        }
    }
}

fn check_text(text: &str) {
    let value = encode_value(text);
    assert_eq!(decode_value(&value).as_deref(), Ok(text));
    let raw = value.as_bytes();
    assert!(raw.iter().all(|byte| matches!(byte, b' '..=b'~')));
    assert!(!raw.starts_with(b" ") && !raw.ends_with(b" "));
}
