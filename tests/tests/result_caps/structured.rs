//! Structured content of tools that promise some: no client takes a result without it.

use super::*;
use switchboard_tests::clients::Client;
use switchboard_tests::servers;
use switchboard_tests::waiting::until;

const CAP: usize = 16 * KIB;

/// What the tool promises: rows, at least so many, and how many there are.
fn promised(least_rows: usize) -> Value {
    json!({
        "type": "object",
        "required": ["rows", "total"],
        "properties": {
            "rows": {
                "type": "array",
                "minItems": least_rows,
                "items": { "type": "object", "required": ["id", "name"] },
            },
            "total": { "type": "integer" },
        },
    })
}

/// The server with a tool that promises this.
fn promising(server: Scripted, output_schema: &Value) -> Scripted {
    let input_schema = json!({ "type": "object" });
    server.with_tools(json!([
        { "name": "t", "inputSchema": input_schema, "outputSchema": output_schema },
    ]))
}

/// A result as servers write it, with the same in its content: 500 KB each.
fn result() -> String {
    let rows: Vec<Value> = (0..10_000)
        .map(|id| json!({ "id": id, "name": format!("the row of the number {id}") }))
        .collect();
    let structured = json!({ "rows": rows, "total": 10_000 }).to_string();
    let text = Value::from(structured.as_str());
    format!(
        r#"{{"content":[{{"type":"text","text":{text}}}],"structuredContent":{structured},"isError":false,"resultType":"complete"}}"#
    )
}

/// Checks that a result is cut, and that its structured content is as promised.
fn assert_cut_as_promised(answer: &Answer) {
    assert_cut(answer, CAP);
    let result = answer.result();
    assert_eq!(result.get("isError"), None, "{result}");
    let structured = &result["structuredContent"];
    assert_eq!(structured["total"], 10_000);
    let rows = structured["rows"].as_array().expect("rows");
    assert!((50..400).contains(&rows.len()), "{} rows", rows.len());
    assert!(
        rows.iter()
            .all(|row| row["id"].is_u64() && row["name"].is_string())
    );
}

#[tokio::test]
async fn it_is_found_behind_any_content_and_still_fits_its_schema() {
    let server = serving_text(result()).await;
    let server = promising(server, &promised(10));
    for over in ["truncate", "handle"] {
        let front = front(&server, json!([{ "max_bytes": CAP, "over": over }])).await;
        let answer = front.client.call("s__t", json!({})).await;
        assert_cut_as_promised(&answer);
        if over == "handle" {
            assert_eq!(told(&answer)["totalBytes"], result().len());
        }
        front.gateway.stop().await;
    }
    // The same as an event, and by tokens.
    server.answer_with(|id| pieces(&format!("data: {}\n\n", response(id, &result())), 30_000));
    server.answer_as("text/event-stream");
    let caps = json!([{ "max_bytes": CAP, "max_tokens": 4000 }]);
    let front = front(&server, caps).await;
    assert_cut_as_promised(&front.client.call("s__t", json!({})).await);
    front.gateway.stop().await;
}

