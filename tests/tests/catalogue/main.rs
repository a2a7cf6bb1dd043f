//! What clients are shown of many servers together, and where it leads.

mod shelf;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_testkit::client::Answer;
use switchboard_testkit::fake::RESOURCE_URI;
use switchboard_testkit::fake_http::RefusedPort;
use switchboard_tests::front::{Front, faulty, remote, until};

use crate::shelf::{Content, Shelf, tool};

/// The most items on a page of the gateway's.
const PAGE: usize = 1000;
const MAX_NAME: usize = 46;
const MISSING: &str = "dev.switchboard/backends";
const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    (
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
    ),
];

async fn front(config: Value) -> Front {
    let front = Front::start(config).await;
    front.gateway.wait_for_backends().await;
    front
}

/// All pages of a list, each as it was answered.
async fn pages(front: &Front, method: &str) -> Vec<Answer> {
    let mut pages = Vec::new();
    let mut params = json!({});
    loop {
        let page = front.client.request(method, params).await;
        assert_eq!(page.error_code(), None, "{}", page.raw);
        let next = page.result()["nextCursor"].clone();
        pages.push(page);
        if next.is_null() {
            return pages;
        }
        params = json!({ "cursor": next });
    }
}

/// The names or URIs of a list, in their order.
async fn listed(front: &Front, method: &str) -> Vec<String> {
    let (_, list, key) = LISTS.iter().find(|list| list.0 == method).expect("a list");
    let pages = pages(front, method).await;
    let items = pages.iter().flat_map(|page| {
        let items = page.result()[list].as_array();
        items.unwrap_or_else(|| panic!("{}", page.raw))
    });
    items
        .map(|item| item[key].as_str().expect("a text").to_owned())
        .collect()
}

async fn tools(front: &Front) -> Vec<String> {
    listed(front, "tools/list").await
}

/// The name under which its server was called.
async fn called(front: &Front, tool: &str) -> String {
    let answer = front.client.call(tool, json!({})).await;
    let name = answer.result()["structuredContent"].as_str();
    name.unwrap_or_else(|| panic!("{tool}: {}", answer.raw))
        .to_owned()
}

