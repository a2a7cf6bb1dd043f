//! What is listed can be called, and nothing else can: with the rules of `access` as they are, for
//! random rules, principals and profiles, of several servers of which some were never reached, and
//! through profiles that rename, fallbacks and equivalents. No call gets as far as a server: a policy
//! that has let one pass notes it and ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use switchboard_backends::config::{BackendConfig, HttpKind, TransportConfig};
use switchboard_orchestrator::config::NamesConfig;
use switchboard_orchestrator::config::chains::ChainsConfig;
use switchboard_orchestrator::config::profiles::ProfilesConfig;
use switchboard_orchestrator::{DesiredState, Orchestrator, Parts, TracedCall};
use switchboard_policy::gatekeeper::Gatekeeper;
use switchboard_protocol::call::{Call, Outcome, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::{CallError, Fault, Reason};
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Admission, Audience, Policy, Target, TargetKind};
use switchboard_protocol::token::Sealer;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Metrics};
use switchboard_testkit::fake;
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};

const CASES: u32 = 96;
/// A name that no server and no profile uses, to ask for what is not there.
const UNKNOWN: &str = "nobody-has-this";
/// The resource of each server that is there.
const SHARED_URI: &str = fake::RESOURCE_URI;

/// What was let pass, by the names that there are without a profile.
type Passed = Vec<(TargetKind, String, String)>;

/// The rules, in front of nothing.
#[derive(Debug)]
struct EndsCalls {
    rules: Gatekeeper,
    passed: Mutex<Passed>,
    denied: Mutex<Passed>,
}

impl EndsCalls {
    fn take(&self) -> (Passed, Passed) {
        let take = |list: &Mutex<Passed>| {
            std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
        };
        (take(&self.passed), take(&self.denied))
    }
}

impl Policy for EndsCalls {
    fn audience(&self, principal: &Principal, profile: Option<&str>) -> Option<Audience> {
        self.rules.audience(principal, profile)
    }

    fn shows(&self, principal: &Principal, profile: Option<&str>, target: &Target<'_>) -> bool {
        self.rules.shows(principal, profile, target)
    }

    fn shows_backend(&self, principal: &Principal, profile: Option<&str>, backend: &str) -> bool {
        self.rules.shows_backend(principal, profile, backend)
    }

    fn admit(&self, call: &Call, target: &Target<'_>, is_continuation: bool) -> Admission {
        let verdict = self.rules.admit(call, target, is_continuation);
        let list = match verdict {
            Admission::Decided(Ok(_)) => &self.passed,
            _ => &self.denied,
        };
        let noted = (
            target.kind,
            target.backend.to_owned(),
            target.name.to_owned(),
        );
        list.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(noted);
        // Chains do not follow this one.
        let end = Fault::refused(Reason::Denied, "as far as it goes");
        Admission::Decided(Err(Box::new(end)))
    }

    fn hid(&self, call: &Call, target: &Target<'_>) {
        self.rules.hid(call, target);
    }
}

/// An orchestrator in front of two servers that are there and one that never was.
struct Scene {
    orchestrator: Orchestrator,
    backends: BTreeMap<String, BackendConfig>,
    _servers: (FakeHttp, FakeHttp, RefusedPort),
}

fn chains() -> ChainsConfig {
    let fallbacks = json!([
        { "tool": "gone__echo", "try": ["a__echo", "b__echo"] },
        { "tool": "gone__locate", "try": ["b__locate", "gone__echo", "a__locate"] },
    ]);
    let equivalents = json!([{ "tools": ["a__delay", "b__delay"] }]);
    ChainsConfig {
        fallbacks: serde_json::from_value(fallbacks).expect("fallbacks"),
        equivalents: serde_json::from_value(equivalents).expect("equivalents"),
    }
}

impl Scene {
    async fn open() -> Self {
        let a = FakeHttp::start(Transport::Modern, "a").await;
        let b = FakeHttp::start(Transport::Legacy, "b").await;
        let gone = RefusedPort::take();
        let urls = [("a", a.url()), ("b", b.url()), ("gone", gone.url())];
        let backends: BTreeMap<_, _> = urls
            .into_iter()
            .map(|(name, url)| {
                let transport = TransportConfig::Http {
                    url: url.parse().expect("a URL"),
                    headers: Vec::new(),
                    kind: HttpKind::Auto,
                    address: None,
                };
                (name.to_owned(), BackendConfig::new(transport))
            })
            .collect();
        let sealer = Sealer::with_random_key().expect("random bytes");
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let orchestrator = Orchestrator::start(Parts {
            backends: backends.clone(),
            ..Parts::new(sealer, metrics)
        });
        let until = Instant::now() + Duration::from_secs(60);
        orchestrator.known(until.into()).await;
        Self {
            orchestrator,
            backends,
            _servers: (a, b, gone),
        }
    }

