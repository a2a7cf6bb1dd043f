use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn changed(raw: &Value, of: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Value> {
    of(raw.to_string().as_bytes()).map(|out| serde_json::from_slice(&out).expect("JSON"))
}

/// `outputSchema` as a legacy client gets it.
fn output_of(raw: &Value) -> Value {
    let text = raw.to_string();
    match output(text.as_bytes()) {
        Edit::Keep => raw.clone(),
        Edit::Drop => Value::Null,
        Edit::Value(out) => serde_json::from_slice(&out).expect("JSON"),
    }
}

/// What `result` makes of structured content.
fn content_of(value: &Value) -> Value {
    if value.is_object() {
        value.clone()
    } else {
        json!({ "result": value })
    }
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    let options = jsonschema::options().build(schema);
    options.expect("a schema").is_valid(value)
}

/// Whether both allow a value or both do not. A schema of objects may allow a wrapped value for the
/// object that it then is; there it counts alone that nothing valid is refused.
fn agree(schema: &Value, legacy: &Value, value: &Value) -> bool {
    let now = is_valid(legacy, &content_of(value));
    let before = is_valid(schema, value);
    let is_loose = shape(schema.to_string().as_bytes(), 0) != Shape::Other && !value.is_object();
    now == before || (now && is_loose)
}

#[test]
fn an_input_schema_is_an_object_s() {
    let same = [
        json!({"type": "object"}),
        json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": [], "oneOf": [true], "$defs": {"x": false}, "$ref": "#/$defs/x", "$schema": "s"}),
    ];
    for schema in same {
        assert_eq!(changed(&schema, input), None, "{schema}");
    }
    let cases = [
        (json!({}), json!({"type": "object"})),
        (json!(true), json!({"type": "object"})),
        (
            json!({"anyOf": [{"type": "object"}]}),
            json!({"type": "object", "anyOf": [{"type": "object"}]}),
        ),
        (
            json!({"type": ["object", "null"], "properties": {"a": true, "b": false, "c": {}, "d": 3}}),
            json!({"type": "object", "properties": {"a": {}, "b": {"not": {}}, "c": {}, "d": {}}}),
        ),
        (
            json!({"type": "object", "properties": [], "required": true, "$schema": 7}),
            json!({"type": "object"}),
        ),
        (
            json!({"type": "object", "required": ["a", 1]}),
            json!({"type": "object"}),
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(changed(&schema, input), Some(expected), "{schema}");
    }
}

#[test]
fn the_shape_of_a_schema_is_known_or_not() {
    let cases = [
        (json!({"type": "object"}), Shape::Object),
        (json!({"type": ["object"]}), Shape::Object),
        (json!({"const": {}}), Shape::Object),
        (json!({"allOf": [{}, {"type": "object"}]}), Shape::Object),
        (
            json!({"oneOf": [{"type": "object"}, {"allOf": [{"type": "object"}]}]}),
            Shape::Object,
        ),
        (json!({"type": "array"}), Shape::Other),
        (json!({"type": ["string", "null"]}), Shape::Other),
        (json!({"enum": [1, "a"]}), Shape::Other),
        (
            json!({"anyOf": [{"type": "null"}, {"const": []}]}),
            Shape::Other,
        ),
        (json!({}), Shape::Either),
        (json!({"type": ["object", "null"]}), Shape::Either),
        (json!({"enum": [1, {}]}), Shape::Either),
        (
            json!({"anyOf": [{"type": "object"}, {"type": "null"}]}),
            Shape::Either,
        ),
        (json!({"anyOf": [{"type": "object"}, true]}), Shape::Either),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}),
            Shape::Either,
        ),
        (json!({"anyOf": []}), Shape::Either),
    ];
    for (schema, expected) in cases {
        assert_eq!(
            shape(schema.to_string().as_bytes(), 0),
            expected,
            "{schema}"
        );
    }
}

