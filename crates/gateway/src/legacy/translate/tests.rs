//! What clients of a revision get, checked by the published schema of that revision.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_protocol::call::Payload;
use switchboard_protocol::envelope::{Envelope, Message};
use switchboard_protocol::method::Method;
use switchboard_protocol::version::Version;

use super::{ClientIdentity, answer, notification, question, request, result, retry};

/// The published schema of a revision, reduced.
fn published(version: Version) -> Value {
    let text = match version {
        Version::V2024_11_05 => include_str!("../../../testdata/mcp-schema/2024-11-05.json"),
        Version::V2025_03_26 => include_str!("../../../testdata/mcp-schema/2025-03-26.json"),
        Version::V2025_06_18 => include_str!("../../../testdata/mcp-schema/2025-06-18.json"),
        Version::V2025_11_25 => include_str!("../../../testdata/mcp-schema/2025-11-25.json"),
        Version::V2026_07_28 => include_str!("../../../testdata/mcp-schema/2026-07-28.json"),
    };
    serde_json::from_str(text).expect("JSON")
}

/// Checks messages by the definitions of one revision.
struct Checks {
    version: Version,
    schema: Value,
}

impl Checks {
    fn of(version: Version) -> Self {
        let schema = published(version);
        Self { version, schema }
    }

    fn problem(&self, name: &str, value: &Value) -> Option<String> {
        let mut schema = self.schema.clone();
        let key = if schema.get("$defs").is_some() {
            "$defs"
        } else {
            "definitions"
        };
        assert!(
            schema[key].get(name).is_some(),
            "{name} is not reduced away"
        );
        schema["$ref"] = format!("#/{key}/{name}").into();
        let validator = jsonschema::options().build(&schema).expect("a schema");
        let error = validator.iter_errors(value).next()?;
        Some(format!(
            "{name} of {} at {}: {error}\n{value}",
            self.version,
            error.instance_path()
        ))
    }

    fn check(&self, name: &str, value: &Value) {
        if let Some(problem) = self.problem(name, value) {
            panic!("{problem}");
        }
    }
}

fn legacy() -> impl Iterator<Item = Checks> {
    Version::SUPPORTED_LEGACY.iter().copied().map(Checks::of)
}

fn translated(method: Method, version: Version, modern: &Value) -> Value {
    let payload = Payload::from(Bytes::from(modern.to_string()));
    let out = result(method, version, &payload).segments().concat();
    let whole = [b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":", &*out, b"}"].concat();
    Message::parse(whole.into()).expect("strict JSON");
    serde_json::from_slice(&out).expect("JSON")
}

fn icons() -> Value {
    json!([{"src": "https://a/i.png", "mimeType": "image/png", "sizes": ["48x48"], "theme": "dark"}])
}

/// Everything that a modern tool may have, and what its schemas may be.
fn tools() -> Value {
    let input = json!({"type": "object"});
    json!([
        {"name": "plain", "inputSchema": input},
        {"name": "whole", "title": "T", "description": "d", "icons": icons(), "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {"a": true, "b": false, "c": {"$ref": "#/$defs/c"}}, "required": ["a"],
            "oneOf": [{}, {"required": ["c"]}], "$defs": {"c": {"type": "integer"}}, "unevaluatedProperties": false,
        }, "outputSchema": {"type": "object", "properties": {"x": true}}, "annotations": {"title": "t", "readOnlyHint": true},
            "_meta": {"ui": {"resourceUri": "ui://a"}}},
        {"name": "list", "inputSchema": input, "outputSchema": {"type": "array", "items": {"type": "string"}}},
        {"name": "either", "inputSchema": input, "outputSchema": {"anyOf": [{"type": "object"}, {"type": "null"}]}},
        {"name": "any", "inputSchema": input, "outputSchema": {}},
        // Not valid in any revision, and yet the others are to be seen.
        {"name": "odd", "inputSchema": {"properties": 3, "required": true}, "outputSchema": {"type": ["object"], "properties": null}},
    ])
}

