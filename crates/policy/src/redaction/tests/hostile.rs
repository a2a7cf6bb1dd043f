//! Texts written to make redaction work, and that it does not.

use proptest::prelude::*;

use super::super::whole::Whole;
use super::super::work;
use super::*;

/// How many bytes are looked at for each of a text, at most.
const MOST_WORK: usize = 40;
const MIB: usize = 1024 * 1024;
/// Many times the longest that is looked for.
const LONG: usize = 32 * 1024;
/// Of these as much as a server may send at once.
const LONGEST: &[&str] = &[
    "AKIA",
    "ghp_",
    "eyJ",
    "eyJ.eyJ.",
    "sk-",
    "a",
    "fm2_",
    "-----BEGIN ",
    "://user:",
];

/// What is repeated.
const UNITS: &[&str] = &[
    "AKIA",
    "-AKIA",
    "AIza",
    "-AIza",
    "EAAA",
    "_EAAA",
    "ghp_",
    "ghs_",
    "ghs_.",
    "github_pat_",
    "glpat-",
    "glc_",
    "fm2_",
    "fm2%5F",
    "fm2\\u005f",
    "sl.",
    "sl%2E",
    "sl...",
    "ya29.",
    "xoxe.",
    "xoxb-123456789-",
    "hvs.",
    "hvs.a",
    "1//0",
    "1Q~",
    "pat",
    "SK",
    "sk-",
    "sk-ant-",
    "sk-proj-",
    "key-",
    "PMAK-",
    "hooks.slack.com/services/",
    "eyJ",
    "eyJh",
    "eyJ.eyJ.",
    "eyJh.",
    "-eyJh",
    "-eyJhbGciOi",
    "eyJhbGciOiJIUzI1NiJ9.",
    "eyJhbGciOiJIUzI1NiJ9..",
    "-eyJhbGciOiJIUzI1NiJ9",
    "_MDAw",
    "MDAwMDAw.",
    ":AAa",
    "12345678:AAa",
    "%3AA",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "BEGIN PRIVATE KEY----- a",
    "BEGIN PRIVATE ",
    "PRIVATE KEY",
    "://user:",
    "a://user:",
    "a://b:c@",
    "a://b:password@",
    "%3A%2F%2F",
    "%253A%252F%252F",
    "a:\\/\\/b",
    "Authorization: ",
    "Authorization=Bearer+",
    "Authorization: Bearer 1",
    "SecretKey=",
    "SessionToken=",
    "&sig=\\\"",
    "\u{1b}DD_API_KEY==",
    "\\u001bDD_API_KEY==",
    "\\u0041",
    "\\\\u0041",
    "\\u003c",
    "AKI\\u0041",
    "AK\\u0049",
    "ghp\\u005f",
    "ey\\\\u004a",
    "-ey\\u004a",
    "a\\u003a//b:c",
    "s\\u006b-",
    "hun\\u0074er22",
    "9f\\u0032",
    "%41",
    "%2525",
    "\\",
    "\\\"",
    "\"",
    ".",
    "..",
    "-",
    "a",
    "A",
    "0",
    "aB3dE6gH9kL",
    "aB3_dE6-gH9.",
    "example-",
    "0123456789abcdef",
    "hunter22",
    "hunter",
];

fn repeated(unit: &str, length: usize) -> String {
    unit.repeat(length / unit.len() + 1)
}

/// Texts of which not all is the same.
fn mixtures() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    // Runs that are too long, that have a placeholder here and there, or that end in what decides.
    for unit in [
        "fm2_",
        "sl.",
        "glc_",
        "ghs_",
        "-eyJhbGciOi",
        "SessionToken=",
    ] {
        for (name, between) in [
            ("a placeholder", "aB3dE6gH9kLexample".to_owned()),
            ("chance", "aB3dE6gH9kL".to_owned()),
            ("a dot", "a. ".to_owned()),
            ("a part", ".a ".to_owned()),
            ("a letter", "a".repeat(120)),
        ] {
            for length in [40, 1000, 5000] {
                let piece = format!("{}{between}", repeated(unit, length));
                texts.push((
                    format!("{length} of {unit} and {name}"),
                    repeated(&piece, LONG),
                ));
            }
        }
    }
    texts
}

fn redactor_of_all() -> PlaceRedactor {
    let secrets = [
        "hunter22hunter23",
        "9f2KxQ7LmV4sT8wZ1cB6nR3d",
        "\\\"\\\"\\\"\\\"a",
    ];
    redactor(&secrets, &[])
}

/// How much is looked at for each byte.
fn work_of(length: usize, redact: impl FnOnce()) -> usize {
    work::take();
    redact();
    work::take() / length
}

/// Checks that at most so much is looked at for each byte of these texts, which have names.
fn assert_work(texts: impl IntoIterator<Item = (String, String)>) {
    let redactor = redactor_of_all();
    let mut above = Vec::new();
    for (name, text) in texts {
        let bytes = Bytes::from(text);
        let at_once = work_of(bytes.len(), || {
            redactor.redact(bytes.clone());
        });
        let in_pieces = work_of(bytes.len().min(LONG), || {
            let mut redaction = redactor.begin();
            let mut parts = Parts::default();
            for piece in bytes[..bytes.len().min(LONG)].chunks(8 * 1024) {
                redaction.push(Bytes::copy_from_slice(piece), &mut parts);
            }
            redaction.finish(&mut parts);
        });
        println!("{name}: {at_once} at once, {in_pieces} in pieces");
        if at_once > MOST_WORK || in_pieces > 2 * MOST_WORK {
            above.push(format!("{name}: {at_once} at once, {in_pieces} in pieces"));
        }
    }
    assert!(above.is_empty(), "{above:#?}");
}

