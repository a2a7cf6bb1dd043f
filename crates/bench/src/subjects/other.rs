//! Other gateways as subjects: those of the table of peers, and those that the command line gives.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use tokio::process::Command;

use crate::Failure;
use crate::peers::{PEERS, Peer, Server, Start, Transport};
use crate::wire::{PATH, TOOL};

/// How long a gateway of the command line may take from its start to its first answered call.
const START_LIMIT: Duration = Duration::from_secs(60);
/// What stands in a command for the port to listen on.
const PORT: &str = "{port}";
/// What stands in a command for the address of the server behind it.
const URL: &str = "{url}";
/// What stands in a command for the command of the server behind it.
const STDIO: &str = "{stdio}";

/// Another gateway.
#[derive(Clone)]
pub(crate) enum Other {
    /// One of the table.
    Known(&'static Peer),
    /// One of the command line.
    Given(Given),
}

/// A gateway that is started by a command of a shell, serves `/mcp`, and leaves names as they are.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    name: String,
    command: String,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("is not NAME=COMMAND")?;
        if !command.contains(PORT) || !(command.contains(URL) || command.contains(STDIO)) {
            return Err(format!(
                "the command has no {PORT}, or neither {URL} nor {STDIO}"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            command: command.to_owned(),
        })
    }
}

impl Other {
    /// Those of the table, and then these.
    pub(crate) fn all(given: &[Given]) -> Vec<Self> {
        let known = PEERS.iter().map(Self::Known);
        known.chain(Self::only(given)).collect()
    }

    /// These alone.
    pub(crate) fn only(given: &[Given]) -> impl Iterator<Item = Self> {
        given.iter().cloned().map(Self::Given)
    }

    /// What it is called in the tables, with its version if that is known.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Known(peer) => match peer.version() {
                Some(version) => format!("{} {version}", peer.name),
                None => peer.name.to_owned(),
            },
            Self::Given(given) => given.name.clone(),
        }
    }

    /// Whether it can be put before such a server.
    pub(crate) fn bridges(&self, transport: Transport) -> bool {
        match self {
            Self::Known(peer) => peer.bridges.contains(&transport),
            Self::Given(given) => given.command.contains(match transport {
                Transport::Http => URL,
                Transport::Stdio => STDIO,
            }),
        }
    }

    /// The path of its endpoint.
    pub(crate) fn path(&self) -> &'static str {
        match self {
            Self::Known(peer) => peer.path,
            Self::Given(_) => PATH,
        }
    }

    /// What the tool is called through it.
    pub(crate) fn tool(&self) -> &'static str {
        match self {
            Self::Known(peer) => peer.tool,
            Self::Given(_) => TOOL,
        }
    }

    /// Headers that every request to it needs.
    pub(crate) fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Known(peer) => peer.headers,
            Self::Given(_) => &[],
        }
    }

    /// How long it may take from its start to its first answered call.
    pub(crate) fn start_limit(&self) -> Duration {
        match self {
            Self::Known(peer) => peer.start_limit,
            Self::Given(_) => START_LIMIT,
        }
    }

    /// The command that starts it.
    ///
    /// # Errors
    /// If it is not installed, or a file of it cannot be written.
    pub(crate) fn command(&self, start: Start<'_>) -> Result<Command, Failure> {
        match self {
            Self::Known(peer) => peer.command(start),
            Self::Given(given) => Ok(given.command(start)),
        }
    }

    /// Tells it what it has to know before it can be called.
    ///
    /// # Errors
    /// If it does not listen yet, or refuses.
    pub(crate) async fn set_up(&self, start: Start<'_>) -> Result<(), Failure> {
        match self {
            Self::Known(peer) => peer.set_up(start).await,
            Self::Given(_) => Ok(()),
        }
    }
}

impl Given {
    fn command(&self, start: Start<'_>) -> Command {
        let (url, stdio) = match start.server {
            Server::Http(url) => (url.clone(), String::new()),
            Server::Stdio(program, arguments) => (String::new(), stdio_words(program, arguments)),
        };
        let text = self
            .command
            .replace(PORT, &start.listen.port().to_string())
            .replace(URL, &url)
            .replace(STDIO, &stdio);
        let mut command = Command::new("sh");
        command.args(["-c", &text]).current_dir(start.dir);
        command
    }
}

/// A command as a shell reads it.
fn stdio_words(program: &Path, arguments: &[String]) -> String {
    let program = program.to_string_lossy();
    let words = std::iter::once(&*program).chain(arguments.iter().map(String::as_str));
    let quoted: Vec<String> = words
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_command_says_where_its_words_go() {
        let given: Given = "mine=serve --port {port} --to {url}".parse().unwrap();
        let other = Other::Given(given);
        assert_eq!(other.name(), "mine");
        assert!(other.bridges(Transport::Http));
        assert!(!other.bridges(Transport::Stdio));
        let server = Server::Http("http://127.0.0.1:9/mcp".to_owned());
        let start = Start {
            listen: ([127, 0, 0, 1], 4321).into(),
            server: &server,
            dir: Path::new("/"),
        };
        let command = other.command(start).unwrap();
        let words: Vec<_> = command.as_std().get_args().collect();
        assert_eq!(words[1], "serve --port 4321 --to http://127.0.0.1:9/mcp");
        for wrong in ["mine", "mine=serve {url}", "mine=serve {port}"] {
            assert!(wrong.parse::<Given>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_shell_reads_every_word_of_a_server() {
        let words = stdio_words(Path::new("/a b"), &["it's".to_owned()]);
        assert_eq!(words, r"'/a b' 'it'\''s'");
    }
}