#[test]
fn an_output_schema_of_another_type_is_wrapped() {
    let schema = json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "object"}}});
    assert_eq!(
        output_of(&schema),
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "required": ["result"],
            "properties": {"result": {"type": "array", "items": {"$ref": "#/properties/result/$defs/a"}, "$defs": {"a": {"type": "object"}}}},
        })
    );
    let object = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    assert_eq!(output_of(&object), object);
    assert_eq!(output_of(&json!(true)), Value::Null);
}

#[test]
fn references_move_with_their_schema_and_nothing_else_does() {
    let schema = json!({
        "$ref": "#",
        "properties": {"$ref": {"$ref": "#/a"}, "const": {"$ref": "#/b"}, "default": {"$dynamicRef": "#c"}},
        "const": {"$ref": "#/no"},
        "enum": [{"$ref": "#/no"}],
        "examples": [{"$ref": "#/no"}],
        "default": {"$ref": "#/no"},
        "items": [{"$ref": "https://a/b#/no"}, {"$id": "https://c/", "$ref": "#/no", "not": {"$ref": "#/no"}}, {"$id": "#d", "$ref": "#/e"}],
        "$defs": {"x": {"anyOf": [{"$ref": "#/f\"\\"}]}},
    });
    let moved = moved(schema.to_string().as_bytes(), "#/p");
    let mut expected = schema;
    expected["$ref"] = "#/p".into();
    expected["properties"]["$ref"]["$ref"] = "#/p/a".into();
    expected["properties"]["const"]["$ref"] = "#/p/b".into();
    expected["items"][2]["$ref"] = "#/p/e".into();
    expected["$defs"]["x"]["anyOf"][0]["$ref"] = "#/p/f\"\\".into();
    let moved: Value = serde_json::from_slice(&moved).expect("JSON");
    assert_eq!(moved, expected);
}

#[test]
fn what_a_schema_allows_its_legacy_form_allows_as_well() {
    let schemas = [
        json!({"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "integer"}}}),
        json!({"type": ["object", "string"], "minProperties": 1}),
        json!({"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "object", "required": ["a"]}, {"type": "null"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/a"}}, "additionalProperties": false}}}),
        json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "x"}}, "required": ["kind"]}, {"type": "object", "properties": {"a": true}, "required": ["a"]}]}),
        json!({"enum": [1, [2], {"a": 3}, null]}),
        json!({"$id": "https://a.example/s", "type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"type": "integer"}}}),
    ];
    let values = [
        json!([1, 2]),
        json!(["x"]),
        json!("s"),
        json!(null),
        json!([[], [null]]),
        json!({}),
        json!({"a": 3}),
        json!({"b": {"b": {}}}),
        json!({"b": 7}),
        json!({"kind": "x"}),
        json!(1),
        json!([2]),
    ];
    for schema in &schemas {
        let legacy = output_of(schema);
        assert_eq!(legacy["type"], "object");
        for value in &values {
            assert!(agree(schema, &legacy, value), "{value} and {schema}");
        }
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({})),
        prop_oneof![Just("object"), Just("array"), Just("string"), Just("null")]
            .prop_map(|name| json!({ "type": name })),
        Just(json!({"type": ["object", "array"]})),
        Just(json!({"$ref": "#/$defs/d"})),
        Just(json!({"const": {"a": 1}})),
        Just(json!({"enum": ["x", []]})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "anyOf": all })),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "allOf": all })),
            inner
                .clone()
                .prop_map(|item| json!({"type": "array", "items": item})),
            inner.prop_map(|a| json!({"type": "object", "properties": {"a": a}})),
        ]
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!("x")),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"a": 1})),
    ];
    leaf.prop_recursive(2, 8, 2, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            inner.prop_map(|a| json!({ "a": a })),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_and_its_legacy_form_agree(schema in any_schema(), value in any_value()) {
        // `$defs` makes an object of a boolean schema.
        let mut schema = if schema.is_object() { schema } else { json!({}) };
        schema["$defs"] = json!({"d": {"type": ["object", "string"]}});
        let legacy = output_of(&schema);
        prop_assert_eq!(&legacy["type"], "object");
        prop_assert!(agree(&schema, &legacy, &value), "{} became {}", schema, legacy);
    }
}
