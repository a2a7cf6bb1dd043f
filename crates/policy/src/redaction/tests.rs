use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_protocol::passage::Parts;

use super::config::PatternConfig;
use super::whole::Whole;
use super::*;

mod escapes;
mod hostile;

fn redactor(secrets: &[&str], patterns: &[(&str, &str)]) -> PlaceRedactor {
    let types = token_types().into_iter().collect();
    with_types(secrets, &types, patterns)
}

fn with_types(
    secrets: &[&str],
    types: &BTreeSet<&str>,
    patterns: &[(&str, &str)],
) -> PlaceRedactor {
    let mut known = Secrets::default();
    for secret in secrets {
        assert!(known.add(secret), "{secret}");
    }
    let patterns: Vec<_> = patterns
        .iter()
        .map(|(name, regex)| PatternConfig {
            name: (*name).to_owned(),
            regex: (*regex).to_owned(),
        })
        .collect();
    let detector = Detector::new(&known, types, &patterns).expect("patterns that compile");
    PlaceRedactor::new(Arc::new(detector), "test".into(), None)
}

fn whole(redactor: &PlaceRedactor, text: &str) -> String {
    let redacted = redactor.redact(Bytes::copy_from_slice(text.as_bytes()));
    String::from_utf8(redacted.to_vec()).expect("text")
}

fn in_pieces(redactor: &PlaceRedactor, text: &[u8], ends: &[usize]) -> String {
    let mut redaction = redactor.begin();
    let mut parts = Parts::default();
    let mut from = 0;
    for end in ends.iter().copied().chain([text.len()]) {
        redaction.push(Bytes::copy_from_slice(&text[from..end]), &mut parts);
        from = end;
    }
    redaction.finish(&mut parts);
    let mut out = Vec::new();
    while let Some(part) = parts.pop() {
        out.extend_from_slice(&part);
    }
    String::from_utf8(out).expect("text")
}

/// What all ways of looking through a text make of it.
fn every_way(redactor: &PlaceRedactor, text: &str) -> String {
    let redacted = whole(redactor, text);
    for at in 0..=text.len() {
        assert_eq!(
            in_pieces(redactor, text.as_bytes(), &[at]),
            redacted,
            "{text} cut at {at}"
        );
    }
    let all: Vec<_> = (1..text.len()).collect();
    assert_eq!(
        in_pieces(redactor, text.as_bytes(), &all),
        redacted,
        "{text}"
    );
    let mut steps = Whole::new(&redactor.detector, true);
    while !steps.go_on(&redactor.detector, &redactor.counts, text.as_bytes(), 1) {}
    let stepwise = steps.into_redacted(text.as_bytes());
    let stepwise = stepwise.map_or(text.into(), |text| {
        String::from_utf8_lossy(&text).into_owned()
    });
    assert_eq!(stepwise, redacted, "{text} in steps");
    redacted
}

/// A GitHub token with a checksum, made here so that none stands in the code.
fn github_token() -> String {
    let body = "9f2KxQ7LmV4sT8wZ1cB6nR3dY5hJ0p";
    let mut rest = token::crc32(body.as_bytes());
    let mut checksum = Vec::new();
    for _ in 0..6 {
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        checksum.insert(0, digits[(rest % 62) as usize]);
        rest /= 62;
    }
    format!("gh{}_{body}{}", 'p', String::from_utf8_lossy(&checksum))
}

