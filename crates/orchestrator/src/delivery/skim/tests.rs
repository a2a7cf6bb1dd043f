use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::delivery::tests::json;

/// What is found of a result that comes in pieces of this size.
fn skimmed(text: &[u8], size: usize, most: usize) -> Skimmed {
    let mut skimmer = Skimmer::new(most);
    for piece in text.chunks(size) {
        skimmer.read(piece);
    }
    skimmer.finish()
}

fn value(structured: &Structured) -> Value {
    serde_json::from_slice(&structured.text).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&structured.text));
    })
}

fn noted(structured: &Value, most: usize) -> Structured {
    let text = json!({ "structuredContent": structured }).to_string();
    let found = skimmed(text.as_bytes(), 1000, most);
    assert!(found.has_ended);
    found.structured.expect("structured content")
}

#[test]
fn what_stands_behind_a_beginning_is_noted_without_its_length() {
    let text = "x".repeat(100_000);
    let rows: Vec<Value> = (0..5000)
        .map(|n| json!({ "id": n, "tags": ["a", "b"] }))
        .collect();
    let found = noted(
        &json!({ "first": text, "length": 100_000, "then": { "rows": rows, "text": text }, "total": null }),
        4096,
    );
    assert!(!found.is_whole && found.text.len() <= 5120);
    let found = value(&found);
    assert!(found["first"].as_str().is_some_and(|it| it.len() > 4000));
    assert_eq!(found["length"], 100_000);
    assert_eq!(
        found["then"]["rows"],
        json!([{ "id": 0, "tags": ["a", "b"] }])
    );
    assert_eq!(found["then"]["text"], "x".repeat(127));
    assert!(found.as_object().is_some_and(|it| it.contains_key("total")));

    let found = noted(&json!({ "rows": rows, "total": 5000 }), 4096);
    let (sound, length) = (found.sound, found.text.len());
    assert_eq!(sound, length, "no object is unfinished");
    let found = value(&found);
    let count = found["rows"].as_array().map_or(0, Vec::len);
    assert!((100..200).contains(&count), "{count}");
    assert_eq!(found["total"], 5000);
}

#[test]
fn there_is_a_bound_whatever_is_in_it() {
    let keys: serde_json::Map<_, _> = (0..10_000)
        .map(|n| (format!("key {n}"), json!(n)))
        .collect();
    for structured in [
        Value::Object(keys),
        json!({ "k".repeat(50_000): 1 }),
        json!(vec![json!({ "a": ["x".repeat(100)] }); 1000]),
        json!("x".repeat(100_000)),
    ] {
        let found = noted(&structured, 2048);
        assert!(found.text.len() <= 2560 + 128, "{}", found.text.len());
        assert!(!found.is_whole);
        value(&found);
    }
    // Nothing is noted of what stands after that, nor how deep it is.
    let objects: serde_json::Map<_, _> = (0..10_000)
        .map(|n| (format!("{n}"), json!({ "a": [{}] })))
        .collect();
    let text = json!({ "structuredContent": objects }).to_string();
    let mut skimmer = Skimmer::new(2048);
    skimmer.read(text.as_bytes());
    assert!(
        skimmer.has_all() && skimmer.held() <= 2560,
        "{}",
        skimmer.held()
    );
    // A number that is cut is another.
    let number = format!(
        r#"{{"structuredContent":{{"a":1,"b":{}}}}}"#,
        "9".repeat(2000)
    );
    let found = skimmed(number.as_bytes(), 100, 4096);
    assert_eq!(
        value(&found.structured.expect("the beginning")),
        json!({ "a": 1 })
    );
}

#[test]
fn what_stands_before_leaves_less_room_for_it() {
    let rows: Vec<u32> = (0..10_000).collect();
    for (before, least, most) in [(10, 3900, 5120), (1000, 2900, 4096), (50_000, 1900, 2560)] {
        let text = format!(
            r#"{{"content":[{{"type":"text","text":"{}"}}],"structuredContent":{}}}"#,
            "x".repeat(before),
            json!({ "rows": rows })
        );
        let found = skimmed(text.as_bytes(), 1000, 4096).structured.expect("it");
        let length = found.text.len();
        assert!((least..=most).contains(&length), "{before}: {length}");
    }
}

#[test]
fn nothing_more_is_needed_of_an_error_or_behind_structured_content() {
    for (text, has_all) in [
        (r#"{"content":[],"isError":true,"a":["#, true),
        (r#"{"content":[],"isError":false,"a":["#, false),
        (r#"{"structuredContent":{"a":[1]},"b"#, true),
        (r#"{"structuredContent":"a","b"#, true),
        (r#"{"structuredContent":{"a":[1]"#, false),
        (r#"{"structuredContent":{"isError":true,"#, false),
        (
            r#"{"content":[{"structuredContent":{},"isError":true}]"#,
            false,
        ),
        (r#"{"content":[]}"#, true),
        (r#"{"structuredContent":{"a":"#, false),
        (r#"{"structured\u0043ontent":{},"b"#, true),
        ("[1", true),
        ("{]", true),
    ] {
        let mut skimmer = Skimmer::new(1024);
        skimmer.read(text.as_bytes());
        assert_eq!(skimmer.has_all(), has_all, "{text}");
    }
}

proptest! {
    #[test]
    fn it_is_the_same_in_whatever_pieces_it_comes(
        structured in json(),
        other in json(),
        is_error in any::<bool>(),
        size in 1_usize..50,
        most in 8_usize..400,
        end in 0_usize..500,
    ) {
        let text = format!(
            r#"{{"content": {other}, "structuredContent" : {structured} , "isError":{is_error}}}"#
        );
        let found = skimmed(text.as_bytes(), size, 1 << 20);
        prop_assert!(found.has_ended);
        prop_assert_eq!(found.is_error, is_error);
        let whole = found.structured.expect("structured content");
        prop_assert!(whole.is_whole);
        prop_assert_eq!(String::from_utf8(whole.text).expect("UTF-8"), structured.to_string());

        let few = skimmed(text.as_bytes(), size, most).structured;
        let at_once = skimmed(text.as_bytes(), text.len(), most).structured;
        prop_assert_eq!(few.as_ref().map(|it| &it.text), at_once.as_ref().map(|it| &it.text));
        if let Some(few) = few {
            prop_assert!(few.text.len() <= most + most / 4 + 128);
            let is_same = value(&few) == structured;
            prop_assert!(!few.is_whole || is_same);
        }
        let beginning = &text.as_bytes()[..end.min(text.len())];
        if let Some(part) = skimmed(beginning, size, most).structured {
            value(&part);
        }
    }
}
