use super::*;

const LISTS: [List; 5] = List::ALL;

#[test]
fn an_empty_catalogue_answers_everything() {
    let snapshot = build(&[]);
    for list in LISTS {
        let expected = json!({
            "resultType": "complete",
            list.key(): [],
            "ttlMs": 60_000,
            "cacheScope": "public",
            "_meta": {
                "io.modelcontextprotocol/serverInfo": { "name": "switchboard", "version": "1.2.3" },
            },
        });
        assert_eq!(result(&snapshot, list), expected);
    }
    let discover: Value = serde_json::from_slice(snapshot.discover()).unwrap();
    let expected = json!({
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "listChanged": true, "subscribe": true },
            "completions": {},
            "logging": {},
        },
        "ttlMs": 60_000,
        "cacheScope": "public",
        "_meta": {
            "io.modelcontextprotocol/serverInfo": { "name": "switchboard", "version": "1.2.3" },
        },
    });
    assert_eq!(discover, expected);
}

#[test]
fn nothing_that_a_server_writes_is_lost() {
    let raw =
        r#"{ "x-unknown" :[1.50,"\u00e9"], "name": "r\u0065ad","_meta":{"vendor/key":null} }"#;
    let expected = raw.replace(r#""r\u0065ad""#, r#""b__read""#);
    let tool = raw_item(raw, "name");
    let snapshot = build(&[backend("b").with(|lists| lists.tools.push(tool))]);
    let bytes = snapshot.page(List::Tools, None).unwrap();
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(&format!("\"tools\":[{expected}],")), "{text}");
}

#[test]
fn the_shortest_hint_is_passed_on_and_none_while_a_backend_is_missing() {
    let ttl = |sources: &[Source]| result(&build(sources), List::Prompts)["ttlMs"].clone();
    let hint = |name: &str, ttl: u64| backend(name).with(|lists| lists.ttl_ms = Some(ttl));
    assert_eq!(ttl(&[hint("a", 90_000), hint("b", 80_000)]), 80_000);
    assert_eq!(ttl(&[hint("a", 90_000), backend("b")]), 60_000);
    assert_eq!(ttl(&[hint("a", 0), backend("b")]), 0);

    let missing = |state| backend("b").unlearned(state);
    assert_eq!(ttl(&[hint("a", 90_000), missing(State::Starting)]), 0);
    let mut down = hint("b", 90_000);
    down.status = status(State::NeedsAuth);
    assert_eq!(ttl(&[hint("a", 90_000), down]), 0);
    let partial = backend("b").with(|lists| lists.missing = Some("no prompts".to_owned()));
    assert_eq!(ttl(&[hint("a", 90_000), partial]), 0);
}

#[test]
fn one_private_list_makes_all_pages_private() {
    let scope = |sources: &[Source], settings: &SnapshotSettings| {
        let snapshot = Snapshot::build(&NamesConfig::default(), sources, settings);
        let scopes: BTreeSet<String> = LISTS
            .map(|list| result(&snapshot, list)["cacheScope"].to_string())
            .into();
        assert_eq!(scopes.len(), 1);
        scopes.into_iter().next().unwrap()
    };
    let settings = SnapshotSettings::new("1");
    let with_auth = SnapshotSettings {
        private: true,
        ..SnapshotSettings::new("1")
    };
    assert_eq!(scope(&[backend("a")], &settings), "\"public\"");
    assert_eq!(scope(&[backend("a")], &with_auth), "\"private\"");
    let mut shaped = backend("b");
    shaped.shaped_by_credential = true;
    assert_eq!(scope(&[backend("a"), shaped], &settings), "\"private\"");
    let private = backend("b").with(|lists| lists.public = false);
    assert_eq!(scope(&[backend("a"), private], &settings), "\"private\"");
}

#[test]
fn lists_say_who_is_missing_and_why() {
    let mut down = backend("down").tools(&["kept"]);
    down.status = status(State::Unavailable);
    let partial =
        backend("partial").with(|lists| lists.missing = Some("its prompts failed".into()));
    let snapshot = build(&[
        backend("well"),
        down,
        partial,
        backend("new").unlearned(State::Starting),
    ]);
    assert_eq!(listed(&snapshot, List::Tools), ["down__kept"]);
    let since = "2027-01-15T08:00:00Z";
    let entry = |name: &str, state: &str, stage: &str, reason: &str, action: &str| json!({ "name": name, "state": state, "stage": stage, "reason": reason, "since": since, "action": action });
    for list in LISTS {
        assert_eq!(
            result(&snapshot, list)["_meta"]["dev.switchboard/backends"],
            json!([
                entry(
                    "down",
                    "unavailable",
                    "connecting",
                    "no answer",
                    State::Unavailable.action()
                ),
                entry(
                    "new",
                    "starting",
                    "connecting",
                    "no answer",
                    State::Starting.action()
                ),
                entry(
                    "partial",
                    "unavailable",
                    "listing",
                    "its prompts failed",
                    "look for this backend in the gateway's log"
                ),
            ])
        );
    }
}

