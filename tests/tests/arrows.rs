//! The arrows between the crates of the workspace, as docs/ARCHITECTURE.md draws them:
//!
//! ```text
//! cli ─► gateway ─► orchestrator ─► backends ─► protocol
//!  │        └─────► policy ─────────────│───────► protocol
//!  └────────────────────────────────────└───────► init
//! ```
//!
//! A crate may use what stands below it, and all but `protocol` and `init` may use `telemetry`. Inside of
//! `gateway` and `backends`, what is legacy alone is a folder each, which only a few files reach into.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Each crate, and the crates of the workspace that it may name in its manifest.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("init", &[]),
    ("telemetry", &[]),
    ("policy", &["protocol", "telemetry"]),
    ("backends", &["init", "protocol", "telemetry"]),
    ("orchestrator", &["backends", "protocol", "telemetry"]),
    (
        "gateway",
        &[
            "orchestrator",
            "policy",
            "backends",
            "protocol",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "gateway",
            "orchestrator",
            "policy",
            "backends",
            "init",
            "protocol",
            "telemetry",
        ],
    ),
];

/// Crates that never ship: they may use anything, and what ships may use only `testkit`, as a
/// dev-dependency.
const NEVER_SHIPPED: &[&str] = &["testkit", "bench", "tests"];

/// Crates that do I/O or hold a clock, from which `protocol` stays free.
const NOT_IN_PROTOCOL: &[&str] = &[
    "axum",
    "hyper",
    "hyper-util",
    "reqwest",
    "rustix",
    "tokio",
    "tokio-util",
];

/// The folders of the legacy edges, and the files beside them that may name what is in there: the
/// seams where the eras part.
const LEGACY_EDGES: &[(&str, &[&str])] = &[
    (
        "crates/gateway/src",
        &[
            "config.rs",
            "edge/decode.rs",
            "endpoint.rs",
            "lib.rs",
            "paths.rs",
            "server.rs",
        ],
    ),
    (
        "crates/backends/src",
        &[
            "answer.rs",
            "backend.rs",
            "connect.rs",
            "endpoint.rs",
            "exchange.rs",
            "keeper.rs",
            "keeper/listening.rs",
            "learn.rs",
            "lib.rs",
            "link/mux.rs",
            "link/watch.rs",
        ],
    ),
];

/// One line of a manifest: `from` names `to` among its dependencies.
#[derive(Debug)]
struct Arrow {
    from: String,
    to: String,
    dev: bool,
}

fn arrow(from: &str, to: &str, dev: bool) -> Arrow {
    Arrow {
        from: from.to_owned(),
        to: to.to_owned(),
        dev,
    }
}

/// What is wrong with one arrow, if anything is.
fn fault(arrow: &Arrow) -> Option<String> {
    let Arrow { from, to, dev } = arrow;
    if NEVER_SHIPPED.contains(&from.as_str()) {
        return None;
    }
    if from == "protocol" && !dev && NOT_IN_PROTOCOL.contains(&to.as_str()) {
        return Some(format!("protocol does no I/O, yet depends on {to}"));
    }
    let to = to.strip_prefix("switchboard-")?;
    if NEVER_SHIPPED.contains(&to) {
        return (to != "testkit" || !dev)
            .then(|| format!("{from} ships and may not depend on {to}"));
    }
    let allowed = ARROWS
        .iter()
        .find(|(name, _)| name == from)
        .is_some_and(|(_, below)| below.contains(&to));
    (!allowed).then(|| format!("{from} may not depend on {to}"))
}

/// `cargo metadata` of this workspace, without its dependencies' own.
fn workspace() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"]
        .as_array()
        .expect("a list of packages")
        .clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A package's name without the prefix that all of the workspace share.
fn short_name(package: &Value) -> String {
    text(package, "name")
        .strip_prefix("switchboard-")
        .expect("every crate of the workspace is called switchboard-…")
        .to_owned()
}