    async fn put_in_force(&self, policy: &Arc<EndsCalls>, profile: &Value) {
        let profiles: ProfilesConfig =
            serde_json::from_value(json!({ "p": profile })).expect("profiles");
        let wanted = DesiredState {
            backends: self.backends.clone(),
            names: NamesConfig::default(),
            chains: chains(),
            private: true,
            policy: Arc::clone(policy) as Arc<dyn Policy>,
            profiles,
            kept_results: None,
            drain_timeout: Duration::from_secs(1),
        };
        self.orchestrator.reload(wanted).await.expect("it runs");
    }
}

/// One who asks, and through which profile.
struct Asking<'s> {
    scene: &'s Scene,
    policy: &'s EndsCalls,
    principal: Arc<Principal>,
    profile: Option<&'static str>,
}

/// How a call ended.
#[derive(Debug, PartialEq)]
enum Ended {
    /// As if there were no such thing: the error, without the name that was asked for.
    NotThere(String),
    /// Somewhere: what was let pass, in order. Of a server that is not reached nothing is.
    Reached(Passed),
}

impl Asking<'_> {
    async fn ask(&self, method: Method, params: Value) -> Outcome {
        let text =
            json!({ "jsonrpc": "2.0", "id": 1, "method": method.as_str(), "params": params });
        let request = Envelope::parse(text.to_string().into()).expect("a request");
        let call = Call {
            profile: self.profile.map(Arc::from),
            ..Call::new(
                request,
                method,
                Arc::clone(&self.principal),
                Version::LATEST,
            )
        };
        let traced = TracedCall {
            call: Box::new(call),
            span: CallSpan::none(),
        };
        self.scene.orchestrator.call(traced).await
    }

    /// The names in a list.
    async fn listed(&self, method: Method, list: &str, key: &str) -> BTreeSet<String> {
        let Outcome::Complete(completed) = self.ask(method, json!({})).await else {
            panic!("{method:?} has no result");
        };
        let result: Vec<u8> = completed.result.into_segments().flatten().collect();
        let result: Value = serde_json::from_slice(&result).expect("JSON");
        let items = result[list].as_array().expect("a list");
        assert!(result["nextCursor"].is_null(), "{result}");
        let key = |item: &Value| item[key].as_str().expect("a name").to_owned();
        items.iter().map(key).collect()
    }

    async fn call(
        &self,
        method: Method,
        params: Value,
        name: &str,
    ) -> Result<Ended, TestCaseError> {
        self.policy.take();
        let outcome = self.ask(method, params).await;
        let (passed, denied) = self.policy.take();
        prop_assert!(
            denied.is_empty(),
            "{} is shown and denied: {:?}",
            name,
            denied
        );
        Ok(match outcome {
            Outcome::Failed(CallError::Protocol(error)) => {
                prop_assert_eq!(error.code, -32602, "{}: {:?}", name, error);
                prop_assert!(
                    passed.is_empty(),
                    "{} is unknown and called: {:?}",
                    name,
                    passed
                );
                let data = error.data.unwrap_or_default();
                let told = format!("{} {data}", error.message);
                Ended::NotThere(told.replace(name, UNKNOWN))
            }
            Outcome::Failed(CallError::Fault(_)) => Ended::Reached(passed),
            other => panic!("{name}: {other:?}"),
        })
    }
}

/// How something of each kind is asked for.
fn params(method: Method, name: &str) -> Value {
    match method {
        Method::ResourcesRead => json!({ "uri": name }),
        Method::Complete => json!({
            "ref": { "type": "ref/prompt", "name": name },
            "argument": { "name": "x", "value": "" },
        }),
        _ => json!({ "name": name, "arguments": {} }),
    }
}

/// Everything that may be asked for by name, whoever sees it.
struct Candidates {
    tools: BTreeSet<String>,
    prompts: BTreeSet<String>,
    resources: BTreeSet<String>,
}

