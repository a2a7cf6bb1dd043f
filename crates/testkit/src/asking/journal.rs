//! What an asking server saw, for tests to look at afterwards.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// How many events are remembered without a file, the first ones.
const MAX_EVENTS: usize = 200_000;

/// A list of events, in memory or, for several processes together, in a file.
///
/// Each event is an object with `event`, `pid` and `session`, and:
///
/// | event | means | with |
/// |---|---|---|
/// | `opened` | a session was opened | `version`, `capabilities`, `client` |
/// | `closed` | a session was ended by its client | |
/// | `begin` | an execution began | `execution`, `id`, `name`, `mark` |
/// | `resumed` | a modern call came back with answers | the same |
/// | `asked` | a question was sent | `execution`, `mark`, `question` (its id), `method` |
/// | `answered` | an open question was answered | the same, and `reply` |
/// | `stray` | an answer to no open question | `reply` |
/// | `cancelled` | the client cancelled a request that ran | `execution`, `mark` |
/// | `cut` | a request still ran when its session ended | the same |
/// | `cancelled_nothing` | the client cancelled what did not run | `id` |
/// | `reported` | all was reported that is reported while a question is open | `execution`, `mark` |
/// | `needed_url` | a call failed for want of a visit | the same |
/// | `end` | an execution ended by itself | `execution`, `mark` |
/// | `notified` | another notification came | `method` |
#[derive(Debug)]
pub struct Journal {
    memory: Mutex<Vec<Value>>,
    file: Option<File>,
}

impl Journal {
    /// A journal that is remembered for as long as it lives.
    pub fn in_memory() -> Self {
        Self {
            memory: Mutex::default(),
            file: None,
        }
    }

    /// A journal at the end of this file, to which other processes may write as well.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn in_file(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            memory: Mutex::default(),
            file: Some(file),
        })
    }

    /// Adds an event; `session` is 0 where there is none.
    pub(crate) fn record(&self, event: &str, session: u64, mut fields: Value) {
        fields["event"] = json!(event);
        fields["session"] = json!(session);
        fields["pid"] = json!(std::process::id());
        if let Some(mut file) = self.file.as_ref() {
            // One write for each line, so that those of several processes do not mix. A server that
            // cannot write its journal makes the test fail by what is missing in it.
            let _ = file.write_all(format!("{fields}\n").as_bytes());
            return;
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() < MAX_EVENTS {
            memory.push(fields);
        }
    }

    /// The events in memory, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clone()
    }

    /// The events in a file, oldest first; none if there is no file.
    pub fn read(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
