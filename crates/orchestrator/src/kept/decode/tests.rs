use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;
use crate::kept::parts::Part;

/// The text and the parts of a result that comes in pieces cut at these places.
fn decoded(result: &[u8], cuts: &[usize]) -> (String, Vec<Part>, String) {
    let (mut decoder, mut out, mut from) = (Decoder::new(), Vec::new(), 0);
    for cut in cuts {
        decoder.push(&result[from..*cut], &mut out).expect("JSON");
        from = *cut;
    }
    decoder.push(&result[from..], &mut out).expect("JSON");
    decoder.finish(&mut out);
    let (parts, shape) = decoder.parts.finish(true);
    (String::from_utf8(out).expect("UTF-8"), parts, shape)
}

fn whole(result: &Value) -> (String, Vec<Part>, String) {
    decoded(result.to_string().as_bytes(), &[])
}

#[test]
fn text_is_decoded_and_everything_else_stays_json() {
    let image = r#"{"type":"image","data":"AAAA","mimeType":"image/png"}"#;
    let result = format!(
        r#"{{"content":[{{"type":"text","text":"one\ntw\u00f6"}},{image},{{"annotations":{{}},"text":"three\n","type":"text"}}],
            "isError":false,"structuredContent": {{"a": [1, "x"]}},"_meta":{{"x":1}}}}"#
    );
    let (text, parts, shape) = decoded(result.as_bytes(), &[]);
    assert_eq!(
        text,
        format!("one\ntwö\n{image}\nthree\n\n{{\"a\": [1, \"x\"]}}")
    );
    let kinds: Vec<&str> = parts.iter().map(|part| part.kind.word()).collect();
    assert_eq!(kinds, ["text", "image", "text", "structuredContent"]);
    assert_eq!(
        shape,
        "content: 3 blocks (text 8 B, 2 lines; image/png 3 B; text 6 B, 1 line); \
         structuredContent: object {a: array of 2 numbers}"
    );
    for part in &parts {
        let range = part.offset as usize..(part.offset + part.length) as usize;
        assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
    }
    let first = &parts[0];
    assert_eq!((first.offset, first.length, first.lines), (0, 8, 2));
}

#[test]
fn resources_and_messages_are_text_as_well() {
    let contents = json!({ "contents": [
        { "uri": "file:///a", "mimeType": "text/x-rust", "text": "fn main() {}" },
        { "uri": "file:///b", "blob": "AAAA" },
    ]});
    let (text, parts, shape) = whole(&contents);
    assert_eq!(
        text,
        "fn main() {}\n{\"blob\":\"AAAA\",\"uri\":\"file:///b\"}"
    );
    assert_eq!(parts[0].media_type.as_deref(), Some("text/x-rust"));
    assert_eq!(
        shape,
        "content: 2 blocks (text/x-rust 12 B, 1 line; other 3 B)"
    );
    let messages = json!({ "messages": [
        { "role": "user", "content": { "type": "text", "text": "Hello" } },
        { "role": "user", "content": { "type": "resource", "resource": { "uri": "a:b", "text": "World" } } },
    ]});
    let (text, parts, _) = whole(&messages);
    assert_eq!(text, "Hello\nWorld");
    assert_eq!(parts[1].kind, Kind::Resource);
}

