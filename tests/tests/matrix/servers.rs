//! The servers behind the gateway.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchboard_tests::fixture::Folder;
use switchboard_tests::process::Server as Process;
use switchboard_tests::{servers, tools};
use tempfile::TempDir;
use tokio::process::Command;

/// What a server is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Server {
    TypeScript,
    Python,
    Rmcp,
    TypeScriptLegacy,
    PythonLegacy,
    RmcpLegacy,
    Everything,
}

/// How the gateway reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    Http,
    Stdio,
}

/// A server as the gateway sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backend {
    pub(crate) server: Server,
    pub(crate) transport: Transport,
}

impl Backend {
    /// All of them. `server-everything` takes no free port, so it is reached as a process only.
    pub(crate) fn all() -> Vec<Self> {
        let fixtures = [
            Server::TypeScript,
            Server::Python,
            Server::Rmcp,
            Server::TypeScriptLegacy,
            Server::PythonLegacy,
            Server::RmcpLegacy,
        ];
        let mut all = vec![Self {
            server: Server::Everything,
            transport: Transport::Stdio,
        }];
        for transport in [Transport::Http, Transport::Stdio] {
            all.extend(fixtures.map(|server| Self { server, transport }));
        }
        all
    }

    pub(crate) fn is_everything(self) -> bool {
        self.server == Server::Everything
    }

    pub(crate) fn is_modern(self) -> bool {
        matches!(
            self.server,
            Server::TypeScript | Server::Python | Server::Rmcp
        )
    }

    /// Its name in the configuration.
    pub(crate) fn name(self) -> String {
        if self.is_everything() {
            // A longer name would leave too little room for those of its tools.
            return "everything".to_owned();
        }
        let server = match self.server {
            Server::TypeScript => "ts2",
            Server::Python => "py2",
            Server::Rmcp => "rmcp-modern",
            Server::TypeScriptLegacy => "ts1",
            Server::PythonLegacy => "py1",
            Server::RmcpLegacy => "rmcp-legacy",
            Server::Everything => panic!("named above"),
        };
        let transport = match self.transport {
            Transport::Http => "http",
            Transport::Stdio => "stdio",
        };
        format!("{server}-{transport}")
    }

    /// The program of a fixture and its arguments.
    fn command(self, folder: &Path) -> (PathBuf, Vec<String>) {
        let fixture = |name: &str| {
            let path = tools::repository().join("tests/real/fixture").join(name);
            path.display().to_string()
        };
        let (program, mut arguments) = match self.server {
            Server::TypeScript => (tools::node(), vec![fixture("typescript.mjs")]),
            Server::Python => (tools::python(), vec![fixture("python.py")]),
            Server::TypeScriptLegacy => (tools::node(), vec![fixture("typescript_legacy.mjs")]),
            Server::PythonLegacy => (tools::python_legacy(), vec![fixture("python_legacy.py")]),
            Server::Rmcp => (tools::program("fixture-server"), vec!["modern".to_owned()]),
            Server::RmcpLegacy => (tools::program("fixture-server"), vec!["legacy".to_owned()]),
            Server::Everything => panic!("this is no fixture"),
        };
        let transport = match self.transport {
            Transport::Http => "http",
            Transport::Stdio => "stdio",
        };
        arguments.extend([transport.to_owned(), folder.display().to_string()]);
        (program, arguments)
    }
}

/// All servers, those that are reached over HTTP as processes of ours.
pub(crate) struct Fleet {
    folders: TempDir,
    running: BTreeMap<Backend, Process>,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let folders = tempfile::tempdir().expect("a temporary folder");
        let mut running = BTreeMap::new();
        for backend in Backend::all() {
            let folder = folders.path().join(backend.name());
            std::fs::create_dir(&folder).expect("the folder is ours");
            if backend.transport == Transport::Http {
                let (program, arguments) = backend.command(&folder);
                let mut command = Command::new(program);
                command.args(arguments).envs(environment());
                running.insert(backend, Process::start(command).await);
            }
        }
        Self { folders, running }
    }

    /// The folder of a fixture.
    pub(crate) fn folder(&self, backend: Backend) -> Folder {
        Folder::new(self.folders.path().join(backend.name()))
    }

    /// The `backends` section of the configuration.
    pub(crate) fn config(&self) -> Value {
        let entry = |backend: Backend| {
            if backend.is_everything() {
                return servers::everything();
            }
            let mut entry = match self.running.get(&backend) {
                Some(process) => json!({ "url": process.url() }),
                None => {
                    let folder = self.folders.path().join(backend.name());
                    let (program, arguments) = backend.command(&folder);
                    let environment: BTreeMap<_, _> = environment().into_iter().collect();
                    json!({ "command": program, "args": arguments, "env": environment })
                }
            };
            if backend.server == Server::RmcpLegacy {
                // rmcp knows both eras and would answer as a modern server.
                entry["era"] = json!("legacy");
            }
            entry
        };
        Backend::all()
            .into_iter()
            .map(|backend| (backend.name(), entry(backend)))
            .collect()
    }

    pub(crate) async fn stop(self) {
        for process in self.running.into_values() {
            process.stop().await;
        }
    }
}

fn environment() -> [(&'static str, String); 2] {
    [
        (
            "SWITCHBOARD_TEST_CACHE",
            tools::cache().display().to_string(),
        ),
        // Python would leave its compiled files beside the scripts.
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
    ]
}
