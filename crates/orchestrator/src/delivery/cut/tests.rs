//! Whatever comes of a result is one, and no larger than its cap.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_protocol::delivery::{Cap, Over};
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;

use super::{Beginning, Cut, CutResult, Rest, Schemas};
use crate::delivery::mend::mend;
use crate::delivery::skim::{Skimmed, Skimmer};
use crate::kept::KeptResult;

fn validator(version: &str, name: &str) -> Validator {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/testdata/mcp-schema");
    let text = std::fs::read(folder.join(format!("{version}.json"))).expect("a schema");
    let mut schema: Value = serde_json::from_slice(&text).expect("JSON");
    schema["$ref"] = format!("#/$defs/{name}").into();
    jsonschema::options().build(&schema).expect("a schema")
}

struct Published {
    tool: [Validator; 2],
    prompt: [Validator; 2],
    resource: [Validator; 1],
}

/// The results of both eras, as far as their schemas are kept here.
static PUBLISHED: LazyLock<Published> = LazyLock::new(|| {
    let both = |name| ["2026-07-28", "2025-11-25"].map(|version| validator(version, name));
    Published {
        tool: both("CallToolResult"),
        prompt: both("GetPromptResult"),
        resource: [validator("2025-11-25", "ReadResourceResult")],
    }
});

fn published(method: Method) -> &'static [Validator] {
    match method {
        Method::ToolsCall => &PUBLISHED.tool,
        Method::PromptsGet => &PUBLISHED.prompt,
        _ => &PUBLISHED.resource,
    }
}

fn cap(bytes: Option<u64>, tokens: Option<u64>) -> Cap {
    Cap {
        bytes,
        tokens,
        over: Over::Truncate,
    }
}

fn skimmed(text: &[u8]) -> Skimmed {
    let mut skimmer = Skimmer::new(64 * 1024);
    skimmer.read(text);
    skimmer.finish()
}

/// Cuts the beginning of a text.
fn cut(method: Method, cap: Cap, rest: &Rest, schema: Option<&Value>, text: &[u8]) -> CutResult {
    let skimmed = skimmed(text);
    let mut text = text.to_vec();
    let mended = mend(&mut text);
    let schema = schema.map(Value::to_string);
    let cut = Cut {
        method,
        cap,
        total: None,
        rest,
        knows_links: true,
        uri: Some("file:///a"),
        is_error: false,
        skimmed: &skimmed,
        output_schema: schema.as_deref().map(str::as_bytes),
        schemas: &Schemas::default(),
    };
    cut.of(&Beginning {
        text: &text,
        sound: mended.sound,
    })
}

fn checked(method: Method, cap: Cap, result: &CutResult) -> Value {
    let text = String::from_utf8_lossy(&result.text);
    let value: Value = serde_json::from_slice(&result.text).unwrap_or_else(|error| {
        panic!("{error}: {text}");
    });
    for validator in published(method) {
        if let Some(error) = validator.iter_errors(&value).next() {
            panic!("{error} at {}: {text}", error.instance_path());
        }
    }
    assert_eq!(value["resultType"], "complete");
    if method == Method::ResourcesRead {
        assert_eq!(value["ttlMs"], 0);
        assert_eq!(value["cacheScope"], "private");
    }
    assert_eq!(value["isError"] == json!(true), result.is_error);
    assert!(value["_meta"]["dev.switchboard/truncated"].is_object());
    let size = Size::of_result(&result.text);
    assert!(
        size.is_within(cap.most()),
        "{size:?} is more than {cap}: {text}"
    );
    value
}

fn kept() -> Rest {
    Rest::Kept {
        result: KeptResult {
            uri: "switchboard-result:AbCdEf0123456789AbCdEf0123456789".to_owned(),
            size: 123_456_789,
            media_type: "text/plain",
            shape: "1 text of 3 lines \"with\" 世界".to_owned(),
            tool: "switchboard.read_result".into(),
        },
        is_whole: true,
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        "[\\x00-\\x1f\"\\\\/]{0,30}",
        "[a-z \\n]{0,3000}",
        "(🦀|世|é|x){0,500}",
    ]
}

