use super::*;
use serde_json::{Value, json};

fn asked(version: Version, method: &str, params: &Value) -> Option<Value> {
    let params = params.to_string();
    let out = question(version, method, params.as_bytes(), "id-1")?;
    Some(serde_json::from_slice(&out).expect("JSON"))
}

#[test]
fn elicitation_is_asked_of_those_who_have_it() {
    let form = json!({"mode": "form", "message": "m", "requestedSchema": {"type": "object", "properties": {}}});
    let url = json!({"mode": "url", "message": "m", "url": "https://a/"});
    let method = "elicitation/create";
    for version in [Version::V2024_11_05, Version::V2025_03_26] {
        assert_eq!(asked(version, method, &form), None);
        assert_eq!(asked(version, method, &url), None);
    }
    assert_eq!(
        asked(Version::V2025_06_18, method, &form),
        Some(json!({"message": "m", "requestedSchema": {"type": "object", "properties": {}}}))
    );
    assert_eq!(asked(Version::V2025_06_18, method, &url), None);
    assert_eq!(asked(Version::V2025_11_25, method, &form), Some(form));
    assert_eq!(
        asked(Version::V2025_11_25, method, &url),
        Some(json!({"mode": "url", "message": "m", "url": "https://a/", "elicitationId": "id-1"}))
    );
}

#[test]
fn roots_are_asked_of_all_and_unknown_things_of_none() {
    for version in Version::SUPPORTED_LEGACY {
        assert_eq!(asked(*version, "roots/list", &json!({})), Some(json!({})));
        assert_eq!(asked(*version, "a/b", &json!({})), None);
        assert_eq!(asked(*version, "tools/call", &json!({})), None);
    }
}

#[test]
fn sampling_with_tools_is_for_the_newest() {
    let params = json!({"messages": [
        {"role": "user", "content": [{"type": "tool_result", "toolUseId": "1", "content": [], "structuredContent": [1]}]},
    ], "maxTokens": 1, "tools": [{"name": "t", "inputSchema": {"properties": {"a": true}}, "outputSchema": {"type": "string"}}]});
    let method = "sampling/createMessage";
    let out = asked(Version::V2025_11_25, method, &params).expect("asked");
    assert_eq!(
        out["messages"][0]["content"][0]["structuredContent"],
        json!({"result": [1]})
    );
    assert_eq!(
        out["tools"][0]["inputSchema"],
        json!({"type": "object", "properties": {"a": {}}})
    );
    assert_eq!(out["tools"][0]["outputSchema"]["type"], "object");
    assert_eq!(asked(Version::V2025_06_18, method, &params), None);
    let choice = json!({"messages": [], "maxTokens": 1, "toolChoice": {"mode": "none"}});
    assert_eq!(asked(Version::V2025_06_18, method, &choice), None);
    let mut used = params;
    used.as_object_mut().expect("an object").remove("tools");
    assert_eq!(asked(Version::V2025_06_18, method, &used), None);
}

#[test]
fn older_messages_have_one_block_each() {
    let text = |text: &str| json!({"type": "text", "text": text});
    let audio = json!({"type": "audio", "data": "", "mimeType": "audio/wav"});
    let params = json!({"messages": [
        {"role": "user", "content": text("a")},
        {"role": "assistant", "content": [text("b"), audio], "_meta": {}},
        {"role": "user", "content": []},
    ], "maxTokens": 1, "includeContext": "none"});
    let out = asked(Version::V2025_03_26, "sampling/createMessage", &params).expect("asked");
    assert_eq!(
        out,
        json!({"messages": [
            {"role": "user", "content": text("a")},
            {"role": "assistant", "content": text("b")},
            {"role": "assistant", "content": audio},
            {"role": "user", "content": text("")},
        ], "maxTokens": 1, "includeContext": "none"})
    );
    let oldest = asked(Version::V2024_11_05, "sampling/createMessage", &params).expect("asked");
    assert_eq!(oldest["messages"][2]["content"]["type"], "text");
    let newest = asked(Version::V2025_11_25, "sampling/createMessage", &params).expect("asked");
    assert_eq!(newest, params);
}

#[test]
fn an_answer_says_nothing_in_the_gateway_s_name() {
    let answer = |version, result: &str| {
        let out = answer(version, "elicitation/create", b"{}", result.as_bytes());
        String::from_utf8(out.into_owned()).expect("UTF-8")
    };
    let plain = r#"{"action":"accept","content":{"a": 1 },"x":[]}"#;
    for version in Version::SUPPORTED_LEGACY {
        assert_eq!(answer(*version, plain), plain);
        assert_eq!(
            answer(
                *version,
                r#"{"dev.switchboard/error":{},"action":"decline","dev.switchboard\u002fx":1,"_meta":{"dev.switchboard/y":1,"z":2}}"#
            ),
            r#"{"action":"decline","_meta":{"z":2}}"#
        );
    }
}

#[test]
fn ticked_boxes_come_back_as_a_choice() {
    let params = br#"{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"array","items":{"enum":["x"]}}}}}"#;
    let result = br#"{"action":"accept","content":{"a: x":true}}"#;
    let of = |version| answer(version, "elicitation/create", params, result).into_owned();
    assert_eq!(
        of(Version::V2025_06_18),
        br#"{"action":"accept","content":{"a":["x"]}}"#
    );
    assert_eq!(of(Version::V2025_11_25), result);
}

#[test]
fn an_error_stands_in_the_place_of_an_answer() {
    let cases = [
        (
            r#"{"code":-1,"message":"no \"way\"","data":{}}"#,
            r#"{"dev.switchboard/error":{"code":-1,"message":"no \"way\""}}"#,
        ),
        (
            r#"{"code":"x"}"#,
            r#"{"dev.switchboard/error":{"code":-32603,"message":""}}"#,
        ),
    ];
    for (error, expected) in cases {
        assert_eq!(refusal(error.as_bytes()), expected.as_bytes());
    }
}