fn of_tools(count: usize) -> Source {
    let names: Vec<String> = (0..count).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    backend("b").tools(&names)
}

#[test]
fn a_thousand_items_are_one_page() {
    let snapshot = build(&[of_tools(1_000)]);
    assert_eq!(result(&snapshot, List::Tools).get("nextCursor"), None);
    let snapshot = build(&[of_tools(1_001)]);
    let first = result(&snapshot, List::Tools);
    assert_eq!(first["tools"].as_array().unwrap().len(), 1_000);
    let cursor = first["nextCursor"].as_str().unwrap();
    let last: Value =
        serde_json::from_slice(snapshot.page(List::Tools, Some(cursor)).unwrap()).unwrap();
    assert_eq!(last["tools"].as_array().unwrap().len(), 1);
    assert_eq!(last.get("nextCursor"), None);
}

#[test]
fn a_cursor_holds_as_long_as_the_items_are_the_same() {
    let before = build(&[of_tools(1_500)]);
    let cursor = result(&before, List::Tools)["nextCursor"].clone();
    let cursor = cursor.as_str();
    let mut down = of_tools(1_500);
    down.status = status(State::Unavailable);
    assert!(build(&[down]).page(List::Tools, cursor).is_ok());
    let changed = build(&[of_tools(1_501)]);
    assert_eq!(changed.page(List::Tools, cursor), Err(InvalidCursor));
    for unknown in ["", "1", "0.0000000000000000"] {
        let page = before.page(List::Tools, Some(unknown));
        assert_eq!(page, Err(InvalidCursor), "{unknown}");
    }
    assert_eq!(before.page(List::Prompts, cursor), Err(InvalidCursor));
    assert_eq!(ProtocolError::from(InvalidCursor).code, -32602);
}

#[test]
fn every_listing_method_has_its_list() {
    let lists = [
        (Method::ToolsList, List::Tools),
        (Method::PromptsList, List::Prompts),
        (Method::ResourcesList, List::Resources),
        (Method::ResourceTemplatesList, List::Templates),
        (Method::SkillsList, List::Skills),
    ];
    for method in Method::ALL {
        let expected = lists.iter().find(|(of, _)| *of == method);
        assert_eq!(List::of(method), expected.map(|(_, list)| *list));
    }
}

proptest! {
    #[test]
    fn following_the_cursors_gives_every_item_once_in_order(
        count in 0_usize..40,
        page_size in 1_usize..10,
    ) {
        let settings = SnapshotSettings { page_size, ..SnapshotSettings::new("1") };
        let snapshot = Snapshot::build(&NamesConfig::default(), &[of_tools(count)], &settings);
        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let page = snapshot.page(List::Tools, cursor.as_deref()).unwrap();
            let page: Value = serde_json::from_slice(page).unwrap();
            let items = page["tools"].as_array().unwrap();
            prop_assert!(items.len() <= page_size);
            names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            match page.get("nextCursor") {
                Some(next) => cursor = Some(next.as_str().unwrap().to_owned()),
                None => break,
            }
        }
        let expected: Vec<String> = (0..count).map(|n| format!("b__t{n}")).collect();
        prop_assert_eq!(names, expected);
    }
}

#[test]
fn extensions_that_are_routed_are_merged_and_never_withdrawn() {
    let mut extensions = Extensions::default();
    let some = |name: &str, settings: &'static str| (name.to_owned(), Bytes::from(settings));
    assert!(extensions.learn(&[
        some(
            "io.modelcontextprotocol/ui",
            r#"{"mimeTypes":["text/html"]}"#
        ),
        some("io.modelcontextprotocol/tasks", "{}"),
    ]));
    assert!(!extensions.learn(&[some("io.modelcontextprotocol/ui", "{}")]));
    assert!(!extensions.learn(&[some("com.example/methods-nobody-routes", "{}")]));

    let settings = SnapshotSettings {
        extensions,
        ..SnapshotSettings::new("1")
    };
    let snapshot = Snapshot::build(&NamesConfig::default(), &[], &settings);
    let capabilities: Value = serde_json::from_slice(snapshot.capabilities()).unwrap();
    assert_eq!(
        capabilities["extensions"],
        json!({
            "io.modelcontextprotocol/tasks": {},
            "io.modelcontextprotocol/ui": { "mimeTypes": ["text/html"] },
        })
    );
    let discover: Value = serde_json::from_slice(snapshot.discover()).unwrap();
    assert_eq!(discover["capabilities"], capabilities);
}

