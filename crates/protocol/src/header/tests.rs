use proptest::prelude::*;

use super::*;

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a header value")
}

#[test]
fn values_are_written_as_the_specification_shows() {
    for (text, written) in [
        ("us-west1", "us-west1"),
        ("us west 1", "us west 1"),
        ("file:///a/b%20c?id=1", "file:///a/b%20c?id=1"),
        ("", ""),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        ("日本語", "=?base64?5pel5pys6Kqe?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        (" us-west1", "=?base64?IHVzLXdlc3Qx?="),
        ("us-west1 ", "=?base64?dXMtd2VzdDEg?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("line1\r\nline2", "=?base64?bGluZTENCmxpbmUy?="),
        ("\tindented", "=?base64?CWluZGVudGVk?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
    ] {
        assert_eq!(encode_value(text), written, "{text:?}");
        assert_eq!(decode_value(&value(written)).as_deref(), Ok(text));
        assert_eq!(matches(&value(written), text), Ok(true));
    }
}

#[test]
fn incomplete_marks_are_literal_text() {
    for text in [
        "SGVsbG8=",
        "=?base64?SGVsbG8=",
        "SGVsbG8=?=",
        "=?BASE64?SGVsbG8=?=",
        "=?base64?=",
    ] {
        assert_eq!(decode_value(&value(text)), Ok(Cow::Borrowed(text)));
    }
    assert_eq!(decode_value(&value("=?base64??=")).as_deref(), Ok(""));
}

#[test]
fn bad_values_are_told_apart() {
    for (bytes, error) in [
        (&b"=?base64?SGVsbG8?="[..], HeaderError::InvalidBase64),
        (b"=?base64?SGVs!!!bG8=?=", HeaderError::InvalidBase64),
        (b"=?base64?SGVsbG9=?=", HeaderError::InvalidBase64),
        (b"=?base64?_w==?=", HeaderError::InvalidBase64),
        (b"=?base64?/w==?=", HeaderError::InvalidUtf8),
        (b"caf\xc3\xa9", HeaderError::InvalidCharacter),
    ] {
        let value = HeaderValue::from_bytes(bytes).expect("a header value");
        assert_eq!(decode_value(&value), Err(error));
        assert_eq!(matches(&value, "anything"), Err(error));
    }
}

#[test]
fn comparison_heeds_case() {
    assert_eq!(matches(&value("tools/call"), "tools/call"), Ok(true));
    assert_eq!(matches(&value("TOOLS/CALL"), "tools/call"), Ok(false));
    assert_eq!(matches(&value("=?base64?Zm9v?="), "foo"), Ok(true));
    assert_eq!(matches(&value("=?base64?Zm9v?="), "bar"), Ok(false));
}

proptest! {
    #[test]
    fn any_text_survives(text in "\\PC*|[ \t\r\n\0-\u{ff}]*|=\\?base64\\?.*\\?=") {
        let header = encode_value(&text);
        prop_assert!(header.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert_eq!(decode_value(&header), Ok(Cow::Borrowed(text.as_str())));
        prop_assert_eq!(matches(&header, &text), Ok(true));
        // What an HTTP parser takes away around a value is nothing that belonged to it.
        prop_assert_eq!(header.as_bytes().trim_ascii(), header.as_bytes());
    }

    #[test]
    fn any_header_value_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(header) = HeaderValue::from_bytes(&bytes)
            && let Ok(text) = decode_value(&header)
        {
            prop_assert_eq!(matches(&header, &text), Ok(true));
        }
    }
}
