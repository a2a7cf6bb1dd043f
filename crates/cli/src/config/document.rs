//! One source of the configuration: a file, or a variable of the environment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{self, PathBuf};

use serde_json::Value as Json;

use super::finding::Finding;
use super::mcp_servers::{self, Remarks};
use super::node::{Entry, Node, Path, Value};
use super::parse::parse;
use super::schema::{Checker, sibling};
use super::shape::Shape;
use super::variables::{Variables, describe};
use super::{Findings, Keys};

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// What an overriding variable begins with.
/// The flag of `serve`, which [`Document::overrides`] takes under its own name beside the
/// variables of the environment. No variable can be called so.
pub(crate) const LISTEN_FLAG: &str = "--listen";
const ENV_PREFIX: &str = "SWITCHBOARD_";
/// What stands between the keys in the name of an overriding variable.
const ENV_SEPARATOR: &str = "__";

/// What one source says.
pub(super) struct Document {
    /// The file as the user named it, or the variable.
    pub(super) name: String,
    pub(super) root: Node,
    /// The keys whose values were taken out because of a mistake.
    pub(super) removed: Vec<Vec<String>>,
    /// The files that its variables are read from.
    pub(super) referenced: BTreeSet<PathBuf>,
    /// The folder that relative paths are meant from.
    folder: PathBuf,
    /// Whether this is a client's file.
    client: bool,
}

impl Document {
    /// Reads a file: its form, its variables, and a client's words. `None` if there is nothing left
    /// that could be checked further. Of variables that are missing only those in the keys of `only`
    /// are mistakes, if some are named.
    pub(super) fn read(
        file: &path::Path,
        cwd: &path::Path,
        env: &BTreeMap<String, String>,
        only: Option<Keys<'_>>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let name = file.display().to_string();
        let absolute = cwd.join(file);
        let mut say = |line: Option<usize>, key: String, message: String| {
            let file = name.clone();
            findings.errors.push(Finding {
                file,
                line,
                key,
                message,
            });
        };
        let bytes = match read_file(&absolute) {
            Ok(bytes) => bytes,
            Err(message) => {
                say(None, String::new(), message);
                return None;
            }
        };
        let (root, errors) = parse(file, &bytes);
        for error in errors {
            say(Some(error.line), error.path.shown(), error.message);
        }
        let mut root = root?;
        if root.value == Value::Null {
            root.value = Value::Table(Vec::new());
        }
        if !matches!(root.value, Value::Table(_)) {
            let message = "is not a table of keys; expected keys such as `server` and `backends`";
            say(Some(root.line), String::new(), message.to_owned());
            return None;
        }
        let mut document = Self {
            name,
            root,
            removed: Vec::new(),
            referenced: BTreeSet::new(),
            folder: absolute.parent().unwrap_or(cwd).to_owned(),
            client: false,
        };
        document.leave_to_clients(findings);
        document.expand(env, only, findings);
        document.convert(findings);
        Some(document)
    }

    /// Takes out whatever is in none of these keys.
    pub(super) fn leave_out_others(&mut self, only: Keys<'_>) {
        leave_out_others(&mut self.root, only);
    }

    /// Every variable of the environment that overrides a key: `SWITCHBOARD_SERVER__LISTEN` is
    /// `server.listen`. Keys are matched with those of `others` without regard to case, and `_`
    /// stands for `-` as well.
    pub(super) fn overrides(
        env: &BTreeMap<String, String>,
        cwd: &path::Path,
        others: &[Document],
    ) -> Vec<Self> {
        // A flag is meant for this run alone, so it comes last and wins.
        let variables = env.iter().filter(|(variable, _)| *variable != LISTEN_FLAG);
        variables
            .chain(env.get_key_value(LISTEN_FLAG))
            .filter_map(|(variable, text)| {
                let keys = match &**variable {
                    LISTEN_FLAG => "SERVER__LISTEN",
                    variable => variable.strip_prefix(ENV_PREFIX)?,
                };
                // Without a separator it is no key: the value of a `${SWITCHBOARD_KEY}`, or one
                // of the variables that Kubernetes sets for a service of this name.
                if !keys.contains(ENV_SEPARATOR) {
                    return None;
                }
                let keys: Vec<&str> = keys.split(ENV_SEPARATOR).collect();
                let mut root = Node::text(text, 0);
                root.expanded = true;
                for (depth, key) in keys.iter().enumerate().rev() {
                    let key = existing_key(&keys[..depth], key, others);
                    root = Node::new(Value::Table(vec![Entry::new(key, 0, root)]), 0);
                }
                Some(Self {
                    name: variable.clone(),
                    root,
                    removed: Vec::new(),
                    referenced: BTreeSet::new(),
                    folder: cwd.to_owned(),
                    client: false,
                })
            })
            .collect()
    }

    /// Checks what the source says against the schema and takes out what is wrong.
    pub(super) fn check(&mut self, schema: &Json, findings: &mut Findings) {
        let mut checker = Checker {
            any_backend_name: self.client,
            ..Checker::default()
        };
        checker.check(&mut self.root, Shape::root(schema), &Path::default(), false);
        self.removed.append(&mut checker.removed);
        for mistake in checker.mistakes {
            let finding = self.finding(&mistake.path, mistake.line, mistake.message);
            findings.errors.push(finding);
        }
        for warning in checker.warnings {
            let finding = self.finding(&warning.path, warning.line, warning.message);
            findings.warnings.push(finding);
        }
        self.resolve_paths();
    }

    pub(super) fn finding(&self, path: &Path, line: usize, message: String) -> Finding {
        Finding {
            file: self.name.clone(),
            line: (line > 0).then_some(line),
            key: path.shown(),
            message,
        }
    }

