use super::*;

fn one<'u>(backend: &str, uri: &'u str) -> Route<'u> {
    Route::One {
        backend: backend.into(),
        uri: uri.into(),
    }
}

fn with_resources(source: Source) -> Source {
    source.with(|lists| {
        Arc::make_mut(&mut lists.server).features.resources = true;
    })
}

#[test]
fn a_uri_goes_to_the_backend_that_lists_it() {
    let snapshot = build(&[
        backend("a").resources(&["note:1", "note:2"]),
        backend("b").resources(&["note:2", "note:3"]),
    ]);
    assert_eq!(snapshot.resource("note:1"), one("a", "note:1"));
    assert_eq!(snapshot.resource("note:3"), one("b", "note:3"));
    assert_eq!(snapshot.resource("note:4"), Route::Unknown);
    let addresses = ["switchboard://a/note%3A2", "switchboard://b/note%3A2"];
    assert_eq!(
        snapshot.resource("note:2"),
        Route::Ambiguous(addresses.map(str::to_owned).to_vec())
    );
    assert_eq!(snapshot.resource(addresses[1]), one("b", "note:2"));
    assert_eq!(
        listed(&snapshot, List::Resources),
        ["note:1", addresses[0], addresses[1], "note:3"]
    );
    assert_eq!(snapshot.exposed_uri("a", "note:1"), None);
    assert_eq!(
        snapshot.exposed_uri("b", "note:1").as_deref(),
        Some("switchboard://b/note%3A1")
    );
    assert_eq!(
        snapshot.exposed_uri("b", "note:4").as_deref(),
        Some("switchboard://b/note%3A4")
    );
}

