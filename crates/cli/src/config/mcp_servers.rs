//! `mcpServers`, as Claude Code, Cursor, Gemini CLI and Antigravity write it, turned into
//! Switchboard's own `backends`.

use serde_json::Number;
use switchboard_orchestrator::config::nearest;

use super::node::{Entry, Node, Path, Value};

/// Fields that clients know and that change nothing here.
const WITHOUT_EFFECT: &[&str] = &[
    "alwaysAllow",
    "authProviderType",
    "autoApprove",
    "connectionPool",
    "description",
    "envFile",
    "headersHelper",
    "oauth",
    "retries",
    "targetAudience",
    "targetServiceAccount",
];

/// Fields that have a meaning here.
const WITH_EFFECT: &[&str] = &[
    "args",
    "command",
    "cwd",
    "disabled",
    "disabledTools",
    "env",
    "excludeTools",
    "headers",
    "httpUrl",
    "includeTools",
    "serverUrl",
    "timeout",
    "trust",
    "type",
    "url",
];

/// Something to say about one field.
pub(super) struct Remark {
    pub(super) path: Path,
    pub(super) line: usize,
    pub(super) message: String,
    /// The field that was probably meant, in Switchboard's own words.
    pub(super) meant: Option<&'static str>,
}

/// What was said while a file was converted.
#[derive(Default)]
pub(super) struct Remarks {
    pub(super) mistakes: Vec<Remark>,
    pub(super) warnings: Vec<Remark>,
}

/// Turns the value of `mcpServers` into the value of `backends`, at `path`. What has the wrong
/// type stays as it is: checking it against the schema finds it.
pub(super) fn convert(servers: &mut Node, path: &Path, remarks: &mut Remarks) {
    let Value::Table(entries) = &mut servers.value else {
        return;
    };
    entries.retain_mut(|entry| {
        let path = path.entry(entry);
        if is_true(&entry.node, "disabled") {
            let message = "is disabled, so this backend is left out";
            remarks.warn(&path, entry.line, message.to_owned());
            return false;
        }
        server(entry, &path, remarks);
        true
    });
}

fn is_true(node: &Node, key: &str) -> bool {
    node.get(key)
        .is_some_and(|entry| entry.node.value == Value::Bool(true))
}

fn server(server: &mut Entry, path: &Path, remarks: &mut Remarks) {
    let local = server.node.get("command").is_some();
    let Value::Table(fields) = &mut server.node.value else {
        return;
    };
    let mut converted: Vec<Entry> = Vec::new();
    for field in std::mem::take(fields) {
        let path = path.entry(&field);
        let line = field.line;
        for field in convert_field(field, local, &path, remarks) {
            match converted.iter_mut().find(|other| other.key == field.key) {
                // `url` beside `httpUrl`, `excludeTools` beside `disabledTools`.
                Some(other) => combine(other, field, &path, line, remarks),
                None => converted.push(field),
            }
        }
    }
    let prefix = prefix_of(&server.key);
    if prefix != server.key {
        converted.push(Entry::new(
            "prefix",
            server.line,
            Node::text(prefix, server.line),
        ));
    }
    *fields = converted;
}

fn convert_field(field: Entry, local: bool, path: &Path, remarks: &mut Remarks) -> Vec<Entry> {
    let line = field.line;
    match field.key.as_str() {
        "command" | "url" => vec![field],
        "args" | "env" | "cwd" if local => vec![field],
        "headers" if !local => vec![field],
        "args" | "env" | "cwd" => {
            remarks.warn(path, line, "has no effect without `command`".to_owned());
            Vec::new()
        }
        "headers" => {
            remarks.warn(path, line, "has no effect beside `command`".to_owned());
            Vec::new()
        }
        "serverUrl" => vec![field.renamed("url")],
        "httpUrl" => vec![
            field.renamed("url"),
            transport("streamable_http", line, "httpUrl"),
        ],
        "type" => kind(&field, local, path, remarks),
        "timeout" => milliseconds(field, path, remarks),
        "trust" => vec![field.renamed("trust_annotations")],
        "includeTools" => vec![field.renamed("include_tools")],
        "excludeTools" | "disabledTools" => vec![field.renamed("exclude_tools")],
        "disabled" => Vec::new(),
        unknown => {
            remarks.unknown(unknown, path, line);
            Vec::new()
        }
    }
}