    /// If this is a client's file, keeps its `mcpServers` and nothing else.
    fn leave_to_clients(&mut self, findings: &mut Findings) {
        let Value::Table(entries) = &mut self.root.value else {
            return;
        };
        let Some(at) = entries.iter().position(|entry| entry.key == "mcpServers") else {
            return;
        };
        self.client = true;
        let servers = entries.swap_remove(at).renamed("backends");
        let ignored = std::mem::replace(entries, vec![servers]);
        // Clients have settings named `telemetry` themselves; these are Switchboard's alone.
        for entry in ignored {
            if matches!(
                entry.key.as_str(),
                "auth"
                    | "backends"
                    | "heartbeat"
                    | "kept_results"
                    | "names"
                    | "parked_calls"
                    | "server"
            ) {
                let message = "is ignored in a file with `mcpServers`: put it in a file of its own";
                let path = Path::default().entry(&entry);
                let finding = self.finding(&path, entry.line, message.to_owned());
                findings.warnings.push(finding);
            }
        }
    }

    fn expand(
        &mut self,
        env: &BTreeMap<String, String>,
        only: Option<Keys<'_>>,
        findings: &mut Findings,
    ) {
        let is_wanted =
            |path: &Path| only.is_none_or(|only| only.iter().any(|key| is_in(path, key)));
        let mut failed = Vec::new();
        let variables = Variables {
            env,
            folder: &self.folder,
            client: self.client,
            files: RefCell::default(),
        };
        variables.expand_all(&mut self.root, &Path::default(), &mut failed);
        self.referenced = variables.files.into_inner();
        for text in failed.into_iter().filter(|text| is_wanted(&text.path)) {
            let finding = self.finding(&text.path, text.line, text.message);
            findings.errors.push(finding);
        }
    }

    fn convert(&mut self, findings: &mut Findings) {
        if !self.client {
            return;
        }
        let mut remarks = Remarks::default();
        for entry in self.root.entries_mut() {
            let path = Path::default().entry(entry);
            mcp_servers::convert(&mut entry.node, &path, &mut remarks);
        }
        for remark in remarks.mistakes {
            self.removed.push(remark.path.keys.clone());
            // Nothing is to be said about the lack of what was meant.
            let meant = remark.meant.map(|meant| sibling(&remark.path, meant));
            self.removed
                .extend(meant.filter(|keys| !self.root.has(keys)));
            let finding = self.finding(&remark.path, remark.line, remark.message);
            findings.errors.push(finding);
        }
        for remark in remarks.warnings {
            let finding = self.finding(&remark.path, remark.line, remark.message);
            findings.warnings.push(finding);
        }
    }

    /// A relative path is meant from the folder of the file that says it.
    fn resolve_paths(&mut self) {
        for keys in PATHS {
            resolve(&mut self.root, keys, &self.folder);
        }
    }
}

/// Whether what stands there is this key or a part of it.
fn is_in(path: &Path, key: &[&str]) -> bool {
    path.keys.len() >= key.len() && path.keys.iter().zip(key).all(|(there, key)| there == key)
}

fn leave_out_others(node: &mut Node, only: Keys<'_>) {
    if only.iter().any(|key| key.is_empty()) {
        return;
    }
    let Value::Table(entries) = &mut node.value else {
        return;
    };
    entries.retain_mut(|entry| {
        let below: Vec<&[&str]> = only
            .iter()
            .filter_map(|key| key.split_first().filter(|(first, _)| **first == entry.key))
            .map(|(_, below)| below)
            .collect();
        leave_out_others(&mut entry.node, &below);
        !below.is_empty()
    });
}

/// The keys of a configuration whose values are paths; `*` stands for any name, and any item of a list.
const PATHS: [&[&str]; 11] = [
    &["audit", "file", "path"],
    &["audit", "sqlite", "path"],
    &["backends", "*", "cwd"],
    &["backends", "*", "oauth", "private_key", "file"],
    &["backends", "*", "sandbox", "read", "*"],
    &["backends", "*", "sandbox", "write", "*"],
    &["kept_results", "dir"],
    &["server", "cache_dir"],
    &["server", "tls", "cert"],
    &["server", "tls", "client_ca"],
    &["server", "tls", "key"],
];

fn resolve(node: &mut Node, keys: &[&str], folder: &path::Path) {
    let Some((key, below)) = keys.split_first() else {
        if let Value::Text(text) = &mut node.value
            && let Some(absolute) = folder.join(&*text).to_str()
        {
            *text = absolute.to_owned();
        }
        return;
    };
    if let (Value::List(items), "*") = (&mut node.value, *key) {
        for item in items {
            resolve(item, below, folder);
        }
        return;
    }
    for entry in node.entries_mut() {
        if *key == "*" || entry.key == *key {
            resolve(&mut entry.node, below, folder);
        }
    }
}

fn read_file(path: &path::Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("can't be read: {}", describe(&error)))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("is too large; expected at most 4 MiB".to_owned());
    }
    Ok(bytes)
}

/// The key that a part of a variable's name means below `parents`.
fn existing_key(parents: &[&str], part: &str, others: &[Document]) -> String {
    let same = |key: &str, part: &str| key.replace('-', "_").eq_ignore_ascii_case(part);
    for document in others.iter().rev() {
        let mut tables = vec![&document.root];
        for parent in parents {
            let entries = tables.into_iter().flat_map(Node::entries);
            let matching = entries.filter(|entry| same(&entry.key, parent));
            tables = matching.map(|entry| &entry.node).collect();
        }
        let mut entries = tables.into_iter().flat_map(Node::entries);
        if let Some(entry) = entries.find(|entry| same(&entry.key, part)) {
            return entry.key.clone();
        }
    }
    part.to_ascii_lowercase()
}
