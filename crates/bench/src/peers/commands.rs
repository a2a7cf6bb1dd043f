//! The command that starts each peer.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{Server, Start};
use crate::Failure;

/// What every peer's environment has beside that of this program: loopback is asked without a proxy,
/// and nobody is told of the run.
pub(super) const ENVIRONMENT: [(&str, &str); 3] = [
    ("NO_PROXY", "127.0.0.1,localhost"),
    ("no_proxy", "127.0.0.1,localhost"),
    ("DO_NOT_TRACK", "1"),
];

/// What a request to LiteLLM has to carry: its master key.
pub(super) const LITELLM_BEARER: &str = "Bearer sk-switchboard-bench";

const FASTMCP: &str = include_str!("../../templates/peers/fastmcp.py");
const FASTMCP_ENVIRONMENT: [(&str, &str); 3] = [
    ("FASTMCP_CHECK_FOR_UPDATES", "off"),
    ("FASTMCP_TELEMETRY_MODE", "off"),
    ("FASTMCP_LOG_LEVEL", "ERROR"),
];

/// No authentication, no limit of rate, no records in the database, and the server on loopback
/// allowed. Sessions, because without them it begins one with the server for every call.
const CONTEXTFORGE_ENVIRONMENT: [(&str, &str); 23] = [
    ("ENVIRONMENT", "development"),
    (
        "JWT_SECRET_KEY",
        "switchboard-bench-0123456789abcdef0123456789",
    ),
    (
        "AUTH_ENCRYPTION_SECRET",
        "switchboard-bench-fedcba9876543210fedcba9876",
    ),
    ("AUTH_REQUIRED", "false"),
    ("MCP_REQUIRE_AUTH", "false"),
    ("ALLOW_UNAUTHENTICATED_ADMIN", "true"),
    ("REQUIRE_USER_IN_DB", "false"),
    ("SSRF_ALLOW_LOCALHOST", "true"),
    ("SSRF_ALLOW_PRIVATE_NETWORKS", "true"),
    ("RATE_LIMITING_ENABLED", "false"),
    ("USE_STATEFUL_SESSIONS", "true"),
    ("CACHE_TYPE", "memory"),
    ("MCPGATEWAY_UI_ENABLED", "false"),
    ("MCPGATEWAY_ADMIN_API_ENABLED", "false"),
    ("PLUGINS_ENABLED", "false"),
    ("OBSERVABILITY_ENABLED", "false"),
    ("OTEL_ENABLE_OBSERVABILITY", "false"),
    ("STRUCTURED_LOGGING_ENABLED", "false"),
    ("PERFORMANCE_TRACKING_ENABLED", "false"),
    ("DB_METRICS_RECORDING_ENABLED", "false"),
    ("TOKEN_USAGE_LOGGING_ENABLED", "false"),
    ("METRICS_AGGREGATION_ENABLED", "false"),
    ("LOG_LEVEL", "CRITICAL"),
];

/// No telemetry, and its lists of prices and the like from its own files instead of the network.
const LITELLM_ENVIRONMENT: [(&str, &str); 8] = [
    ("LITELLM_TELEMETRY", "False"),
    ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
    ("LITELLM_LOCAL_BLOG_POSTS", "True"),
    ("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True"),
    ("LITELLM_LOCAL_AUTOROUTER_PRESETS", "True"),
    ("LITELLM_LOCAL_POLICY_TEMPLATES", "True"),
    ("LITELLM_LOG", "CRITICAL"),
    ("LITELLM_ENABLE_MCP_STDIO", "true"),
];

/// A process of the server for each session: in its other mode it starts one for each call.
pub(super) fn supergateway(folder: &Path, start: Start<'_>) -> Result<Command, Failure> {
    let mut command = node(folder, "supergateway");
    command
        .args(["--stdio", &shell_words(&stdio_words(start.server))])
        .args(["--outputTransport", "streamableHttp", "--stateful"])
        .args(["--logLevel", "none"])
        .args(["--port", &start.listen.port().to_string()]);
    Ok(command)
}

/// Without its store of events, which no other peer keeps.
pub(super) fn npm_mcp_proxy(folder: &Path, start: Start<'_>) -> Result<Command, Failure> {
    let mut command = node(folder, "mcp-proxy");
    listen_options(&mut command, start)
        .args(["--server", "stream", "--no-eventStore", "--"])
        .args(stdio_words(start.server));
    Ok(command)
}

pub(super) fn python_mcp_proxy(folder: &Path, start: Start<'_>) -> Result<Command, Failure> {
    let mut command = python(folder, "mcp-proxy");
    listen_options(&mut command, start)
        .args(["--log-level", "ERROR", "--"])
        .args(stdio_words(start.server));
    Ok(command)
}

pub(super) fn fastmcp(folder: &Path, start: Start<'_>) -> Result<Command, Failure> {
    let server = match start.server {
        Server::Http(url) => json!({"transport": "http", "url": url}),
        Server::Stdio(program, arguments) => json!({"command": program, "args": arguments}),
    };
    let config = json!({"mcpServers": {"behind": server}});
    let mut command = python(folder, "python");
    command
        .args(["-c", FASTMCP, &config.to_string()])
        .arg(start.listen.port().to_string())
        .envs(FASTMCP_ENVIRONMENT);
    Ok(command)
}

pub(super) fn contextforge(folder: &Path, start: Start<'_>) -> Result<Command, Failure> {
    let database = format!("sqlite:///{}", start.dir.join("contextforge.db").display());
    let mut command = python(folder, "mcpgateway");
    listen_options(&mut command, start)
        .args(["--workers", "1", "--log-level", "critical"])
        .envs(CONTEXTFORGE_ENVIRONMENT)
        .env("DATABASE_URL", database);
    Ok(command)
}

