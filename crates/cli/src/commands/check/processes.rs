//! What `check` says of local servers without starting them: the exact command, and what holds it on
//! this machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchboard_backends::config::{BackendConfig, SandboxConfig, TransportConfig};
use switchboard_backends::confinement::{Measure, Plan, show_network};
use switchboard_gateway::config::Config;
use switchboard_init::machine::Machine;

use crate::config::{Finding, Index};

/// What stands for a text that came from a variable or a file, and so may be a secret.
const HIDDEN: &str = "[from a variable]";

/// An argument without what stands before the host of an address in it, such as a name and password.
fn without_credentials(arg: &str) -> String {
    let Some((scheme, rest)) = arg.split_once("://") else {
        return arg.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((credentials, _)) => format!("{scheme}://…{}", &rest[credentials.len()..]),
        None => arg.to_owned(),
    }
}

/// All local servers of a configuration.
pub(super) struct Processes {
    servers: Vec<Server>,
    warnings: Vec<Finding>,
    errors: Vec<Finding>,
}

/// One local server.
struct Server {
    name: String,
    /// The command as it is executed, without a shell.
    command: Vec<String>,
    cwd: Option<PathBuf>,
    sandbox: Option<SandboxConfig>,
    plan: Plan,
}

impl Processes {
    /// Those of this configuration, on this machine.
    pub(super) fn of(config: &Config, index: &Index) -> Self {
        let mut found = Self {
            servers: Vec::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        };
        for (name, backend) in &config.backends {
            if let Some(server) = Server::of(name, backend, index) {
                found.judge(&server, index);
                found.servers.push(server);
            }
        }
        found
    }

    fn judge(&mut self, server: &Server, index: &Index) {
        let key = |key: &str| {
            let of_backend = key.split('.').map(str::to_owned);
            let backend = ["backends".to_owned(), server.name.clone()];
            backend.into_iter().chain(of_backend).collect::<Vec<_>>()
        };
        if let Some(refusal) = server.plan.refusal() {
            self.errors
                .push(index.finding(&key("sandbox.require"), refusal));
            return;
        }
        for (
            Measure {
                key: of, wanted, ..
            },
            why,
        ) in server.plan.not_held()
        {
            let message = format!("is to be {wanted}, which this machine does not hold: {why}");
            self.warnings.push(index.finding(&key(of), message));
        }
        let sandbox = server.sandbox.as_ref();
        let named = sandbox.map(|sandbox| [("read", &sandbox.read), ("write", &sandbox.write)]);
        for (list, paths) in named.into_iter().flatten() {
            for (at, path) in paths.iter().enumerate().filter(|(_, path)| !path.exists()) {
                let mut key = key(&format!("sandbox.{list}"));
                key.push(format!("[{at}]"));
                let message = format!("{} is not there, so nothing of it is", path.display());
                self.warnings.push(index.finding(&key, message));
            }
        }
    }

    /// Whether none of them has to be refused.
    pub(super) fn can_start(&self) -> bool {
        self.errors.is_empty()
    }

    /// For people.
    pub(super) fn describe(&self, out: &mut String) {
        for server in &self.servers {
            let _ = writeln!(out, "\n{}", server.name);
            for (label, text) in server.rows() {
                let _ = writeln!(out, "  {label:11}  {text}");
            }
        }
        if !self.servers.is_empty() {
            out.push('\n');
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        for error in &self.errors {
            let _ = writeln!(out, "error: {error}");
        }
    }

    /// For programs.
    pub(super) fn add_to(&self, report: &mut Value) {
        report["processes"] = self.servers.iter().map(Server::report).collect();
        report["refused"] = json!(self.errors);
        if let Some(all) = report["warnings"].as_array_mut() {
            all.extend(self.warnings.iter().map(|warning| json!(warning)));
        }
    }
}

impl Server {
    fn of(name: &str, backend: &BackendConfig, index: &Index) -> Option<Self> {
        let TransportConfig::Stdio {
            command, args, cwd, ..
        } = &backend.transport
        else {
            return None;
        };
        let args = args.iter().enumerate().map(|(at, arg)| {
            let key = ["backends", name, "args", &format!("[{at}]")].map(str::to_owned);
            if index.is_expanded(&key) {
                HIDDEN.to_owned()
            } else {
                without_credentials(arg)
            }
        });
        Some(Self {
            name: name.to_owned(),
            command: [command.clone()].into_iter().chain(args).collect(),
            cwd: cwd.clone().or_else(|| std::env::current_dir().ok()),
            sandbox: backend.sandbox.clone(),
            plan: Plan::of(backend, Machine::this())?,
        })
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let names: Vec<&str> = self
            .plan
            .variable_names
            .iter()
            .map(String::as_str)
            .collect();
        let mut rows = vec![
            ("command", json!(self.command).to_string()),
            ("folder", show(self.cwd.as_deref())),
            ("environment", names.join(", ")),
            ("limits", self.held("limits.")),
        ];
        match &self.sandbox {
            None => rows.push(("sandbox", "none".to_owned())),
            Some(sandbox) => {
                rows.push(("sandbox", self.held("sandbox.")));
                rows.push(("reads", listed(&sandbox.read, sandbox)));
                rows.push(("writes", listed(&sandbox.write, sandbox)));
            }
        }
        rows
    }

    /// All that holds of these keys, in one line.
    fn held(&self, prefix: &str) -> String {
        let measures = self.plan.measures.iter();
        let said = measures.filter_map(|Measure { key, wanted, held }| {
            let key = key.strip_prefix(prefix)?.replace('_', " ");
            let how = held.as_ref().map_or("NOT HELD", String::as_str);
            Some(format!("{key} {wanted} ({how})"))
        });
        match said.collect::<Vec<_>>() {
            said if said.is_empty() => "none".to_owned(),
            said => said.join(", "),
        }
    }

    fn report(&self) -> Value {
        let measures = |prefix: &str| {
            let all = self.plan.measures.iter();
            let all = all.filter_map(|Measure { key, wanted, held }| {
                let key = key.strip_prefix(prefix)?;
                Some(json!({
                    "key": key,
                    "wanted": wanted,
                    "heldBy": held.as_ref().ok(),
                    "notHeld": held.as_ref().err(),
                }))
            });
            all.collect::<Value>()
        };
        let sandbox = self.sandbox.as_ref().map(|sandbox| {
            json!({
                "read": self.plan.read,
                "write": self.plan.write,
                "network": show_network(&sandbox.network),
                "presets": sandbox.presets,
                "require": sandbox.require,
                "measures": measures("sandbox."),
            })
        });
        json!({
            "name": self.name,
            "command": self.command,
            "cwd": self.cwd,
            "environment": self.plan.variable_names,
            "limits": measures("limits."),
            "sandbox": sandbox,
        })
    }
}

fn show(path: Option<&Path>) -> String {
    path.map_or_else(|| "unknown".to_owned(), |path| path.display().to_string())
}

/// What a sandbox names in so many words; the whole of it is in the report for programs.
fn listed(paths: &[PathBuf], sandbox: &SandboxConfig) -> String {
    let presets = sandbox.presets.iter();
    let presets = presets.map(|preset| format!("what `{}` needs", preset.as_str()));
    let paths = paths.iter().map(|path| path.display().to_string());
    let needed = ["what every program needs".to_owned()];
    paths
        .chain(presets)
        .chain(needed)
        .collect::<Vec<_>>()
        .join(", ")
}