#[test]
fn a_token_is_found_behind_escapes() {
    let redactor = redactor(&[], &[]);
    let token = github_token();
    let spelled: String = token
        .bytes()
        .map(|byte| format!("\\u{:04x}", u32::from(byte)))
        .collect();
    for (text, redacted) in [
        (
            format!(r#"{{"a":"{token}"}}"#),
            r#"{"a":"[redacted:github_token]"}"#,
        ),
        (
            format!(r#"{{"a":"x\n{token}\n"}}"#),
            r#"{"a":"x\n[redacted:github_token]\n"}"#,
        ),
        (
            format!(r#"{{"a":"{{\"b\":\"\\n{token}\\n\"}}"}}"#),
            r#"{"a":"{\"b\":\"\\n[redacted:github_token]\\n\"}"}"#,
        ),
        (
            format!(r#"{{"a":"q%3D{token}%26b"}}"#),
            r#"{"a":"q%3D[redacted:github_token]%26b"}"#,
        ),
        (
            format!(r#"{{"a":"q\u003d{token}\u0026b"}}"#),
            r#"{"a":"q\u003d[redacted:github_token]\u0026b"}"#,
        ),
        (
            format!(r#"{{"a":"\u001b[31m{token}\u001b[0m"}}"#),
            r#"{"a":"\u001b[31m[redacted:github_token]\u001b[0m"}"#,
        ),
        (
            format!(r#"{{"a":"{spelled}"}}"#),
            r#"{"a":"[redacted:github_token]"}"#,
        ),
    ] {
        assert_eq!(every_way(&redactor, &text), redacted);
    }
}

#[test]
fn an_escape_is_no_part_of_a_token() {
    let redactor = redactor(&["npmsecret99", "0041abcdxyz", "nsecret1234"], &[]);
    for text in [
        // A line break, and what is left of it is none.
        r#"{"a":"\npmsecret99 \u0041abcdxyz \nsecret1234"}"#,
        r#"{"a":"\npm_012345678901234567890123456789abcdef"}"#,
    ] {
        assert_eq!(whole(&redactor, text), text);
    }
    let nested = whole(&redactor, r#"{"a":"C:\\nsecret1234"}"#);
    assert_eq!(nested, r#"{"a":"C:[redacted:secret]"}"#);
}

#[test]
fn values_are_found_in_their_forms() {
    let secret = r#"p@ss"w\rd/+=<é>1"#;
    let redactor = redactor(&[secret, "plain-value-42"], &[]);
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    let once = serde_json::to_string(secret).expect("JSON");
    let twice = serde_json::to_string(&once).expect("JSON");
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    for text in [
        format!("[{once}]"),
        format!("[{twice}]"),
        format!(r#"["{url}"]"#),
        format!(r#"["{}"]"#, base64(secret)),
        format!(r#"["{}"]"#, base64(&format!("me:{secret}"))),
        format!(r#"["{}"]"#, base64(&format!("a:{secret}"))),
        r#"["a=plain-value-42"]"#.to_owned(),
        r#"["plain\u002dvalue\u002D42"]"#.to_owned(),
        r#"["plain%2Dvalue%2d42"]"#.to_owned(),
    ] {
        let redacted = every_way(&redactor, &text);
        assert!(redacted.contains("[redacted:secret]"), "{text}: {redacted}");
        assert!(
            serde_json::from_str::<Value>(&redacted).is_ok(),
            "{redacted}"
        );
    }
}

#[test]
fn a_number_stays_one() {
    let redactor = redactor(&["48151623"], &[("card", "[0-9]{16}")]);
    for (text, redacted) in [
        (
            r#"{"a":48151623,"b":"48151623"}"#,
            r#"{"a":11111111,"b":"[redacted:secret]"}"#,
        ),
        (r#"{"a":-48151623.5}"#, r#"{"a":-11111111.5}"#),
        (r#"{"a":148151623}"#, r#"{"a":148151623}"#),
        (
            r#"{"a":4111111111111112,"\"":"\" 4111111111111112"}"#,
            r#"{"a":1111111111111111,"\"":"\" [redacted:card]"}"#,
        ),
    ] {
        assert_eq!(every_way(&redactor, text), redacted);
    }
}

#[test]
fn a_pattern_over_strings_leaves_json() {
    let redactor = redactor(&[], &[("pair", r#"password.{1,20}7"#)]);
    let redacted = whole(&redactor, r#"{"password":"abc7","n":1}"#);
    assert_eq!(redacted, r#"{"[redacted:pair]":"[redacted:pair]","n":1}"#);
}

#[test]
fn a_pattern_within_a_name_hides_no_value_from_pieces() {
    let redactor = redactor(&[], &[("odd", "aaSession")]);
    let text = format!(
        r#"{{"a":"aaSessionToken={}","n":1}}"#,
        "k7Qx2mT9".repeat(16)
    );
    assert_eq!(
        every_way(&redactor, &text),
        r#"{"a":"[redacted:odd]Token=[redacted:aws_session_token]","n":1}"#
    );
}

#[test]
fn what_a_name_or_a_scheme_tells_is_found_in_pieces_beside_a_pattern() {
    let redactor = redactor(
        &[],
        &[
            ("employee", r"\bEMP-[0-9]{6}\b"),
            ("note", "note: [a-z]{1,200};"),
        ],
    );
    for (text, expected) in [
        (
            r#"{"a":"DSN postgres://app:k9Qx2m@db"}"#,
            r#"{"a":"DSN postgres://app:[redacted:url_password]@db"}"#,
        ),
        (
            r#"{"a":"note: b; Authorization: Bearer k7Qx2mT9k7Qx2mT9x, EMP-123456"}"#,
            r#"{"a":"[redacted:note] Authorization: Bearer [redacted:authorization_header], [redacted:employee]"}"#,
        ),
    ] {
        assert_eq!(every_way(&redactor, text), expected);
    }
}

#[test]
fn what_begins_with_an_escape_hides_no_letters_before_it() {
    let redactor = redactor(&["+abcdefgh12", "s3cr3t-value-42", "041abcdxyz9"], &[]);
    for text in [
        r#"{"a":"s3\u0063r3t-value-42"}"#,
        r#"{"a":"041\\u0061bcdxyz9"}"#,
        r#"{"a":"\u002babcdefgh12"}"#,
    ] {
        assert_eq!(every_way(&redactor, text), r#"{"a":"[redacted:secret]"}"#);
    }
}

#[test]
fn a_number_is_one_behind_an_escape() {
    let redactor = redactor(&["48151623"], &[]);
    for text in [
        r#"{"a":"\u002748151623\u0027"}"#,
        r#"{"a":"id\u002048151623"}"#,
    ] {
        assert!(
            whole(&redactor, text).contains("[redacted:secret]"),
            "{text}"
        );
    }
    let longer = r#"{"a":"148151623"}"#;
    assert_eq!(whole(&redactor, longer), longer);
}

#[test]
fn a_secret_that_ends_with_backslashes_leaves_json_however_deep() {
    for secret in [
        "a00RPAdXCnASQJ\\",
        "b01RPAdXCnASQJ\\\\",
        "c02RPAdXCnASQJ\\\\\\",
    ] {
        let redactor = redactor(&[secret], &[]);
        let mut text = secret.to_owned();
        for depth in 0..6 {
            text = serde_json::json!({ "v": text }).to_string();
            let redacted = whole(&redactor, &text);
            assert!(redacted.contains("[redacted:secret]"), "depth {depth}");
            let read = serde_json::from_str::<Value>(&redacted);
            assert!(read.is_ok(), "depth {depth}: {redacted}");
        }
    }
}

#[test]
fn patterns_have_bounds() {
    for (pattern, problem) in [
        ("a+", "may match without end"),
        ("a{1,2000}", "at most 1024"),
        ("a*", "matches nothing at all"),
        ("(", "is no regular expression"),
        (r"\w{1000}", "at most 1024"),
        (r"(\pL{1,100}){1,2}", "takes more than"),
    ] {
        let error = check_pattern(pattern).expect_err(pattern);
        assert!(error.contains(problem), "{pattern}: {error}");
    }
    check_pattern(r"\bACME-[0-9A-F]{12}\b").expect("a pattern");
}

#[test]
fn what_is_certain_passes_at_once() {
    let redactor = redactor(&[], &[]);
    let mut redaction = redactor.begin();
    let mut parts = Parts::default();
    let piece = Bytes::from(format!("{{\"a\":\"{}. ", "words and words ".repeat(400)));
    redaction.push(piece.clone(), &mut parts);
    let passed = parts.pop().expect("all of it");
    assert_eq!(passed, piece);
    assert_eq!(passed.as_ptr(), piece.as_ptr(), "it was copied");
}

#[test]
fn there_are_sixty_types() {
    assert!(token_types().len() >= 60, "{}", token_types().len());
    for token in tokens::TOKENS {
        assert!(
            token.starts.iter().all(|start| start.len() >= 2),
            "{}",
            token.name
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        // What looks like an escape, and what goes with one.
        r#"[\\"nu04e /%a-f\n]{0,24}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(r#"[a-z"\\]{0,8}"#, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_secret() -> impl Strategy<Value = String> {
    prop_oneof![
        r#"[a-zA-Z0-9]{8,24}"#,
        r#"[\\"nu04e/%+=a-f]{8,16}"#,
        r#"[0-9]{8,12}"#,
        "\\PC{8,16}",
    ]
    .prop_filter("long enough", |secret| secret.trim().len() >= 8)
}

/// The value with a secret put into some of its texts.
fn with_secret(value: Value, secret: &str, how: u8) -> Value {
    match value {
        Value::String(text) if how.is_multiple_of(2) => json!(format!("{text}{secret}{text}")),
        Value::Array(items) => {
            let items = items.into_iter().zip(how..=255);
            items
                .map(|(item, how)| with_secret(item, secret, how))
                .collect()
        }
        Value::Object(members) => {
            let members = members.into_iter().zip(how..=255);
            members
                .map(|((key, item), how)| (key, with_secret(item, secret, how)))
                .collect()
        }
        other => other,
    }
}

/// All texts and numbers in it, as they are.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
        Value::Object(members) => members.iter().for_each(|(key, item)| {
            out.push(key.clone());
            texts(item, out);
        }),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn json_stays_json_and_pieces_do_not_matter(
        value in any_json(), secret in any_secret(), how in 0_u8..4, nested in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        with_patterns in any::<bool>(),
    ) {
        let patterns: &[_] = if with_patterns { &[("odd", r#"[a-f]{2}.{1,6}[0-9n"]"#), ("num", "[0-9]{5}")] } else { &[] };
        let redactor = redactor(&[&secret], patterns);
        let mut value = with_secret(value, secret.trim(), how);
        if nested {
            value = json!({"text": value.to_string()});
        }
        let text = value.to_string();
        let redacted = whole(&redactor, &text);
        let parsed: Result<Value, _> = serde_json::from_str(&redacted);
        prop_assert!(parsed.is_ok(), "{text} became {redacted}");
        if !redacted.contains("[redacted:") && !with_patterns && !secret.trim().bytes().all(|byte| byte.is_ascii_digit()) {
            prop_assert_eq!(&redacted, &text);
        }
        let mut found = Vec::new();
        texts(&parsed.unwrap_or_default(), &mut found);
        let left = found.iter().any(|text| text.contains(secret.trim()));
        prop_assert!(!left || secret.trim().bytes().all(|byte| byte.is_ascii_digit()), "{redacted} has it");
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        ends.sort_unstable();
        prop_assert_eq!(in_pieces(&redactor, text.as_bytes(), &ends), redacted);
    }
}
