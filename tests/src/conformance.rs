//! The official conformance suite, and a strict reading of what it finds.
//!
//! The suite itself counts a scenario as passed that found nothing to check, or that only warned.
//! Here one has passed when it did something of its own successfully and nothing was found
//! wanting.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway::MODERN;
use crate::tools;

/// How long the whole server leg, and how long one scenario of the client leg may take.
const PATIENCE: Duration = Duration::from_secs(480);
const CLIENT_PATIENCE_MS: &str = "45000";

/// How many scenarios of the client leg run at a time: each is two or three processes.
const AT_A_TIME: usize = 3;

/// The scenarios of the client leg that are about a client's own credentials.
pub const CREDENTIALS_SCENARIOS: [&str; 2] = [
    "auth/client-credentials-basic",
    "auth/client-credentials-jwt",
];

/// A revision that the suite has a frozen list of requirements for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// 2025-11-25, of the legacy era.
    Legacy,
    /// 2026-07-28, of the modern era.
    Modern,
}

impl Revision {
    /// Its date, which names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => MODERN,
        }
    }

    /// How many scenarios it requires of a server.
    pub fn server_scenarios(self) -> usize {
        match self {
            Self::Legacy => 30,
            Self::Modern => 37,
        }
    }

    /// The scenarios of the client leg that can judge what a gateway sends to its backends, but for
    /// [`CREDENTIALS_SCENARIOS`]. The others are about users who consent, which this leg does not
    /// have.
    pub fn client_scenarios(self) -> &'static [&'static str] {
        match self {
            Self::Legacy => &[
                "elicitation-sep1034-client-defaults",
                "initialize",
                "json-schema-2020-12-preservation",
                "sse-retry",
                "tools_call",
            ],
            Self::Modern => &[
                "http-custom-headers",
                "http-invalid-tool-headers",
                "http-standard-headers",
                "json-schema-2020-12-preservation",
                "json-schema-ref-no-deref",
                "request-metadata",
                "sep-2322-client-request-state",
                "tools_call",
            ],
        }
    }
}

/// What came of one scenario.
#[derive(Debug)]
pub struct Verdict {
    /// The suite's name of the scenario.
    pub scenario: String,
    /// Why it has not passed; empty if it has.
    pub faults: Vec<Fault>,
}

/// Something that was found wanting.
#[derive(Debug)]
pub struct Fault {
    /// The suite's name of the check; empty where nothing was checked.
    pub check: String,
    /// What was found.
    pub message: String,
}

impl Fault {
    fn new(check: &str, message: impl Into<String>) -> Self {
        Self {
            check: check.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, faults } = self;
        if faults.is_empty() {
            write!(f, "passed {scenario}")
        } else {
            write!(f, "FAILED {scenario}")?;
            faults
                .iter()
                .try_for_each(|fault| write!(f, "\n    {} {}", fault.check, fault.message))
        }
    }
}

/// Runs every server scenario that `revision` requires against an endpoint.
///
/// # Panics
///
/// If the suite cannot be run.
pub async fn server_leg(url: &str, revision: Revision) -> Vec<Verdict> {
    let results = tempfile::tempdir().expect("a temporary folder");
    let mut command = suite();
    command
        .args(["server", "--url", url, "-o"])
        .arg(results.path())
        .args(["--requirements", revision.as_str()]);
    let console = run(command).await;
    let mut checks = read_checks(results.path(), "server-");
    let verdicts: Vec<Verdict> = required_server_scenarios(revision)
        .into_iter()
        .map(|scenario| {
            let faults = match checks.remove(&scenario) {
                Some(checks) => faults(&checks),
                None => vec![Fault::new("", "did not run")],
            };
            Verdict { scenario, faults }
        })
        .collect();
    assert!(
        verdicts.iter().any(|verdict| verdict.faults.is_empty()),
        "the suite found nothing in order:\n{console}"
    );
    verdicts
}