#[test]
fn every_dependency_follows_the_arrows() {
    let mut faults = Vec::new();
    for package in workspace() {
        let from = short_name(&package);
        let dependencies = package["dependencies"].as_array().expect("a list");
        for dependency in dependencies {
            let to = text(dependency, "name");
            let dev = text(dependency, "kind") == "dev";
            faults.extend(fault(&arrow(&from, to, dev)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_crate_has_its_place_in_the_picture() {
    let there: BTreeSet<String> = workspace().iter().map(short_name).collect();
    let drawn: BTreeSet<String> = ARROWS
        .iter()
        .map(|(name, _)| *name)
        .chain(NEVER_SHIPPED.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(there, drawn);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in workspace() {
        let manifest = text(&package, "manifest_path");
        let toml = std::fs::read_to_string(manifest).expect("the manifest is readable");
        assert!(
            toml.contains("[lints]\nworkspace = true"),
            "{manifest} does not opt into the workspace's lints"
        );
    }
}

/// Whether a line of code names something in a module `legacy` of its own crate: not a function
/// of that name, nor the module of another crate.
fn reaches_into_legacy(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["legacy::", "legacy;", "mod legacy"].iter().any(|named| {
        code.match_indices(named).any(|(at, _)| {
            let before = &code[..at];
            let own = ["crate::", "super::"]
                .iter()
                .any(|path| before.ends_with(path));
            own || !before.ends_with(|last: char| last.is_alphanumeric() || "_:".contains(last))
        })
    })
}

/// The files of `folder` and below, outside of the legacy edge, that name something in it.
fn reaching(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a folder of the repository").path();
        let name = path.strip_prefix(root).expect("below the root");
        let is_edge = name == Path::new("legacy") || name == Path::new("legacy.rs");
        if is_edge {
            continue;
        }
        if path.is_dir() {
            reaching(&path, root, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = std::fs::read_to_string(&path).expect("readable");
            if code.lines().any(reaches_into_legacy) {
                found.insert(name.to_string_lossy().into_owned());
            }
        }
    }
}

/// Exactly the seams: one that is gone is taken off the list.
#[test]
fn only_the_seams_reach_into_the_legacy_edges() {
    for (root, seams) in LEGACY_EDGES {
        let folder = switchboard_tests::tools::repository().join(root);
        assert!(folder.join("legacy").is_dir(), "{root} has no legacy edge");
        let mut found = BTreeSet::new();
        reaching(&folder, &folder, &mut found);
        let seams: BTreeSet<String> = seams.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, seams, "in {root}");
    }
}

#[test]
fn a_use_of_a_legacy_edge_is_recognised() {
    for line in [
        "use crate::legacy::Session;",
        "use crate::legacy;",
        "    legacy::initialize(link).await",
        "pub(crate) mod legacy;",
        "    let x: Option<legacy::Session>;",
        "use super::legacy::pool::Pool;",
    ] {
        assert!(reaches_into_legacy(line), "{line}");
    }
    for line in [
        "message::legacy(call)",
        "use hyper_util::client::legacy::Client;",
        "let legacy = connection.is_legacy;",
        "/// see [`crate::legacy::Session`]",
        "Era::Legacy => is_legacy::<T>()",
    ] {
        assert!(!reaches_into_legacy(line), "{line}");
    }
}

#[test]
fn a_forbidden_arrow_is_reported() {
    let forbidden = [
        arrow("policy", "switchboard-backends", false),
        arrow("backends", "switchboard-policy", true),
        arrow("telemetry", "switchboard-protocol", false),
        arrow("protocol", "switchboard-telemetry", false),
        arrow("protocol", "tokio", false),
        arrow("orchestrator", "switchboard-gateway", false),
        arrow("gateway", "switchboard-testkit", false),
        arrow("gateway", "switchboard-bench", true),
    ];
    for arrow in &forbidden {
        assert!(fault(arrow).is_some(), "{arrow:?} passes");
    }
    let fine = [
        arrow("gateway", "switchboard-policy", false),
        arrow("gateway", "switchboard-testkit", true),
        arrow("gateway", "tokio", false),
        arrow("tests", "switchboard-testkit", false),
    ];
    for arrow in &fine {
        assert!(fault(arrow).is_none(), "{arrow:?} is reported");
    }
}
