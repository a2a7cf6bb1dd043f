//! What has escapes among its first letters.

use super::*;

/// The text with the character at this place as an escape of JSON, behind so many backslashes.
fn with_escape(text: &str, place: usize, backslashes: usize) -> String {
    let c = u32::from(text.as_bytes()[place]);
    let code = match place % 2 {
        0 => format!("{c:04x}"),
        _ => format!("{c:04X}"),
    };
    let backslashes = "\\".repeat(backslashes);
    format!(
        "{}{backslashes}u{code}{}",
        &text[..place],
        &text[place + 1..]
    )
}

#[test]
fn an_escape_among_the_first_letters_hides_no_secret() {
    use base64::Engine as _;
    let secret = "s3cr3t+value/42";
    let redactor = redactor(&[secret], &[]);
    let base64 = base64::engine::general_purpose::STANDARD.encode(secret);
    let url = "s3cr3t%2Bvalue%2F42".to_owned();
    for form in [secret.to_owned(), base64, url] {
        // In the URL the next is an escape already.
        for place in 0..6 {
            for backslashes in [1, 2, 4] {
                let escaped = with_escape(&form, place, backslashes);
                let text = format!(r#"{{"a":"b {escaped}"}}"#);
                let redacted = every_way(&redactor, &text);
                assert!(
                    redacted.starts_with(r#"{"a":"b [redacted:secret]"#),
                    "{text}: {redacted}"
                );
            }
        }
        let twice = with_escape(&with_escape(&form, 3, 1), 1, 1);
        let all = (0..6)
            .rev()
            .fold(form, |text, place| with_escape(&text, place, 1));
        for escaped in [twice, all] {
            let text = format!(r#"{{"a":"b{escaped}"}}"#);
            let redacted = every_way(&redactor, &text);
            assert!(
                redacted.contains("b[redacted:secret]"),
                "{text}: {redacted}"
            );
        }
    }
}

#[test]
fn an_escape_among_the_first_letters_hides_no_token() {
    let redactor = redactor(&[], &[]);
    for (kind, token) in [
        ("github_token", github_token()),
        ("aws_access_key_id", format!("AK{}", "IAQ3EGRVXN5LZ2WYTB")),
        (
            "jwt",
            format!(
                "eyJ{}",
                "hbGciOiJIUzI1NiJ9.eyJzdWIiOiJxN3YifQ.m4Tq7Zx2Lw9Rk5Vb8Nc1Yd3Hf6Js0Gp"
            ),
        ),
        (
            "url_password",
            "postgres://app:k9Qx2mT7pL4w@db/main".to_owned(),
        ),
    ] {
        // It is known by the end of the scheme and what is behind that.
        let start = if kind == "url_password" { 7 } else { 0 };
        for place in start..start + 4 {
            let escaped = with_escape(&token, place, 1);
            let text = format!(r#"{{"a":"x {escaped}\n"}}"#);
            let redacted = every_way(&redactor, &text);
            assert!(
                redacted.contains(&format!("[redacted:{kind}]")),
                "{text}: {redacted}"
            );
        }
        // What is part of a longer word is none.
        if start == 0 && kind != "github_token" {
            let text = format!(r#"{{"a":"x{}"}}"#, with_escape(&token, 2, 1));
            assert_eq!(every_way(&redactor, &text), text);
        }
    }
}

#[test]
fn what_stands_behind_a_name_is_found_through_escapes_in_it() {
    let redactor = redactor(&[], &[]);
    let value = "9f3c1b7ae0d25864b91f7c30ad5e8264";
    for place in 0..4 {
        let text = format!(
            r#"{{"a":"{}={value}"}}"#,
            with_escape("DD_API_KEY", place, 1)
        );
        let redacted = every_way(&redactor, &text);
        assert!(
            redacted.ends_with(r#"=[redacted:datadog_key]"}"#),
            "{redacted}"
        );
    }
}

#[test]
fn an_escape_before_is_no_letter_of_it() {
    let redactor = redactor(&["nsecret1234", "041abcdxyz9"], &[]);
    for text in [
        // A line break, and what is left of it is none.
        r#"{"a":"\ns\u0065cret1234"}"#,
        r#"{"a":"\ns\\u0065cret1234"}"#,
        // The end of another escape.
        r#"{"a":"\u0041\u0061bcdxyz9 \u0041abc\u0064xyz9"}"#,
        // What is escaped is no letter of any.
        r#"{"a":"ns\u00e9cret1234 nse\u003cret1234 ns\u0365cret1234"}"#,
    ] {
        assert_eq!(every_way(&redactor, text), text);
    }
}

#[test]
fn a_secret_that_begins_with_what_is_escaped_is_found() {
    for secret in [
        "épée-du-roi-7",
        "<b>-of-a-key-9",
        "ñ<é>\"x\\y-12345",
        "a b c d e f",
        "5€ per-month-1",
    ] {
        let redactor = redactor(&[secret], &[]);
        let ascii: String = secret
            .chars()
            .map(|c| match c {
                '"' | '\\' => format!("\\{c}"),
                c if c.is_ascii() && c != '<' => c.to_string(),
                c => format!("\\u{:04x}", u32::from(c)),
            })
            .collect();
        for written in [json!(secret).to_string(), format!("\"{ascii}\"")] {
            if written.contains("\\u003c") && !secret.is_ascii() {
                // No program escapes so: all but ASCII and that.
                continue;
            }
            let text = format!(r#"{{"a":{written}}}"#);
            assert_eq!(
                every_way(&redactor, &text),
                r#"{"a":"[redacted:secret]"}"#,
                "{text}"
            );
        }
    }
}

/// Its first letters may stay where they are written in a way that nobody looks for; the rest never does.
#[test]
fn of_a_secret_whose_first_letters_are_escaped_the_rest_is_found_however_it_is_written() {
    let json_of = |text: &str| {
        let text = json!(text).to_string();
        text[1..text.len() - 1].to_owned()
    };
    let ascii_json_of = |text: &str| {
        let json = json_of(text);
        let escaped = json.chars().map(|c| match c {
            c if c.is_ascii() => c.to_string(),
            c => format!("\\u{:04x}", u32::from(c)),
        });
        escaped.collect::<String>()
    };
    let url_of = |text: &str| {
        let escaped = text.bytes().map(|byte| match byte {
            b if b.is_ascii_alphanumeric() || b == b'-' => char::from(b).to_string(),
            b => format!("%{b:02x}"),
        });
        escaped.collect::<String>()
    };
    for (secret, rest) in [
        ("\"key-4f1b77-of+this", "key-4f1b77-of+this"),
        ("a\\key-4f1b77/of=this", "key-4f1b77/of=this"),
        ("a\nkey-4f1b77-of-this", "key-4f1b77-of-this"),
        ("é-key-4f1b77 of this", "-key-4f1b77 of this"),
        ("!:key-4f1b77:of:this", "key-4f1b77:of:this"),
    ] {
        let redactor = redactor(&[secret], &[]);
        for written in [
            json_of(&json_of(secret)),
            json_of(&ascii_json_of(secret)),
            json_of(&json_of(&json_of(secret))),
            url_of(secret),
            url_of(&json_of(secret)),
            json_of(&url_of(&json_of(secret))),
        ] {
            let text = format!(r#"{{"a":"x {written} y"}}"#);
            let redacted = every_way(&redactor, &text);
            assert!(
                redacted.ends_with(r#"[redacted:secret] y"}"#),
                "{text}: {redacted}"
            );
            assert!(!redacted.contains("4f1b77"), "{text}: {redacted}");
            serde_json::from_str::<Value>(&redacted).expect("JSON");
        }
        // The rest alone is the secret too.
        let text = json!({ "a": rest }).to_string();
        assert_eq!(every_way(&redactor, &text), r#"{"a":"[redacted:secret]"}"#);
    }
    // Too little would be left to tell it by, or a word.
    let redactor = redactor(&["пароль-password", "\"*'<>key-4f1b77x", "!important"], &[]);
    let text = r#"{"a":"my-password, key-4f1b77x, important"}"#;
    assert_eq!(every_way(&redactor, text), text);
}

#[test]
fn a_number_in_json_in_a_text_becomes_a_string_there() {
    let redactor = redactor(&["4711081599"], &[("card", "[0-9]{4}77[0-9]{10}")]);
    let inner = json!({ "pin": 4_711_081_599_u64, "card": 1234_7712_3456_7890_u64, "n": 1 });
    let pretty = serde_json::to_string_pretty(&inner).expect("JSON");
    for inner in [inner.to_string(), pretty] {
        let once = json!({ "text": inner });
        let twice = json!({ "text": once.to_string() });
        for (text, depth) in [(once.to_string(), 1), (twice.to_string(), 2)] {
            let redacted = every_way(&redactor, &text);
            let mut value: Value = serde_json::from_str(&redacted).expect("JSON");
            for _ in 0..depth {
                let inner = value["text"].as_str().expect("a text");
                value = serde_json::from_str(inner).unwrap_or_else(|_| panic!("{inner}"));
            }
            assert_eq!(value["pin"], "[redacted:secret]");
            assert!(
                value["card"]
                    .as_str()
                    .is_some_and(|it| it.starts_with("[redacted:"))
            );
        }
    }
    // No key stands before it.
    let text = r#"{"a":"the \"pin\" is: 4711081599, or 4711081599"}"#;
    let expected = r#"{"a":"the \"pin\" is: [redacted:secret], or [redacted:secret]"}"#;
    assert_eq!(every_way(&redactor, text), expected);
}

#[test]
fn base64_is_found_as_programs_escape_it() {
    use base64::Engine as _;
    // Each begins with one of the two that are escaped, or has one among the first four.
    for secret in [
        "\u{3}\u{3f}\u{3f}key-4f1b77",
        "k\u{3f}\u{3e}\u{3f}-4f1b77-x",
        "~~~of-the-key-81",
    ] {
        let mut known = Secrets::default();
        assert!(known.add(secret));
        let base64 = base64::engine::general_purpose::STANDARD.encode(secret);
        let head = &base64[..4];
        assert!(head.contains(['+', '/']), "{base64}");
        let detector = Detector::new(&known, &BTreeSet::new(), &[]).expect("a detector");
        let redactor = PlaceRedactor::new(Arc::new(detector), "test".into(), None);
        for written in [
            base64.clone(),
            base64.replace('/', "\\/"),
            base64.replace('+', "\\u002b").replace('=', "\\u003d"),
            base64.replace('+', "\\u002B"),
            base64
                .replace('+', "%2B")
                .replace('/', "%2F")
                .replace('=', "%3D"),
            base64
                .replace('+', "%2b")
                .replace('/', "%2f")
                .replace('=', "%3d"),
        ] {
            let text = format!(r#"{{"a":"{written}"}}"#);
            let redacted = every_way(&redactor, &text);
            assert!(
                redacted.starts_with(r#"{"a":"[redacted:secret]"#),
                "{text}: {redacted}"
            );
        }
    }
}

#[test]
fn a_secret_between_a_scheme_and_a_password_is_found_too() {
    let redactor = redactor(&["dep-loy-7y8s9d8f", "app:k9Qx2m"], &[]);
    for (text, expected) in [
        (
            "https://dep-loy-7y8s9d8f:hxE3pyIgKpaU@github.com/a",
            "https://[redacted:secret]:[redacted:url_password]@github.com/a",
        ),
        (
            "redis://at-dep-loy-7y8s9d8f-x:hxE3pyIgKpaU@db",
            "redis://at-[redacted:secret]-x:[redacted:url_password]@db",
        ),
        (
            "postgres://app:k9Qx2mT7pL4w@db",
            "postgres://[redacted:secret]@db",
        ),
        (
            "https://me:hxE3pyIgKpaU@dep-loy-7y8s9d8f",
            "https://me:[redacted:url_password]@[redacted:secret]",
        ),
    ] {
        let text = json!({ "a": text }).to_string();
        let expected = json!({ "a": expected }).to_string();
        assert_eq!(every_way(&redactor, &text), expected);
    }
}
