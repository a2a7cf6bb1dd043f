use super::*;

fn may_own<'a>(snapshot: &'a Snapshot, exposed: &str) -> Option<&'a str> {
    snapshot
        .may_own(exposed, |_| true)
        .map(|source| &*source.name)
}

#[test]
fn tools_and_prompts_are_found_by_the_names_they_are_listed_under() {
    let snapshot = build(&[
        backend("zoo").tools(&["feed"]).prompts(&["tour"]),
        backend("files")
            .tools(&["write", "read", "a.b"])
            .prompts(&["read"]),
    ]);
    let tools = listed(&snapshot, List::Tools);
    assert_eq!(tools[..2], ["files__write", "files__read"]);
    assert!(tools[2].starts_with("files__a_b_"), "{tools:?}");
    assert_eq!(tools[3..], ["zoo__feed"]);
    assert_eq!(
        listed(&snapshot, List::Prompts),
        ["files__read", "zoo__tour"]
    );

    assert_eq!(tool(&snapshot, "files__read"), Some(("files", "read")));
    assert_eq!(tool(&snapshot, &tools[2]), Some(("files", "a.b")));
    assert_eq!(tool(&snapshot, "zoo__tour"), None);
    assert_eq!(snapshot.prompt("zoo__tour").unwrap().original(), "tour");
    assert_eq!(snapshot.entries(Kind::Prompt).len(), 2);
    let [shortened] = snapshot.shortened() else {
        panic!("one is shortened: {:?}", snapshot.shortened());
    };
    assert_eq!(
        (&*shortened.original, &shortened.exposed),
        ("a.b", &tools[2])
    );
    assert_eq!(snapshot.collisions(), []);
}

#[test]
fn without_a_prefix_names_are_as_they_are() {
    let long = "x".repeat(60);
    let snapshot = build(&[plain("zoo").tools(&["feed.lion", &long])]);
    assert_eq!(listed(&snapshot, List::Tools), ["feed.lion", &long]);
    assert_eq!(tool(&snapshot, "feed.lion"), Some(("zoo", "feed.lion")));
    assert_eq!(snapshot.shortened(), []);
}

#[test]
fn of_plain_names_that_collide_the_alphabetically_first_keeps_its() {
    let snapshot = build(&[
        plain("beta").tools(&["echo", "only"]),
        plain("alpha").tools(&["echo"]),
    ]);
    assert_eq!(
        listed(&snapshot, List::Tools),
        ["echo", "beta__echo", "only"]
    );
    assert_eq!(tool(&snapshot, "echo"), Some(("alpha", "echo")));
    assert_eq!(tool(&snapshot, "beta__echo"), Some(("beta", "echo")));
    assert_eq!(tool(&snapshot, "only"), Some(("beta", "only")));
    // The qualified form leads there whether it is listed or not.
    assert_eq!(tool(&snapshot, "beta__only"), Some(("beta", "only")));
    let expected = Collision {
        kind: Kind::Tool,
        name: "echo".to_owned(),
        backends: vec!["alpha".into(), "beta".into()],
        resolved_as: vec![Some("echo".to_owned()), Some("beta__echo".to_owned())],
    };
    assert_eq!(snapshot.collisions(), [expected]);
}

#[test]
fn a_plain_name_never_reaches_the_wrong_server_before_all_are_learned() {
    let sources = [
        plain("alpha").unlearned(State::Starting),
        plain("beta").tools(&["echo"]),
    ];
    let snapshot = build(&sources);
    assert_eq!(listed(&snapshot, List::Tools), ["beta__echo"]);
    assert_eq!(tool(&snapshot, "echo"), None);
    assert_eq!(may_own(&snapshot, "echo"), Some("alpha"));
    assert_eq!(tool(&snapshot, "beta__echo"), Some(("beta", "echo")));
    assert!(snapshot.is_starting());

    // Learned and then gone is learned.
    let mut down = sources;
    down[0] = plain("alpha").tools(&["other"]);
    down[0].status = status(State::Unavailable);
    let snapshot = build(&down);
    assert_eq!(listed(&snapshot, List::Tools), ["other", "echo"]);
    assert_eq!(tool(&snapshot, "beta__echo"), Some(("beta", "echo")));
    assert_eq!(may_own(&snapshot, "nothing"), None);
}

#[test]
fn a_later_plain_backend_that_is_missing_holds_nobody_up() {
    let snapshot = build(&[
        plain("alpha").tools(&["echo"]),
        plain("beta").unlearned(State::Unavailable),
    ]);
    assert_eq!(listed(&snapshot, List::Tools), ["echo"]);
    assert_eq!(may_own(&snapshot, "other"), Some("beta"));
    assert!(!snapshot.is_starting());
}

#[test]
fn a_prefixed_name_wins_over_an_equal_plain_one() {
    let gh = backend("gh").tools(&["list"]);
    let zoo = plain("zoo").tools(&["gh__list", "gh__feed"]);
    let snapshot = build(&[gh.clone(), zoo.clone()]);
    assert_eq!(
        listed(&snapshot, List::Tools),
        ["gh__list", "zoo__gh__list", "gh__feed"]
    );
    assert_eq!(tool(&snapshot, "gh__list"), Some(("gh", "list")));
    assert_eq!(tool(&snapshot, "zoo__gh__list"), Some(("zoo", "gh__list")));
    assert_eq!(snapshot.collisions().len(), 1);

    // As long as nobody knows what it has, nothing else gets its names.
    let snapshot = build(&[gh.unlearned(State::Starting), zoo]);
    assert_eq!(tool(&snapshot, "gh__list"), None);
    assert_eq!(may_own(&snapshot, "gh__list"), Some("gh"));
    assert_eq!(may_own(&snapshot, "other"), None);
}

