//! The real MCP servers, as entries of the `backends` section of a configuration.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::tools;

/// `server-everything`: one of each thing that a legacy server can do.
pub fn everything() -> Value {
    node(
        "@modelcontextprotocol/server-everything/dist/index.js",
        &["stdio"],
    )
}

/// `server-filesystem` for one folder.
pub fn filesystem(folder: &Path) -> Value {
    let folder = folder.to_str().expect("a folder named in UTF-8");
    node(
        "@modelcontextprotocol/server-filesystem/dist/index.js",
        &[folder],
    )
}

/// `server-memory`, which keeps its graph in one file.
pub fn memory(file: &Path) -> Value {
    let mut backend = node("@modelcontextprotocol/server-memory/dist/index.js", &[]);
    backend["env"] = json!({ "MEMORY_FILE_PATH": file });
    backend
}

/// `mcp-server-time`.
pub fn time() -> Value {
    python(&["-m", "mcp_server_time", "--local-timezone", "UTC"])
}

/// `mcp-server-git` for one repository.
pub fn git(repository: &Path) -> Value {
    let repository = repository.to_str().expect("a folder named in UTF-8");
    python(&["-m", "mcp_server_git", "--repository", repository])
}

/// Makes a git repository with one commit in `folder`, and a change since.
///
/// # Panics
///
/// If git is not there or fails.
pub fn make_repository(folder: &Path) {
    let git = |arguments: &[&str]| {
        let status = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@localhost"])
            .args(arguments)
            .current_dir(folder)
            .status()
            .expect("git starts");
        assert!(status.success(), "git {arguments:?}: {status}");
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(folder.join("notes.txt"), "first\n").expect("the folder is ours");
    git(&["add", "notes.txt"]);
    git(&["commit", "--quiet", "--message", "The first note"]);
    std::fs::write(folder.join("notes.txt"), "first\nsecond\n").expect("the folder is ours");
}

fn node(script: &str, arguments: &[&str]) -> Value {
    let script = tools::npm(script);
    let script = script.to_str().expect("a path in UTF-8");
    let args: Vec<&str> = [script].iter().chain(arguments).copied().collect();
    json!({ "command": tools::node(), "args": args })
}

fn python(arguments: &[&str]) -> Value {
    json!({ "command": tools::python(), "args": arguments })
}