impl Candidates {
    async fn of(scene: &Scene, policy: &Arc<EndsCalls>) -> Self {
        let everybody = Asking {
            scene,
            policy,
            principal: Arc::new(Principal::new("anybody")),
            profile: None,
        };
        let tools = everybody.listed(Method::ToolsList, "tools", "name").await;
        let prompts = everybody
            .listed(Method::PromptsList, "prompts", "name")
            .await;
        let resources = everybody
            .listed(Method::ResourcesList, "resources", "uri")
            .await;
        assert!(tools.len() >= 12 && prompts.len() >= 2 && resources.len() >= 2);
        Self {
            tools,
            prompts,
            resources,
        }
    }
}

async fn check(scene: &Scene, all: &Candidates, case: &Case) -> Result<(), TestCaseError> {
    let access = serde_json::from_value(case.access.clone()).expect("rules");
    let policy = Arc::new(EndsCalls {
        rules: Gatekeeper::new().with_access(Some(&access)),
        passed: Mutex::default(),
        denied: Mutex::default(),
    });
    scene.put_in_force(&policy, &case.profile).await;
    for profile in [None, Some("p")] {
        let asking = Asking {
            scene,
            policy: &policy,
            principal: Arc::new(case.principal.clone()),
            profile,
        };
        let renames = case.profile["rename"].as_object().expect("renames").iter();
        let renames: BTreeMap<String, String> = renames
            .map(|(old, new)| (old.clone(), new.as_str().unwrap_or_default().to_owned()))
            .collect();
        let mut tools = all.tools.clone();
        tools.extend(
            renames
                .iter()
                .flat_map(|(old, new)| [old.clone(), new.clone()]),
        );
        tools.extend(["b__a__echo", "echo", "A__echo", "a__", ""].map(str::to_owned));
        let listed = asking.listed(Method::ToolsList, "tools", "name").await;
        check_kind(&asking, Method::ToolsCall, &listed, &tools).await?;
        check_chains(&asking, &listed, &renames).await?;
        let listed = asking.listed(Method::PromptsList, "prompts", "name").await;
        check_kind(&asking, Method::PromptsGet, &listed, &all.prompts).await?;
        check_kind(&asking, Method::Complete, &listed, &all.prompts).await?;
        let listed = asking
            .listed(Method::ResourcesList, "resources", "uri")
            .await;
        check_resources(&asking, &listed, &all.resources).await?;
    }
    Ok(())
}

/// That of these names those that are listed can be called, and the others are answered like what is
/// not there.
async fn check_kind(
    asking: &Asking<'_>,
    method: Method,
    listed: &BTreeSet<String>,
    names: &BTreeSet<String>,
) -> Result<(), TestCaseError> {
    let unknown = asking
        .call(method, params(method, UNKNOWN), UNKNOWN)
        .await?;
    prop_assert!(matches!(unknown, Ended::NotThere(_)), "{:?}", unknown);
    for name in names.union(listed) {
        let ended = asking.call(method, params(method, name), name).await?;
        if listed.contains(name) {
            let reached = matches!(&ended, Ended::Reached(passed) if !passed.is_empty());
            prop_assert!(reached, "{} is listed, and {:?}", name, ended);
        } else if !name.is_empty() {
            prop_assert_eq!(&ended, &unknown, "{} is not listed", name);
        } else {
            prop_assert!(matches!(ended, Ended::NotThere(_)), "{:?}", ended);
        }
    }
    Ok(())
}

