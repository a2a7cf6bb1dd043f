use super::*;
use crate::json::Scanner;
use proptest::prelude::*;

/// Reads a text in chunks that end at these places, as a whole.
fn read(text: &[u8], cuts: &[usize]) -> Result<(), JsonError> {
    let mut scanner = ChunkScanner::default();
    let mut ended = false;
    let mut start = 0;
    for end in cuts.iter().copied().chain([text.len()]) {
        let chunk = &text[start..end];
        scanner.begin(chunk)?;
        loop {
            match scanner.next(chunk)? {
                Event::More => break,
                Event::Value(_) => {}
                Event::End => ended = true,
                Event::Key | Event::Closed => panic!("not asked for"),
            }
        }
        start = end;
    }
    scanner.finish()?;
    assert!(ended || !text.ends_with(b"}"), "a value without an end");
    Ok(())
}

fn read_at_once(text: &[u8]) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text)?;
    scanner.value()?;
    scanner.end()
}

fn every_byte(text: &[u8]) -> Vec<usize> {
    (0..text.len()).collect()
}

fn assert_same(text: &[u8], cuts: &[usize]) {
    let at_once = read_at_once(text);
    assert_eq!(
        read(text, cuts).is_ok(),
        at_once.is_ok(),
        "{at_once:?} {:?}",
        text.escape_ascii().to_string()
    );
}

#[test]
fn accepts_what_the_other_scanner_accepts() {
    let cases: [&[u8]; 40] = [
        b"",
        b" ",
        b"{}",
        b"[]",
        b" [ ] ",
        b"{ }",
        b"[1]",
        b"[1,2]",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"{\"a\":1}",
        b"{\"a\":1,}",
        b"{\"a\"}",
        b"{a:1}",
        b"{\"a\":}",
        b"{\"a\" : [ { } ] } ",
        b"1",
        b"-",
        b"-0",
        b"01",
        b"1.",
        b"1.5e",
        b"1.5E+10",
        b"1e-",
        b"[-1.0e3]",
        b"true",
        b"tru",
        b"[truex]",
        b"nul",
        b"\"\"",
        b"\"\\",
        b"\"\\u12\"",
        b"\"\\u12aF\"",
        b"\"\\x\"",
        b"\"\x01\"",
        b"[}",
        b"{]",
        b"{}{}",
        b"\xef\xbb\xbf{}",
    ];
    for text in cases {
        assert_same(text, &[]);
        assert_same(text, &every_byte(text));
    }
}

#[test]
fn bounds_the_depth() {
    for depth in [MAX_DEPTH, MAX_DEPTH + 1] {
        let text = [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_same(&text, &every_byte(&text));
    }
}

#[test]
fn checks_characters_that_are_cut() {
    for text in ["\"é\"", "\"世界\"", "\"🦀\""] {
        assert_same(text.as_bytes(), &every_byte(text.as_bytes()));
        for at in 0..text.len() {
            let broken = [&text.as_bytes()[..at], &text.as_bytes()[at + 1..]].concat();
            assert_same(&broken, &every_byte(&broken));
        }
    }
    assert_same(b"\"\xed\xa0\x80\"", &[1, 2, 3]);
    assert_same(b"\"\xc0\xaf\"", &[2]);
}

#[test]
fn tells_of_what_was_entered_alone() {
    let text = br#"{"a":{"b":[1,{"c":2}]},"d\n":"x","e":3}"#;
    let mut scanner = ChunkScanner::default();
    let mut told = Vec::new();
    for chunk in text.chunks(1) {
        scanner.begin(chunk).expect("UTF-8");
        loop {
            let event = scanner.next(chunk).expect("JSON");
            match event {
                Event::More => break,
                Event::Key => told.push(String::from_utf8_lossy(scanner.key()).into_owned()),
                Event::Value(first) => {
                    told.push(format!("value {}", char::from(first)));
                    if first == b'{' && told.len() < 4 {
                        scanner.enter();
                    }
                }
                Event::End => told.push("end".to_owned()),
                Event::Closed => told.push("closed".to_owned()),
            }
        }
    }
    scanner.finish().expect("whole");
    let expected = [
        "value {", "a", "value {", "b", "value [", "end", "closed", "d\\n", "value \"", "end", "e",
        "value 3", "end", "closed",
    ];
    assert_eq!(told, expected);
}

proptest! {
    #[test]
    fn cutting_changes_nothing(
        text in r#"[\[\]{}:,"0-9.eE+\-truefalsn\\ u\n]{0,24}"#,
        cuts in proptest::collection::vec(0usize..24, 0..6),
    ) {
        let text = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(text.len())).collect();
        cuts.sort_unstable();
        assert_same(text, &cuts);
        assert_same(text, &every_byte(text));
    }

    #[test]
    fn any_bytes_are_judged_alike(inner in proptest::collection::vec(any::<u8>(), 0..40), cut in 0usize..42) {
        let text = [b"\"", &inner[..], b"\""].concat();
        assert_same(&text, &[cut.min(text.len())]);
    }
}