#[test]
fn a_result_of_an_older_catalogue_leads_home_by_this_one() {
    let a = backend("a").resources(&["note:1"]);
    let before = build(std::slice::from_ref(&a));
    let now = build(&[a, backend("b").resources(&["note:1"])]);
    let link = |uri: &str| json!({ "type": "resource_link", "uri": uri, "name": "n" });
    let other = "switchboard://a/note%3A9";
    let result = |uri: &str| {
        json!({
            "_meta": { "ui": { "resourceUri": uri } },
            "content": [link(uri), link(other), { "type": "text", "text": "note:1" }],
        })
    };
    let kept = Bytes::from(result("note:1").to_string());
    let again = |snapshot, text| crate::results::readdressed(snapshot, "a", text);
    assert_eq!(again(&before, &kept), None);
    let changed = again(&now, &kept).unwrap();
    let changed: Value = serde_json::from_slice(&changed).unwrap();
    assert_eq!(changed, result("switchboard://a/note%3A1"));
    let plain = Bytes::from_static(br#"{"content":[{"type":"text","text":"note:1"}]}"#);
    assert_eq!(again(&now, &plain), None);
}

#[test]
fn a_uri_goes_to_the_backend_whose_template_says_most() {
    let snapshot = build(&[
        backend("a").templates(&["file:///{+path}", "x://{id}"]),
        backend("b").templates(&["file:///logs/{name}", "y://{id}", "x://{other}"]),
        backend("c").templates(&["y:{+rest}"]),
    ]);
    assert_eq!(
        snapshot.resource("file:///logs/1"),
        one("b", "file:///logs/1")
    );
    assert_eq!(
        snapshot.resource("file:///etc/1"),
        one("a", "file:///etc/1")
    );
    assert_eq!(snapshot.resource("y://1"), one("b", "y://1"));
    assert!(matches!(snapshot.resource("x://1"), Route::Ambiguous(all) if all.len() == 2));
    assert_eq!(snapshot.resource("z://1"), Route::Unknown);
}

#[test]
fn the_only_backend_with_resources_gets_all_uris() {
    let a = with_resources(backend("a"));
    let snapshot = build(&[a.clone(), backend("b")]);
    assert_eq!(snapshot.resource("dynamic:1"), one("a", "dynamic:1"));
    assert_eq!(snapshot.exposed_uri("a", "dynamic:1"), None);

    let b = backend("b").unlearned(State::Starting);
    let snapshot = build(&[a.clone(), b.clone()]);
    assert_eq!(snapshot.resource("dynamic:1"), Route::Unknown);
    assert_eq!(
        &*snapshot
            .may_own_resource("dynamic:1", |_| true)
            .unwrap()
            .name,
        "b"
    );

    let snapshot = build(&[a.clone(), b.unlearned(State::Unavailable)]);
    assert_eq!(snapshot.resource("dynamic:1"), one("a", "dynamic:1"));

    let snapshot = build(&[a, with_resources(backend("b"))]);
    assert_eq!(snapshot.resource("dynamic:1"), Route::Unknown);
    assert!(snapshot.may_own_resource("dynamic:1", |_| true).is_none());
}

#[test]
fn an_address_always_leads_to_its_backend() {
    let snapshot = build(&[
        backend("a").resources(&["note:1"]),
        backend("my server").unlearned(State::Starting),
    ]);
    assert_eq!(
        snapshot.resource("switchboard://a/x%3A%20%C3%A4"),
        one("a", "x: ä")
    );
    assert_eq!(
        snapshot.resource("switchboard://my%20server/x%3A1"),
        one("my server", "x:1")
    );
    assert_eq!(
        snapshot.resource("switchboard://a/file:///a%2Fb?q=%20#f"),
        one("a", "file:///a%2Fb?q=%20#f")
    );
    for lost in [
        "switchboard://",
        "switchboard://a",
        "switchboard://a/",
        "switchboard://nobody/x%3A1",
        "switchboard://a/%FF",
    ] {
        assert_eq!(snapshot.resource(lost), Route::Unknown, "{lost}");
        assert!(
            snapshot.may_own_resource(lost, |_| true).is_none(),
            "{lost}"
        );
    }
}

#[test]
fn a_server_that_writes_addresses_itself_is_not_taken_at_its_word() {
    let theirs = "switchboard://b/note%3A1";
    let snapshot = build(&[
        backend("a").resources(&[theirs]),
        backend("b").resources(&["note:1"]),
    ]);
    let address = listed(&snapshot, List::Resources).remove(0);
    assert_eq!(snapshot.exposed_uri("a", theirs).as_ref(), Some(&address));
    assert_eq!(snapshot.resource(&address), one("a", theirs));
    assert_eq!(snapshot.resource(theirs), one("b", "note:1"));
}

#[test]
fn a_template_of_two_backends_is_listed_as_addresses_that_expand() {
    let snapshot = build(&[
        backend("a").templates(&["note://{id}{?full}", "own://{x}"]),
        backend("b").templates(&["note://{id}{?full}"]),
    ]);
    let templates = listed(&snapshot, List::Templates);
    assert_eq!(
        templates,
        [
            "switchboard://a/note://{id}{?full}",
            "own://{x}",
            "switchboard://b/note://{id}{?full}"
        ]
    );
    // As a client expands it with "a/b" and "1": what comes out is what the server's own template
    // would give.
    assert_eq!(
        snapshot.resource("switchboard://b/note://a%2Fb?full=1"),
        one("b", "note://a%2Fb?full=1")
    );
    for (exposed, backend) in [(&templates[0], "a"), (&templates[2], "b")] {
        assert_eq!(
            snapshot.template(exposed),
            one(backend, "note://{id}{?full}")
        );
    }
    assert_eq!(snapshot.template("own://{x}"), one("a", "own://{x}"));
    assert_eq!(snapshot.template("own://1"), one("a", "own://1"));
    assert_eq!(
        snapshot.template("note://{id}{?full}"),
        Route::Ambiguous(vec![templates[0].clone(), templates[2].clone()])
    );
    assert_eq!(snapshot.template("unknown://{x}"), Route::Unknown);
}

#[test]
fn user_interfaces_of_tools_are_routable() {
    let sources = [
        with_resources(backend("a")).with(|lists| {
            lists.tools = vec![app("clock", "ui://clock"), app("map", "ui://map")];
        }),
        with_resources(backend("b")).with(|lists| lists.tools = vec![app("map", "ui://map")]),
    ];
    let snapshot = build(&sources);
    let tools = result(&snapshot, List::Tools);
    let ui = |index: usize| tools["tools"][index]["_meta"]["ui"]["resourceUri"].as_str();
    assert_eq!(ui(0), Some("ui://clock"));
    assert_eq!(ui(1), Some("switchboard://a/ui%3A%2F%2Fmap"));
    assert_eq!(ui(2), Some("switchboard://b/ui%3A%2F%2Fmap"));
    assert_eq!(tools["tools"][2]["name"], "b__map");
    assert_eq!(tools["tools"][2]["_meta"]["ui"]["visibility"][0], "model");
    assert_eq!(snapshot.resource("ui://clock"), one("a", "ui://clock"));
}

#[test]
fn a_resource_is_reached_under_all_its_addresses() {
    let snapshot = build(&[
        backend("a").resources(&["note:1", "note:2"]),
        backend("b").resources(&["note:2"]),
    ]);
    for (uri, count) in [("note:1", 3), ("note:2", 2)] {
        let addresses = snapshot.addresses("a", uri);
        assert_eq!(addresses.len(), count);
        for address in &addresses {
            assert_eq!(snapshot.resource(address), one("a", uri));
        }
    }
}

proptest! {
    #[test]
    fn what_is_listed_or_rewritten_leads_home(
        a in proptest::collection::btree_set("[xy]:[a/% ]{0,3}|switchboard://[ab]/x", 0..6),
        b in proptest::collection::btree_set("[xy]:[a/% ]{0,3}|switchboard://[ab]/x", 0..6),
        template in "[xy]:/?\\{\\+?v\\}",
        other in "[xyz]:[a/% ]{0,3}|\\PC{1,10}",
    ) {
        let uris = |set: &BTreeSet<String>| -> Vec<Item> {
            set.iter().map(|uri| item("uri", uri)).collect()
        };
        let snapshot = build(&[
            backend("a").with(|lists| lists.resources = uris(&a)),
            backend("b").with(|lists| lists.resources = uris(&b)).templates(&[&template]),
        ]);
        let mut exposed = listed(&snapshot, List::Resources).into_iter();
        for (backend, own) in [("a", &a), ("b", &b)] {
            for uri in own {
                let exposed = exposed.next().unwrap();
                prop_assert_eq!(snapshot.resource(&exposed), one(backend, uri));
                let rewritten = snapshot.exposed_uri(backend, uri).unwrap_or_else(|| uri.clone());
                prop_assert_eq!(exposed, rewritten);
            }
            let rewritten = snapshot.exposed_uri(backend, &other).unwrap_or_else(|| other.clone());
            prop_assert_eq!(snapshot.resource(&rewritten), one(backend, &other));
        }
    }
}