/// The same of resources: two servers have one of the same URI, and it is unknown what that has which
/// is away.
async fn check_resources(
    asking: &Asking<'_>,
    listed: &BTreeSet<String>,
    addresses: &BTreeSet<String>,
) -> Result<(), TestCaseError> {
    const METHOD: Method = Method::ResourcesRead;
    let not_there = Ended::NotThere(format!("Resource not found {{\"uri\":\"{UNKNOWN}\"}}"));
    for address in addresses {
        let ended = asking.call(METHOD, params(METHOD, address), address);
        match ended.await? {
            Ended::Reached(passed) => {
                prop_assert!(listed.contains(address), "{} is not listed", address);
                prop_assert_eq!(passed.len(), 1, "{}", address);
            }
            ended => {
                prop_assert!(!listed.contains(address), "{} is listed", address);
                prop_assert_eq!(&ended, &not_there, "{}", address);
            }
        }
    }
    let snapshot = asking.scene.orchestrator.catalogue().load_full();
    for uri in [SHARED_URI, "fake://notes/nobody-has", UNKNOWN] {
        let shows = |backend: &&str| {
            let target = Target {
                kind: TargetKind::Resource,
                backend,
                name: uri,
            };
            snapshot.shows(&asking.principal, asking.profile, &target)
        };
        let owners = if uri == SHARED_URI {
            &["a", "b"][..]
        } else {
            &[]
        };
        let owners: Vec<&str> = owners.iter().copied().filter(|it| shows(it)).collect();
        let ended = asking.call(METHOD, params(METHOD, uri), uri).await?;
        match owners[..] {
            [] if shows(&"gone") => prop_assert_eq!(ended, Ended::Reached(Vec::new()), "{}", uri),
            [] => prop_assert_eq!(&ended, &not_there, "{}", uri),
            [one] => {
                let passed = (TargetKind::Resource, one.to_owned(), uri.to_owned());
                prop_assert_eq!(ended, Ended::Reached(vec![passed]), "{}", uri);
            }
            _ => {
                let told = matches!(&ended, Ended::NotThere(told) if told.contains("candidates"));
                prop_assert!(told, "{}: {:?}", uri, ended);
            }
        }
    }
    Ok(())
}

/// That what takes the place of a tool is what may be called instead of it, and that nothing takes
/// the place of one that is hidden.
async fn check_chains(
    asking: &Asking<'_>,
    listed: &BTreeSet<String>,
    renames: &BTreeMap<String, String>,
) -> Result<(), TestCaseError> {
    // In the profile a tool is listed by its new name.
    let in_list = |name: &str| {
        let renamed = renames.get(name).filter(|_| asking.profile.is_some());
        listed.contains(renamed.map_or(name, String::as_str))
    };
    for (tool, substitutes) in [
        ("gone__echo", &["a__echo", "b__echo"][..]),
        ("gone__locate", &["b__locate", "a__locate"][..]),
        ("gone__other", &[][..]),
    ] {
        let snapshot = asking.scene.orchestrator.catalogue().load_full();
        let target = Target {
            kind: TargetKind::Tool,
            backend: "gone",
            name: tool,
        };
        let is_shown = snapshot.shows(&asking.principal, asking.profile, &target);
        let ended = asking
            .call(Method::ToolsCall, params(Method::ToolsCall, tool), tool)
            .await?;
        let Ended::Reached(passed) = ended else {
            prop_assert!(!is_shown, "{} could be there: {:?}", tool, ended);
            continue;
        };
        prop_assert!(is_shown, "{} is hidden: {:?}", tool, passed);
        let passed: Vec<_> = passed.into_iter().map(|(_, _, name)| name).collect();
        let expected = substitutes.iter().find(|name| in_list(name));
        prop_assert_eq!(
            passed.first().map(String::as_str),
            expected.copied(),
            "{}",
            tool
        );
        prop_assert!(passed.iter().all(|name| in_list(name)), "{:?}", passed);
    }
    for (tool, other) in [("a__delay", "b__delay"), ("b__delay", "a__delay")] {
        if renames.contains_key(tool) && asking.profile.is_some() {
            continue;
        }
        let ended = asking
            .call(Method::ToolsCall, params(Method::ToolsCall, tool), tool)
            .await?;
        match ended {
            Ended::NotThere(_) => prop_assert!(!in_list(tool), "{} is listed", tool),
            Ended::Reached(passed) => {
                prop_assert!(in_list(tool), "{} is not listed: {:?}", tool, passed);
                let known = |name: &String| name == tool || (name == other && in_list(other));
                let all_known = passed.iter().all(|(_, _, name)| known(name));
                prop_assert!(!passed.is_empty() && all_known, "{}: {:?}", tool, passed);
            }
        }
    }
    Ok(())
}

/// Rules, whom they are asked about, and a profile.
#[derive(Clone, Debug)]
struct Case {
    access: Value,
    principal: Principal,
    profile: Value,
}

/// None, or some of these.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Option<Vec<&'static str>>> {
    let most = of.len().min(3);
    prop::option::weighted(0.35, prop::sample::subsequence(of, 1..=most))
}