fn blocks() -> Value {
    json!([
        {"type": "text", "text": "t", "annotations": {"audience": ["user"], "priority": 0.5, "lastModified": "2026-01-01T00:00:00Z"}, "_meta": {}},
        {"type": "image", "data": "AA==", "mimeType": "image/png"},
        {"type": "audio", "data": "AA==", "mimeType": "audio/wav"},
        {"type": "resource", "resource": {"uri": "a:b", "text": "t", "_meta": {"x/y": 1}}},
        {"type": "resource_link", "uri": "a:b", "name": "n", "title": "t", "icons": icons(), "size": 3},
    ])
}

#[test]
fn lists_are_valid_in_each_revision() {
    let item = |key: &str, value: &str| {
        let mut item = json!({"name": "n", "title": "t", "description": "d", "icons": icons(), "annotations": {"priority": 1}, "_meta": {"a/b": 1}});
        item[key] = value.into();
        item
    };
    let lists = [
        (Method::ToolsList, "ListToolsResult", "tools", tools()),
        (
            Method::PromptsList,
            "ListPromptsResult",
            "prompts",
            json!([{"name": "p", "title": "t", "icons": icons(), "arguments": [{"name": "a", "title": "t", "required": true}]}]),
        ),
        (
            Method::ResourcesList,
            "ListResourcesResult",
            "resources",
            json!([item("uri", "a:b")]),
        ),
        (
            Method::ResourceTemplatesList,
            "ListResourceTemplatesResult",
            "resourceTemplates",
            json!([item("uriTemplate", "a:{b}")]),
        ),
    ];
    for (method, name, key, items) in lists {
        let modern = json!({
            "resultType": "complete", key: items, "nextCursor": "c", "ttlMs": 1, "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}, "dev.switchboard/backends": []},
        });
        for checks in legacy() {
            let out = translated(method, checks.version, &modern);
            checks.check(name, &out);
            assert_eq!(out["nextCursor"], "c");
            assert_eq!(out["_meta"], json!({"dev.switchboard/backends": []}));
            assert_eq!(
                out[key].as_array().map(Vec::len),
                items.as_array().map(Vec::len)
            );
        }
    }
}

#[test]
fn the_newest_legacy_revision_sees_what_modern_clients_see() {
    let mut modern = json!({"tools": tools()});
    modern["tools"]
        .as_array_mut()
        .expect("an array")
        .truncate(1);
    let out = translated(Method::ToolsList, Version::V2025_11_25, &modern);
    assert_eq!(out, modern);
    let modern = json!({"content": blocks(), "structuredContent": {"a": [1.5, true]}, "isError": true, "x": {"y": null}});
    let out = translated(Method::ToolsCall, Version::V2025_11_25, &modern);
    assert_eq!(out, modern);
}

#[test]
fn results_are_valid_in_each_revision() {
    let results = [
        (
            Method::ToolsCall,
            "CallToolResult",
            json!({"content": blocks(), "structuredContent": [1], "isError": false}),
        ),
        (
            Method::ToolsCall,
            "CallToolResult",
            json!({"content": [], "structuredContent": null}),
        ),
        (
            Method::PromptsGet,
            "GetPromptResult",
            json!({"description": "d", "messages": blocks().as_array().expect("an array").iter().map(|block| json!({"role": "user", "content": block})).collect::<Vec<_>>()}),
        ),
        (
            Method::ResourcesRead,
            "ReadResourceResult",
            json!({"contents": [{"uri": "a:b", "mimeType": "m", "blob": "AA==", "_meta": {"ui": {}}}], "ttlMs": 1, "cacheScope": "private"}),
        ),
        (
            Method::Complete,
            "CompleteResult",
            json!({"completion": {"values": ["a"], "total": 1, "hasMore": false}}),
        ),
    ];
    for (method, name, mut modern) in results {
        modern["resultType"] = "complete".into();
        for checks in legacy() {
            let out = translated(method, checks.version, &modern);
            checks.check(name, &out);
            let known = ["resultType", "ttlMs", "cacheScope"];
            assert!(known.iter().all(|key| out.get(key).is_none()), "{out}");
        }
    }
}

