//! Asking servers as backends, over every legacy way, and the people who call them.

use std::path::PathBuf;

use http::StatusCode;
use serde_json::{Value, json};
use switchboard_testkit::asking::{AskingHttp, Journal, Options, QuestionsOn};
use switchboard_testkit::client::{Answer, Client, all_capabilities, call, declaring};
use tempfile::TempDir;

use crate::tools;
use crate::waiting::until;

/// How a legacy server is reached, and where it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One process, one channel.
    Stdio,
    /// Streamable HTTP with questions on the stream of their call.
    Post,
    /// Streamable HTTP with questions on the session's GET stream.
    Get,
    /// HTTP+SSE, one event stream for a session.
    Sse,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stdio, Self::Post, Self::Get, Self::Sse];
}

/// An asking server that a gateway can be put in front of.
#[derive(Debug)]
pub struct AskingServer {
    way: Way,
    flags: Vec<String>,
    http: Option<AskingHttp>,
    journal: PathBuf,
    _folder: TempDir,
}

impl AskingServer {
    /// A legacy server.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start(way: Way) -> Self {
        Self::with(way, Options::default()).await
    }

    /// A server with these options; the way decides where it asks. Of the options only the era and
    /// the flags hold over standard input and output.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn with(way: Way, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal = folder.path().join("journal");
        let era = format!("{:?}", options.era).to_lowercase();
        let mut flags = vec!["--era".to_owned(), era];
        if options.asks_at_once {
            flags.push("--asks-at-once".to_owned());
        }
        let questions_on = match way {
            Way::Get => QuestionsOn::Get,
            Way::Stdio | Way::Post | Way::Sse => QuestionsOn::Post,
        };
        let options = Options {
            questions_on,
            ..options
        };
        let http = match way {
            Way::Stdio => None,
            Way::Post | Way::Get | Way::Sse => Some(AskingHttp::start(options).await),
        };
        Self {
            way,
            flags,
            http,
            journal,
            _folder: folder,
        }
    }

    /// The server as an entry of the `backends` section.
    pub fn backend(&self) -> Value {
        match &self.http {
            None => {
                let mut args = self.flags.clone();
                args.extend(["--journal".to_owned(), self.journal.display().to_string()]);
                json!({ "command": tools::program("asking-server"), "args": args })
            }
            Some(server) if self.way == Way::Sse => json!({ "url": server.sse_url() }),
            Some(server) => json!({ "url": server.url() }),
        }
    }

    /// What all processes of the server saw, oldest first.
    pub fn events(&self) -> Vec<Value> {
        match &self.http {
            Some(server) => server.events(),
            None => Journal::read(&self.journal),
        }
    }

    /// How often an event was seen of calls with this mark.
    pub fn count(&self, event: &str, mark: &str) -> usize {
        let events = self.events();
        let is_meant = |seen: &&Value| seen["event"] == event && seen["mark"] == mark;
        events.iter().filter(is_meant).count()
    }

    /// How often an event was seen at all.
    pub fn count_all(&self, event: &str) -> usize {
        let events = self.events();
        events.iter().filter(|seen| seen["event"] == event).count()
    }

    /// Waits until an event was seen this often of calls with this mark.
    ///
    /// # Panics
    ///
    /// If that takes longer than a minute, or it was seen more often.
    pub async fn wait_for(&self, event: &str, mark: &str, times: usize) {
        let way = self.way;
        until(
            &format!("{times} times {event} of {mark} ({way:?})"),
            async || {
                let seen = self.count(event, mark);
                assert!(seen <= times, "{seen} times {event}: {:#?}", self.events());
                (seen == times).then_some(())
            },
        )
        .await;
    }
}

/// Waits until nothing is missing for this client.
///
/// # Panics
///
/// If that takes longer than a minute.
pub async fn ready_for(client: &Client) {
    until("all backends", async || {
        let answer = client.request("tools/list", json!({})).await;
        let missing = &answer.result()["_meta"]["dev.switchboard/backends"];
        let is_there = missing.as_array().is_none_or(Vec::is_empty);
        (is_there && answer.result()["tools"].is_array()).then_some(())
    })
    .await;
}

/// A call of a client that may be asked anything.
pub fn asking_call(tool: &str, arguments: &Value) -> Value {
    declaring(call(tool, arguments), all_capabilities())
}

/// The structured content of a tool's result.
///
/// # Panics
///
/// If there is no such result.
pub fn content(answer: &Answer) -> &Value {
    let content = &answer.result()["structuredContent"];
    assert!(content.is_object(), "no result: {}", answer.raw);
    content
}

/// The only question of an answer, with its key.
///
/// # Panics
///
/// If there is none, or more than one.
pub fn only_question(answer: &Answer) -> (String, Value) {
    let mut questions = answer.questions();
    assert_eq!(questions.len(), 1, "one question: {}", answer.raw);
    questions.pop_first().expect("one question")
}

/// `inputResponses` that accept the only question with this text.
///
/// # Panics
///
/// If there is none, or more than one.
pub fn accepted(answer: &Answer, text: &str) -> Value {
    let (key, _) = only_question(answer);
    json!({ key: { "action": "accept", "content": { "answer": text } } })
}

/// Checks that a request was refused with −32602.
///
/// # Panics
///
/// If it was not.
pub fn assert_invalid(answer: &Answer, what: &str) {
    assert_eq!(answer.error_code(), Some(-32602), "{what}: {}", answer.raw);
    assert_eq!(answer.status, StatusCode::OK, "{what}: {}", answer.raw);
}
