//! Other gateways, as `scripts/install-bench-peers` installs them: how each is put before a server,
//! and how it is called.
//!
//! Each is one process, and is started in the documented way that costs it least: one worker, no
//! logs, telemetry, update checks or limits. What it starts is not part of it, but the servers
//! behind it. All are called by legacy clients and put before servers that speak 2025-11-25, which
//! is the revision that all of them know.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use self::registration::Registration;
use crate::Failure;

mod commands;
mod registration;

/// How a server behind a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Streamable HTTP.
    Http,
    /// A process that the peer starts.
    Stdio,
}

/// A server that a peer is put before. One reached over stdio has to end when its input does, since
/// not every peer ends it otherwise.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// The URL of its endpoint, on loopback.
    Http(String),
    /// The program, by its whole path, and its arguments.
    Stdio(PathBuf, Vec<String>),
}

impl Server {
    /// How it is reached.
    pub(crate) const fn transport(&self) -> Transport {
        match self {
            Self::Http(_) => Transport::Http,
            Self::Stdio(..) => Transport::Stdio,
        }
    }
}

/// What a peer is told when it is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    /// Where it is to listen. Supergateway takes the port alone, and listens on all addresses.
    pub(crate) listen: SocketAddr,
    /// What it is put before.
    pub(crate) server: &'a Server,
    /// A folder of its own, which it is started in.
    pub(crate) dir: &'a Path,
}

/// A gateway that Switchboard is compared with.
pub(crate) struct Peer {
    /// Its name, which is also that of its folder and what `scripts/install-bench-peers` calls it.
    pub(crate) name: &'static str,
    /// What it can be put before.
    pub(crate) bridges: &'static [Transport],
    /// The path of its endpoint.
    pub(crate) path: &'static str,
    /// What it calls the tool `echo` of the server behind it.
    pub(crate) tool: &'static str,
    /// Headers that each request to it needs, beside those of the protocol; names in lower case.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// How long it may take from its start to its first answered call.
    pub(crate) start_limit: Duration,
    package: Package,
    command: Build,
    /// What it is told about the server once it runs, if that is how it learns of it.
    registration: Option<fn(&Server) -> Registration>,
}