#[tokio::test]
async fn nothing_behind_it_is_waited_for() {
    let server = Scripted::start(|id| {
        let text = response(id, &result());
        let end = text.find(r#","isError""#).expect("there") + 5;
        let mut steps = pieces(&text[..end], 30_000);
        steps.push(Step::Hang);
        steps
    })
    .await;
    let server = promising(server, &promised(10));
    let front = front(&server, json!([{ "max_bytes": CAP }])).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert_cut_as_promised(&answer);
    assert_eq!(told(&answer)["totalBytes"], Value::Null);
    until("the server is told", async || {
        (server.given_up() == 1).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn where_no_part_of_it_is_valid_the_result_is_an_error_that_leads_to_all_of_it() {
    let server = serving_text(result()).await;
    let server = promising(server, &promised(10_000));
    let caps = json!([{ "max_bytes": CAP, "over": "handle" }]);
    let front = front(&server, caps).await;
    let answer = front.client.call("s__t", json!({})).await;
    let result = answer.result();
    assert_eq!(result["isError"], true);
    assert_eq!(result.get("structuredContent"), None);
    let said = texts(&answer).pop().expect("a text");
    assert!(said.contains("no valid part of it fits"), "{said}");
    let link = result["content"].as_array().and_then(|it| it.last());
    let uri = link.expect("a link")["uri"].as_str().expect("an address");
    let read = json!({ "uri": uri, "search": "the row of the number 9999" });
    let found = front.client.call("switchboard__read_result", read).await;
    assert!(
        texts(&found).concat().contains("number 9999"),
        "{:?}",
        texts(&found)
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn where_it_never_came_the_result_is_an_error_and_a_real_error_needs_none() {
    let server = Scripted::start(|id| {
        let mut steps = pieces(&response(id, &result())[..300 * KIB], 30_000);
        steps.push(Step::Break);
        steps
    })
    .await;
    let server = promising(server, &promised(1));
    let front = front(&server, json!([{ "max_bytes": CAP }])).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert_eq!(answer.result()["isError"], true);
    let said = texts(&answer).pop().expect("a text").to_owned();
    assert!(said.contains("it could not be read"), "{said}");

    let mut failed = text_of(400 * KIB);
    failed["isError"] = json!(true);
    server.answer_with(move |id| pieces(&response(id, &failed.to_string()), 30_000));
    let answer = front.client.call("s__t", json!({})).await;
    assert_eq!(answer.result()["isError"], true);
    let said = texts(&answer).pop().expect("a text").to_owned();
    assert!(!said.contains("structured content"), "{said}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_would_refuse_is_not_cut_so() {
    let id = "123e4567-e89b-12d3-a456-426614174000";
    let schema = json!({
        "$defs": {
            "Owner": { "required": ["id"], "properties": { "id": { "type": "string", "format": "uuid" } } },
            "Page": { "required": ["box", "text"], "properties": {
                "box": { "type": "array", "minItems": 4 },
                "owner": { "$ref": "#/$defs/Owner" },
            } },
        },
        "type": "object",
        "required": ["pages", "names", "owner"],
        "properties": {
            "pages": { "type": "array", "items": { "$ref": "#/$defs/Page" } },
            "owner": { "$ref": "#/$defs/Owner" },
        },
    });
    let page = json!({ "box": [1, 2, 3, 4], "text": "x".repeat(40_000), "owner": { "id": id } });
    let names: serde_json::Map<String, Value> =
        (0..3000).map(|n| (format!("name {n}"), json!(n))).collect();
    let structured = json!({ "names": names, "owner": { "id": id }, "pages": [page, page, page] });
    let written = format!(
        r#"{{"content":[{{"type":"text","text":"{}"}}],"structuredContent":{structured}}}"#,
        "y".repeat(200 * KIB)
    );
    let server = serving_text(written).await;
    let server = promising(server, &schema);
    let front = front(&server, json!([{ "max_bytes": CAP }])).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert_cut(&answer, CAP);
    let result = answer.result();
    assert_eq!(result.get("isError"), None, "{result}");
    let structured = &result["structuredContent"];
    assert_eq!(structured["owner"]["id"], id);
    assert!(
        structured["names"]
            .as_object()
            .is_some_and(|names| names.len() >= 32)
    );
    let pages = structured["pages"].as_array().expect("pages");
    assert!(
        pages
            .iter()
            .all(|page| page["box"].as_array().is_some_and(|it| it.len() == 4))
    );
    front.gateway.stop().await;
}

/// They ask for the structured content that the list of tools promises, and check it.
#[tokio::test]
async fn real_clients_take_the_cut_results_of_a_real_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("large.txt");
    std::fs::write(&file, "all about \"Zürich\" 世界\n".repeat(10_000)).expect("ours");
    let plan = json!([
        { "step": "tools", "do": "list", "what": "tools" },
        {
            "step": "read",
            "do": "call",
            "name": "files__read_text_file",
            "arguments": { "path": file },
        },
    ]);
    for over in ["truncate", "handle"] {
        let front = Front::start(json!({
            "result_caps": [{ "max_bytes": CAP, "over": over }],
            "backends": { "files": servers::filesystem(folder.path()) },
        }))
        .await;
        front.wait_until("files", true).await;
        for client in [
            Client::TypeScript,
            Client::Python,
            Client::TypeScriptLegacy,
            Client::PythonLegacy,
        ] {
            let seen = client.run(front.gateway.url(), &plan).await;
            let result = &seen["read"]["result"];
            assert!(
                seen["read"].get("error").is_none(),
                "{client:?}: {}",
                seen["read"]
            );
            assert_ne!(result["isError"], json!(true), "{client:?}: {result}");
            let text = result["structuredContent"]["content"].as_str();
            let text = text.unwrap_or_else(|| panic!("{client:?}: {result}"));
            assert!(text.starts_with("all about \"Zürich\" 世界\n") && text.len() > 5000);
        }
        front.gateway.stop().await;
    }
}
