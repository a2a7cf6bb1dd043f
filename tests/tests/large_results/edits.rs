//! What a result becomes on its way.

use serde_json::{Value, json};
use switchboard_tests::scripted::{Scripted, pieces};

use crate::{answer, answer_of, assert_ends, front, large_text, response};

/// The members of an object of a response, in this order.
fn object(members: &[(&str, &str)]) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[tokio::test]
async fn members_may_stand_in_any_order() {
    let content = format!(r#"[{{"type":"text","text":"{}"}}]"#, large_text());
    let expected: Value = serde_json::from_str(&content).expect("JSON");
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({})).await;
    let kind = ("resultType", "\"complete\"");
    let is_error = ("isError", "true");
    let meta = (
        "_meta",
        r#"{"dev.switchboard/error":{"code":1},"a.b/c":[1,2]}"#,
    );
    let content = ("content", &*content);
    let orders = [
        [kind, is_error, meta, content],
        [content, kind, is_error, meta],
        [content, meta, is_error, kind],
        [meta, content, is_error, kind],
    ];
    for order in orders {
        for id_is_last in [false, true] {
            let result = object(&order);
            server.answer_with(move |id| {
                let (version, id) = (("jsonrpc", "\"2.0\""), ("id", id));
                let result = ("result", &*result);
                let message = match id_is_last {
                    false => object(&[version, id, result]),
                    true => object(&[result, ("extra", "[{}]"), version, id]),
                };
                pieces(&message, 10_007)
            });
            let received = answer(&front).await;
            let message = received.json();
            assert!(
                received
                    .text
                    .starts_with(r#"{"jsonrpc":"2.0","id":1,"result":{"#)
            );
            assert_eq!(message.as_object().map(|members| members.len()), Some(3));
            let result = &message["result"];
            assert_eq!(result["content"], expected);
            assert_eq!(result["resultType"], "complete");
            assert_eq!(result["isError"], true);
            assert_eq!(result["_meta"], json!({ "a.b/c": [1, 2] }));
        }
    }
    assert_ends(&front, &[("tool_error", 8.0)]).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_result_may_come_byte_by_byte() {
    let text = "x".repeat(66 * 1024);
    let expected = json!([{ "type": "text", "text": text }, { "type": "text", "text": "é 世 🦀" }]);
    let result = json!({ "content": expected, "resultType": "complete" }).to_string();
    let server = Scripted::start(move |id| pieces(&response(id, &result), 1)).await;
    let front = front(&server, json!({})).await;
    let message = answer(&front).await.json();
    assert_eq!(message["result"]["content"], expected);
    front.gateway.stop().await;
}

#[tokio::test]
async fn addresses_are_rewritten_behind_what_is_held_back() {
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({})).await;
    let blob = "QUJD".repeat(60_000);
    let content = json!([
        { "type": "text", "text": "x".repeat(100_000) },
        { "type": "resource_link", "uri": "file:///a", "name": "a" },
        { "name": "b", "uri": "file:///b", "type": "resource_link" },
        { "type": "resource", "resource": { "uri": "test://r", "blob": blob } },
        { "type": "text", "text": "not an address", "uri": "file:///c" },
    ]);
    // In the order of the keys: the blob before the URI, and the type last.
    let sorted =
        format!(r#"{{"resource":{{"blob":"{blob}","uri":"file:///d"}},"type":"resource"}}"#);
    let mut content = content.to_string();
    content.truncate(content.len() - 1);
    let result = format!(r#"{{"content":{content},{sorted}],"resultType":"complete"}}"#);
    for size in [997, 64 * 1024, 1 << 20] {
        let result = result.clone();
        server.answer_with(move |id| pieces(&response(id, &result), size));
        let message = answer(&front).await.json();
        let content = &message["result"]["content"];
        assert_eq!(content[1]["uri"], "switchboard://s/file%3A%2F%2F%2Fa");
        assert_eq!(content[2]["uri"], "switchboard://s/file%3A%2F%2F%2Fb");
        assert_eq!(content[3]["resource"]["uri"], "test://r");
        assert_eq!(content[3]["resource"]["blob"], blob);
        assert_eq!(content[4]["uri"], "file:///c");
        assert_eq!(
            content[5]["resource"]["uri"],
            "switchboard://s/file%3A%2F%2F%2Fd"
        );
        assert_eq!(content[5]["resource"]["blob"], blob);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn prompts_and_resources_pass_as_well() {
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({})).await;
    let text = "y".repeat(200_000);
    let messages = json!([
        { "role": "user", "content": { "type": "text", "text": text } },
        { "role": "user", "content": { "type": "resource_link", "uri": "a:b", "name": "n" } },
    ]);
    let result = json!({ "messages": messages }).to_string();
    server.answer_with(move |id| pieces(&response(id, &result), 50_000));
    let message = answer_of(&front, "prompts/get", json!({ "name": "s__p" }))
        .await
        .json();
    let result = &message["result"];
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["messages"][0]["content"]["text"], text);
    assert_eq!(
        result["messages"][1]["content"]["uri"],
        "switchboard://s/a%3Ab"
    );

    let contents = json!([{ "uri": "test://r", "text": text }]);
    let result = json!({ "contents": contents }).to_string();
    server.answer_with(move |id| pieces(&response(id, &result), 50_000));
    let message = answer_of(&front, "resources/read", json!({ "uri": "test://r" }))
        .await
        .json();
    let result = &message["result"];
    assert_eq!(result["contents"], contents);
    assert_eq!(result["ttlMs"], 0);
    assert_eq!(result["cacheScope"], "private");
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_pass_is_collected() {
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(&server, json!({})).await;
    let large = large_text();
    let errors = format!(r#"{{"jsonrpc":"2.0","error":{{"code":5,"message":"{large}"}},"id":ID}}"#);
    let other =
        format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{{"other":"{large}","content":[]}}}}"#);
    let meta = format!(
        r#"{{"jsonrpc":"2.0","id":ID,"result":{{"_meta":{{"a/b":"{large}"}},"content":[]}}}}"#
    );
    for (text, at) in [
        (errors, "/error/message"),
        (other, "/result/other"),
        (meta, "/result/_meta/a~1b"),
    ] {
        server.answer_with(move |id| pieces(&text.replace("ID", id), 30_000));
        let message = answer(&front).await.json();
        let value = message.pointer(at).and_then(Value::as_str);
        assert_eq!(
            value.map(str::len),
            Some(large.replace('\\', "").len()),
            "{at}"
        );
    }
    front.gateway.stop().await;
}