/// Every field that a form of 2026-07-28 can have.
fn form() -> Value {
    json!({"mode": "form", "message": "m", "requestedSchema": {"$schema": "s", "type": "object", "required": ["s", "many"], "properties": {
        "s": {"type": "string", "title": "t", "description": "d", "minLength": 1, "maxLength": 99, "format": "email", "default": "a@b.example"},
        "n": {"type": "integer", "minimum": 0, "maximum": 9, "default": 3},
        "b": {"type": "boolean", "default": true},
        "one": {"type": "string", "enum": ["x", "y"], "default": "x"},
        "titled": {"type": "string", "oneOf": [{"const": "x", "title": "X"}], "default": "x"},
        "old": {"type": "string", "enum": ["x"], "enumNames": ["X"]},
        "several": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "enum": ["x", "y"]}, "default": ["x"]},
        "many": {"type": "array", "items": {"anyOf": [{"const": "x", "title": "X"}, {"const": "y", "title": "Y"}]}},
    }}})
}

#[test]
fn questions_are_valid_in_each_revision() {
    let text = json!({"type": "text", "text": "t"});
    let audio = json!({"type": "audio", "data": "AA==", "mimeType": "audio/wav"});
    let sampling = json!({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": [text, audio]}],
        "maxTokens": 9, "includeContext": "thisServer", "modelPreferences": {"hints": [{"name": "m"}]}, "metadata": {}});
    let mut with_tools = sampling.clone();
    with_tools["tools"] = tools();
    with_tools["toolChoice"] = json!({"mode": "auto"});
    with_tools["messages"][1]["content"] = json!([
        {"type": "tool_use", "id": "1", "name": "t", "input": {}},
        {"type": "tool_result", "toolUseId": "1", "content": blocks(), "structuredContent": "x"},
    ]);
    let questions = [
        (
            "sampling/createMessage",
            "CreateMessageRequest",
            sampling,
            Version::V2024_11_05,
        ),
        (
            "sampling/createMessage",
            "CreateMessageRequest",
            with_tools,
            Version::V2025_11_25,
        ),
        (
            "roots/list",
            "ListRootsRequest",
            json!({}),
            Version::V2024_11_05,
        ),
        (
            "elicitation/create",
            "ElicitRequest",
            form(),
            Version::V2025_06_18,
        ),
        (
            "elicitation/create",
            "ElicitRequest",
            json!({"mode": "url", "message": "m", "url": "https://a.example/"}),
            Version::V2025_11_25,
        ),
    ];
    for (method, name, params, since) in questions {
        for checks in legacy() {
            let raw = params.to_string();
            let asked = question(checks.version, method, raw.as_bytes(), "e1");
            assert_eq!(asked.is_some(), checks.version >= since, "{method}");
            let Some(asked) = asked else { continue };
            let params: Value = serde_json::from_slice(&asked).expect("JSON");
            checks.check(
                name,
                &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
            );
        }
    }
}

#[test]
fn a_form_filled_in_by_an_older_client_answers_the_question() {
    let checks = Checks::of(Version::LATEST);
    let params = form().to_string();
    let filled = json!({"action": "accept", "content": {"s": "a@b.example", "n": 1, "several: x": true, "several: y": false, "many: x": true, "many: y": true}}).to_string();
    let out = answer(
        Version::V2025_06_18,
        "elicitation/create",
        params.as_bytes(),
        filled.as_bytes(),
    );
    let out: Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(out["content"]["several"], json!(["x"]));
    assert_eq!(out["content"]["many"], json!(["x", "y"]));
    checks.check("InputResponses", &json!({"q": out}));
    let schema = form()["requestedSchema"].clone();
    let schema = jsonschema::options()
        .build(&schema_of_2020(schema))
        .expect("a schema");
    assert!(schema.is_valid(&out["content"]));
}

/// `"$schema": "s"` names no dialect that a validator knows.
fn schema_of_2020(mut schema: Value) -> Value {
    schema.as_object_mut().expect("an object").remove("$schema");
    schema
}