fn named(unit: &&str, length: usize) -> (String, String) {
    ((*unit).to_owned(), repeated(unit, length))
}

#[test]
fn work_grows_with_the_text_alone() {
    assert_work(UNITS.iter().map(|unit| named(unit, LONG)));
}

#[test]
fn work_grows_with_the_longest_texts_alone() {
    assert_work(LONGEST.iter().map(|unit| named(unit, MIB)));
}

#[test]
fn work_grows_with_mixed_texts_alone() {
    assert_work(mixtures());
}

#[test]
fn pieces_of_a_byte_are_not_each_looked_at_with_all_that_is_held() {
    let redactor = redactor_of_all();
    let key = format!(
        "-----BEGIN PRIVATE KEY-----{}",
        repeated("AbCd+/12\\n", 30_000)
    );
    let run = repeated("fm2_aB3/", 30_000);
    let blanks = format!("Authorization: Bearer{}", " ".repeat(30_000));
    for text in [key, run, blanks] {
        let work = work_of(text.len(), || {
            let mut redaction = redactor.begin();
            let mut parts = Parts::default();
            for byte in text.bytes() {
                redaction.push(Bytes::copy_from_slice(&[byte]), &mut parts);
            }
            redaction.finish(&mut parts);
        });
        assert!(work <= 4 * MOST_WORK, "{work} for {}", &text[..40]);
    }
}

#[test]
fn what_may_go_on_without_end_is_not_held_for_ever() {
    let redactor = redactor_of_all();
    for (begin, unit) in [
        ("Authorization: Bearer", " "),
        ("DD_API_KEY=", "\\u001b[31m"),
        ("-----BEGIN PRIVATE KEY-----", "A"),
        ("sl.", "a"),
        ("sl.", "."),
        ("https://user:", "a"),
        ("eyJhbGciOiJIUzI1NiJ9.", "a"),
    ] {
        let mut redaction = redactor.begin();
        let mut parts = Parts::default();
        let text = format!("{begin}{}", repeated(unit, 256 * 1024));
        for piece in text.as_bytes().chunks(1024) {
            redaction.push(Bytes::copy_from_slice(piece), &mut parts);
        }
        assert!(
            parts.len() > 100 * 1024 || begin.starts_with("-----"),
            "{begin}: {}",
            parts.len()
        );
    }
}

fn any_mixture() -> impl Strategy<Value = String> {
    let unit = prop_oneof![
        4 => prop::sample::select(UNITS).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9_-]{1,60}",
        1 => "[0-9a-f]{30,70}",
        1 => r#"[ -~]{1,8}"#,
        1 => Just(github_token()),
        1 => Just("9f2KxQ7LmV4sT8wZ1cB6nR3d".to_owned()),
        1 => Just("\\u0039f2KxQ7LmV4sT8wZ1cB6nR3d".to_owned()),
        1 => Just("9f\\\\u0032KxQ7LmV4sT8wZ1cB6nR3d".to_owned()),
        1 => Just("hun\\u0074er22hunter23".to_owned()),
    ];
    let some = (unit, 1_usize..40).prop_map(|(unit, times)| unit.repeat(times));
    prop::collection::vec(some, 1..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn pieces_and_steps_do_not_matter_in_mixtures_of_beginnings(
        text in any_mixture(), step in 1_usize..200,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        with_patterns in any::<bool>(),
    ) {
        let patterns: &[_] = if with_patterns { &[("odd", r#"[a-f]{2}.{1,6}[0-9n"]"#), ("num", "[0-9]{5}")] } else { &[] };
        let redactor = redactor(&["9f2KxQ7LmV4sT8wZ1cB6nR3d", "hunter22hunter23"], patterns);
        let redacted = whole(&redactor, &text);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        ends.sort_unstable();
        prop_assert_eq!(&in_pieces(&redactor, text.as_bytes(), &ends), &redacted, "{} cut at {:?}", text, ends);
        let mut steps = Whole::new(&redactor.detector, true);
        while !steps.go_on(&redactor.detector, &redactor.counts, text.as_bytes(), step) {}
        let stepwise = steps.into_redacted(text.as_bytes());
        let stepwise = stepwise.map_or(text.clone(), |redacted| String::from_utf8_lossy(&redacted).into_owned());
        prop_assert_eq!(stepwise, redacted, "{} in steps of {}", text, step);
    }
}

#[test]
fn a_long_text_in_steps_is_what_it_is_at_once() {
    let redactor = redactor_of_all();
    let in_steps = |text: &Bytes| {
        let mut redaction = redactor.begin_whole(text.clone());
        let mut steps = 1;
        loop {
            match redaction.step() {
                Some(redacted) => return (redacted, steps),
                None => steps += 1,
            }
        }
    };
    let words = Bytes::from(repeated("words and words ", MIB));
    let (same, steps) = in_steps(&words);
    assert_eq!(same.as_ptr(), words.as_ptr(), "it was copied");
    assert!((16..=18).contains(&steps), "{steps} steps");
    let tokens = Bytes::from(repeated(&format!("words {} ", github_token()), MIB));
    let (redacted, _) = in_steps(&tokens);
    assert_eq!(redacted, redactor.redact(tokens));
}
