use super::*;
use serde_json::{Value, json};

fn legacy(schema: &Value) -> Option<Value> {
    let out = legacy_schema(schema.to_string().as_bytes())?;
    Some(serde_json::from_slice(&out).expect("JSON"))
}

fn modern(schema: &Value, content: &Value) -> Option<Value> {
    let out = modern_content(
        schema.to_string().as_bytes(),
        content.to_string().as_bytes(),
    )?;
    Some(serde_json::from_slice(&out).expect("JSON"))
}

#[test]
fn plain_forms_stay_as_they_are() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "b": {"type": "string", "enum": ["x"], "enumNames": ["X"]},
        "c": {"type": "array", "items": {"type": "string"}},
        "d": {"type": "array", "items": {"enum": [1]}},
    }, "required": ["a"]});
    assert_eq!(legacy(&schema), None);
    assert_eq!(modern(&schema, &json!({"a": "x", "c": []})), None);
}

#[test]
fn titles_of_one_choice_are_names() {
    let schema = json!({"type": "object", "properties": {
        "color": {"type": "string", "title": "Color", "oneOf": [{"const": "r", "title": "Red"}, {"const": "g"}], "default": "r"},
    }, "required": ["color"]});
    assert_eq!(
        legacy(&schema),
        Some(json!({"type": "object", "properties": {
            "color": {"type": "string", "title": "Color", "enum": ["r", "g"], "enumNames": ["Red", "g"], "default": "r"},
        }, "required": ["color"]}))
    );
}

fn pizza() -> Value {
    json!({"type": "object", "properties": {
        "size": {"type": "string"},
        "on": {"type": "array", "title": "Toppings", "description": "What is on it", "minItems": 1,
            "items": {"anyOf": [{"const": "c", "title": "Cheese"}, {"const": "o", "title": "Olives"}]}, "default": ["o"]},
        "days": {"type": "array", "items": {"type": "string", "enum": ["mon"]}},
    }, "required": ["on", "size"]})
}

#[test]
fn a_choice_of_several_is_boxes_to_tick() {
    assert_eq!(
        legacy(&pizza()),
        Some(json!({"type": "object", "properties": {
            "size": {"type": "string"},
            "on: c": {"type": "boolean", "title": "Toppings: Cheese", "description": "What is on it", "default": false},
            "on: o": {"type": "boolean", "title": "Toppings: Olives", "default": true},
            "days: mon": {"type": "boolean", "title": "days: mon", "default": false},
        }, "required": ["size"]}))
    );
}

#[test]
fn ticked_boxes_are_a_choice_of_several() {
    let cases = [
        (
            json!({"on: o": true, "size": "l", "on: c": true}),
            json!({"on": ["c", "o"], "size": "l"}),
        ),
        (
            json!({"on: c": false, "size": "l", "days: mon": true}),
            json!({"on": [], "size": "l", "days": ["mon"]}),
        ),
    ];
    for (content, expected) in cases {
        assert_eq!(modern(&pizza(), &content), Some(expected));
    }
    assert_eq!(modern(&pizza(), &json!({"size": "l"})), None);
}

#[test]
fn boxes_have_names_of_their_own() {
    let schema = json!({"type": "object", "properties": {
        "a: b": {"type": "string"},
        "a": {"type": "array", "items": {"enum": ["b", "b", "c"]}},
        "a: b #1": {"type": "string"},
    }});
    let out = legacy(&schema).expect("changed");
    let names: Vec<&String> = out["properties"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let content = json!({"a: b": "text", "a: b #2": true, "a: c": true, "a: b #1": "more"});
    assert_eq!(
        modern(&schema, &content),
        Some(json!({"a": ["b", "c"], "a: b": "text", "a: b #1": "more"}))
    );
}

#[test]
fn long_names_are_not_repeated_for_each_option() {
    let name = "n".repeat(10_000);
    let options: Vec<String> = (0..1000).map(|option| option.to_string()).collect();
    let schema = json!({"type": "object", "properties": {
        name.clone(): {"type": "array", "title": name, "description": name, "items": {"enum": options}},
    }});
    let out = legacy_schema(schema.to_string().as_bytes()).expect("changed");
    assert!(out.len() < 400_000, "{}", out.len());
}
