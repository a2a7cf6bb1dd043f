//! `${NAME}` and its kin in the texts of a file.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{self, PathBuf};

use super::node::{Node, Path, Value};

/// The largest file that `${file:…}` reads, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;
/// What the name of a variable ends with that says in which file the value of another is, as images
/// of containers commonly have it: `GITHUB_TOKEN_FILE` for `GITHUB_TOKEN`.
const IN_FILE: &str = "_FILE";

/// Where the values of variables come from.
pub(super) struct Variables<'a> {
    pub(super) env: &'a BTreeMap<String, String>,
    /// The folder of the file that is read.
    pub(super) folder: &'a path::Path,
    /// Whether the file is a client's: those also know `$NAME` and `${workspaceFolder}`.
    pub(super) client: bool,
    /// The files that values were asked of, whether they could be read or not.
    pub(super) files: RefCell<BTreeSet<PathBuf>>,
}

/// A text that could not be expanded: where it is and why.
pub(super) struct Unexpanded {
    pub(super) path: Path,
    pub(super) line: usize,
    pub(super) message: String,
}

impl Variables<'_> {
    /// Expands every text below `node`; one that can't be becomes [`Value::Broken`].
    pub(super) fn expand_all(&self, node: &mut Node, path: &Path, failed: &mut Vec<Unexpanded>) {
        match &mut node.value {
            Value::Text(text) => match self.expand(text) {
                Ok(None) => {}
                Ok(Some(expanded)) => {
                    *text = expanded;
                    node.expanded = true;
                }
                Err(message) => {
                    node.value = Value::Broken;
                    failed.push(Unexpanded {
                        path: path.clone(),
                        line: node.line,
                        message,
                    });
                }
            },
            Value::List(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.expand_all(item, &path.item(at), failed);
                }
            }
            Value::Table(entries) => {
                for entry in entries {
                    let path = path.entry(entry);
                    self.expand_all(&mut entry.node, &path, failed);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Broken => {}
        }
    }

    /// `None` if there is nothing to expand.
    fn expand(&self, text: &str) -> Result<Option<String>, String> {
        if !text.contains('$') {
            return Ok(None);
        }
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let end =
                    closing_brace(after).ok_or("has `${` without `}`; write `$$` for a dollar")?;
                expanded.push_str(&self.reference(&after[..end])?);
                rest = &after[end + 1..];
            } else {
                let length = if self.client { name_length(rest) } else { 0 };
                if length == 0 {
                    expanded.push('$');
                } else {
                    expanded.push_str(&self.variable(&rest[..length])?);
                }
                rest = &rest[length..];
            }
        }
        expanded.push_str(rest);
        Ok(Some(expanded))
    }

    /// What `${reference}` stands for.
    fn reference(&self, reference: &str) -> Result<String, String> {
        if let Some((name, default)) = reference.split_once(":-") {
            let name = name.strip_prefix("env:").unwrap_or(name);
            check_name(name)?;
            return match self.value(name)? {
                Some(value) if !value.is_empty() => Ok(value),
                _ => Ok(self.expand(default)?.unwrap_or_else(|| default.to_owned())),
            };
        }
        if self.client
            && let Some(value) = self.of_client(reference)
        {
            return value;
        }
        match reference.split_once(':') {
            None => self.variable(reference),
            Some(("env", name)) => self.variable(name),
            Some(("file", path)) => self.file(path),
            Some(("switchboard", "exe")) => executable(),
            Some(_) => Err(format!(
                "has `${{{reference}}}`; expected `${{NAME}}`, `${{NAME:-default}}`, \
                 `${{env:NAME}}`, `${{file:PATH}}` or `${{switchboard:exe}}`"
            )),
        }
    }

    fn variable(&self, name: &str) -> Result<String, String> {
        check_name(name)?;
        self.value(name)?.ok_or_else(|| {
            format!("the environment variable `{name}` is not set; expected a value for it, or a default as in `${{{name}:-default}}`")
        })
    }

    /// The value of a variable: its own, or what the file holds that `NAME_FILE` names.
    fn value(&self, name: &str) -> Result<Option<String>, String> {
        if let Some(value) = self.env.get(name) {
            return Ok(Some(value.clone()));
        }
        let named = format!("{name}{IN_FILE}");
        match self.env.get(&named).filter(|path| !path.is_empty()) {
            None => Ok(None),
            Some(path) => match self.file(path) {
                Ok(value) => Ok(Some(value)),
                Err(message) => Err(format!("{message}, as `{named}` says")),
            },
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let unreadable = |why: &str| format!("the file `{path}` can't be read: {why}");
        let absolute = self.folder.join(path);
        self.files.borrow_mut().insert(absolute.clone());
        let mut bytes = Vec::new();
        File::open(&absolute)
            .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(&describe(&error)))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(unreadable("it is larger than 1 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8"))?;
        // Editors and `echo` end a file with a line break that is no part of the secret.
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }

    /// The names that clients fill in themselves.
    fn of_client(&self, reference: &str) -> Option<Result<String, String>> {
        let workspace = || workspace_folder(self.folder);
        match reference {
            "workspaceFolder" => Some(as_text(&workspace())),
            "workspaceFolderBasename" => {
                let workspace = workspace();
                let name = workspace.file_name().unwrap_or_default();
                Some(as_text(path::Path::new(name)))
            }
            "userHome" => Some(self.variable("HOME")),
            "pathSeparator" | "/" => Some(Ok(path::MAIN_SEPARATOR.to_string())),
            _ => None,
        }
    }
}

/// The folder of a client's file, or its parent if that folder begins with a dot (`.cursor`,
/// `.claude`, `.gemini`).
fn workspace_folder(folder: &path::Path) -> PathBuf {
    let hidden = folder
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    match folder.parent() {
        Some(parent) if hidden => parent.to_owned(),
        _ => folder.to_owned(),
    }
}

fn executable() -> Result<String, String> {
    let path = std::env::current_exe()
        .map_err(|error| format!("the path of this program is unknown: {}", describe(&error)))?;
    as_text(&path)
}

fn as_text(path: &path::Path) -> Result<String, String> {
    let text = path.to_str().ok_or("stands for a path that is not UTF-8")?;
    Ok(text.to_owned())
}

/// An error of the operating system without its number.
pub(super) fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// Where the brace that closes an opened one is; defaults may hold references of their own.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    let mut bytes = text.bytes();
    if !bytes
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
    {
        return 0;
    }
    1 + bytes
        .take_while(|c| c.is_ascii_alphanumeric() || *c == b'_')
        .count()
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name_length(name) != name.len() {
        return Err(format!(
            "has `{name}` as the name of a variable; expected letters, digits and `_`, or `$$` for a dollar"
        ));
    }
    Ok(())
}
