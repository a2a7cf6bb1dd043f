//! What each audience sees, and that it can call that and nothing else.

use std::hash::{BuildHasher, Hash};

use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::policy::{Admission, Audience, Permit, Target, TargetKind};

use super::*;
use crate::catalogue::view::ViewRef;
use crate::profiles::{Profiles, enter};
use crate::resolve::{Resolution, resolve};

/// Hides about half of everything from everybody, by chance.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn falls(&self, what: impl Hash, sides: u64) -> bool {
        let hasher = foldhash::fast::FixedState::with_seed(self.0);
        hasher.hash_one(what).is_multiple_of(sides)
    }
}

impl Policy for Dice {
    fn audience(&self, principal: &Principal, _: Option<&str>) -> Option<Audience> {
        let hasher = foldhash::fast::FixedState::with_seed(0);
        Some(Audience([hasher.hash_one(&principal.id)].into()))
    }

    fn shows(&self, principal: &Principal, profile: Option<&str>, target: &Target<'_>) -> bool {
        let what = (&principal.id, target.kind, target.backend, target.name);
        self.shows_backend(principal, profile, target.backend) && !self.falls(what, 3)
    }

    fn shows_backend(&self, principal: &Principal, _: Option<&str>, backend: &str) -> bool {
        !self.falls((&principal.id, backend), 4)
    }

    fn admit(&self, _: &Call, _: &Target<'_>, _: bool) -> Admission {
        Admission::Decided(Ok(Permit::FREE))
    }
}

const BACKENDS: [&str; 4] = ["alpha", "beta", "gamma", "omega"];
const NAMES: [&str; 4] = ["read", "write", "delete", "alpha__read"];
const URIS: [&str; 3] = ["file:///a", "file:///b/c", "skill://x/SKILL.md"];

fn secret(backend: &str) -> String {
    format!("secret-of-{backend}")
}

/// A backend all of whose texts say whose they are.
fn told(name: &str, is_plain: bool, has: u16, state: Option<State>) -> Source {
    let source = if is_plain { plain(name) } else { backend(name) };
    if let Some(state) = state {
        return Source {
            status: Status {
                reason: secret(name),
                ..status(state)
            },
            ..source.unlearned(state)
        };
    }
    let bit = |at: usize| has & (1 << at) != 0;
    let item =
        |key: &str, value: &str| item_of(&json!({ key: value, "description": secret(name) }), key);
    source.with(|lists| {
        let server = Arc::make_mut(&mut lists.server);
        server.instructions = Some(secret(name));
        for (at, tool) in NAMES.iter().enumerate().filter(|(at, _)| bit(*at)) {
            lists.tools.push(item("name", tool));
            if at % 2 == 0 {
                lists.prompts.push(item("name", tool));
            }
        }
        for (_, uri) in URIS.iter().enumerate().filter(|(at, _)| bit(at + 4)) {
            lists.resources.push(item("uri", uri));
        }
    })
}

fn profile() -> impl Strategy<Value = Value> {
    let patterns = || {
        let pattern = prop::sample::select(vec![
            "alpha__*",
            "beta__read",
            "*delete*",
            "*",
            "read",
            "gamma__*",
            "omega__write",
        ]);
        prop::collection::vec(pattern, 0..4)
    };
    let uris = prop::sample::subsequence(vec!["file:///a", "file:///*", "skill://*"], 0..3);
    let renames = prop::sample::subsequence(
        vec![
            ("alpha__read", "read_it"),
            ("beta__write", "alpha__write"),
            ("gamma__read", "beta__read"),
            ("omega__read", "find"),
            ("read", "look"),
        ],
        0..4,
    );
    let lists = (
        prop::option::of(patterns()),
        prop::option::of(patterns()),
        prop::option::of(uris),
        prop::sample::subsequence(vec!["*delete*", "alpha__*", "write"], 0..3),
        renames,
    );
    lists.prop_map(|(tools, prompts, resources, exclude, renames)| {
        let renames: serde_json::Map<String, Value> = renames
            .into_iter()
            .map(|(from, to)| (from.to_owned(), to.into()))
            .collect();
        let mut profile = json!({ "exclude": exclude, "rename": renames });
        for (key, list) in [
            ("tools", tools.map(|it| json!(it))),
            ("prompts", prompts.map(|it| json!(it))),
            ("resources", resources.map(|it| json!(it))),
        ] {
            if let Some(list) = list {
                profile[key] = list;
            }
        }
        profile
    })
}

fn sources() -> impl Strategy<Value = Vec<Source>> {
    let state = prop_oneof![
        4 => Just(None),
        1 => Just(Some(State::Unavailable)),
        1 => Just(Some(State::Starting)),
    ];
    let one = (any::<bool>(), any::<u16>(), state);
    prop::collection::vec(one, BACKENDS.len()).prop_map(|all| {
        let named = BACKENDS.iter().zip(all);
        named
            .map(|(name, (is_plain, has, state))| {
                told(name, is_plain && *name == "omega", has, state)
            })
            .collect()
    })
}

