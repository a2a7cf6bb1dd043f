//! A light server that asks its client in the middle of calls, in either era and over every
//! transport, and keeps a [`Journal`] of what came of it.
//!
//! It asks whether or not its client declared that it may be asked: what to do about that is for
//! the client, or a gateway, to show. A legacy session numbers its questions from 0, so that those
//! of two sessions have the same ids.
//!
//! All tools take `mark`, a text that is repeated in every question, notification and result; beside
//! it stands the execution, which no two calls have in common.
//!
//! | tool | does |
//! |---|---|
//! | `echo` | answers at once, or after `ms` milliseconds |
//! | `hang` | never answers |
//! | `who_am_i` | says what the client declared, and in which session |
//! | `seen` | answers with the journal of this process |
//! | `ask_form` | asks for a form; `schema` instead of the usual one; answers `then_ms` after the reply |
//! | `ask_url` | asks for a visit to a URL, and says when that is complete |
//! | `sample`, `sample_with_tools` | asks for a message; with tools once more if one was used |
//! | `roots` | asks for the roots |
//! | `ask_two` | asks two things at once, or all `kinds`: `form`, `url`, `sample`, `roots` |
//! | `ask_rounds` | asks `n` times, one after another |
//! | `ask_forever` | asks again whatever the answer is |
//! | `progress_and_logs` | reports before, while and after it asks; `n` times while it waits |
//! | `needs_url_42` | fails with −32042, `times` times for each `mark`; a modern server asks instead |
//!
//! Legacy servers alone can do these:
//!
//! | tool | does |
//! |---|---|
//! | `ask_and_withdraw` | asks, withdraws the question after `ms`, answers |
//! | `ask_and_give_up` | asks, answers after `ms` without withdrawing |
//! | `ask_after_answer` | answers, then asks on the same stream |
//! | `ask_outside` | answers, then asks outside of any call |
//! | `answer_never_sent` | sends an answer to a request that was never made, then its own |
//!
//! The prompt `asking` and the resource [`RESOURCE_URI`] ask for a form too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::fake::Era;

mod http;
mod journal;
mod lists;
mod modern;
mod questions;
mod session;
mod stdio;
mod talk;
#[cfg(test)]
mod tests;
mod tools;

pub use http::AskingHttp;
pub use journal::Journal;
pub use lists::RESOURCE_URI;
pub use stdio::serve_stdio;

/// How many messages wait to be written to one client.
const OUTBOX: usize = 1024;

/// On which stream a legacy HTTP server asks during a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum QuestionsOn {
    /// The stream of the call.
    #[default]
    Post,
    /// The session's GET stream, where no question names its call.
    Get,
}

/// What the server is.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Which era to speak.
    #[arg(long, default_value = "legacy")]
    pub era: Era,
    /// A name that every tool result repeats.
    #[arg(long, default_value = "asking")]
    pub label: String,
    /// The newest legacy revision to agree to.
    #[arg(long, default_value = "2025-11-25")]
    pub newest: String,
    /// On which stream a legacy HTTP server asks during a call.
    #[arg(long, default_value = "post")]
    pub questions_on: QuestionsOn,
    /// Ask for a form as soon as a legacy session is initialized.
    #[arg(long)]
    pub asks_at_once: bool,
    /// List the tools that ask only in sessions whose client may be asked for what they ask.
    #[arg(long)]
    pub tools_by_capability: bool,
    /// Append the journal to this file.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            era: Era::Legacy,
            label: "asking".to_owned(),
            newest: "2025-11-25".to_owned(),
            questions_on: QuestionsOn::Post,
            asks_at_once: false,
            tools_by_capability: false,
            journal: None,
        }
    }
}

/// What all sessions of one server share.
#[derive(Debug)]
struct Shared {
    options: Options,
    journal: Journal,
    executions: AtomicU64,
    sessions: AtomicU64,
}

impl Shared {
    fn new(options: Options) -> std::io::Result<Arc<Self>> {
        let journal = match &options.journal {
            Some(path) => Journal::in_file(path)?,
            None => Journal::in_memory(),
        };
        Ok(Arc::new(Self {
            options,
            journal,
            executions: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
        }))
    }

    /// The journal of all processes that write to the same one.
    fn events(&self) -> Vec<Value> {
        match &self.options.journal {
            Some(path) => Journal::read(path),
            None => self.journal.events(),
        }
    }

    /// A name for one execution of a call that no other has, in any process.
    fn new_execution(&self) -> String {
        let number = self.executions.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", std::process::id())
    }

    fn new_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Where the messages for a client go.
#[derive(Clone, Debug)]
struct Outlet(mpsc::Sender<String>);

impl Outlet {
    /// Sends a message, or does nothing if nobody reads any more.
    async fn send(&self, message: &Value) {
        let _ = self.0.send(message.to_string()).await;
    }
}
