//! `switchboard check`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use switchboard_backends::Backend;
use switchboard_backends::config::TransportConfig;
use switchboard_backends::lists::Item;
use switchboard_backends::status::{State, Status};
use switchboard_gateway::config::Config;
use switchboard_orchestrator::catalogue::{Entry, Kind, Snapshot};
use switchboard_orchestrator::chains;
use switchboard_orchestrator::config::{ConfigProblem, path};
use switchboard_orchestrator::{Orchestrator, Parts, profiles, uncacheable_marks};
use switchboard_policy::store::Store;
use switchboard_protocol::pattern;
use switchboard_protocol::token::Sealer;
use switchboard_telemetry::Metrics;
use tokio::time::Instant;

use self::processes::Processes;
use super::runners::Preparation;
use super::{counted, failed, load, print};
use crate::config::{Finding, Loaded};

mod access;
mod credential;
mod processes;

pub(crate) use self::access::{Question, can};

/// How long backends may take to start.
const START: Duration = Duration::from_secs(90);

/// How many tools clients take before they warn or cut, as their makers say.
const CLIENT_LIMITS: [(&str, usize); 3] = [
    ("Gemini CLI and Antigravity", 50),
    ("Claude Code", 100),
    ("Cursor", 200),
];

/// The form of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Validates the configuration and, if wanted, what it leads to.
pub(crate) async fn run(
    files: &[PathBuf],
    connect: bool,
    preparation: Preparation,
    format: Format,
) -> ExitCode {
    let loaded = match load_or_report(files, format) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let Loaded {
        mut config,
        mut warnings,
        files,
        index,
        mut downloads,
        ..
    } = loaded;
    let mut text = String::new();
    let prepared = preparation.run(&mut downloads, &mut config, &mut text);
    if let Err(message) = Box::pin(prepared).await {
        if format == Format::Text {
            print(&text);
        }
        return failed(&message);
    }
    warnings.extend(downloads.warnings(&index));
    let unmatched = config.unmatched_rules().into_iter();
    let remarks = unmatched
        .chain(config.unmatched_result_caps())
        .chain(config.unmatched_limits())
        .chain(config.not_on_this_machine())
        .chain(config.expired_keys(SystemTime::now()))
        .chain(config.secrets_left_out())
        .chain(config.hiding_rules());
    warnings.extend(remarks.map(|problem| index.finding(&problem.path, problem.message)));
    let mut report = json!({ "valid": true, "files": files, "warnings": warnings });
    report["runners"] = downloads.report();
    for warning in &warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for note in downloads.notes() {
        let _ = writeln!(text, "{note}");
    }
    let read = files
        .iter()
        .map(|file| file.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let from = if read.is_empty() {
        "no file: the defaults".to_owned()
    } else {
        read
    };
    let _ = writeln!(
        text,
        "The configuration is valid ({from}): {}.",
        counted(config.backends.len(), "backend")
    );
    let processes = Processes::of(&config, &index);
    processes.describe(&mut text);
    processes.add_to(&mut report);
    let mut all_there = processes.can_start();
    if connect {
        if let Some(answers) = store_answers(&config).await {
            all_there &= answers;
            report["store"] = json!({ "answers": answers });
            let _ = match answers {
                true => writeln!(text, "The store of limits and budgets answers."),
                false => writeln!(
                    text,
                    "error: store.redis: does not answer, or takes no writes"
                ),
            };
        }
        match connected(config).await {
            Ok(found) => {
                let Connected {
                    snapshot,
                    summary,
                    wrong_chains,
                    warnings,
                } = found;
                let finding = |(key, message): (Vec<String>, String)| index.finding(&key, message);
                let profiles = profile_summaries(&snapshot);
                let wrong_chains: Vec<Finding> = wrong_chains.into_iter().map(finding).collect();
                let warnings: Vec<Finding> = warnings.into_iter().map(finding).collect();
                all_there &= summary.iter().all(|backend| backend["state"] == "ready");
                describe(&snapshot, &summary, &mut text);
                describe_profiles(&profiles, &mut text);
                all_there &= wrong_chains.is_empty();
                for warning in &warnings {
                    let _ = writeln!(text, "warning: {warning}");
                }
                for problem in &wrong_chains {
                    let _ = writeln!(text, "error: {problem}");
                }
                let tools = snapshot.entries(Kind::Tool).len();
                let all = report["warnings"].as_array_mut().into_iter();
                all.for_each(|all| {
                    all.extend(warnings.iter().map(|warning| json!(warning)));
                    all.extend(too_many_tools(tools).map(|message| json!({ "message": message })))
                });
                report["backends"] = Value::Array(summary);
                report["profiles"] = json!(profiles);
                report["chains"] = json!(wrong_chains);
                report["collisions"] = collisions(&snapshot);
                report["shortened"] = shortened(&snapshot);
            }
            Err(message) => return failed(&message),
        }
    }
    match format {
        Format::Text => print(&text),
        Format::Json => print(&format!("{report:#}\n")),
    }
    if all_there {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

/// Whether the store of limits and budgets answers, if there is one beside memory.
async fn store_answers(config: &Config) -> Option<bool> {
    let metrics = Metrics::new().ok()?;
    match Store::start(&config.store, &metrics).await {
        Store::Memory => None,
        Store::Redis(redis) => Some(redis.is_up()),
    }
}

/// Loads the configuration, or reports what is wrong with it.
fn load_or_report(files: &[PathBuf], format: Format) -> Result<Loaded, ExitCode> {
    load(files, None).map_err(|errors| {
        match format {
            Format::Text => print(&format!("{errors}\n")),
            Format::Json => print(&format!(
                "{:#}\n",
                json!({ "valid": false, "errors": errors })
            )),
        }
        ExitCode::from(2)
    })
}

/// What was found by connecting.
struct Connected {
    snapshot: Arc<Snapshot>,
    /// What is said about each backend.
    summary: Vec<Value>,
    /// What does not fit about the chains, by key.
    wrong_chains: Vec<(Vec<String>, String)>,
    /// What works otherwise than it reads, by key.
    warnings: Vec<(Vec<String>, String)>,
}

/// Starts every backend, looks at what there is, and ends them.
async fn connected(config: Config) -> Result<Connected, String> {
    let metrics = Arc::new(Metrics::new().map_err(|error| error.to_string())?);
    config.redact_outlets(&metrics);
    let chains = config.chains();
    let rules = config.access.clone();
    let tool_patterns = config.tool_patterns();
    let kept_results = config.kept_results();
    let sealer = Sealer::with_random_key().map_err(|error| error.to_string())?;
    let orchestrator = Orchestrator::start(Parts {
        names: config.names,
        backends: config.backends,
        chains: chains.clone(),
        parked_calls: config.parked_calls,
        profiles: config.profiles,
        kept_results,
        private: config.auth.is_some(),
        ..Parts::new(sealer, metrics)
    });
    orchestrator.known(Instant::now() + START).await;
    let backends = orchestrator.backends();
    let summary = backends.iter().map(summary).collect();
    let snapshot = orchestrator.catalogue().load_full();
    orchestrator.shut_down().await;
    let is_safe = |entry: &Entry| {
        let mut backends = backends.iter();
        let backend = backends.find(|backend| *backend.name() == entry.backend);
        backend.is_some_and(|backend| backend.is_safe_tool(entry.original()))
    };
    let keyed = |problem: ConfigProblem| (problem.path, problem.message);
    let hardly_followed = chains::check::hardly_followed(&chains, &snapshot, is_safe);
    let unused = backends.iter().flat_map(unused_patterns);
    let of_profiles = profiles::check::problems(&snapshot);
    let unmatched = access::unmatched(rules.as_ref(), &snapshot);
    let unmatched_tools = tool_patterns
        .into_iter()
        .filter(|(_, text)| {
            let mut tools = snapshot.entries(Kind::Tool).iter();
            !tools.any(|tool| pattern::matches(text, &tool.exposed))
        })
        .map(|(key, text)| (key, format!("`{text}` fits no tool that there is")));
    let warnings = unused
        .chain(hardly_followed.into_iter().map(keyed))
        .chain(of_profiles.into_iter().map(keyed))
        .chain(uncacheable_marks(&backends).into_iter().map(keyed))
        .chain(unmatched)
        .chain(unmatched_tools);
    let wrong_chains = chains::check::problems(&chains, &snapshot);
    Ok(Connected {
        wrong_chains: wrong_chains.into_iter().map(keyed).collect(),
        warnings: warnings.collect(),
        snapshot,
        summary,
    })
}

/// The most names in one message.
const MAX_NAMES: usize = 10;

/// Patterns of a backend's that fit no tool of its server, by key.
fn unused_patterns(backend: &Backend) -> Vec<(Vec<String>, String)> {
    // Of a part that is not known nothing is said.
    let Some(lists) = backend.lists().filter(|lists| lists.missing.is_none()) else {
        return Vec::new();
    };
    let shown = lists.tools.iter().map(|tool| &*tool.key);
    let tools: Vec<&str> = shown
        .chain(lists.left_out.iter().map(|name| &**name))
        .collect();
    let config = backend.config();
    let cached = config.cache.as_ref().map(|cache| &cache.tools);
    let listed: [(&[&str], Option<&Vec<String>>); 4] = [
        (&["include_tools"], Some(&config.include_tools)),
        (&["exclude_tools"], Some(&config.exclude_tools)),
        (&["safe_tools"], Some(&config.safe_tools)),
        (&["cache", "tools"], cached),
    ];
    let listed = listed.into_iter().flat_map(|(key, patterns)| {
        let patterns = patterns.into_iter().flatten().enumerate();
        patterns.map(move |(item, pattern)| (key, format!("[{item}]"), pattern))
    });
    let timeouts = config.tool_timeouts.iter();
    let timeouts = timeouts.map(|(pattern, _)| (&["tool_timeouts"][..], pattern.clone(), pattern));
    let unused = listed
        .chain(timeouts)
        .filter(|(_, _, pattern)| !tools.iter().any(|tool| pattern::matches(pattern, tool)));
    let known = match tools.len() {
        0 => "has none".to_owned(),
        count => {
            let names: Vec<String> = tools
                .iter()
                .take(MAX_NAMES)
                .map(|name| format!("`{name}`"))
                .collect();
            let more = match count - names.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("has {}{more}", names.join(", "))
        }
    };
    unused
        .map(|(key, item, pattern)| {
            let key = [&["backends", backend.name()], key, &[&item]].concat();
            let message = format!("`{pattern}` fits no tool of the server, which {known}");
            (path(&key), message)
        })
        .collect()
}

/// What there is to say about one backend, for programs.
fn summary(backend: &Backend) -> Value {
    let status = backend.status();
    let mut entry = json!({ "name": &**backend.name(), "state": status.state.as_str() });
    if !status.state.is_usable() {
        entry["reason"] = status.told_operators().into();
        if let Some(action) = remedy(status.state) {
            entry["action"] = action.into();
        }
    }
    let config = backend.config();
    let endpoints = backend.endpoints();
    if endpoints.iter().any(|(label, _)| label.is_some()) {
        entry["endpoints"] = endpoints.iter().map(endpoint).collect();
    }
    let is_process = matches!(config.transport, TransportConfig::Stdio { .. });
    entry["transport"] = backend.transport().into();
    let Some(lists) = backend.lists() else {
        return entry;
    };
    let server = &lists.server;
    entry["era"] = server.version.era().as_str().into();
    entry["version"] = server.version.as_str().into();
    entry["eraFound"] = server.found.to_string().into();
    entry["offers"] = server.offers().collect();
    if !server.version.is_modern() {
        let sessions = &config.sessions;
        entry["sessions"] = json!({
            "scope": sessions.scope,
            "processes": is_process,
            "max": sessions.max,
            "maxPerPrincipal": sessions.max_per_principal,
        });
    }
    let keys = |items: &[Item]| items.iter().map(|item| item.key.clone()).collect::<Value>();
    entry["tools"] = keys(&lists.tools);
    entry["prompts"] = keys(&lists.prompts);
    entry["resources"] = keys(&lists.resources);
    entry["resourceTemplates"] = keys(&lists.templates);
    entry
}

fn endpoint((label, status): &(Option<Arc<str>>, Status)) -> Value {
    let mut entry = json!({ "endpoint": label.as_deref(), "state": status.state.as_str() });
    if status.state != State::Ready {
        entry["reason"] = status.told_operators().into();
    }
    entry
}

/// What whoever runs the check can do about it, where the reason does not say it all.
const fn remedy(state: State) -> Option<&'static str> {
    match state {
        State::Starting => Some("it takes longer than a check waits"),
        State::NeedsAuth => Some("renew the credential in its `headers` or `oauth`"),
        State::NeedsAttention => Some("its last words say what is wrong with it"),
        State::Ready | State::Degraded | State::Unavailable => None,
    }
}

/// Who shares a session of a legacy server with whom, in words.
fn shared_by(sessions: &Value) -> String {
    let number = |key: &str| sessions[key].as_u64().unwrap_or_default();
    let max = number("max");
    let each = number("maxPerPrincipal").min(max);
    let (one, many) = if sessions["processes"] == true {
        ("a process", "processes")
    } else {
        ("a session", "sessions")
    };
    let who = match sessions["scope"].as_str() {
        Some("per_principal") => format!("per_principal; every caller has {one} of its own"),
        Some("per_client") => {
            format!(
                "per_client; every session of a legacy client, and every other caller, has {one} of its own"
            )
        }
        _ => format!("shared; callers whose client can be asked something get {many} of their own"),
    };
    let whose = if sessions["scope"] == "shared" {
        "each"
    } else {
        "for one principal"
    };
    format!("{who}, at most {each} {whose} and {max} in all")
}

fn collisions(snapshot: &Snapshot) -> Value {
    let all = snapshot.collisions().iter().map(|collision| {
        json!({ "name": &*collision.name, "backends": collision.backends.iter().map(|name| &**name).collect::<Vec<_>>() })
    });
    Value::Array(all.collect())
}

fn shortened(snapshot: &Snapshot) -> Value {
    let all = snapshot.shortened().iter().map(|name| json!({ "backend": &*name.backend, "name": &*name.original, "exposed": &*name.exposed }));
    Value::Array(all.collect())
}

fn describe(snapshot: &Snapshot, summary: &[Value], out: &mut String) {
    for backend in summary {
        let name = backend["name"].as_str().unwrap_or_default();
        let state = backend["state"].as_str().unwrap_or_default();
        let _ = write!(out, "\n{name}: {state}");
        let said = ["reason", "action"].map(|key| backend[key].as_str());
        let said: Vec<&str> = said.into_iter().flatten().collect();
        if !said.is_empty() {
            let _ = write!(out, " ({})", said.join("; "));
        }
        out.push('\n');
        let rows = rows(backend);
        let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        for (label, text) in rows {
            let _ = writeln!(out, "  {label:width$}  {text}");
        }
    }
    for collision in snapshot.collisions() {
        let backends = collision
            .backends
            .iter()
            .map(|name| &**name)
            .collect::<Vec<_>>()
            .join(", ");
        let _ = writeln!(
            out,
            "\ncollision: {:?} is offered by {backends}",
            &*collision.name
        );
    }
    for name in snapshot.shortened() {
        let _ = writeln!(
            out,
            "shortened: {:?} of {} is listed as {:?}",
            &*name.original, name.backend, &*name.exposed
        );
    }
    let tools = snapshot.entries(Kind::Tool).len();
    let _ = writeln!(out, "\n{} in all.", counted(tools, "tool"));
    for warning in too_many_tools(tools) {
        let _ = writeln!(out, "warning: {warning}");
    }
}

/// The lines below a backend's name: what each is about, and what there is to say.
fn rows(backend: &Value) -> Vec<(String, String)> {
    let text = |key: &str| backend[key].as_str().unwrap_or_default();
    let names = |key: &str| {
        let names = backend[key].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let mut rows = vec![("transport".to_owned(), text("transport").to_owned())];
    for endpoint in backend["endpoints"].as_array().into_iter().flatten() {
        let text = |key: &str| endpoint[key].as_str().unwrap_or_default();
        let mut said = format!("{}: {}", text("endpoint"), text("state"));
        if endpoint["reason"].is_string() {
            let _ = write!(said, " ({})", text("reason"));
        }
        rows.push(("endpoint".to_owned(), said));
    }
    if backend["era"].is_string() {
        let era = format!("{} {} ({})", text("era"), text("version"), text("eraFound"));
        rows.push(("era".to_owned(), era));
    }
    if backend["sessions"].is_object() {
        rows.push(("sessions".to_owned(), shared_by(&backend["sessions"])));
    }
    if backend["offers"].is_array() {
        rows.push(("offers".to_owned(), names("offers").join(", ")));
    }
    for (key, label) in [
        ("tools", "tool"),
        ("prompts", "prompt"),
        ("resources", "resource"),
        ("resourceTemplates", "template"),
    ] {
        let names = names(key);
        if !names.is_empty() {
            rows.push((counted(names.len(), label), names.join(", ")));
        }
    }
    rows
}

/// What there is to say about each profile, for programs.
fn profile_summaries(snapshot: &Snapshot) -> Vec<Value> {
    let profiles = snapshot.profiles().into_iter();
    let of_profile = profiles.map(|profile| {
        let tools = snapshot.tools_in(profile);
        json!({
            "name": &**profile.name(),
            "tools": tools,
            "tool_limit": profile.tool_limit(),
            "warnings": too_many_tools(tools).collect::<Vec<_>>(),
        })
    });
    of_profile.collect()
}

fn describe_profiles(profiles: &[Value], out: &mut String) {
    for profile in profiles {
        let name = profile["name"].as_str().unwrap_or_default();
        let tools = profile["tools"].as_u64().unwrap_or_default();
        let tools = usize::try_from(tools).unwrap_or(usize::MAX);
        let _ = writeln!(out, "profile {name}: {}.", counted(tools, "tool"));
        for warning in profile["warnings"].as_array().into_iter().flatten() {
            let warning = warning.as_str().unwrap_or_default();
            let _ = writeln!(out, "warning: profile {name}: {warning}");
        }
    }
}

/// What clients make of so many tools.
fn too_many_tools(tools: usize) -> impl Iterator<Item = String> {
    CLIENT_LIMITS
        .iter()
        .filter(move |(_, limit)| tools > *limit)
        .map(|(client, limit)| {
            format!(
                "{client} takes about {limit} tools; hide some with include_tools or exclude_tools."
            )
        })
}