fn call_of(
    principal: &Arc<Principal>,
    profile: Option<&str>,
    method: Method,
    key: &str,
    name: &str,
) -> Call {
    let params = json!({ key: name });
    let text = json!({ "jsonrpc": "2.0", "id": 1, "method": method.as_str(), "params": params });
    Call {
        profile: profile.map(Arc::from),
        ..Call::new(
            Envelope::parse(text.to_string().into()).unwrap(),
            method,
            Arc::clone(principal),
            Version::LATEST,
        )
    }
}

/// What a call of this reaches: its kind, backend and name.
fn reached(snapshot: &Snapshot, mut call: Call) -> Option<(TargetKind, String, String)> {
    enter(snapshot, &mut call).ok()?;
    match resolve(snapshot, &call).ok()? {
        Resolution::To(destination) => {
            let target = destination.policy_target();
            Some((
                target.kind,
                target.backend.to_owned(),
                target.name.to_owned(),
            ))
        }
        Resolution::MayBe(source) => {
            let key = (TargetKind::Tool, source.name.to_string(), String::new());
            let _ = key;
            None
        }
    }
}

fn keys(view: &View, list: List, key: &str) -> Vec<String> {
    let page: Value = serde_json::from_slice(view.page(list, None).unwrap()).unwrap();
    let items = page[list.key()].as_array().unwrap();
    let key = |item: &Value| item[key].as_str().unwrap().to_owned();
    items.iter().map(key).collect()
}

proptest! {
    #[test]
    fn what_is_listed_can_be_called_and_nothing_else_can(
        sources in sources(),
        profile in profile(),
        seed in any::<u64>(),
    ) {
        let config = serde_json::from_value(json!({ "p": profile })).unwrap();
        let settings = SnapshotSettings {
            profiles: Arc::new(Profiles::new(&config)),
            policy: Arc::new(Dice(seed)),
            ..SnapshotSettings::new("1")
        };
        let snapshot = Snapshot::build(&NamesConfig::default(), &sources, &settings);
        for id in ["ada", "eve"] {
            let principal = Arc::new(Principal::new(id));
            for profile in [None, Some("p"), Some("gone")] {
                let view = snapshot.view(&principal, profile);
                check_named(&snapshot, &principal, profile, &view, &config["p"].rename)?;
                check_resources(&snapshot, &principal, profile, &view)?;
                check_texts(&snapshot, &principal, profile, &view)?;
            }
        }
    }
}

fn check_named(
    snapshot: &Snapshot,
    principal: &Arc<Principal>,
    profile: Option<&str>,
    view: &View,
    renames: &BTreeMap<String, String>,
) -> Result<(), TestCaseError> {
    for (list, method, kind) in [
        (List::Tools, Method::ToolsCall, Kind::Tool),
        (List::Prompts, Method::PromptsGet, Kind::Prompt),
    ] {
        let reach =
            |name: &str| reached(snapshot, call_of(principal, profile, method, "name", name));
        let listed = keys(view, list, "name");
        let unique: HashSet<&String> = listed.iter().collect();
        prop_assert_eq!(unique.len(), listed.len(), "{:?}", listed);
        let mut found = HashSet::new();
        for name in &listed {
            let target = reach(name);
            prop_assert!(target.is_some(), "{} is listed and cannot be called", name);
            prop_assert!(found.insert(target), "{} leads where another does", name);
        }
        let mut all: HashSet<String> = snapshot
            .entries(kind)
            .iter()
            .map(|it| it.exposed.to_string())
            .collect();
        all.extend(renames.iter().flat_map(|(a, b)| [a.clone(), b.clone()]));
        for backend in BACKENDS {
            all.extend(
                NAMES
                    .iter()
                    .flat_map(|it| [(*it).to_owned(), format!("{backend}__{it}")]),
            );
        }
        for name in all {
            let target = reach(&name);
            prop_assert!(
                target.is_none() || found.contains(&target),
                "{} can be called and is not listed: {:?}",
                name,
                target
            );
            let is_old = profile == Some("p") && renames.get(&name).is_some_and(|new| *new != name);
            if is_old && kind == Kind::Tool && !renames.values().any(|new| *new == name) {
                prop_assert_eq!(target, None, "{}", name);
            }
        }
        if kind == Kind::Tool {
            // What a chain may take the place of, or put in a place, is what can be called.
            for entry in snapshot.entries(kind) {
                let target = Some((
                    TargetKind::Tool,
                    entry.backend.to_string(),
                    entry.exposed.to_string(),
                ));
                let is_hidden = snapshot.hides_tool(principal, profile, &entry.exposed);
                prop_assert_eq!(!is_hidden, found.contains(&target), "{}", &entry.exposed);
            }
        }
    }
    Ok(())
}

