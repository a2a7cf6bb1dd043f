//! Names and addresses, and where they lead.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_testkit::client::Answer;
use switchboard_testkit::fake::RESOURCE_URI;
use switchboard_testkit::fake_http::RefusedPort;
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::waiting::until;

use crate::shelf::{Content, Shelf, tool};
use crate::{MAX_NAME, assert_unknown, called, front, listed, tools};

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
