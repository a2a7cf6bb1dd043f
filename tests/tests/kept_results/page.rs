//! The examples of `docs/kept-results.md`, as the page has them.

use super::*;

use switchboard_testkit::client::Answer;
use switchboard_tests::example::Example;
use switchboard_tests::manual;

const PLACE: &str = "dev.switchboard/result";
/// How long each row of the table of the page is.
const ROW: usize = 512;
const ROWS: usize = 16 * 1024;

/// The 8 MB of rows that the page speaks of.
fn rows() -> String {
    let mut text = String::with_capacity(ROW * ROWS);
    for id in 0..ROWS {
        let (customer, state, since) = match id {
            2203 => ("Meier", "overdue", "2026-05-11"),
            9119 => ("Sato", "Overdue (disputed)", "2026-05-02"),
            _ => ("Novak", "paid", "2026-06-01"),
        };
        let row = format!(
            r#"{{"id": {id}, "customer": "{customer}", "state": "{state}", "since": "{since}", "note": ""#
        );
        let note = "called twice, no answer; ".repeat(20);
        let room = ROW - row.len() - "\"}\n".len();
        text.push_str(&row);
        text.push_str(&note[..room]);
        text.push_str("\"}\n");
    }
    text
}

fn section<'p>(page: &'p str, title: &str) -> &'p str {
    let sections = manual::sections(page).into_iter();
    let mut found = sections.filter_map(|(it, section)| (it == title).then_some(section));
    found.next().unwrap_or_else(|| panic!("no section {title}"))
}

/// The gateway of the page, in front of a server with these results, and what the page shows.
async fn started(page: &str, server: &Scripted) -> Example {
    let example = manual::blocks(section(page, "Example"), "yaml")[0];
    let over = json!({ "backends": { "db": { "url": server.url() } } });
    let gateway = Example::start(example, over, &[]).await;
    gateway
        .wait_for(&gateway.client, &["db__query", READER])
        .await;
    gateway
}

fn texts(answer: &Answer) -> Vec<&str> {
    let blocks = answer.result()["content"].as_array().expect("blocks");
    blocks.iter().filter_map(|it| it["text"].as_str()).collect()
}

#[tokio::test]
async fn the_example_is_searched_and_read_as_the_page_shows() {
    let page = manual::page("kept-results.md");
    let server = server(&rows()).await.with_tool("query");
    let gateway = started(&page, &server).await;
    let client = &gateway.client;
    let answer = client.call("db__query", json!({})).await;
    assert!(answer.result().to_string().len() <= 16 * 1024);
    let told = texts(&answer);
    assert!(rows().starts_with(told[0]), "{told:?}");
    assert!(
        told[1].contains("In it: content: 1 block (text 8 MiB, 16,384 lines)"),
        "{told:?}"
    );

    // What the page shows, with the address of this result in the place of the page's.
    let section = section(&page, "Example");
    let of_page: Value = serde_json::from_str(manual::blocks(section, "json")[0]).expect("JSON");
    let (of_page, uri) = (
        of_page["uri"].as_str().expect("a URI"),
        link(answer.result()),
    );
    let here = section.replace(of_page, &uri);
    let shown: Vec<Value> = manual::blocks(&here, "json")
        .into_iter()
        .map(|block| serde_json::from_str(block).expect("JSON"))
        .collect();
    let [link, search, read, place] = &shown[..] else {
        panic!("the page shows something else: {shown:?}");
    };
    let [found, uris] = manual::blocks(&here, "text")[..] else {
        panic!("the page shows something else: {here}");
    };
    let blocks = answer.result()["content"].as_array().expect("blocks");
    assert_eq!(blocks.last(), Some(link));

    let listed = client.call(READER, search.clone()).await;
    assert_eq!(texts(&listed), [found.trim_end()]);
    let range = client.call(READER, read.clone()).await;
    assert_eq!(range.result()["_meta"], *place);
    let (from, to) = (read["offset"].as_u64(), place[PLACE]["nextOffset"].as_u64());
    let [from, to] = [from, to].map(|at| usize::try_from(at.expect("a byte")).expect("small"));
    assert_eq!(texts(&range)[0], &rows()[from..to]);
    assert!(texts(&range)[0].contains("Meier"));

    // A program does the same.
    let [searched, ranged] = uris.lines().collect::<Vec<_>>()[..] else {
        panic!("the page shows something else: {uris}");
    };
    for (uri, same) in [(searched, &listed), (ranged, &range)] {
        let asked = json!({ "uri": uri });
        let answer = client.request("resources/read", asked).await;
        let contents = &answer.result()["contents"][0];
        assert_eq!(contents["text"], texts(same)[0], "{uri}");
        assert_eq!(contents["uri"], uri);
        assert_eq!(answer.result()["_meta"], same.result()["_meta"]);
    }
    let templates = client.request("resources/templates/list", json!({})).await;
    let template = names(templates.result(), "resourceTemplates", "uriTemplate");
    for key in uris
        .split(['?', '&'])
        .filter_map(|pair| pair.split_once('='))
    {
        assert!(template[0].contains(key.0), "{key:?}");
    }
    gateway.server.stop().await;
}