fn contents() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| json!({ "uri": "file:///b", "text": text })),
        (text(), "[a-z]{1,9}").prop_map(
            |(text, it)| json!({ "text": text, "uri": format!("x:{it}"), "mimeType": "text/x" })
        ),
        "[A-Za-z0-9+/]{0,2000}".prop_map(|blob| json!({ "uri": "file:///c", "blob": blob })),
    ]
}

fn block() -> impl Strategy<Value = Value> {
    let annotations = json!({ "audience": ["user"], "priority": 0.5 });
    prop_oneof![
        4 => text().prop_map(|text| json!({ "type": "text", "text": text })),
        1 => text().prop_map(move |text| {
            json!({ "type": "text", "text": text, "annotations": annotations, "_meta": { "a/b": 1 } })
        }),
        1 => "[A-Za-z0-9+/]{0,2000}".prop_map(|data| json!({ "type": "image", "data": data, "mimeType": "image/png" })),
        1 => "[A-Za-z0-9+/]{0,200}".prop_map(|data| json!({ "type": "audio", "data": data, "mimeType": "audio/wav" })),
        1 => "[a-z]{1,300}".prop_map(|name| json!({ "type": "resource_link", "name": name, "uri": "a:b" })),
        2 => contents().prop_map(|resource| json!({ "type": "resource", "resource": resource })),
        1 => Just(json!({ "type": "hologram", "text": 5 })),
        1 => Just(json!({ "type": "image", "data": 7 })),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn result() -> impl Strategy<Value = (Method, Value)> {
    let tool = (
        proptest::collection::vec(block(), 0..8),
        proptest::option::of(proptest::collection::btree_map(
            "[a-z]{1,6}",
            any_json(),
            0..6,
        )),
        proptest::option::of(any::<bool>()),
        proptest::option::of(any_json()),
    );
    let tool = tool.prop_map(|(content, structured, is_error, extra)| {
        let mut result = json!({ "content": content, "resultType": "complete" });
        if let Some(structured) = structured {
            result["structuredContent"] = json!(structured);
        }
        if let Some(is_error) = is_error {
            result["isError"] = is_error.into();
        }
        if let Some(extra) = extra {
            result["_meta"] = json!({ "x/y": extra });
            result["extra"] = extra;
        }
        (Method::ToolsCall, result)
    });
    let role = prop_oneof![Just("user"), Just("assistant")];
    let message =
        (role, block()).prop_map(|(role, content)| json!({ "content": content, "role": role }));
    let prompt =
        (proptest::collection::vec(message, 0..6), text()).prop_map(|(messages, description)| {
            let result = json!({ "messages": messages, "description": description });
            (Method::PromptsGet, result)
        });
    let resource = proptest::collection::vec(contents(), 0..6).prop_map(|contents| {
        (
            Method::ResourcesRead,
            json!({ "contents": contents, "ttlMs": 5 }),
        )
    });
    prop_oneof![3 => tool, 1 => prompt, 1 => resource]
}

fn any_cap() -> impl Strategy<Value = Cap> {
    let bytes = proptest::option::of(1024_u64..8000);
    let tokens = proptest::option::of(256_u64..2000);
    (bytes, tokens)
        .prop_filter("a cap", |(bytes, tokens)| {
            bytes.is_some() || tokens.is_some()
        })
        .prop_map(|(bytes, tokens)| cap(bytes, tokens))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_out_is_a_result_and_at_most_the_cap(
        (method, value) in result(),
        cap in any_cap(),
        end in 0.0_f64..=1.3,
        is_kept in any::<bool>(),
        has_schema in any::<bool>(),
    ) {
        let text = value.to_string();
        let length = ((text.len() as f64 * end) as usize).min(text.len());
        let rest = if is_kept { kept() } else { Rest::Lost };
        let schema = json!({ "type": "object", "required": ["a"] });
        let schema = has_schema.then_some(&schema);
        let result = cut(method, cap, &rest, schema, &text.as_bytes()[..length]);
        let value = checked(method, cap, &result);
        let is_promised = has_schema && method == Method::ToolsCall && text.contains("\"structuredContent\"");
        if is_promised && !result.is_error {
            let whole: Value = serde_json::from_str(&text).expect("JSON");
            let structured = value.get("structuredContent");
            // As its server wrote it, or one that conforms.
            prop_assert!(structured == whole.get("structuredContent") || structured.is_some_and(|it| it.get("a").is_some()));
        }
    }
}

fn words(value: &Value) -> Vec<&str> {
    let blocks = value["content"].as_array().expect("content").iter();
    blocks.filter_map(|block| block["text"].as_str()).collect()
}

#[test]
fn blocks_stay_whole_while_they_fit_and_the_next_text_is_cut() {
    let cap = cap(Some(2048), None);
    let result = json!({ "content": [
        { "type": "text", "text": "first" },
        { "type": "image", "data": "A".repeat(4000), "mimeType": "image/png" },
        { "type": "text", "text": "é".repeat(4000) },
        { "type": "text", "text": "never" },
    ]});
    let cut = cut(
        Method::ToolsCall,
        cap,
        &Rest::Lost,
        None,
        result.to_string().as_bytes(),
    );
    let value = checked(Method::ToolsCall, cap, &cut);
    let words = words(&value);
    assert_eq!(words[0], "first");
    assert!(
        words[1].len() > 1000 && words[1].chars().all(|c| c == 'é'),
        "{words:?}"
    );
    assert!(
        words[2].starts_with("[The gateway cut this result"),
        "{words:?}"
    );
    assert_eq!(words.len(), 3);
    let told = &value["_meta"]["dev.switchboard/truncated"];
    assert_eq!(told["leftOut"], 2);
    assert_eq!(told["maxBytes"], 2048);
    assert!(told["keptBytes"].as_u64() > Some(1000));
    assert!(!cut.is_error);
}

#[test]
fn structured_content_loses_the_end_of_its_arrays_and_still_fits_its_schema() {
    let cap = cap(Some(4096), None);
    let rows: Vec<Value> = (0..500)
        .map(|id| json!({ "id": id, "at": [id, id] }))
        .collect();
    let structured = json!({ "total": 500, "rows": rows });
    let result = json!({
        "content": [{ "type": "text", "text": structured.to_string() }],
        "structuredContent": structured,
    });
    let schema = json!({
        "type": "object",
        "required": ["total", "rows"],
        "properties": { "rows": { "type": "array", "items": {
            "required": ["id", "at"],
            "properties": { "at": { "minItems": 2 } },
        }}},
    });
    let text = result.to_string();
    let whole = cut(
        Method::ToolsCall,
        cap,
        &Rest::Lost,
        Some(&schema),
        text.as_bytes(),
    );
    let value = checked(Method::ToolsCall, cap, &whole);
    let rows = value["structuredContent"]["rows"].as_array().expect("rows");
    assert!((20..200).contains(&rows.len()), "{}", rows.len());
    assert_eq!(rows[3], json!({ "id": 3, "at": [3, 3] }));
    assert_eq!(value["structuredContent"]["total"], 500);
    assert!(!whole.is_error);

    // Where it cannot be cut so that it fits, no client asks for it.
    let strict = json!({ "properties": { "rows": { "minItems": 400 } } });
    let lost = cut(
        Method::ToolsCall,
        cap,
        &Rest::Lost,
        Some(&strict),
        text.as_bytes(),
    );
    let value = checked(Method::ToolsCall, cap, &lost);
    assert!(lost.is_error && value.get("structuredContent").is_none());
    assert!(
        words(&value)
            .last()
            .is_some_and(|it| it.contains("structured content is missing"))
    );

    // The end of what came is cut at a whole row.
    let at = text.find("\"structuredContent\"").expect("there") + 1000;
    let beginning = &text.as_bytes()[..at];
    let began = cut(Method::ToolsCall, cap, &Rest::Lost, None, beginning);
    let value = checked(Method::ToolsCall, cap, &began);
    assert!(
        value["structuredContent"]["rows"]
            .as_array()
            .is_some_and(|rows| rows.len() > 10)
    );
}

#[test]
fn deep_structured_content_is_cut_like_any_other() {
    let cap = cap(Some(4096), None);
    // As deep as JSON may be in a message, with something long on each level.
    let mut deep = json!({ "last": [1, 2, 3] });
    for level in 0..55 {
        deep = json!({ "level": level, "in": [deep, "x".repeat(200)], "more": [1, { "a": 2 }] });
    }
    let text = json!({ "content": [], "structuredContent": deep }).to_string();
    for length in [text.len(), text.len() - 30, text.len() / 2, text.len() / 3] {
        let cut = cut(
            Method::ToolsCall,
            cap,
            &Rest::Lost,
            None,
            &text.as_bytes()[..length],
        );
        let value = checked(Method::ToolsCall, cap, &cut);
        let structured = &value["structuredContent"];
        assert!(structured.is_object(), "{length}: {value}");
        if length == text.len() {
            assert_eq!(structured["level"], 54);
            assert_eq!(structured["in"][0]["in"][0]["more"][0], 1);
        }
    }
}

#[test]
fn what_is_kept_is_linked_to() {
    let cap = cap(Some(4096), None);
    let text = json!({ "content": [{ "type": "text", "text": "x".repeat(9000) }] }).to_string();
    let cut = cut(Method::ToolsCall, cap, &kept(), None, text.as_bytes());
    let value = checked(Method::ToolsCall, cap, &cut);
    let link = value["content"]
        .as_array()
        .and_then(|it| it.last())
        .expect("a block");
    assert_eq!(link["type"], "resource_link");
    assert_eq!(
        link["uri"],
        "switchboard-result:AbCdEf0123456789AbCdEf0123456789"
    );
    let words = words(&value);
    assert!(words[1].contains("switchboard.read_result") && words[1].contains("1 text of 3 lines"));
}

#[test]
fn an_error_is_one_wherever_it_says_so_and_what_was_not_read_is_unknown() {
    let text = json!({ "content": [{ "type": "text", "text": "x".repeat(9000) }] }).to_string();
    for (total, is_error, is_unknown) in [
        (Some(9999), true, false),
        (Some(9999), false, false),
        (None, true, false),
        (None, false, true),
    ] {
        let cap = cap(Some(4096), None);
        let cut = Cut {
            method: Method::ToolsCall,
            cap,
            total,
            rest: &Rest::Lost,
            knows_links: true,
            uri: None,
            is_error,
            skimmed: &skimmed(text.as_bytes()),
            output_schema: None,
            schemas: &Schemas::default(),
        };
        let sound = text.len();
        let cut = cut.of(&Beginning {
            text: text.as_bytes(),
            sound,
        });
        let value = checked(Method::ToolsCall, cap, &cut);
        assert_eq!(cut.is_error, is_error);
        let notice = words(&value).pop().expect("a notice");
        assert_eq!(notice.contains("is not known"), is_unknown, "{notice}");
    }
}

#[test]
fn a_block_whose_kind_comes_last_is_known_by_its_text() {
    let cap = cap(Some(2048), None);
    let text = format!(r#"{{"content":[{{"text":"{}"#, "y".repeat(5000));
    let cut = cut(Method::ToolsCall, cap, &Rest::Lost, None, text.as_bytes());
    let value = checked(Method::ToolsCall, cap, &cut);
    assert!(words(&value)[0].starts_with("yyyy"));
}