#[test]
fn what_nobody_knows_is_kept_as_it_is() {
    let result = json!({ "skill": { "uri": "skill://x" }, "ttlMs": 5, "cacheScope": "public", "resultType": "complete" });
    let (text, parts, shape) = whole(&result);
    assert_eq!(text, r#"{"uri":"skill://x"}"#);
    assert_eq!(parts[0].kind, Kind::Member("skill".to_owned()));
    assert_eq!(shape, "skill: 19 B");
    let odd = json!({ "content": [7, "x", { "type": "new", "text": "t" }, { "type": 7 }] });
    assert_eq!(
        whole(&odd).0,
        "7\n\"x\"\n{\"text\":\"t\",\"type\":\"new\"}\n{\"type\":7}".replace(
            // Where the text comes first it is one.
            "{\"text\":\"t\",\"type\":\"new\"}",
            "t"
        )
    );
}

#[test]
fn the_shape_stays_short_and_says_what_is_in_it() {
    let items: Vec<Value> = (0..12_034)
        .map(|id| json!({ "id": id, "name": "x", "tags": [] }))
        .collect();
    let result = json!({ "structuredContent": { "items": items, "total": 1 }, "isError": true });
    let (_, _, shape) = whole(&result);
    assert_eq!(
        shape,
        "error; structuredContent: object {items: array of 12,034 objects {id, name, tags}, total: number}"
    );
    let many: Vec<Value> = (0..500)
        .map(|at| json!({ "type": "text", "text": format!("{at}") }))
        .collect();
    let (text, parts, shape) = whole(&json!({ "content": many, "structuredContent": [[1]] }));
    assert!(
        shape.len() < 400 && shape.starts_with("content: 500 blocks (text 1 B, 1 line; "),
        "{shape}"
    );
    assert!(
        shape.ends_with("; …); structuredContent: array of 1 array"),
        "{shape}"
    );
    assert_eq!(parts.len(), 101);
    assert!(text.ends_with("498\n499\n[[1]]"));
    let odd = json!({ "structuredContent": { "a\u{1b}[31m": 1, "x".repeat(500): 2 } });
    let (_, _, shape) = whole(&odd);
    assert!(shape.len() < 120 && !shape.contains('\u{1b}'), "{shape}");
}

#[test]
fn a_result_that_breaks_off_keeps_what_came() {
    let result =
        r#"{"content":[{"type":"text","text":"abc\ud83d\ude00"}],"structuredContent":{"a":1}}"#;
    for end in 1..result.len() {
        let (mut decoder, mut out) = (Decoder::new(), Vec::new());
        decoder
            .push(&result.as_bytes()[..end], &mut out)
            .expect("JSON so far");
        decoder.finish(&mut out);
        let (parts, shape) = decoder.parts.finish(false);
        assert!(shape.ends_with("the rest is missing"), "{shape}");
        let length: u64 = parts.iter().map(|part| part.length).sum();
        assert!(length as usize <= out.len(), "{end}");
        let whole = "abc😀\n{\"a\":1}";
        let text = String::from_utf8(out).expect("UTF-8");
        let is_beginning =
            whole.starts_with(&*text) || text == "abc\u{fffd}" || text.starts_with('{');
        assert!(is_beginning, "{end}: {text}");
    }
    let mut decoder = Decoder::new();
    assert_eq!(decoder.push(b"{\"a\" 1}", &mut Vec::new()), Err(NotAResult));
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    decoder
        .push(br#"{"content":[{"big":""#, &mut out)
        .expect("JSON");
    for _ in 0..100 {
        decoder.push(&[b'x'; 10_000], &mut out).expect("JSON");
        assert!(decoder.held.len() <= MAX_HELD + 10_000);
    }
    decoder
        .push(br#"","text":"no text any more"}]}"#, &mut out)
        .expect("JSON");
    decoder.finish(&mut out);
    assert!(out.starts_with(br#"{"big":"xxx"#) && out.ends_with(br#""text":"no text any more"}"#));
    let mut decoder = Decoder::new();
    decoder.push(b"{\"", &mut out).expect("JSON");
    let pushed = (0..10).map(|_| decoder.push(&[b'k'; 10_000], &mut out));
    assert!(
        pushed.last().expect("some").is_err(),
        "an endless key is no key"
    );
}

/// What the text of a result is, by serde.
fn expected(result: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in result.as_object().expect("an object") {
        match key.as_str() {
            "content" => {
                for block in value.as_array().expect("blocks") {
                    parts.push(match block["type"].as_str() {
                        Some("text") => block["text"].as_str().expect("text").to_owned(),
                        _ => block.to_string(),
                    });
                }
            }
            "_meta" | "isError" => {}
            _ => parts.push(value.to_string()),
        }
    }
    parts.join("\n")
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,30}",
        "[\\n\"\\\\a-c\u{1f600}\u{e9}\u{4e16}\\x00-\\x1f]{0,40}"
    ]
}

fn any_block() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => any_text().prop_map(|text| json!({ "type": "text", "text": text })),
        1 => any_text().prop_map(|name| json!({ "type": "resource_link", "uri": "a:b", "name": name })),
        1 => "[A-Za-z0-9+/]{0,40}".prop_map(|data| json!({ "type": "image", "data": data, "mimeType": "image/png" })),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(any_text(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The same JSON with every character beyond ASCII escaped.
fn escaped(json: &str) -> String {
    let mut out = String::new();
    for character in json.chars() {
        match character.is_ascii() {
            true => out.push(character),
            false => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn the_text_is_the_same_wherever_the_result_is_cut(
        blocks in prop::collection::vec(any_block(), 0..6),
        structured in prop::option::of(any_json()),
        is_escaped in any::<bool>(),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let mut result = json!({ "content": blocks, "isError": false, "_meta": { "a": [1] } });
        if let (Some(structured), false) = (structured, is_escaped) {
            result["structuredContent"] = structured;
        }
        // What stays JSON would stay escaped.
        let has_links = is_escaped && blocks.iter().any(|block| block["type"] == "resource_link");
        let written = match is_escaped && !has_links {
            true => escaped(&result.to_string()),
            false => result.to_string(),
        };
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(written.len() + 1)).collect();
        cuts.sort_unstable();
        let (text, parts, shape) = decoded(written.as_bytes(), &cuts);
        let expected = expected(&result);
        prop_assert_eq!(&text, &expected);
        let joined: Vec<&str> = parts
            .iter()
            .map(|part| &text[part.offset as usize..(part.offset + part.length) as usize])
            .collect();
        prop_assert_eq!(joined.join("\n"), expected);
        prop_assert_eq!(decoded(written.as_bytes(), &[]).2, shape);
    }
}