#[tokio::test]
async fn what_there_is_in_a_result_is_told_as_the_page_shows() {
    let page = manual::page("kept-results.md");
    let server = server("").await.with_tool("query");
    let line = format!("{}\n", "all lines are equally long; ".repeat(4));
    let items: Vec<Value> = (0..12_034)
        .map(|id| json!({ "id": id, "name": "n" }))
        .collect();
    let result = json!({
        "resultType": "complete",
        "content": [
            { "type": "text", "text": line[line.len() - 90..].repeat(14_032) },
            { "type": "image", "data": "AAAA".repeat(30 * 1024 / 3), "mimeType": "image/png" },
            { "type": "text", "text": "12,034 rows." },
        ],
        "structuredContent": { "items": items, "total": 12_034 },
    });
    server.answer_with(move |id| pieces(&response(id, &result), 100_003));
    let gateway = started(&page, &server).await;
    let answer = gateway.client.call("db__query", json!({})).await;
    let shown = manual::blocks(section(&page, "What is kept"), "text")[0];
    let shown = shown.trim_end().replace('\n', " ");
    let told = texts(&answer).pop().unwrap_or_default();
    assert!(
        told.contains(&format!(" In it: {shown}.")),
        "{shown}: {told}"
    );
    gateway.server.stop().await;
}

/// What the page says that small caps have no room for.
#[tokio::test]
async fn what_a_small_cap_has_no_room_for_is_told_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&long_text()).await;
    for (key, cap, has_link, has_parts) in [
        ("max_bytes", 1024, false, false),
        ("max_bytes", 3 * 1024, true, false),
        ("max_bytes", 9 * 1024 - 1, true, false),
        ("max_bytes", 9 * 1024, true, true),
        ("max_tokens", 256, false, false),
        ("max_tokens", 750, true, false),
        ("max_tokens", 2303, true, false),
        ("max_tokens", 2304, true, true),
    ] {
        let mut config = config(&server, &folder);
        config["result_caps"] = json!([{ key: cap, "over": "handle" }]);
        let front = front(config).await;
        let answer = front.client.call("s__t", json!({})).await;
        let told = &answer.result()["_meta"]["dev.switchboard/truncated"];
        let uri = told["uri"].as_str().expect("a URI");
        let blocks = answer.result()["content"].as_array().expect("blocks");
        let mut links = blocks.iter().filter(|it| it["type"] == "resource_link");
        assert_eq!(
            links.next().is_some(),
            has_link,
            "{key} {cap}: {}",
            answer.raw
        );
        let words = *texts(&answer).last().expect("a text");
        assert!(words.contains(uri) && words.contains(READER), "{words}");
        assert_eq!(words.contains(" In it: "), has_link, "{key} {cap}: {words}");
        for (uri, rest) in [(uri.to_owned(), false), (format!("{uri}?offset=1"), true)] {
            let read = json!({ "uri": uri });
            let page = front.client.request("resources/read", read).await;
            let parts = &page.result()["_meta"][PLACE]["parts"];
            assert_eq!(
                parts.is_array(),
                has_parts && !rest,
                "{key} {cap}: {}",
                page.raw
            );
        }
        front.gateway.stop().await;
    }
}