fn rule() -> impl Strategy<Value = Value> {
    let about = (
        some(&["u1", "key:u2", "key:*", "*"]),
        some(&["eng", "ops", "e*"]),
        some(&["a", "b", "gone", "*n*"]),
        some(&["p"]),
    );
    let what = (
        some(&[
            "*",
            "a__*",
            "*__echo",
            "b__locate",
            "a__delay",
            "gone__*",
            "*o*",
        ]),
        some(&["*__greet", "a__*", "b__greet"]),
        some(&["fake://notes/readme", "fake://*", "*"]),
    );
    let when = prop::option::weighted(
        0.3,
        prop::sample::select(vec![
            "profile == 'p'",
            "'eng' in principal.groups",
            "claims.dept == 'ops'",
            "has(claims.dept) && backend == 'a'",
            "name.endsWith('echo')",
            "tool == '' || tool.startsWith('b')",
            "claims.nothing == 1",
        ]),
    );
    let effect = prop::sample::select(vec!["allow", "allow", "deny"]);
    let claims = prop::option::weighted(0.15, Just(json!({ "dept": ["ops"] })));
    (effect, any::<u8>(), about, what, when, claims).prop_map(
        |(effect, mode, (users, groups, backends, profiles), what, when, claims)| {
            let (tools, prompts, resources) = what;
            let mut rule = json!({ "effect": effect });
            if effect == "deny" && mode < 30 {
                rule["mode"] = json!("shadow");
            }
            for (key, list) in [
                ("users", users),
                ("groups", groups),
                ("backends", backends),
                ("profiles", profiles),
                ("tools", tools),
                ("prompts", prompts),
                ("resources", resources),
            ] {
                if let Some(list) = list {
                    rule[key] = json!(list);
                }
            }
            if let Some(when) = when {
                rule["when"] = json!(when);
            }
            if let Some(claims) = claims {
                rule["claims"] = claims;
            }
            rule
        },
    )
}

fn access() -> impl Strategy<Value = Value> {
    let rules = prop::collection::vec(rule(), 0..6);
    (rules, any::<bool>()).prop_map(|(mut rules, is_open)| {
        for (number, rule) in rules.iter_mut().enumerate() {
            rule["name"] = json!(format!("rule {number}"));
        }
        let default = if is_open { "allow" } else { "deny" };
        json!({ "default": default, "rules": rules })
    })
}

fn principal() -> impl Strategy<Value = Principal> {
    let id = prop::sample::select(vec!["u1", "key:u2", "somebody"]);
    let groups = prop::sample::subsequence(vec!["eng", "ops"], 0..=2);
    let dept = prop::option::of(prop::sample::select(vec!["ops", "hr"]));
    (id, groups, dept).prop_map(|(id, groups, dept)| Principal {
        groups: groups.into_iter().map(str::to_owned).collect(),
        claims: dept.map(|dept| Arc::new([("dept".to_owned(), json!(dept))].into_iter().collect())),
        ..Principal::new(id)
    })
}

fn profile() -> impl Strategy<Value = Value> {
    let renames = [
        ("a__echo", "say"),
        ("b__locate", "find"),
        ("b__delay", "a__wait"),
    ];
    let renames = prop::sample::subsequence(renames.to_vec(), 0..=3);
    let lists = (
        some(&["a__*", "*__echo", "gone__*", "*delay", "*"]),
        some(&["a__*", "*"]),
        some(&["fake://*"]),
        prop::sample::subsequence(vec!["*__exit", "b__*", "a__echo"], 0..=2),
    );
    (lists, renames).prop_map(|((tools, prompts, resources, exclude), renames)| {
        let renames: BTreeMap<_, _> = renames.into_iter().collect();
        let mut profile = json!({ "exclude": exclude, "rename": renames });
        for (key, list) in [
            ("tools", tools),
            ("prompts", prompts),
            ("resources", resources),
        ] {
            if let Some(list) = list {
                profile[key] = json!(list);
            }
        }
        profile
    })
}

#[test]
fn what_is_listed_can_be_called_and_nothing_else_can() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let scene = runtime.block_on(Scene::open());
    let nothing = Arc::new(EndsCalls {
        rules: Gatekeeper::new(),
        passed: Mutex::default(),
        denied: Mutex::default(),
    });
    let all = runtime.block_on(Candidates::of(&scene, &nothing));
    let cases = (access(), principal(), profile()).prop_map(|(access, principal, profile)| Case {
        access,
        principal,
        profile,
    });
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        ..Config::default()
    });
    let held = runner.run(&cases, |case| runtime.block_on(check(&scene, &all, &case)));
    if let Err(broken) = held {
        panic!("{broken}");
    }
    runtime.block_on(scene.orchestrator.shut_down());
}