#[test]
fn instructions_are_merged_and_bounded() {
    let says = |name: &str, text: &str| {
        backend(name).with(|lists| {
            Arc::make_mut(&mut lists.server).instructions = Some(text.to_owned());
        })
    };
    let mut zoo = says("zoo", "Feed first.\n");
    zoo.prefix = Some(String::new());
    let snapshot = build(&[
        zoo,
        says("files", "Read before you write."),
        says("mute", " "),
    ]);
    assert_eq!(
        snapshot.instructions(),
        Some(
            "## files (its names begin with `files__`)\n\nRead before you write.\n\n## zoo\n\nFeed first."
        )
    );
    let discover: Value = serde_json::from_slice(snapshot.discover()).unwrap();
    assert_eq!(discover["instructions"].as_str(), snapshot.instructions());

    let long = "ä".repeat(3_000);
    let snapshot = build(&[says("a", &long)]);
    let text = snapshot.instructions().unwrap();
    assert_eq!(text.matches('ä').count(), 1_024);
    let sources: Vec<Source> = (0..20).map(|n| says(&format!("b{n:02}"), &long)).collect();
    let snapshot = build(&sources);
    let text = snapshot.instructions().unwrap();
    assert!((16_000..=16 * 1024).contains(&text.len()), "{}", text.len());
    assert_eq!(build(&[backend("a")]).instructions(), None);
}

#[test]
fn storing_a_snapshot_says_which_lists_have_other_items() {
    let a = backend("a")
        .tools(&["x"])
        .prompts(&["p"])
        .resources(&["r:1"]);
    let catalogue = Catalogue::new(build(std::slice::from_ref(&a)));
    let changed = catalogue.changed();
    let mut down = a.clone();
    down.status = status(State::Unavailable);
    assert_eq!(catalogue.store(build(&[down])), ChangedLists::default());
    assert!(changed.has_changed().unwrap());
    let changes = |tools, prompts, resources| ChangedLists {
        tools,
        prompts,
        resources,
    };
    let steps = [
        (a.clone().tools(&["y"]), changes(true, false, false)),
        (a.clone().tools(&["z"]), changes(true, false, false)),
        (a.clone().prompts(&["q"]), changes(true, true, false)),
        (a.clone().templates(&["r:{id}"]), changes(false, true, true)),
        (a.resources(&["r:2"]), changes(false, false, true)),
    ];
    for (source, expected) in steps {
        assert_eq!(catalogue.store(build(&[source])), expected);
    }
    assert_eq!(*changed.borrow(), 6);
    assert_eq!(catalogue.load().sources().len(), 1);
    assert_eq!(
        listed(&catalogue.load_full(), List::Resources),
        ["r:1", "r:2"]
    );
}

#[test]
fn what_is_hidden_leaves_the_lists_and_keeps_its_names() {
    let offered = || {
        backend("away")
            .tools(&["search"])
            .prompts(&["ask"])
            .resources(&["a:1"])
    };
    let other = backend("other").tools(&["search"]);
    let hidden = Source {
        hidden: true,
        ..offered()
    };
    let snapshot = build(&[hidden, other.clone()]);
    assert_eq!(listed(&snapshot, List::Tools), ["other__search"]);
    for list in [List::Prompts, List::Resources] {
        assert_eq!(listed(&snapshot, list), Vec::<String>::new());
    }
    assert!(snapshot.tool("away__search").is_some());
    assert!(matches!(snapshot.resource("a:1"), Route::One { .. }));
    let missing = &result(&snapshot, List::Tools)["_meta"]["dev.switchboard/backends"];
    assert_eq!(missing[0]["name"], "away");
    assert_eq!(missing[0]["state"], "starting");

    let names: Vec<_> = build(&[offered(), other])
        .entries(Kind::Tool)
        .iter()
        .map(|entry| entry.exposed.to_string())
        .collect();
    let hidden_names: Vec<_> = snapshot
        .entries(Kind::Tool)
        .iter()
        .map(|entry| entry.exposed.to_string())
        .collect();
    assert_eq!(names, hidden_names);
}
