use proptest::prelude::*;

use super::super::body::{Body, Growing};
use super::super::read::Limit;
use super::super::request::Search;
use super::super::search::{Found, search};
use super::*;

fn body(text: &str) -> Body {
    let mut growing = Growing::new(std::env::temp_dir().into(), true);
    growing.rest.extend_from_slice(text.as_bytes());
    growing.note();
    growing.finish()
}

fn wanted(text: &str, from: u64) -> Search {
    Search {
        text: text.to_owned(),
        from,
        context: 10,
        most: 3,
    }
}

/// All matches, some at a time, as (offset, line).
fn all(body: &Body, text: &str) -> Vec<(u64, u64)> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let Found { matches, next, .. } =
            search(body, &wanted(text, from), &Limit::none()).expect("read");
        all.extend(matches.iter().map(|it| (it.offset, it.line)));
        match next {
            Some(next) => {
                assert!(next > from || !matches.is_empty());
                from = next;
            }
            None => return all,
        }
    }
}

#[tokio::test]
async fn matches_across_pages_and_windows_are_found_once() {
    let mut text = String::new();
    let mut expected = Vec::new();
    // At every place around the end of a window.
    for at in 0..40 {
        let place = 256 * 1024 * (at + 1) - 20 + at;
        while text.len() < place {
            text.push(if text.len().is_multiple_of(97) {
                '\n'
            } else {
                'x'
            });
        }
        expected.push((text.len() as u64, 1 + text.matches('\n').count() as u64));
        text.push_str(if at % 2 == 0 { "Needle" } else { "nEEDLE" });
    }
    assert_eq!(all(&body(&text), "needle"), expected);
    for in_memory in [64 * 1024 * 1024, 1] {
        let scene = Scene::new(|config| config.in_memory = in_memory).await;
        let kept = scene.keep(&text).await;
        let (mut found, mut from) = (Vec::new(), 0u64);
        loop {
            let uri = format!("{}?search=NEEDLE&after={from}&max_matches=7", kept.uri);
            let answer = scene.read(&uri).await.expect("matches");
            let matches = meta(&answer)["matches"].as_array().expect("matches");
            let number = |it: &Value| it.as_u64().expect("a number");
            found.extend(matches.iter().map(|it| (number(&it[0]), number(&it[2]))));
            match meta(&answer)["nextOffset"].as_u64() {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(found, expected);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_model_sees_line_place_and_surroundings() {
    let scene = Scene::new(|_| {}).await;
    let kept = scene
        .keep("first line\nthe STRASSE in Zürich\nlast line of it all")
        .await;
    let answer = scene
        .tool(json!({ "uri": kept.uri, "search": "strasse", "context": 8 }))
        .await;
    assert_eq!(
        answer["content"][0]["text"],
        "line 2, byte 15: …ine⏎the STRASSE in Zür…\n1 match up to byte 53 of 53."
    );
    let answer = scene
        .tool(json!({ "uri": kept.uri, "search": "ZÜRICH", "context": 0 }))
        .await;
    assert_eq!(meta(&answer)["matches"], json!([[26, 7, 2]]));
    let answer = scene
        .tool(json!({ "uri": kept.uri, "search": "a.*b" }))
        .await;
    assert_eq!(
        answer["content"][0]["text"],
        "No match up to byte 53 of 53."
    );
    let answer = scene
        .tool(json!({ "uri": kept.uri, "search": "line", "max_matches": 1 }))
        .await;
    let said = answer["content"][0]["text"].as_str().expect("a text");
    assert!(
        said.ends_with("1 match up to byte 39 of 53. There are more. Search on with offset 39."),
        "{said}"
    );
    scene.end().await;
}

#[tokio::test]
async fn where_room_is_short_all_are_told_with_less_around_them() {
    let scene = Scene::new(|_| {}).await;
    let kept = scene.keep(&"needle in a haystack; ".repeat(200)).await;
    let cap = Cap {
        bytes: Some(4096),
        tokens: None,
        over: Over::Truncate,
    };
    let rules = Rules {
        cap: Some(cap),
        ..Rules::default()
    };
    scene.reload(rules, Some(scene.config.clone())).await;
    let ask = |most: u64| json!({ "uri": kept.uri, "search": "needle", "context": 1000, "max_matches": most });
    for (most, told) in [(20, 20), (100, 33)] {
        let answer = scene.tool(ask(most)).await;
        let matches = meta(&answer)["matches"].as_array().expect("matches");
        assert_eq!(matches.len(), told);
        assert_eq!(meta(&answer)["hasMore"], true);
        assert_eq!(meta(&answer)["nextOffset"], 22 * told);
        let listing = answer["content"][0]["text"].as_str().expect("a text");
        assert_eq!(listing.matches("line 1, byte ").count(), told, "{listing}");
        assert!(listing.matches("needle").count() >= told, "{listing}");
        assert!(listing.contains("There are more. Search on"), "{listing}");
        assert!(
            answer.to_string().len() <= 4096,
            "{}",
            answer.to_string().len()
        );
    }
    scene.end().await;
}

#[test]
fn one_request_looks_through_a_bounded_part() {
    let text = "x".repeat(40 * 1024 * 1024) + "needle";
    let body = body(&text);
    let found = search(&body, &wanted("needle", 0), &Limit::none()).expect("read");
    assert!(found.matches.is_empty());
    let next = found.next.expect("more");
    assert!(
        (32 * 1024 * 1024..33 * 1024 * 1024).contains(&next),
        "{next}"
    );
    let found = search(&body, &wanted("needle", next), &Limit::none()).expect("read");
    assert_eq!(found.matches[0].offset, 40 * 1024 * 1024);
    assert_eq!(found.next, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_finds_what_a_plain_search_finds(text in "[ab\n]{0,200}", needle in "[abAB\n]{1,4}") {
        let lower = needle.to_lowercase();
        let (mut expected, mut at) = (Vec::new(), 0);
        while let Some(found) = text[at..].find(&lower) {
            let offset = at + found;
            expected.push((offset as u64, 1 + text[..offset].matches('\n').count() as u64));
            at = offset + lower.len();
        }
        prop_assert_eq!(all(&body(&text), &needle), expected);
    }
}