/// Runs the server scenarios of the tasks extension, which no revision requires, against an
/// endpoint; but for `tasks-status-notifications`, which checks nothing.
///
/// # Panics
///
/// If the suite cannot be run.
pub async fn tasks_leg(url: &str) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for scenario in [
        "tasks-capability-negotiation",
        "tasks-dispatch-and-envelope",
        "tasks-lifecycle",
        "tasks-mrtr-composition",
        "tasks-mrtr-input",
        "tasks-request-headers",
        "tasks-request-state-removal",
        "tasks-required-task-error",
        "tasks-wire-fields",
    ] {
        let results = tempfile::tempdir().expect("a temporary folder");
        let mut command = suite();
        command
            .args(["server", "--url", url, "--scenario", scenario, "-o"])
            .arg(results.path());
        let console = run(command).await;
        let faults = match read_checks(results.path(), "server-").remove(scenario) {
            Some(checks) => faults(&checks),
            None => vec![Fault::new("", format!("did not run:\n{console}"))],
        };
        verdicts.push(Verdict {
            scenario: scenario.to_owned(),
            faults,
        });
    }
    verdicts
}

/// What stands before the suite's mock servers.
#[derive(Clone, Debug)]
pub enum Front {
    /// An official client of the revision judged: what fails here is not a gateway's.
    Client,
    /// This program as a gateway, and before it an official client of a revision.
    Gateway(PathBuf, Revision),
}

/// Runs the client scenarios of `revision` that can judge a gateway, each with processes of its
/// own, some at a time.
///
/// # Panics
///
/// If the suite cannot be run.
pub async fn client_leg(front: &Front, revision: Revision) -> Vec<Verdict> {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut running = JoinSet::new();
    for scenario in revision.client_scenarios() {
        let (places, front) = (Arc::clone(&places), front.clone());
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("it is never closed");
            client_scenario(&front, revision, scenario).await
        });
    }
    running.join_all().await
}

/// Runs the client scenarios in which a gateway has credentials of its own.
///
/// # Panics
///
/// If the suite cannot be run.
pub async fn credentials_leg(front: &Front, revision: Revision) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for scenario in CREDENTIALS_SCENARIOS {
        verdicts.push(client_scenario(front, revision, scenario).await);
    }
    verdicts
}

async fn client_scenario(front: &Front, revision: Revision, scenario: &str) -> Verdict {
    let results = tempfile::tempdir().expect("a temporary folder");
    let mut command = suite();
    // The suite splits the command at spaces, so it contains no path.
    command
        .args(["client", "--command", "node client.mjs"])
        .args(["--scenario", scenario, "--spec-version", revision.as_str()])
        .args(["--timeout", CLIENT_PATIENCE_MS, "-o"])
        .arg(results.path());
    if CREDENTIALS_SCENARIOS.contains(&scenario) {
        // Of an extension, which no revision requires.
        command.arg("--force");
    }
    match front {
        Front::Client => command.env("FRONT_REVISION", revision.as_str()),
        Front::Gateway(program, front) => command
            .env("SWITCHBOARD", program)
            .env("FRONT_REVISION", front.as_str()),
    };
    let console = run(command).await;
    let mut faults = match read_checks(results.path(), "").remove(scenario) {
        Some(checks) => faults(&checks),
        None => vec![Fault::new("", "did not run")],
    };
    if !faults.is_empty() {
        let said = said(results.path());
        faults.push(Fault::new("", format!("the client said:\n{said}")));
        faults.push(Fault::new("", format!("the suite said:\n{console}")));
    }
    Verdict {
        scenario: scenario.to_owned(),
        faults,
    }
}