async fn assert_unknown(front: &Front, tool: &str) {
    let answer = front.client.call(tool, json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{tool}: {}", answer.raw);
}

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
async fn a_list_without_an_end_is_read_to_where_it_begins_anew() {
    let content = Content {
        page: 2,
        is_endless: true,
        ..Content::of_tools(&["a", "b", "c"])
    };
    let endless = Shelf::start(content).await;
    let front = front(json!({ "backends": { "s": endless.backend() } })).await;
    assert_eq!(tools(&front).await, ["s__a", "s__b", "s__c"]);
    let pages = endless.pages_of_tools();
    assert!(pages < 10, "{pages} pages were read");
    front.gateway.stop().await;
}

#[tokio::test]
async fn names_have_the_prefix_of_their_server() {
    let names = [
        "search",
        "dotted.name",
        "with space",
        "ünicode",
        "UPPER-case_9",
    ];
    let shelf = Shelf::start(Content::of_tools(&names)).await;
    let front = front(json!({ "backends": {
        "default": shelf.backend(),
        "renamed": shelf.with_prefix("gh"),
        "plain": shelf.with_prefix(""),
    } }))
    .await;
    let listed = tools(&front).await;
    let of = |prefix: &str| -> Vec<&String> {
        listed
            .iter()
            .filter(|name| name.starts_with(prefix))
            .collect()
    };
    for prefix in ["default__", "gh__"] {
        let own = of(prefix);
        assert_eq!(own.len(), names.len(), "{listed:?}");
        for (name, original) in own.into_iter().zip(names) {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            assert!(name.chars().all(is_allowed), "{name}");
            assert_eq!(called(&front, name).await, original, "{name}");
        }
        for fit in ["search", "UPPER-case_9"] {
            assert!(listed.contains(&format!("{prefix}{fit}")), "{listed:?}");
        }
        assert!(
            !listed.contains(&format!("{prefix}dotted_name")),
            "{listed:?}"
        );
    }
    // Without a prefix they stay as they are, dots and all.
    for name in names {
        assert!(
            listed.contains(&name.to_owned()),
            "{name} is not in {listed:?}"
        );
        assert_eq!(called(&front, name).await, name);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn of_equal_plain_names_the_first_server_keeps_its_own() {
    let first = Shelf::start(Content::of_tools(&["search", "only_first"])).await;
    let second = Content {
        tools: vec![tool("search").replace("\"name\"", "\"title\":\"second\",\"name\"")],
        ..Content::default()
    };
    let second = Shelf::start(second).await;
    let front = front(json!({ "backends": {
        "b": second.with_prefix(""),
        "a": first.with_prefix(""),
    } }))
    .await;
    assert_eq!(tools(&front).await, ["search", "only_first", "b__search"]);
    let page = front.client.request("tools/list", json!({})).await;
    let titles: Vec<&Value> = page.result()["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| &tool["title"])
        .collect();
    assert_eq!(titles, [&json!(null), &json!(null), &json!("second")]);
    assert_eq!(called(&front, "b__search").await, "search");
    front.gateway.stop().await;
}

#[tokio::test]
async fn only_what_is_included_and_not_excluded_is_there() {
    let names = ["get_a", "list_b", "get_and_delete", "delete_c", "other"];
    let shelf = Shelf::start(Content::of_tools(&names)).await;
    let with = |key: &str, patterns: Value| {
        let mut backend = shelf.backend();
        backend[key] = patterns;
        backend
    };
    let mut both = with("include_tools", json!(["get_*", "list_*"]));
    both["exclude_tools"] = json!(["*delete*"]);
    let front = front(json!({ "backends": {
        "both": both,
        "in": with("include_tools", json!(["get_*"])),
        "out": with("exclude_tools", json!(["*e*"])),
        "none": with("include_tools", json!(["nothing"])),
    } }))
    .await;
    let expected = [
        "both__get_a",
        "both__list_b",
        "in__get_a",
        "in__get_and_delete",
        "out__list_b",
    ];
    assert_eq!(tools(&front).await, expected);
    assert_eq!(called(&front, "both__get_a").await, "get_a");

    // What is hidden and what does not exist answer alike.
    let hidden = front.client.call("both__get_and_delete", json!({})).await;
    let unknown = front.client.call("both__get_nothing_here", json!({})).await;
    assert_eq!(hidden.error_code(), Some(-32602), "{}", hidden.raw);
    assert_eq!(hidden.status, unknown.status);
    let without_name = |answer: &Answer, name: &str| answer.raw.replace(name, "NAME");
    assert_eq!(
        without_name(&hidden, "both__get_and_delete"),
        without_name(&unknown, "both__get_nothing_here")
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn long_names_are_shortened_the_same_way_every_time() {
    let long = |end: &str| format!("a_tool_whose_name_is_much_longer_than_clients_can_take_{end}");
    let (one, other) = (long("one"), long("other"));
    let shelf = Shelf::start(Content::of_tools(&[&one, &other, "short"])).await;
    let alone = front(json!({ "backends": { "s": shelf.backend() } })).await;
    let names = tools(&alone).await;
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 3, "{names:?}");
    for (name, original) in names.iter().zip([&*one, &*other, "short"]) {
        assert!(name.len() <= MAX_NAME, "{name}");
        assert!(name.starts_with("s__"), "{name}");
        assert_eq!(called(&alone, name).await, original);
    }
    assert_unknown(&alone, &format!("s__{one}")).await;
    alone.gateway.stop().await;

    // Who else is there, or not, changes no name.
    let nobody = RefusedPort::take();
    let crowded = Front::of(json!({
        "a": shelf.backend(),
        "gone": remote(nobody.url()),
        "s": shelf.backend(),
        "t": shelf.backend(),
    }))
    .await;
    until("all that can come", async || {
        (tools(&crowded).await.len() == 9).then_some(())
    })
    .await;
    let mut again = tools(&crowded).await;
    again.retain(|name| name.starts_with("s__"));
    assert_eq!(again, names);
    crowded.gateway.stop().await;

    let narrow = front(json!({
        "names": { "separator": "-", "max_length": 24 },
        "backends": { "s": shelf.backend() },
    }))
    .await;
    let names = tools(&narrow).await;
    assert_eq!(names[2], "s-short");
    for name in &names {
        assert!(name.len() <= 24 && name.starts_with("s-"), "{name}");
    }
    assert_eq!(called(&narrow, &names[1]).await, other);
    narrow.gateway.stop().await;
}

#[tokio::test]
async fn a_uri_that_two_servers_list_has_an_address_of_each() {
    let own = "s://own/of a shelf?x=ü";
    let shared = format!(r#"{{"uri":"{RESOURCE_URI}","name":"readme"}}"#);
    let single = json!({ "uri": own, "name": "own" }).to_string();
    let template = r#"{"uriTemplate":"s://t/{id}","name":"t"}"#.to_owned();
    let shelf = Shelf::start(Content {
        resources: vec![shared, single],
        templates: vec![template.clone()],
        ..Content::default()
    })
    .await;
    let other = Shelf::start(Content {
        templates: vec![template],
        ..Content::default()
    })
    .await;
    let front = front(json!({ "backends": {
        "f": faulty(&[]),
        "o": other.backend(),
        "s": shelf.backend(),
    } }))
    .await;
    let address = |name: &str| format!("switchboard://{name}/fake%3A%2F%2Fnotes%2Freadme");
    let expected = [address("f"), address("s"), own.to_owned()];
    assert_eq!(listed(&front, "resources/list").await, expected);
    let expected = ["switchboard://o/s://t/{id}", "switchboard://s/s://t/{id}"];
    assert_eq!(listed(&front, "resources/templates/list").await, expected);

    let read = async |uri: &str| {
        front
            .client
            .request("resources/read", json!({ "uri": uri }))
            .await
    };
    let text = async |uri: &str| {
        let answer = read(uri).await;
        let text = answer.result()["contents"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{uri}: {}", answer.raw))
            .to_owned()
    };
    assert_eq!(text(&address("f")).await, "Read me");
    assert_eq!(text(&address("s")).await, RESOURCE_URI);
    assert_eq!(text(own).await, own);
    assert_eq!(text("switchboard://s/s://t/7").await, "s://t/7");
    // An address always leads to its one server, whatever is listed.
    assert_eq!(
        text("switchboard://o/s%3A%2F%2Fanything").await,
        "s://anything"
    );

    let ambiguous = read(RESOURCE_URI).await;
    assert_eq!(ambiguous.error_code(), Some(-32602), "{}", ambiguous.raw);
    for candidate in [address("f"), address("s")] {
        assert!(ambiguous.raw.contains(&candidate), "{}", ambiguous.raw);
    }
    for unknown in [
        "x://nobody",
        "switchboard://nobody/x%3A%2F%2Fy",
        "switchboard://",
        "switchboard://s/",
    ] {
        let answer = read(unknown).await;
        assert_eq!(
            answer.error_code(),
            Some(-32602),
            "{unknown}: {}",
            answer.raw
        );
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn while_a_server_is_missing_every_list_says_so_and_nobody_keeps_it() {
    let shelf = Shelf::start(Content::of_tools(&["search"])).await;
    let nobody = RefusedPort::take();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hangs = folder.path().join("hangs");
    std::fs::write(&hangs, "").expect("the folder is ours");
    let hangs = hangs.to_str().expect("a path in UTF-8");
    let mut slow = faulty(&["--never-answers", "--while-exists", hangs]);
    slow["timeout"] = json!("300ms");
    let front = Front::of(json!({
        "gone": remote(nobody.url()),
        "s": shelf.backend(),
        "slow": slow,
    }))
    .await;
    front.wait_until("s", true).await;
    for (method, list, _) in LISTS {
        let answer = front.client.request(method, json!({})).await;
        let result = answer.result();
        assert!(result[list].is_array(), "{}", answer.raw);
        assert_eq!(result["ttlMs"], 0, "{}", answer.raw);
        let missing = result["_meta"][MISSING]
            .as_array()
            .expect("what is missing");
        let names: Vec<&Value> = missing.iter().map(|entry| &entry["name"]).collect();
        assert_eq!(names, ["gone", "slow"], "{}", answer.raw);
        for entry in missing {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            assert!(
                ["starting", "unavailable"].contains(&text("state")),
                "{entry}"
            );
            assert!(!text("reason").is_empty(), "{entry}");
            assert!(!text("action").is_empty(), "{entry}");
            // Such as 2026-07-28T12:00:00Z.
            assert!(
                text("since").len() == 20 && text("since").ends_with('Z'),
                "{entry}"
            );
        }
        assert_eq!(missing[0]["state"], "unavailable", "{}", answer.raw);
    }
    assert_eq!(tools(&front).await, ["s__search"]);
    assert_eq!(called(&front, "s__search").await, "search");

    // What they may have is unavailable, not unknown; what they cannot have is unknown.
    for (tool, backend) in [("gone__search", "gone"), ("slow__echo", "slow")] {
        let answer = front.client.call(tool, json!({})).await;
        assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
        let fault = answer.fault();
        assert_eq!(fault["code"], 503, "{fault}");
        assert_eq!(fault["backend"], backend, "{fault}");
        assert_eq!(fault["outcome"], "not_sent", "{fault}");
        assert_eq!(fault["retryable"], true, "{fault}");
    }
    assert_unknown(&front, "s__echo").await;
    assert_unknown(&front, "nobody__echo").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn when_all_are_there_a_list_keeps_as_long_as_the_shortest_of_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("fails");
    std::fs::write(&file, "").expect("the folder is ours");
    let shelf = Shelf::start(Content::of_tools(&["search"])).await;
    let flags = [
        "--exit-at-start",
        "--while-exists",
        file.to_str().expect("UTF-8"),
    ];
    let front = Front::of(json!({ "late": faulty(&flags), "s": shelf.backend() })).await;
    front.wait_until("s", true).await;
    front.wait_until("late", false).await;
    std::fs::remove_file(&file).expect("the folder is ours");
    front.wait_until("late", true).await;
    let answer = front.client.request("tools/list", json!({})).await;
    assert_eq!(answer.result()["ttlMs"], 60_000, "{}", answer.raw);
    assert!(
        answer.result()["_meta"][MISSING].is_null(),
        "{}",
        answer.raw
    );
    // By backend, whoever came first.
    let names = tools(&front).await;
    assert_eq!(names.first().map(String::as_str), Some("late__echo"));
    assert_eq!(names.last().map(String::as_str), Some("s__search"));
    front.gateway.stop().await;
}

#[tokio::test]
async fn lists_are_the_same_bytes_in_the_same_order() {
    let names: Vec<String> = (0..50).rev().map(|index| format!("t{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shelf = Shelf::start(Content::of_tools(&names)).await;
    // Whoever answers first is not always the same.
    let config = json!({ "backends": {
        "d": faulty(&["--shuffle", "1"]),
        "b": faulty(&["--shuffle", "2"]),
        "c": shelf.backend(),
        "a": faulty(&["--shuffle", "3", "--era", "legacy"]),
    } });
    let mut all: BTreeSet<Vec<String>> = BTreeSet::new();
    for _ in 0..3 {
        let front = front(config.clone()).await;
        let mut lists = Vec::new();
        for (method, _, _) in LISTS {
            let first = front.client.request(method, json!({})).await;
            let second = front.client.request(method, json!({})).await;
            assert_eq!(first.raw, second.raw, "{method}");
            lists.push(first.raw);
        }
        let order = tools(&front).await;
        let backends: Vec<&str> = order.iter().map(|name| &name[..1]).collect();
        assert!(backends.is_sorted(), "{order:?}");
        let own: Vec<&str> = order
            .iter()
            .filter_map(|name| name.strip_prefix("c__"))
            .collect();
        assert_eq!(own, names, "a server's own order");
        all.insert(lists);
        front.gateway.stop().await;
    }
    assert_eq!(all.len(), 1, "{all:#?}");
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
async fn a_list_is_read_again_when_its_time_is_over() {
    let content = |names: &[&str]| Content {
        ttl_ms: 100,
        ..Content::of_tools(names)
    };
    let shelf = Shelf::start(content(&["before"])).await;
    let front = front(json!({ "backends": { "s": shelf.backend() } })).await;
    let mut listener = front
        .client
        .listen(json!({ "toolsListChanged": true }))
        .await;
    listener.next().await.expect("an acknowledgement");
    assert_eq!(tools(&front).await, ["s__before"]);
    shelf.put(content(&["after", "before"]));
    let told = listener.next().await.expect("a notification");
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(tools(&front).await, ["s__after", "s__before"]);
    assert_eq!(called(&front, "s__after").await, "after");
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
