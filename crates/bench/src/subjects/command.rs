//! How each subject is started: its configuration and its command.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::setup::{Behind, Kind, ServerKind, Setup, backend_name};
use crate::Failure;
use crate::backend::TRACES_PATH;
use crate::instructions::callgrind;
use crate::peers::{Server, Start, Transport, real_server_modules};

const NGINX: &str = include_str!("../../templates/nginx.conf");
const NGINX_FILES: &str = include_str!("../../templates/nginx-files.conf");
const SWITCHBOARD: &str = include_str!("../../templates/switchboard.yaml");
const POLICIES: &str = include_str!("../../templates/policies.yaml");

/// What the policies ask a client for: the key whose digest is in their configuration, and a host
/// and an origin that are allowed.
pub(crate) const CREDENTIALS: [(&str, &str); 3] = [
    ("host", "mcp.example.com"),
    ("authorization", "Bearer switchboard-bench"),
    ("origin", "https://app.example.com"),
];

/// Where one subject lives.
pub(crate) struct Place {
    /// A folder for its files.
    pub(crate) dir: PathBuf,
    /// Where it is to listen.
    pub(crate) listen: SocketAddr,
    /// Where its metrics are to be had, if it has any.
    pub(crate) ops: SocketAddr,
    /// Where the fake server listens.
    pub(crate) backend: SocketAddr,
}

/// The command that starts a subject other than a peer and the fake server itself.
///
/// # Errors
/// If a file cannot be written, or the program is not there.
pub(crate) fn command(setup: Setup, place: &Place, switchboard: &Path) -> Result<Command, Failure> {
    match setup.kind {
        Kind::Floor => {
            let (listen, backend) = (place.listen.to_string(), place.backend.to_string());
            let mut command = Command::new(this_program()?);
            command.args(["floor", "--listen", &listen, "--backend", &backend]);
            Ok(command)
        }
        Kind::Nginx => nginx(place, setup, NGINX),
        Kind::NginxFiles => nginx(place, setup, NGINX_FILES),
        Kind::Switchboard
        | Kind::Policies
        | Kind::Cached
        | Kind::Redacting
        | Kind::Capped
        | Kind::Counted => {
            let template = match setup.kind {
                Kind::Policies => POLICIES,
                _ => SWITCHBOARD,
            };
            let more = match setup.kind {
                Kind::Cached => "    cache: { tools: [\"*\"], ttl: 1d }\n",
                _ => "",
            };
            let backends = backends(&setup.behind, place.backend, more)?;
            let mut text = place.fill(setup, template).replace("@BACKENDS@", &backends);
            text.push_str(&section(setup.kind));
            let config = place.write("switchboard.yaml", &text)?;
            let mut command = match setup.kind {
                Kind::Counted => callgrind(&place.dir, switchboard),
                _ => Command::new(switchboard),
            };
            command.args(["serve", "-c"]).arg(config);
            Ok(command)
        }
        Kind::Direct | Kind::Peer(_) => Err(Failure("it says itself how it is started".to_owned())),
    }
}

/// What a configuration has besides, at its end.
fn section(kind: Kind) -> String {
    match kind {
        Kind::Redacting => {
            let secrets: Vec<String> = (0..SECRETS)
                .map(|number| format!("{:016x}", SECRET_STEP.wrapping_mul(number + 1)))
                .collect();
            format!("redaction: {{ tokens: true, secrets: {secrets:?} }}\n")
        }
        Kind::Capped => {
            "result_caps: [{ name: all, max_bytes: 64MiB, max_tokens: 100000000 }]\n".to_owned()
        }
        _ => String::new(),
    }
}

/// How many secrets a gateway looks for.
const SECRETS: u64 = 20;
/// What they are multiples of, in hexadecimal digits: the golden ratio's, which look like chance.
const SECRET_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// What another gateway is put before.
///
/// # Errors
/// If this program cannot be found.
pub(crate) fn server(behind: &Behind, backend: SocketAddr) -> Result<Server, Failure> {
    Ok(match behind.transport {
        Transport::Http => Server::Http(format!("http://{backend}{}", behind.fake.path(0))),
        Transport::Stdio => {
            let (program, arguments) = stdio_server(behind)?;
            Server::Stdio(program, arguments)
        }
    })
}