fn kind(field: &Entry, local: bool, path: &Path, remarks: &mut Remarks) -> Vec<Entry> {
    let Some(kind) = field.node.as_text() else {
        if field.node.value != Value::Broken {
            let message = "is not text; expected one of `stdio`, `http`, `sse`";
            remarks.mistake(path, field.line, message.to_owned());
        }
        return Vec::new();
    };
    match (kind, local) {
        ("stdio", true) => Vec::new(),
        ("http" | "streamable-http" | "streamableHttp" | "streamable_http", false) => {
            vec![transport("streamable_http", field.line, "type")]
        }
        ("sse", false) => vec![transport("sse", field.line, "type")],
        (_, true) => {
            let message = "does not fit `command`; expected `stdio`, or no `type`";
            remarks.mistake(path, field.line, message.to_owned());
            Vec::new()
        }
        ("stdio", false) => {
            let message = "is `stdio`, but there is no `command`; expected one, or `http` or `sse`";
            remarks.mistake(path, field.line, message.to_owned());
            Vec::new()
        }
        (_, false) => {
            let message = "is no transport of a remote server; expected `http` or `sse`";
            remarks.mistake(path, field.line, message.to_owned());
            Vec::new()
        }
    }
}

fn transport(name: &str, line: usize, written: &str) -> Entry {
    Entry {
        written: written.to_owned(),
        ..Entry::new("transport", line, Node::text(name, line))
    }
}

/// Clients count a timeout in milliseconds.
fn milliseconds(mut field: Entry, path: &Path, remarks: &mut Remarks) -> Vec<Entry> {
    let milliseconds = match &field.node.value {
        Value::Number(number) => number.as_f64(),
        Value::Text(text) if field.node.expanded => text.trim().parse().ok(),
        Value::Broken => return vec![field],
        _ => None,
    };
    let Some(seconds) = milliseconds.and_then(|ms| Number::from_f64(ms / 1000.0)) else {
        let message = "is not a number; expected a number of milliseconds";
        remarks.mistake(path, field.line, message.to_owned());
        return Vec::new();
    };
    field.node.value = Value::Number(seconds);
    vec![field]
}

fn combine(other: &mut Entry, field: Entry, path: &Path, line: usize, remarks: &mut Remarks) {
    match (&mut other.node.value, field.node.value) {
        (Value::List(items), Value::List(more)) => items.extend(more),
        _ if field.key == "transport" => {
            // `type` says what `httpUrl` says already, or contradicts it.
        }
        _ => {
            let message = format!(
                "stands beside `{}`, which means the same; expected one of them",
                other.written
            );
            remarks.mistake(path, line, message);
        }
    }
}

/// The prefix that a name of any characters stands for.
fn prefix_of(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    name.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(64)
        .collect()
}

impl Remarks {
    fn mistake(&mut self, path: &Path, line: usize, message: String) {
        self.mistakes.push(Remark::new(path, line, message));
    }

    fn warn(&mut self, path: &Path, line: usize, message: String) {
        self.warnings.push(Remark::new(path, line, message));
    }

    /// Clients add fields of their own with every release, and their files are taken unchanged;
    /// what looks like a slip of the hand is a mistake all the same.
    fn unknown(&mut self, field: &str, path: &Path, line: usize) {
        if WITHOUT_EFFECT.contains(&field) {
            self.warn(path, line, "has no effect yet".to_owned());
        } else if let Some(near) = nearest(field, WITH_EFFECT.iter().copied()) {
            let message = format!("is not a known field; did you mean `{near}`?");
            let meant = match near {
                "httpUrl" | "serverUrl" => "url",
                near => near,
            };
            self.mistakes.push(Remark {
                meant: Some(meant),
                ..Remark::new(path, line, message)
            });
        } else {
            let message = "is not a known field, so it has no effect";
            self.warn(path, line, message.to_owned());
        }
    }
}

impl Remark {
    fn new(path: &Path, line: usize, message: String) -> Self {
        Self {
            path: path.clone(),
            line,
            message,
            meant: None,
        }
    }
}
