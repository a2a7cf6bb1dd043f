//! Real clients as processes.
//!
//! A plan is a JSON list of steps, `{"step": LABEL, "do": ACTION, …}`. The drivers under
//! `tests/real/` run it with an official client each and report, for each step, what that client
//! saw: what a plan asks for and what must come of it is written once, for all of them.
//!
//! | action | with | reports |
//! |---|---|---|
//! | `discover` | | `result` |
//! | `list` | `what`: `tools`, `resources`, `templates` or `prompts` | `items`, of all pages |
//! | `call` | `name`, `arguments`, `log_level` if logs are wanted | `result`, `progress`, `logs` |
//! | `task` | as `call` | `result`, `statuses`: called as a task, by the clients that can |
//! | `cancel` | `name`, `arguments` | `cancelled`, `progress`: cancelled at the first progress |
//! | `read` | `uri` | `result` |
//! | `prompt` | `name`, `arguments` | `result` |
//! | `complete` | `ref`, `argument`, `context` | `result` |
//! | `listen` | `filter`, `steps` to run meanwhile, `until`: the changes to wait for | `acknowledged`, `changes` |
//!
//! A step that fails reports an `error` with the `code`, `message` and `data` that arrived.
//!
//! A client that answers can be asked in every step, and reports all `questions` of it. The step
//! says by `elicitation` how it answers forms and pages: `accept` (unless it says so), `decline` or
//! `cancel`; and by `completes` that it waits until the pages are told to be done with, of which
//! modern clients hear nothing. In rmcp's client notifications may be behind the result:
//! `awaits: {progress, logs}` says how many to wait for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::tools;

pub mod rmcp;

/// How long a client may take for a whole plan.
const PATIENCE: Duration = Duration::from_secs(120);

/// A real client that can run a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// The official TypeScript client.
    TypeScript,
    /// The official Python client.
    Python,
    /// The official TypeScript client of the legacy era, which always answers.
    TypeScriptLegacy,
    /// The official Python client of the legacy era, which always answers.
    PythonLegacy,
    /// rmcp's client, which always answers.
    Rmcp,
    /// rmcp's client as one of the legacy era, which always answers.
    RmcpLegacy,
}

impl Client {
    /// Runs a plan against an endpoint and returns what the client saw, by the label of the step.
    ///
    /// # Panics
    ///
    /// If the client fails as a whole, or takes longer than two minutes.
    pub async fn run(self, url: &str, plan: &Value) -> BTreeMap<String, Value> {
        self.drive(url, plan, &[]).await
    }

    /// As [`run`](Self::run), by a client that declares that it can be asked anything, and answers.
    ///
    /// # Panics
    ///
    /// If the client fails as a whole, or takes longer than two minutes.
    pub async fn run_answering(self, url: &str, plan: &Value) -> BTreeMap<String, Value> {
        match self {
            Self::TypeScript | Self::Python => self.drive(url, plan, &["answers"]).await,
            _ => self.drive(url, plan, &[]).await,
        }
    }

    async fn drive(self, url: &str, plan: &Value, options: &[&str]) -> BTreeMap<String, Value> {
        let real = tools::repository().join("tests/real");
        let mut command = match self {
            Self::TypeScript => script(&tools::node(), &real.join("typescript.mjs")),
            Self::Python => script(&tools::python(), &real.join("python.py")),
            Self::TypeScriptLegacy => script(&tools::node(), &real.join("typescript_legacy.mjs")),
            Self::PythonLegacy => script(&tools::python_legacy(), &real.join("python_legacy.py")),
            Self::Rmcp => return rmcp::run(url, true, plan).await,
            Self::RmcpLegacy => return rmcp::run(url, false, plan).await,
        };
        command.arg(url).args(options);
        let output = run(command, &plan.to_string()).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{self:?} ended with {}:\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text.lines()
            .map(|line| {
                let seen: Value = serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{self:?}: {error} in {line}"));
                let step = seen["step"].as_str().expect("each line names its step");
                (step.to_owned(), seen)
            })
            .collect()
    }
}

/// Runs the Inspector's command line with these arguments and returns the result it prints.
///
/// # Panics
///
/// If it fails.
pub async fn inspect(url: &str, arguments: &[&str]) -> Value {
    let home = tempfile::tempdir().expect("a temporary folder");
    let launcher = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let mut command = script(&tools::node(), &tools::npm(launcher));
    command
        .env("HOME", home.path())
        .args(["--cli", "--transport", "http", "--server-url", url])
        // Unless told so it speaks the legacy era.
        .args(["--protocol-era", "modern"])
        .args(["--format", "json", "--quiet"])
        .args(arguments);
    let output = run(command, "").await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the Inspector ended with {}:\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: Value = serde_json::from_str(&text).expect("the Inspector prints JSON");
    answer["result"].clone()
}

/// Has a client as it is published, which knows nothing but the address of the endpoint, find its way to a
/// token and call `f__echo` with it.
///
/// # Panics
///
/// If it does not, or sees something else.
pub async fn finds_its_way(interpreter: &Path, name: &str, endpoint: &str) {
    let mut command = script(
        interpreter,
        &tools::repository().join("tests/real").join(name),
    );
    command.args([endpoint, "f__echo"]);
    let output = run(command, "").await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    assert_eq!(seen["scope"], "mcp", "{seen}");
    assert_eq!(seen["resource"], endpoint, "{seen}");
    let arguments = &seen["result"]["structuredContent"]["arguments"];
    assert_eq!(arguments["x"], 1, "{seen}");
}

fn script(interpreter: &Path, script: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command
        .arg(script)
        .env("SWITCHBOARD_TEST_CACHE", tools::cache())
        // Python would leave its compiled files beside the scripts.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

async fn run(mut command: Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the client starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // A client that ends without reading has its reason, which its output tells.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("the client ends in time")
        .expect("a child can be waited for")
}