/// The command that starts the fake server, listening there.
///
/// # Errors
/// If this program cannot be found.
pub(crate) fn fake_server(listen: SocketAddr) -> Result<Command, Failure> {
    let mut command = Command::new(this_program()?);
    command.args(["backend", "--listen", &listen.to_string()]);
    Ok(command)
}

/// A server of lines: the program, and its arguments.
///
/// # Errors
/// If it is not there.
fn stdio_server(behind: &Behind) -> Result<(PathBuf, Vec<String>), Failure> {
    if behind.server == ServerKind::Fake {
        return Ok((this_program()?, stdio_arguments(behind)));
    }
    let modules = real_server_modules();
    let server = modules.join("@modelcontextprotocol/server-everything/dist/index.js");
    if !server.is_file() {
        let message = "server-everything is not installed: scripts/install-test-tools does it";
        return Err(Failure(message.to_owned()));
    }
    let arguments = vec![server.to_string_lossy().into_owned(), "stdio".to_owned()];
    Ok((modules.join(".bin/node"), arguments))
}

/// The arguments that make this program a fake server of lines.
fn stdio_arguments(behind: &Behind) -> Vec<String> {
    let fake = &behind.fake;
    let [result_bytes, tools] = [fake.result_bytes, fake.tools].map(|number| number.to_string());
    let arguments = [
        "backend",
        "--stdio",
        "--era",
        fake.era.name(),
        "--result-bytes",
        &result_bytes,
        "--tools",
        &tools,
    ];
    arguments.map(str::to_owned).to_vec()
}

fn this_program() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(Failure::at("cannot find this program"))
}

impl Place {
    /// What another gateway is told.
    pub(crate) fn start<'a>(&'a self, server: &'a Server) -> Start<'a> {
        Start {
            listen: self.listen,
            server,
            dir: &self.dir,
        }
    }

    fn fill(&self, setup: Setup, template: &str) -> String {
        template
            .replace("@DIR@", &self.dir.to_string_lossy())
            .replace("@LISTEN@", &self.listen.to_string())
            .replace("@OPS@", &self.ops.to_string())
            .replace("@WORKERS@", &setup.workers.to_string())
            .replace("@BACKEND@", &self.backend.to_string())
            .replace("@TRACES@", &format!("http://{}{TRACES_PATH}", self.backend))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(Failure::at("cannot write its configuration"))?;
        Ok(path)
    }
}

/// The `backends` of a configuration of Switchboard. A single one has no prefix, so that its tool
/// is called what it is called everywhere. `more` stands in each.
fn backends(behind: &Behind, backend: SocketAddr, more: &str) -> Result<String, Failure> {
    let mut text = String::new();
    for index in 0..behind.count {
        let where_it_is = match behind.transport {
            Transport::Http => {
                format!(r#"url: "http://{backend}{}""#, behind.fake.path(index))
            }
            Transport::Stdio => {
                let (program, arguments) = stdio_server(behind)?;
                format!("command: {program:?}\n    args: {arguments:?}")
            }
        };
        // Writing into a `String` does not fail.
        let _ = write!(
            text,
            "  {}:\n    {where_it_is}\n    max_message_bytes: 268435456\n    timeout: 300s\n",
            backend_name(index)
        );
        text.push_str(more);
        if behind.count == 1 {
            text.push_str("    prefix: \"\"\n");
        }
    }
    Ok(text)
}

fn nginx(place: &Place, setup: Setup, template: &str) -> Result<Command, Failure> {
    let config = place.write("nginx.conf", &place.fill(setup, template))?;
    let mut command = Command::new(find_nginx()?);
    command.args(["-e", "stderr", "-p"]).arg(&place.dir);
    command.arg("-c").arg(config);
    Ok(command)
}

/// nginx by name, also where Debian puts it, which is not on everybody's `PATH`.
fn find_nginx() -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("nginx"))
        .find(|file| file.is_file())
        .ok_or_else(|| Failure("nginx is not installed".to_owned()))
}