#[test]
fn requests_are_valid_modern_ones() {
    let checks = Checks::of(Version::LATEST);
    let requests = [
        ("tools/list", "ListToolsRequest", json!({"cursor": "c"})),
        (
            "tools/call",
            "CallToolRequest",
            json!({"name": "t", "arguments": {"a": 1}, "_meta": {"progressToken": "p"}}),
        ),
        ("prompts/list", "ListPromptsRequest", json!({})),
        (
            "prompts/get",
            "GetPromptRequest",
            json!({"name": "p", "arguments": {"a": "b"}}),
        ),
        ("resources/list", "ListResourcesRequest", json!({})),
        (
            "resources/templates/list",
            "ListResourceTemplatesRequest",
            json!({}),
        ),
        (
            "resources/read",
            "ReadResourceRequest",
            json!({"uri": "a:b"}),
        ),
        (
            "completion/complete",
            "CompleteRequest",
            json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}, "context": {"arguments": {}}}),
        ),
    ];
    for version in Version::SUPPORTED_LEGACY {
        let client = ClientIdentity::new(
            *version,
            Some(br#"{"name":"c","version":"1"}"#),
            br#"{"elicitation":{"form":{}},"sampling":{"context":{}},"roots":{"listChanged":true},"tasks":{},"extensions":{"a/b":{}}}"#,
        );
        for (method, name, params) in &requests {
            let raw = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let raw = Envelope::parse(Bytes::from(raw.to_string())).expect("a request");
            let (parsed, request) = request(&raw, &client, None, false).expect("translated");
            assert_eq!(parsed.as_str(), *method);
            let value: Value = serde_json::from_slice(&request.raw).expect("JSON");
            checks.check(name, &value);
            if parsed.may_require_input() {
                let again = retry(&request, br#"{"q":{"action":"cancel"}}"#, Some(b"\"s\""));
                let again = again.expect("translated");
                let value: Value = serde_json::from_slice(&again.raw).expect("JSON");
                checks.check(name, &value);
            }
        }
    }
}

#[test]
fn notifications_are_valid_in_each_revision() {
    let all = [
        (
            "notifications/progress",
            "ProgressNotification",
            json!({"progressToken": 1, "progress": 1, "total": 2, "message": "m"}),
        ),
        (
            "notifications/message",
            "LoggingMessageNotification",
            json!({"level": "info", "logger": "l", "data": [1]}),
        ),
        (
            "notifications/resources/updated",
            "ResourceUpdatedNotification",
            json!({"uri": "a:b", "_meta": {"io.modelcontextprotocol/subscriptionId": 1}}),
        ),
    ];
    for (method, name, params) in all {
        let raw =
            Bytes::from(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string());
        for checks in legacy() {
            let out = notification(checks.version, &raw).expect("known in all");
            let out: Value = serde_json::from_slice(&out).expect("JSON");
            checks.check(name, &out);
            assert_eq!(out["params"].get("_meta"), None);
        }
    }
}

/// Any JSON, with keys and strings that mean something here among others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop_oneof![
            Just("object"),
            Just("array"),
            Just("audio"),
            Just("resource_link"),
            Just("#/a"),
            Just("tool_use")
        ]
        .prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("type"),
        Just("tools"),
        Just("content"),
        Just("structuredContent"),
        Just("_meta"),
        Just("inputSchema"),
        Just("outputSchema"),
        Just("properties"),
        Just("required"),
        Just("messages"),
        Just("items"),
        Just("anyOf"),
        Just("oneOf"),
        Just("enum"),
        Just("requestedSchema"),
        Just("$ref"),
        Just("icons"),
        Just("default"),
        Just("mode"),
        Just("x"),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(
                    members
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_server_says_comes_out_as_strict_json(body in any_json(), key in prop_oneof![Just("content"), Just("tools"), Just("messages"), Just("x")]) {
        let modern = json!({ key: body, "resultType": "complete" });
        for version in Version::SUPPORTED_LEGACY {
            for method in [Method::ToolsCall, Method::ToolsList, Method::PromptsGet] {
                translated(method, *version, &modern);
            }
            let params = json!({ "requestedSchema": body, "messages": body, "tools": body });
            for method in ["elicitation/create", "sampling/createMessage"] {
                let raw = params.to_string();
                if let Some(asked) = question(*version, method, raw.as_bytes(), "e") {
                    serde_json::from_slice::<Value>(&asked).expect("JSON");
                }
                let result = json!({"action": "accept", "content": body}).to_string();
                let answered = answer(*version, method, raw.as_bytes(), result.as_bytes());
                serde_json::from_slice::<Value>(&answered).expect("JSON");
            }
        }
    }
}