/// The suite's program, started where the client's driver lies.
fn suite() -> Command {
    let node = tools::node();
    let mut path = node
        .parent()
        .expect("node lies in a folder")
        .to_owned()
        .into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(node);
    command
        .arg(tools::npm(
            "@modelcontextprotocol/conformance/dist/index.js",
        ))
        .current_dir(tools::repository().join("tests/conformance"))
        .env("PATH", path)
        .env("SWITCHBOARD_TEST_CACHE", tools::cache())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs the suite and returns what it printed. Its exit code says less than its results.
async fn run(mut command: Command) -> String {
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("the suite ends in time")
        .expect("the suite starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// The server scenarios that the suite's frozen list for `revision` names.
fn required_server_scenarios(revision: Revision) -> Vec<String> {
    let revision = revision.as_str();
    let file = format!("@modelcontextprotocol/conformance/requirements/{revision}.yaml");
    let list = std::fs::read_to_string(tools::npm(&file)).expect("the list is readable");
    list.lines()
        .skip_while(|line| *line != "server:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  - "))
        .map(str::to_owned)
        .collect()
}

/// The checks of each scenario, from the suite's folders `{prefix}{scenario}-{time}`.
fn read_checks(results: &Path, prefix: &str) -> BTreeMap<String, Vec<Value>> {
    const TIME: usize = "-2026-07-28T00-00-00-000Z".len();
    let mut found = BTreeMap::new();
    for folder in folders(results) {
        // A scenario with a slash in its name has a folder in a folder.
        let name = folder.strip_prefix(results).unwrap_or(&folder);
        let name = name.to_string_lossy();
        let Some(name) = name.strip_prefix(prefix) else {
            continue;
        };
        let Some(scenario) = name.len().checked_sub(TIME).and_then(|end| name.get(..end)) else {
            continue;
        };
        let Ok(checks) = std::fs::read(folder.join("checks.json")) else {
            continue;
        };
        let checks = serde_json::from_slice(&checks).expect("the suite writes JSON");
        found.insert(scenario.to_owned(), checks);
    }
    found
}

/// The folders in this one, and those in them.
fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).expect("the folder is ours");
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    for below in found.clone() {
        found.extend(folders(&below));
    }
    found
}

/// Why a scenario with these checks has not passed.
fn faults(checks: &[Value]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = checks
        .iter()
        .filter(|check| matches!(check["status"].as_str(), Some("FAILURE" | "WARNING")))
        .map(|check| {
            let text = |key: &str| check[key].as_str().unwrap_or_default();
            let (status, description) = (text("status"), text("description"));
            let (message, details) = (text("errorMessage"), &check["details"]);
            Fault::new(
                text("id"),
                format!("{status}: {description}: {message} {details}"),
            )
        })
        .collect();
    // The harness adds `wire-schema-*` itself, and they succeed where nothing was exchanged.
    let own_success = checks.iter().any(|check| {
        let own = !check["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("wire-schema-"));
        own && check["status"] == "SUCCESS"
    });
    if faults.is_empty() && !own_success {
        faults.push(Fault::new("", "nothing of its own was checked"));
    }
    faults
}

/// What the client under test wrote, the gateway's output included.
fn said(results: &Path) -> String {
    folders(results)
        .iter()
        .flat_map(|folder| ["stdout.txt", "stderr.txt"].map(|file| folder.join(file)))
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::faults;

    #[test]
    fn only_a_success_of_its_own_and_no_complaint_passes() {
        let own = json!({ "id": "own", "status": "SUCCESS" });
        let added = json!({ "id": "wire-schema-valid", "status": "SUCCESS" });
        let info = json!({ "id": "note", "status": "INFO" });
        let warning = json!({ "id": "should", "status": "WARNING" });
        let failure = json!({ "id": "must", "status": "FAILURE" });
        assert!(faults(&[own.clone(), added.clone(), info.clone()]).is_empty());
        assert_eq!(faults(&[own.clone(), failure]).len(), 1);
        assert_eq!(faults(&[own, warning]).len(), 1);
        assert_eq!(faults(&[added, info]).len(), 1);
        assert_eq!(faults(&[]).len(), 1);
    }
}