#[test]
fn a_prefix_that_is_the_name_of_a_plain_backend_wins_too() {
    let snapshot = build(&[
        plain("files").tools(&["read"]),
        Source {
            prefix: Some("files".to_owned()),
            ..backend("fs").tools(&["read"])
        },
    ]);
    assert_eq!(listed(&snapshot, List::Tools), ["read", "files__read"]);
    assert_eq!(tool(&snapshot, "files__read"), Some(("fs", "read")));
    assert_eq!(snapshot.collisions().len(), 1);
}

#[test]
fn a_server_that_repeats_a_name_has_it_once() {
    let snapshot = build(&[
        backend("b").tools(&["echo", "echo"]),
        plain("p").tools(&["x", "x"]),
    ]);
    assert_eq!(listed(&snapshot, List::Tools), ["b__echo", "x"]);
}

#[test]
fn a_name_made_to_look_shortened_takes_no_other() {
    let first = build(&[backend("b").tools(&["a.b"])]);
    let shortened = listed(&first, List::Tools).remove(0);
    let mimic = shortened.strip_prefix("b__").unwrap();
    let snapshot = build(&[backend("b").tools(&["a.b", mimic])]);
    assert_eq!(tool(&snapshot, &shortened), Some(("b", mimic)));
    assert_eq!(listed(&snapshot, List::Tools), [&*shortened]);
    let [collision] = snapshot.collisions() else {
        panic!("one collision");
    };
    assert_eq!(collision.resolved_as, [Some(shortened), None]);
}

fn backends() -> impl Strategy<Value = Vec<Source>> {
    let tools = proptest::collection::vec(prop_oneof![6 => "[ab_]{1,6}", 1 => "[a.]{1,50}"], 0..8);
    let prefix = prop_oneof![Just(None), Just(Some(String::new()))];
    proptest::collection::btree_map("[ab_]{1,4}", (prefix, tools), 1..5).prop_map(|all| {
        all.into_iter()
            .map(|(name, (prefix, tools))| {
                let tools: Vec<&str> = tools.iter().map(|tool| &**tool).collect();
                Source {
                    prefix,
                    ..backend(&name).tools(&tools)
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_tool_is_listed_once_and_found_by_its_name(sources in backends()) {
        let snapshot = build(&sources);
        let names = listed(&snapshot, List::Tools);
        let unique: HashSet<_> = names.iter().collect();
        prop_assert_eq!(unique.len(), names.len());
        let found: BTreeSet<_> = names.iter().map(|name| tool(&snapshot, name)).collect();
        let offered: BTreeSet<_> = sources
            .iter()
            .flat_map(|source| {
                let tools = &source.lists.as_ref().unwrap().tools;
                tools.iter().map(|tool| Some((&*source.name, &*tool.key)))
            })
            .collect();
        prop_assert_eq!(found, offered);
    }

    #[test]
    fn who_is_up_changes_no_name_behind_a_prefix_and_no_meaning(
        sources in backends(),
        missing in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let all = build(&sources);
        let mut some = sources;
        for (source, missing) in some.iter_mut().zip(missing) {
            if missing {
                *source = source.clone().unlearned(State::Starting);
            }
        }
        let some = build(&some);
        for entry in some.entries(Kind::Tool) {
            let prefixed = some.source(&entry.backend).unwrap().prefix.is_none();
            let same = all.tool(&entry.exposed).unwrap();
            prop_assert_eq!((&same.backend, same.original()), (&entry.backend, entry.original()));
            prop_assert!(!prefixed || same.exposed == entry.exposed);
        }
        for entry in all.entries(Kind::Tool) {
            let now = some.tool(&entry.exposed).map(|entry| (&*entry.backend, entry.original()));
            match now {
                Some(now) => prop_assert_eq!(now, (&*entry.backend, entry.original())),
                None => prop_assert!(some.may_own(&entry.exposed, |_| true).is_some(), "{}", entry.exposed),
            }
        }
    }
}

#[test]
fn no_server_has_a_tool_of_the_gateways_own_name() {
    let own = "switchboard__read_result";
    let settings = SnapshotSettings {
        kept_reader: Some(own.into()),
        ..SnapshotSettings::new("1")
    };
    let sources = [
        backend("switchboard").tools(&["read_result", "other"]),
        plain("zoo").tools(&[own]).prompts(&[own]),
    ];
    let snapshot = Snapshot::build(&NamesConfig::default(), &sources, &settings);
    let tools = listed(&snapshot, List::Tools);
    assert_eq!(tools.iter().filter(|name| *name == own).count(), 1);
    assert_eq!(tools.last().map(String::as_str), Some(own));
    assert_eq!(tools.len(), 4);
    assert_eq!(tool(&snapshot, own), None);
    assert_eq!(
        tool(&snapshot, "switchboard__other"),
        Some(("switchboard", "other"))
    );
    // What it would have been called is told, and each can be called by another name.
    let collisions = snapshot.collisions().iter();
    let told: Vec<_> = collisions
        .filter(|it| it.kind == Kind::Tool)
        .map(|it| (&*it.name, &*it.backends[0]))
        .collect();
    assert_eq!(told, [(own, "switchboard"), (own, "switchboard")]);
    for name in &tools[..3] {
        assert!(tool(&snapshot, name).is_some(), "{name}");
    }
    assert!(snapshot.prompt(own).is_some());
}
