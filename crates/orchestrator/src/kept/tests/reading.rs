use super::*;

fn long_text() -> String {
    (0..20_000)
        .map(|at| format!("row {at}: Zürich 世界 😀 \"q\" \\ \t|\n"))
        .collect()
}

/// All pages of a result, put together.
async fn all_of(scene: &Scene, uri: &str, length: Option<u64>) -> (String, usize) {
    let (mut whole, mut offset, mut pages) = (String::new(), 0u64, 0);
    loop {
        let length = length.map_or(String::new(), |length| format!("&length={length}"));
        let page = scene
            .read(&format!("{uri}?offset={offset}{length}"))
            .await
            .expect("a page");
        assert_eq!(meta(&page)["offset"], offset);
        assert_eq!(meta(&page)["length"], text(&page).len());
        whole.push_str(text(&page));
        pages += 1;
        match meta(&page)["nextOffset"].as_u64() {
            Some(next) => {
                assert!(next > offset);
                offset = next;
            }
            None => return (whole, pages),
        }
    }
}

#[tokio::test]
async fn pages_make_up_the_text_in_memory_and_in_a_file() {
    for in_memory in [10 * 1024 * 1024, 1] {
        let scene = Scene::new(|config| config.in_memory = in_memory).await;
        let long = long_text();
        let kept = scene.keep(&long).await;
        assert_eq!(kept.size, long.len() as u64);
        assert_eq!(kept.media_type, "text/plain");
        assert!(
            kept.shape.starts_with("content: 1 block (text "),
            "{}",
            kept.shape
        );
        assert!(kept.shape.contains("20,000 lines"), "{}", kept.shape);
        for length in [None, Some(7777), Some(1_000_000)] {
            let (whole, pages) = all_of(&scene, &kept.uri, length).await;
            assert!(whole == long, "{in_memory} {length:?}");
            assert!(pages > 1);
        }
        // No file has a name.
        assert_eq!(
            std::fs::read_dir(scene.folder.path())
                .expect("there")
                .count(),
            0
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn a_range_has_whole_characters_and_at_least_one() {
    let scene = Scene::new(|_| {}).await;
    let kept = scene.keep("aé世😀").await;
    for (offset, length, expected, from) in [
        (0, 1, "a", 0),
        (1, 1, "é", 1),
        (2, 1, "é", 1),
        (4, 1, "世", 3),
        (7, 1, "😀", 6),
        (0, 4, "aé", 0),
        (10, 5, "", 10),
        (999, 5, "", 10),
    ] {
        let uri = format!("{}?offset={offset}&length={length}", kept.uri);
        let page = scene.read(&uri).await.expect("a page");
        assert_eq!(
            (text(&page), &meta(&page)["offset"]),
            (expected, &json!(from)),
            "{offset} {length}"
        );
        assert_eq!(page["contents"][0]["uri"], uri);
    }
    scene.end().await;
}

#[tokio::test]
async fn the_tool_reads_the_same_and_says_how_to_go_on() {
    let scene = Scene::new(|_| {}).await;
    let kept = scene.keep(&long_text()).await;
    let page = scene.tool(json!({ "uri": kept.uri, "length": 100 })).await;
    let of_resource = scene
        .read(&format!("{}?length=100", kept.uri))
        .await
        .expect("a page");
    assert_eq!(
        page["content"][0]["text"],
        of_resource["contents"][0]["text"]
    );
    assert_eq!(meta(&page), meta(&of_resource));
    assert_eq!(meta(&page)["parts"][0]["kind"], "text");
    let next = meta(&page)["nextOffset"].as_u64().expect("more");
    let said = page["content"][1]["text"].as_str().expect("a text");
    assert!(
        said.ends_with(&format!("Read on with offset {next}.")),
        "{said}"
    );
    let id = kept.uri.strip_prefix(SCHEME).expect("the scheme");
    let last = scene
        .tool(json!({ "id": id, "offset": kept.size - 5 }))
        .await;
    assert!(
        last["content"][1]["text"]
            .as_str()
            .expect("a text")
            .ends_with("This is the end.")
    );
    let wrong = scene.tool(json!({ "uri": kept.uri, "offset": -1 })).await;
    assert_eq!(wrong["isError"], true);
    assert_eq!(
        wrong["content"][0]["text"],
        "`offset` is `-1`; expected a whole number of at least 0."
    );
    scene.end().await;
}

#[tokio::test]
async fn a_page_keeps_the_cap_of_what_was_called() {
    let scene = Scene::new(|_| {}).await;
    let long = long_text();
    let kept = scene.keep(&long).await;
    for (bytes, tokens) in [
        (Some(4096), None),
        (None, Some(2000)),
        (Some(100_000), Some(1500)),
        (Some(1), Some(1)),
    ] {
        let cap = Some(Cap {
            bytes,
            tokens,
            over: Over::Handle,
        });
        let rules = Rules {
            cap,
            ..Rules::default()
        };
        scene.reload(rules, Some(scene.config.clone())).await;
        let uri = format!("{}?offset=0&length=999999", kept.uri);
        for page in [
            scene.read(&uri).await.expect("a page"),
            scene.tool(json!({ "uri": uri })).await,
            scene
                .tool(json!({ "uri": kept.uri, "search": "zürich", "max_matches": 100 }))
                .await,
        ] {
            let json = page.to_string();
            let quarters: usize = json
                .chars()
                .map(|it| if it.is_ascii() { 1 } else { 4 })
                .sum();
            let least = 1 + 2048;
            assert!(
                json.len() as u64 <= bytes.unwrap_or(u64::MAX).max(least),
                "{bytes:?} {}",
                json.len()
            );
            assert!(
                quarters as u64 / 4 <= tokens.unwrap_or(u64::MAX).max(least / 4),
                "{tokens:?} {}",
                quarters / 4
            );
            assert!(meta(&page)["nextOffset"].as_u64().is_some());
        }
    }
    let (whole, _) = all_of(&scene, &kept.uri, None).await;
    assert!(whole == long);
    scene.end().await;
}

#[tokio::test]
async fn binary_content_is_read_as_a_blob_as_a_whole_or_in_ranges() {
    for in_memory in [1024 * 1024, 1] {
        let scene = Scene::new(|config| config.in_memory = in_memory).await;
        let bytes: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
        let base64 = STANDARD.encode(&bytes);
        let call = call(
            "alice",
            None,
            "resources/read",
            &json!({ "uri": "db://rows" }),
        );
        let kept = scene
            .kept()
            .keep_content(&call, &TARGET, "image/png", base64.as_bytes())
            .await
            .expect("room");
        assert_eq!(
            (kept.size, kept.media_type, &*kept.shape),
            (100_000, "image/png", "image/png 97.7 KiB")
        );
        let whole = scene.read(&kept.uri).await.expect("all of it");
        assert_eq!(whole["contents"][0]["blob"], base64);
        assert_eq!(whole["contents"][0]["mimeType"], "image/png");
        assert!(meta(&whole)["nextOffset"].is_null());
        let part = scene
            .read(&format!("{}?offset=99990&length=7", kept.uri))
            .await
            .expect("a range");
        assert_eq!(
            part["contents"][0]["blob"],
            STANDARD.encode(&bytes[99_990..99_997])
        );
        assert_eq!(meta(&part)["nextOffset"], 99_997);
        let by_tool = scene.tool(json!({ "uri": kept.uri })).await;
        assert_eq!(by_tool["content"][0]["resource"]["blob"], base64);
        assert!(scene.read(&format!("{}?search=a", kept.uri)).await.is_err());
        assert!(
            scene
                .kept()
                .keep_content(&call, &TARGET, "image/png", b"no base64!")
                .await
                .is_err()
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_anothers_or_gone_or_never_was_is_answered_alike() {
    let scene = Scene::new(|_| {}).await;
    let result = json!({ "content": [{ "type": "text", "text": "mine" }] });
    let own = scene
        .keep_as("alice", Some("p"), &result)
        .await
        .expect("room");
    let params = json!({ "uri": own.uri });
    let read = |who: &'static str, profile: Option<&'static str>, params: Value| {
        let scene = &scene;
        async move { scene.ask(who, profile, "resources/read", &params).await }
    };
    let page = read("alice", Some("p"), params.clone())
        .await
        .expect("hers");
    assert_eq!(text(&page), "mine");
    let never = json!({ "uri": format!("{SCHEME}AAAAAAAAAAAAAAAAAAAAAA") });
    let unknown = |params: &Value| json!({ "code": -32602, "message": "Resource not found", "data": { "uri": params["uri"] } });
    for (who, profile, params) in [
        ("bob", Some("p"), &params),
        ("alice", Some("q"), &params),
        ("alice", None, &params),
        ("alice", Some("p"), &never),
    ] {
        let refused = read(who, profile, params.clone())
            .await
            .expect_err("not his");
        assert_eq!(refused, unknown(params), "{who} {profile:?}");
        let tool = json!({ "name": "switchboard__read_result", "arguments": params });
        let refused = scene
            .ask(who, profile, "tools/call", &tool)
            .await
            .expect_err("not his");
        assert_eq!(refused, unknown(params), "{who} {profile:?}");
    }
    // A reload that withdraws what was called, and one that shows it again.
    let withdrawn = Rules {
        withdrawn: true,
        ..Rules::default()
    };
    scene.reload(withdrawn, Some(scene.config.clone())).await;
    let refused = read("alice", Some("p"), params.clone())
        .await
        .expect_err("withdrawn");
    assert_eq!(refused, unknown(&params));
    scene
        .reload(Rules::default(), Some(scene.config.clone()))
        .await;
    assert!(read("alice", Some("p"), params.clone()).await.is_ok());
    // Without the section nothing is kept, and nobody is told of the tool.
    scene.reload(Rules::default(), None).await;
    scene
        .reload(Rules::default(), Some(scene.config.clone()))
        .await;
    let refused = read("alice", Some("p"), params.clone())
        .await
        .expect_err("forgotten");
    assert_eq!(refused, unknown(&params));
    scene.end().await;
}

#[tokio::test]
async fn the_tool_and_the_template_are_listed_for_everybody_where_results_are_kept() {
    let scene = Scene::new(|_| {}).await;
    let names = |list: &Value, of: &str, key: &str| -> Vec<String> {
        let items = list[of].as_array().expect("a list").iter();
        items
            .map(|item| item[key].as_str().expect("a name").to_owned())
            .collect()
    };
    for profile in [None, Some("p")] {
        let list = async |method: &str| {
            scene
                .ask("alice", profile, method, &json!({}))
                .await
                .expect("a list")
        };
        let tools = list("tools/list").await;
        assert_eq!(names(&tools, "tools", "name"), ["switchboard__read_result"]);
        assert_eq!(tools["tools"][0]["annotations"]["readOnlyHint"], true);
        let templates = list("resources/templates/list").await;
        let uris = names(&templates, "resourceTemplates", "uriTemplate");
        assert!(uris[0].starts_with("switchboard-result://{id}"), "{uris:?}");
        assert_eq!(list("resources/list").await["resources"], json!([]));
    }
    let unknown = scene
        .ask("alice", Some("nobody"), "tools/list", &json!({}))
        .await
        .expect("a list");
    assert_eq!(unknown["tools"], json!([]));
    scene.reload(Rules::default(), None).await;
    let tools = scene
        .ask("alice", None, "tools/list", &json!({}))
        .await
        .expect("a list");
    assert_eq!(tools["tools"], json!([]));
    scene.end().await;
}
