use super::*;
use proptest::prelude::*;

fn scan(text: &[u8]) -> Result<Span, JsonError> {
    let mut scanner = Scanner::new(text)?;
    let span = scanner.value()?;
    scanner.end()?;
    Ok(span)
}

/// Forms after the JSON Test Suite's `y_` and `n_` files, written anew.
#[test]
fn accepts_what_is_json_and_nothing_else() {
    let good: &[&str] = &[
        "null",
        " true ",
        "false",
        "0",
        "-0",
        "1e5",
        "1E-5",
        "1.5e+3",
        "\"\"",
        "\"\\u00e9\\n\\/\"",
        "[]",
        "[1,[2,{}]]",
        "{}",
        "{\"a\":1,\"b\":[{\"c\":null}]}",
        "{\"\":0}",
        "\"\u{7f}\u{e9}\u{1f600}\"",
        "[\"\\ud83d\\ude00\"]",
        "\r\n\t [ ] \n",
        "{\"a\":1,\"a\":2}",
    ];
    for text in good {
        assert!(scan(text.as_bytes()).is_ok(), "{text}");
    }
    let bad: &[&[u8]] = &[
        b"",
        b" ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1,}",
        b"{,}",
        b"{a:1}",
        b"{'a':1}",
        b"01",
        b"-",
        b"+1",
        b".5",
        b"1.",
        b"1e",
        b"1e+",
        b"0x10",
        b"NaN",
        b"Infinity",
        b"nul",
        b"TRUE",
        b"\"",
        b"\"\\x\"",
        b"\"\\u12g4\"",
        b"\"\\u12\"",
        b"\"a\nb\"",
        b"\"\x00\"",
        b"\"\x1f\"",
        b"1 2",
        b"[]]",
        b"{\"a\":1 \"b\":2}",
        b"[1}",
        b"{\"a\":1]",
        b"\xef\xbb\xbf{}",
        b"\"\xff\"",
        b"[\"\xc3\"]",
        b"/*c*/1",
        b"[1,,2]",
        b"\x0c1",
        b"{\"a\" 1}",
        b"{1:1}",
        b"\"\\",
        b"--1",
        b"1_000",
    ];
    for text in bad {
        assert!(scan(text).is_err(), "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(scan(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(matches!(
        scan(nested(MAX_DEPTH + 1).as_bytes()),
        Err(JsonError::Depth(_))
    ));
    assert!(matches!(
        scan("[".repeat(1_000_000).as_bytes()),
        Err(JsonError::Depth(_))
    ));
}

#[test]
fn unescapes_as_serde_does() {
    for text in [
        r#""plain""#,
        r#""a\"b\\c\/d\b\f\n\r\t""#,
        r#""\u00e9\ud83d\ude00""#,
    ] {
        let expected: String = serde_json::from_str(text).expect("valid");
        assert_eq!(as_str(text.as_bytes()).expect("a string"), expected);
    }
    assert_eq!(as_str(br#""\ud800x""#).expect("a string"), "\u{fffd}x");
    assert_eq!(as_str(b"12"), None);
    assert_eq!(as_name(b"12"), None);
}

proptest! {
    #[test]
    fn never_panics_and_agrees_with_serde(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let ours = scan(&bytes).is_ok();
        let theirs = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn json_like_noise_agrees_with_serde(text in r#"[\[\]{}:,"\\ue0-9tfn .\-+ ]{0,40}"#) {
        let ours = scan(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{}", text);
    }

    #[test]
    fn strings_round_trip(text in any::<String>()) {
        let mut out = Vec::new();
        write_str(&mut out, &text);
        prop_assert_eq!(&quoted(&text), &out);
        prop_assert!(scan(&out).is_ok());
        prop_assert_eq!(as_name(&out).expect("a string"), text.as_bytes());
        prop_assert_eq!(as_str(&out).expect("a string"), text);
    }

    #[test]
    fn plain_prefix_is_the_naive_one(bytes in proptest::collection::vec(prop_oneof![60 => Just(b'a'), 1 => 0x1eu8..0x24, 1 => 0x5au8..0x5e, 1 => any::<u8>()], 0..300)) {
        let naive = bytes.iter().position(|b| matches!(b, b'"' | b'\\') || *b < 0x20).unwrap_or(bytes.len());
        prop_assert_eq!(plain_prefix(&bytes), naive);
    }
}