/// What a peer is a part of.
#[derive(Clone, Copy, Debug)]
enum Package {
    /// A package of npm.
    Npm(&'static str),
    /// A distribution of PyPI, spelled as its `.dist-info` folder is.
    Python(&'static str),
}

type Build = fn(&Path, Start<'_>) -> Result<Command, Failure>;

/// Every peer, in the order of the tables.
pub(crate) static PEERS: [Peer; 6] = [
    Peer::new(
        "supergateway",
        Package::Npm("supergateway"),
        commands::supergateway,
    ),
    Peer::new(
        "npm-mcp-proxy",
        Package::Npm("mcp-proxy"),
        commands::npm_mcp_proxy,
    ),
    Peer::new(
        "python-mcp-proxy",
        Package::Python("mcp_proxy"),
        commands::python_mcp_proxy,
    ),
    Peer {
        bridges: &[Transport::Http, Transport::Stdio],
        ..Peer::new("fastmcp", Package::Python("fastmcp"), commands::fastmcp)
    },
    Peer {
        bridges: &[Transport::Http],
        tool: "behind-echo",
        // It makes its database first, in dozens of migrations.
        start_limit: Duration::from_secs(120),
        registration: Some(registration::contextforge),
        ..Peer::new(
            "contextforge",
            Package::Python("mcp_contextforge_gateway"),
            commands::contextforge,
        )
    },
    Peer {
        bridges: &[Transport::Http, Transport::Stdio],
        tool: "behind-echo",
        headers: &[("authorization", commands::LITELLM_BEARER)],
        start_limit: Duration::from_secs(120),
        ..Peer::new("litellm", Package::Python("litellm"), commands::litellm)
    },
];

impl Peer {
    /// A peer like most: it bridges stdio alone, and adds nothing to the names of tools.
    const fn new(name: &'static str, package: Package, command: Build) -> Self {
        Self {
            name,
            bridges: &[Transport::Stdio],
            path: "/mcp",
            tool: "echo",
            headers: &[],
            start_limit: Duration::from_secs(60),
            package,
            command,
            registration: None,
        }
    }

    /// The version that is installed, if it is.
    pub(crate) fn version(&self) -> Option<String> {
        self.package.version_in(&self.folder())
    }

    /// The command that starts it.
    ///
    /// # Errors
    /// If it is not installed, cannot be put before this server, or a file cannot be written.
    pub(crate) fn command(&self, start: Start<'_>) -> Result<Command, Failure> {
        if !self.bridges.contains(&start.server.transport()) {
            return Err(Failure(format!(
                "{} cannot be put before such a server",
                self.name
            )));
        }
        if self.version().is_none() {
            return Err(Failure(
                "not installed: run scripts/install-bench-peers".to_owned(),
            ));
        }
        let mut command = (self.command)(&self.folder(), start)?;
        command.current_dir(start.dir).envs(commands::ENVIRONMENT);
        Ok(command)
    }

    /// Tells it, once it listens, what it has to know before it can be called. Until this succeeds it
    /// may be tried again; once more after that changes nothing.
    ///
    /// # Errors
    /// If it does not listen yet, or refuses.
    pub(crate) async fn set_up(&self, start: Start<'_>) -> Result<(), Failure> {
        match self.registration {
            Some(registration) => registration(start.server).send(start.listen).await,
            None => Ok(()),
        }
    }

    fn folder(&self) -> PathBuf {
        cache().join(self.name)
    }
}

/// The folder that `scripts/install-bench-peers` fills.
fn cache() -> PathBuf {
    test_cache().join("peers")
}

/// The folder of `scripts/install-test-tools` with the real `server-everything` and its Node.
pub(crate) fn real_server_modules() -> PathBuf {
    test_cache().join("npm/node_modules")
}

/// The folder that the scripts install into.
fn test_cache() -> PathBuf {
    let in_repository = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache");
    env::var_os("SWITCHBOARD_TEST_CACHE").map_or_else(in_repository, PathBuf::from)
}

impl Package {
    /// The version that the folder's installation is complete with.
    fn version_in(self, folder: &Path) -> Option<String> {
        // Written last, so that an interrupted installation counts for nothing.
        if !folder.join(".installed").is_file() {
            return None;
        }
        match self {
            Self::Npm(name) => {
                let file = folder.join("node_modules").join(name).join("package.json");
                let package: serde_json::Value =
                    serde_json::from_slice(&fs::read(file).ok()?).ok()?;
                Some(package["version"].as_str()?.to_owned())
            }
            Self::Python(name) => entries(folder.join("lib"))
                .flat_map(|python| entries(python.join("site-packages")))
                .find_map(|entry| {
                    let entry = entry.file_name()?.to_str()?;
                    let version = entry.strip_prefix(name)?.strip_prefix('-')?;
                    Some(version.strip_suffix(".dist-info")?.to_owned())
                }),
        }
    }
}

fn entries(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_says_all_of_itself() {
        for peer in &PEERS {
            assert!(!peer.name.is_empty() && !peer.bridges.is_empty());
            assert!(peer.path.starts_with('/'));
            assert!(peer.tool.ends_with("echo"), "{}", peer.tool);
            assert!(peer.start_limit >= Duration::from_secs(60));
            for (name, _) in peer.headers {
                assert_eq!(*name, name.to_lowercase());
            }
            let same = PEERS.iter().filter(|other| other.name == peer.name);
            assert_eq!(same.count(), 1, "{}", peer.name);
        }
    }

    #[test]
    fn the_script_installs_exactly_these() {
        let script = include_str!("../../../scripts/install-bench-peers");
        let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
        let line = format!("\npeers=({})\n", names.join(" "));
        assert!(script.contains(&line), "{line}");
    }

    #[tokio::test]
    async fn what_is_not_there_is_said_so() {
        let nowhere = Peer::new(
            "no-such-peer",
            Package::Npm("no-such-peer"),
            commands::supergateway,
        );
        let dir = tempfile::tempdir().unwrap();
        let stdio = Server::Stdio("/bin/cat".into(), Vec::new());
        let start = Start {
            listen: ([127, 0, 0, 1], 1).into(),
            server: &stdio,
            dir: dir.path(),
        };
        let missing = nowhere.command(start).unwrap_err().to_string();
        assert_eq!(missing, "not installed: run scripts/install-bench-peers");
        assert!(nowhere.set_up(start).await.is_ok());

        let http = Server::Http("http://127.0.0.1:1/mcp".to_owned());
        let start = Start {
            server: &http,
            ..start
        };
        let unfit = nowhere.command(start).unwrap_err().to_string();
        assert_eq!(unfit, "no-such-peer cannot be put before such a server");
    }

    #[test]
    fn a_version_is_found_where_a_package_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let npm = Package::Npm("some-proxy");
        let python = Package::Python("some_proxy");
        fs::create_dir_all(folder.join("node_modules/some-proxy")).unwrap();
        fs::write(
            folder.join("node_modules/some-proxy/package.json"),
            r#"{"version":"1.2.3"}"#,
        )
        .unwrap();
        let packages = folder.join("lib/python3.11/site-packages");
        for name in ["some_proxy", "some_proxy_more-9.9.dist-info"] {
            fs::create_dir_all(packages.join(name)).unwrap();
        }
        fs::create_dir(packages.join("some_proxy-4.5.post6.dist-info")).unwrap();
        assert_eq!(npm.version_in(folder), None);

        fs::write(folder.join(".installed"), "").unwrap();
        assert_eq!(npm.version_in(folder).as_deref(), Some("1.2.3"));
        assert_eq!(python.version_in(folder).as_deref(), Some("4.5.post6"));
        assert_eq!(Package::Npm("other").version_in(folder), None);
        assert_eq!(Package::Python("other").version_in(folder), None);
    }
}
