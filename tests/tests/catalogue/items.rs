//! Which items of a server are listed, and how.

use serde_json::{Value, json};
use switchboard_testkit::client::LISTS;
use switchboard_tests::front::Front;
use switchboard_tests::waiting::until;

use crate::shelf::{Content, Shelf, tool};
use crate::{MISSING, PAGE, assert_unknown, called, front, listed, pages, tools};

fn numbered(count: usize, item: impl Fn(usize) -> Value) -> Vec<String> {
    (0..count).map(|index| item(index).to_string()).collect()
}

#[tokio::test]
async fn all_pages_of_every_list_are_followed() {
    let schema = json!({ "type": "object" });
    let content = Content {
        tools: numbered(
            2345,
            |index| json!({ "name": format!("t{index}"), "inputSchema": schema }),
        ),
        prompts: numbered(120, |index| json!({ "name": format!("p{index}") })),
        resources: numbered(
            250,
            |index| json!({ "uri": format!("s://r/{index}"), "name": "r" }),
        ),
        templates: numbered(
            30,
            |index| json!({ "uriTemplate": format!("s://t{index}/{{x}}"), "name": "t" }),
        ),
        page: 7,
        ..Content::default()
    };
    let shelf = Shelf::start(content).await;
    let front = front(json!({ "backends": { "s": shelf.backend() } })).await;

    let names = tools(&front).await;
    let expected: Vec<String> = (0..2345).map(|index| format!("s__t{index}")).collect();
    assert_eq!(names, expected);
    let prompts = listed(&front, "prompts/list").await;
    assert_eq!(prompts.len(), 120);
    let resources = listed(&front, "resources/list").await;
    assert_eq!(resources.last().map(String::as_str), Some("s://r/249"));
    assert_eq!(resources.len(), 250);
    assert_eq!(listed(&front, "resources/templates/list").await.len(), 30);
    assert_eq!(called(&front, "s__t2344").await, "t2344");

    // One page, up to so many items: some clients read only the first.
    let sizes = async |method: &str, list: &str| -> Vec<usize> {
        let pages = pages(&front, method).await;
        let sizes = pages
            .iter()
            .map(|page| page.result()[list].as_array().map_or(0, Vec::len));
        sizes.collect()
    };
    assert_eq!(sizes("tools/list", "tools").await, [PAGE, PAGE, 345]);
    assert_eq!(sizes("prompts/list", "prompts").await, [120]);
    for cursor in [json!("nonsense"), json!(""), json!(7), json!(null)] {
        let params = json!({ "cursor": cursor });
        let answer = front.client.request("tools/list", params).await;
        assert_eq!(
            answer.error_code(),
            Some(-32602),
            "{cursor}: {}",
            answer.raw
        );
    }
    // A cursor is good for its own list alone.
    let first = front.client.request("tools/list", json!({})).await;
    let cursor = json!({ "cursor": first.result()["nextCursor"] });
    let answer = front.client.request("prompts/list", cursor).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_list_without_an_end_is_cut_and_says_so() {
    let content = Content {
        page: 2,
        is_endless: true,
        ..Content::of_tools(&["a", "b", "c"])
    };
    let endless = Shelf::start(content).await;
    let front = Front::of(json!({ "s": endless.backend() })).await;
    until("what could be read", async || {
        (tools(&front).await == ["s__a", "s__b", "s__c"]).then_some(())
    })
    .await;
    let pages = endless.pages_of_tools();
    assert!(pages < 10, "{pages} pages were read");
    let missing = front.missing().await;
    let reason = missing["s"]["reason"].as_str();
    assert!(
        reason.is_some_and(|reason| !reason.is_empty()),
        "{missing:?}"
    );
    assert_eq!(called(&front, "s__c").await, "c");
    front.gateway.stop().await;
}

#[tokio::test]
async fn items_are_listed_as_they_were_written() {
    let strange = r#""title":"\u00e9\/\ud83d\ude00","inputSchema":{"type":"object","default":{"n":1.0,"big":123456789012345678901234567890}},"dev.example/unknown":[null,1e2],"execution":{"new":true}"#;
    let tool = format!(r#"{{ "name" : "odd", {strange} }}"#);
    let prompt = r#"{"name":"p","dev.example/unknown":1.50}"#;
    let resource = r#"{"uri":"s://r","name":"r","size":5,"dev.example/unknown":"\u0041"}"#;
    let shelf = Shelf::start(Content {
        tools: vec![tool],
        prompts: vec![prompt.to_owned()],
        resources: vec![resource.to_owned()],
        ..Content::default()
    })
    .await;
    let front = front(json!({ "backends": { "s": shelf.backend() } })).await;
    for (method, expected) in [
        (
            "tools/list",
            format!(r#"{{ "name" : "s__odd", {strange} }}"#),
        ),
        ("prompts/list", prompt.replace("\"p\"", "\"s__p\"")),
        ("resources/list", resource.to_owned()),
    ] {
        let answer = front.client.request(method, json!({})).await;
        assert!(
            answer.raw.contains(&expected),
            "{expected} is not in {}",
            answer.raw
        );
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn tools_with_invalid_header_annotations_are_left_out() {
    let with = |name: &str, properties: Value| {
        let schema = json!({ "type": "object", "properties": properties });
        json!({ "name": name, "inputSchema": schema }).to_string()
    };
    let annotated =
        |kind: &str, header: Value| json!({ "x": { "type": kind, "x-mcp-header": header } });
    let twice = json!({
        "x": { "type": "string", "x-mcp-header": "Region" },
        "y": { "type": "string", "x-mcp-header": "REGION" },
    });
    let nested = json!({ "o": {
        "type": "object",
        "properties": { "x": { "type": "string", "x-mcp-header": "Region" } },
    } });
    let in_items = json!({ "l": {
        "type": "array",
        "items": { "type": "string", "x-mcp-header": "Region" },
    } });
    let tools_of_shelf = vec![
        with("empty", annotated("string", json!(""))),
        with("with_space", annotated("string", json!("My Region"))),
        with("with_colon", annotated("string", json!("Region:"))),
        with(
            "with_line_break",
            annotated("string", json!("Region\r\nX-Evil: 1")),
        ),
        with("not_ascii", annotated("string", json!("Région"))),
        with("no_text", annotated("string", json!(7))),
        with("good_text", annotated("string", json!("Region"))),
        with("good_integer", annotated("integer", json!("Region"))),
        with("good_boolean", annotated("boolean", json!("Region"))),
        with("good_nested", nested),
        with("number", annotated("number", json!("Region"))),
        with("object", annotated("object", json!("Region"))),
        with("array", annotated("array", json!("Region"))),
        with("twice", twice),
        with("in_items", in_items),
        with("good_without", json!({ "x": { "type": "string" } })),
    ];
    let shelf = Shelf::start(Content {
        tools: tools_of_shelf,
        ..Content::default()
    })
    .await;
    let front = front(json!({ "backends": { "s": shelf.backend() } })).await;
    let expected = [
        "good_text",
        "good_integer",
        "good_boolean",
        "good_nested",
        "good_without",
    ];
    assert_eq!(
        tools(&front).await,
        expected.map(|name| format!("s__{name}"))
    );
    assert_unknown(&front, "s__twice").await;
    // Whoever runs the server can find out why.
    let log = front.gateway.server().output();
    assert!(log.contains("x-mcp-header"), "{log}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn one_wrong_item_costs_no_other() {
    let shelf = Shelf::start(Content {
        tools: vec![
            tool("first"),
            "7".to_owned(),
            "{}".to_owned(),
            r#"{"name":5,"inputSchema":{"type":"object"}}"#.to_owned(),
            r#"{"name":"no_schema"}"#.to_owned(),
            tool("first"),
            tool("last"),
        ],
        resources: vec![
            "null".to_owned(),
            r#"{"uri":"s://r","name":"r"}"#.to_owned(),
        ],
        ..Content::default()
    })
    .await;
    let front = front(json!({ "backends": { "s": shelf.backend() } })).await;
    assert_eq!(tools(&front).await, ["s__first", "s__last"]);
    assert_eq!(listed(&front, "resources/list").await, ["s://r"]);
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_empty_gateway_is_a_server_too() {
    let front = Front::of(json!({})).await;
    for (method, list, _) in LISTS {
        let answer = front.client.request(method, json!({})).await;
        assert_eq!(answer.result()[list], json!([]), "{}", answer.raw);
        assert!(
            answer.result()["_meta"][MISSING].is_null(),
            "{}",
            answer.raw
        );
        assert!(answer.result()["nextCursor"].is_null(), "{}", answer.raw);
    }
    let answer = front.client.request("server/discover", json!({})).await;
    let capabilities = &answer.result()["capabilities"];
    assert_eq!(capabilities["tools"]["listChanged"], true, "{}", answer.raw);
    assert_unknown(&front, "anything").await;
    front.gateway.stop().await;
}