fn check_resources(
    snapshot: &Snapshot,
    principal: &Arc<Principal>,
    profile: Option<&str>,
    view: &View,
) -> Result<(), TestCaseError> {
    let reach = |uri: &str| {
        reached(
            snapshot,
            call_of(principal, profile, Method::ResourcesRead, "uri", uri),
        )
    };
    for uri in keys(view, List::Resources, "uri") {
        prop_assert!(
            reach(&uri).is_some(),
            "{} is listed and cannot be read",
            uri
        );
        prop_assert!(snapshot.shows_resource(principal, profile, &uri));
    }
    let addresses = BACKENDS
        .iter()
        .flat_map(|backend| URIS.map(|uri| format!("{ADDRESS_SCHEME}{backend}/{uri}")));
    for uri in URIS.map(str::to_owned).into_iter().chain(addresses) {
        if let Some((kind, backend, name)) = reach(&uri) {
            let target = Target {
                kind,
                backend: &backend,
                name: &name,
            };
            prop_assert!(
                snapshot.shows(principal, profile, &target),
                "{} can be read",
                uri
            );
        }
    }
    Ok(())
}

fn check_texts(
    snapshot: &Snapshot,
    principal: &Arc<Principal>,
    profile: Option<&str>,
    view: &View,
) -> Result<(), TestCaseError> {
    let pages = List::ALL.map(|list| view.page(list, None).unwrap().clone());
    let texts: Vec<String> = pages
        .iter()
        .chain([view.discover()])
        .map(|page| String::from_utf8(page.to_vec()).unwrap())
        .collect();
    for backend in BACKENDS {
        if snapshot.shows_backend(principal, profile, backend) {
            continue;
        }
        let absent = format!("\"name\":\"{backend}\"");
        for text in &texts {
            prop_assert!(!text.contains(&secret(backend)), "{}", text);
            prop_assert!(!text.contains(&absent), "{}", text);
            prop_assert!(!text.contains(&format!("## {backend}")), "{}", text);
        }
    }
    Ok(())
}

#[test]
fn who_sees_everything_costs_nothing() {
    let snapshot = build(&[backend("files").tools(&["read"])]);
    let view = snapshot.view(&Principal::anonymous(), None);
    assert!(matches!(view, ViewRef::Own(_)));
    assert_eq!(view.tools(), 1);
    assert_eq!(snapshot.views.count(), 0);
}

#[test]
fn views_are_kept_by_audience_and_bounded() {
    let settings = SnapshotSettings {
        policy: Arc::new(Dice(1)),
        ..SnapshotSettings::new("1")
    };
    let sources = [backend("files").tools(&["read"])];
    let snapshot = Snapshot::build(&NamesConfig::default(), &sources, &settings);
    let ada = Principal::new("ada");
    let (ViewRef::Shared(one), ViewRef::Shared(two)) =
        (snapshot.view(&ada, None), snapshot.view(&ada, None))
    else {
        panic!("a view of its own");
    };
    assert!(Arc::ptr_eq(&one, &two));
    let page: Value = serde_json::from_slice(one.page(List::Tools, None).unwrap()).unwrap();
    assert_eq!(page["cacheScope"], "private");
    for number in 0..300 {
        let _ = snapshot.view(&Principal::new(format!("p{number}")), None);
    }
    assert_eq!(snapshot.views.count(), 256);
}

#[test]
fn a_listener_hears_of_what_it_sees_alone() {
    let of = |tools: &[&str]| {
        let config = serde_json::from_value(json!({ "p": { "tools": ["a__*"] } })).unwrap();
        let settings = SnapshotSettings {
            profiles: Arc::new(Profiles::new(&config)),
            ..SnapshotSettings::new("1")
        };
        let sources = [
            backend("a").tools(tools).resources(&["x:1"]),
            backend("b").tools(tools).resources(&["y:1"]),
        ];
        let mut sources = sources.to_vec();
        if tools.len() > 2 {
            sources[0] = backend("a").tools(&tools[..2]).resources(&["x:1"]);
        }
        Snapshot::build(&NamesConfig::default(), &sources, &settings)
    };
    use crate::hub::Event;
    let ada = Arc::new(Principal::new("ada"));
    let profile: Arc<str> = "p".into();
    let before = of(&["t"]);
    let mut all = Watching::new(&before, &ada, None);
    let mut part = Watching::new(&before, &ada, Some(&profile));
    let both = of(&["t", "u"]);
    assert!(all.is_news(&both, &Event::ToolsChanged) && part.is_news(&both, &Event::ToolsChanged));
    // Its server says so, though the list is what it was.
    assert!(all.is_news(&both, &Event::ToolsChanged));
    assert!(!part.is_news(&both, &Event::ToolsChanged));
    let others = of(&["t", "u", "v"]);
    assert!(all.is_news(&others, &Event::ToolsChanged));
    assert!(!part.is_news(&others, &Event::ToolsChanged));
    let updated = |uri: &str| Event::ResourceUpdated(uri.into());
    assert!(all.is_news(&others, &updated("y:1")) && !part.is_news(&others, &updated("y:1")));
    assert!(part.is_news(&others, &updated("x:1")));
    assert!(part.has_profile(&others) && !part.has_profile(&build(&[])));
}