pub(super) fn litellm(folder: &Path, start: Start<'_>) -> Result<Command, Failure> {
    let mut command = python(folder, "litellm");
    let server = match start.server {
        Server::Http(url) => json!({"transport": "http", "url": url, "allow_all_keys": true}),
        Server::Stdio(program, arguments) => {
            // It allows programs by the names of their files.
            let name = program.file_name().unwrap_or_default();
            command.env("LITELLM_MCP_STDIO_EXTRA_COMMANDS", name);
            json!({"transport": "stdio", "command": program, "args": arguments, "allow_all_keys": true})
        }
    };
    let key = LITELLM_BEARER.trim_start_matches("Bearer ");
    let config = json!({
        "mcp_servers": {"behind": server},
        "general_settings": {"master_key": key},
    });
    let file = start.dir.join("litellm.yaml");
    write_json(&file, &config)?;
    command.arg("--config").arg(file);
    listen_options(&mut command, start)
        .args(["--num_workers", "1"])
        .envs(LITELLM_ENVIRONMENT);
    Ok(command)
}

/// A program of an npm package, run by the Node that was installed with it.
fn node(folder: &Path, program: &str) -> Command {
    let programs = folder.join("node_modules/.bin");
    let mut command = Command::new(programs.join("node"));
    command.arg(programs.join(program));
    command
}

/// A program of a Python environment.
fn python(folder: &Path, program: &str) -> Command {
    Command::new(folder.join("bin").join(program))
}

fn listen_options<'a>(command: &'a mut Command, start: Start<'_>) -> &'a mut Command {
    command
        .args(["--host", &start.listen.ip().to_string()])
        .args(["--port", &start.listen.port().to_string()])
}

/// The command line of a server that is reached over stdio; nothing for another one.
fn stdio_words(server: &Server) -> Vec<&OsStr> {
    match server {
        Server::Http(_) => Vec::new(),
        Server::Stdio(program, arguments) => [program.as_os_str()]
            .into_iter()
            .chain(arguments.iter().map(OsStr::new))
            .collect(),
    }
}

/// The words as a shell reads them back.
fn shell_words(words: &[&OsStr]) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

/// JSON is YAML.
fn write_json(file: &Path, value: &Value) -> Result<(), Failure> {
    fs::write(file, value.to_string()).map_err(Failure::at("cannot write its configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let command = command.as_std();
        let words: Vec<_> = [command.get_program()]
            .into_iter()
            .chain(command.get_args())
            .map(OsStr::to_string_lossy)
            .collect();
        words.join(" ")
    }

    fn variable<'a>(command: &'a Command, name: &str) -> Option<&'a OsStr> {
        let mut all = command.as_std().get_envs();
        all.find(|(other, _)| *other == name)?.1
    }

    #[test]
    fn every_command_names_its_port_and_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::Stdio("/bin/fake".into(), vec!["--an-option".to_owned()]);
        let start = Start {
            listen: ([127, 0, 0, 1], 4321).into(),
            server: &server,
            dir: dir.path(),
        };
        for build in [supergateway, npm_mcp_proxy, python_mcp_proxy, fastmcp] {
            let words = words(&build(Path::new("/peers/it"), start).unwrap());
            assert!(words.starts_with("/peers/it/"), "{words}");
            for word in ["4321", "/bin/fake", "--an-option"] {
                assert!(words.contains(word), "{words}");
            }
        }
    }

    #[test]
    fn litellm_finds_its_server_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::Http("http://127.0.0.1:9/mcp".to_owned());
        let start = Start {
            listen: ([127, 0, 0, 1], 4321).into(),
            server: &server,
            dir: dir.path(),
        };
        let words = words(&litellm(Path::new("/peers/it"), start).unwrap());
        assert!(words.contains("--port 4321"), "{words}");
        let file = fs::read(dir.path().join("litellm.yaml")).unwrap();
        let config: Value = serde_json::from_slice(&file).unwrap();
        let behind = &config["mcp_servers"]["behind"];
        assert_eq!(behind["url"], "http://127.0.0.1:9/mcp");
        assert_eq!(
            config["general_settings"]["master_key"],
            "sk-switchboard-bench"
        );
    }

    #[test]
    fn litellm_is_told_which_program_it_may_start() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::Stdio("/bin/fake".into(), Vec::new());
        let start = Start {
            listen: ([127, 0, 0, 1], 4321).into(),
            server: &server,
            dir: dir.path(),
        };
        let command = litellm(Path::new("/peers/it"), start).unwrap();
        let allowed = variable(&command, "LITELLM_MCP_STDIO_EXTRA_COMMANDS");
        assert_eq!(allowed, Some(OsStr::new("fake")));
    }

    #[test]
    fn contextforge_keeps_its_database_in_its_folder() {
        let server = Server::Http("http://127.0.0.1:9/mcp".to_owned());
        let start = Start {
            listen: ([127, 0, 0, 1], 4321).into(),
            server: &server,
            dir: Path::new("/a/run"),
        };
        let command = contextforge(Path::new("/peers/it"), start).unwrap();
        // Four slashes: the path is an absolute one.
        let expected = OsStr::new("sqlite:////a/run/contextforge.db");
        assert_eq!(variable(&command, "DATABASE_URL"), Some(expected));
    }

    #[test]
    fn a_shell_reads_every_word_back() {
        let words = ["/a b", "it's", "$HOME", ""].map(OsStr::new);
        assert_eq!(shell_words(&words), r"'/a b' 'it'\''s' '$HOME' ''");
    }
}
