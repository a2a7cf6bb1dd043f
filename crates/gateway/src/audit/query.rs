//! Searching records, in a database or in files, also while a gateway writes them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use switchboard_protocol::pattern;

use super::jsonl::kept;
use super::record::MAX_LINE;
use super::sqlite::Reader;
pub use super::sqlite::StoreError;

/// What a database begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// The most rotated files that are looked for.
const MOST_FILES: usize = 1000;

/// Which records are wanted. Everything that is given has to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The principal.
    pub principal: Option<String>,
    /// The tool, prompt or URI, as the client or the gateway named it; `*` stands for any characters.
    pub tool: Option<String>,
    /// A backend that was called.
    pub backend: Option<String>,
    /// The outcome.
    pub outcome: Option<String>,
    /// Not before this, in milliseconds since 1970.
    pub since: Option<u64>,
    /// Not after this.
    pub until: Option<u64>,
    /// The most records, of which the newest are taken.
    pub limit: usize,
    /// The most records of a database that are looked at, the newest.
    pub most_looked_at: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            principal: None,
            tool: None,
            backend: None,
            outcome: None,
            since: None,
            until: None,
            limit: 100,
            most_looked_at: usize::MAX,
        }
    }
}

/// How records say that something ended.
pub(super) const OUTCOMES: [&str; 8] = [
    "ok",
    "tool_error",
    "input_required",
    "invalid",
    "backend_error",
    "refused",
    "failed",
    "cancelled",
];

/// Reads an outcome.
///
/// # Errors
///
/// Lists those that there are.
pub fn parse_outcome(text: &str) -> Result<String, String> {
    match OUTCOMES.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected one of {}", OUTCOMES.join(", "))),
    }
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// As it was written.
    pub line: String,
    /// The same, read.
    pub record: Value,
}

impl Filter {
    /// The record of a line, if it is one and fits.
    pub(super) fn read(&self, line: &str) -> Option<Found> {
        let record: Value = serde_json::from_str(line).ok()?;
        self.fits(&record).then(|| Found {
            line: line.to_owned(),
            record,
        })
    }

    fn fits(&self, record: &Value) -> bool {
        let is = |key: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| record[key] == **wanted)
        };
        let attempts = || record["attempts"].as_array().into_iter().flatten();
        let any = |key: &str, of_attempt: &str, fits: &dyn Fn(&str) -> bool| {
            let texts = attempts().map(|attempt| &attempt[of_attempt]);
            let mut texts = texts.chain([&record[key]]).filter_map(Value::as_str);
            texts.any(fits)
        };
        is("principal", &self.principal)
            && is("outcome", &self.outcome)
            && self
                .backend
                .as_ref()
                .is_none_or(|backend| any("backend", "backend", &|name| name == backend))
            && self
                .tool
                .as_ref()
                .is_none_or(|tool| any("target", "target", &|name| pattern::matches(tool, name)))
            && self.is_in_time(record)
    }

    fn is_in_time(&self, record: &Value) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let at = record["at"].as_str().and_then(parse_time);
        at.is_some_and(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
        })
    }
}

/// A time such as `2026-11-29T12:00:00Z`, in milliseconds since 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    let since_1970 = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since_1970.as_millis()).ok()
}

/// Why nothing can be searched.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be read.
    #[error("{}: {source}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// What was said.
        source: StoreError,
    },
}

/// Records that can be searched, and followed as they come.
pub struct Records {
    path: PathBuf,
    source: Source,
}

enum Source {
    Database {
        reader: Reader,
        seen: i64,
    },
    Lines {
        open: Option<BufReader<File>>,
        rest: String,
    },
}

impl Records {
    /// Opens a database or a file of records, whichever it is.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn open(path: &Path) -> Result<Self, QueryError> {
        let of_file = |source| QueryError::File {
            path: path.to_owned(),
            source,
        };
        let mut beginning = Vec::new();
        let file = File::open(path).map_err(of_file)?;
        file.take(SQLITE_MAGIC.len() as u64)
            .read_to_end(&mut beginning)
            .map_err(of_file)?;
        let source = if beginning == SQLITE_MAGIC {
            let reader = Reader::open(path).map_err(|source| QueryError::Database {
                path: path.to_owned(),
                source,
            })?;
            Source::Database { reader, seen: 0 }
        } else {
            Source::Lines {
                open: None,
                rest: String::new(),
            }
        };
        Ok(Self {
            path: path.to_owned(),
            source,
        })
    }

    /// The newest records that fit, the oldest of them first; at a second call, those that were written
    /// since the one before.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn next(&mut self, filter: &Filter) -> Result<Vec<Found>, QueryError> {
        match &mut self.source {
            Source::Database { reader, seen } => {
                let found = reader.find(filter, *seen);
                let (found, newest) = found.map_err(|source| QueryError::Database {
                    path: self.path.clone(),
                    source,
                })?;
                *seen = newest;
                Ok(found)
            }
            Source::Lines { open, rest } => {
                let found = next_lines(&self.path, open, rest, filter);
                found.map_err(|source| QueryError::File {
                    path: self.path.clone(),
                    source,
                })
            }
        }
    }
}

fn next_lines(
    path: &Path,
    open: &mut Option<BufReader<File>>,
    rest: &mut String,
    filter: &Filter,
) -> io::Result<Vec<Found>> {
    let mut found = Latest::new(filter);
    if open.is_none() {
        let old = (1..=MOST_FILES).map(|number| kept(path, number));
        let old: Vec<PathBuf> = old.take_while(|path| path.exists()).collect();
        for path in old.iter().rev() {
            match File::open(path) {
                Ok(file) => found.read(&mut BufReader::new(file), &mut String::new())?,
                // It was taken out, or moved on, meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    if let Some(file) = open {
        found.read(file, rest)?;
    }
    let is_current = open
        .as_ref()
        .is_some_and(|file| is_at(file.get_ref(), path));
    if !is_current {
        rest.clear();
        let mut file = BufReader::new(File::open(path)?);
        found.read(&mut file, rest)?;
        *open = Some(file);
    }
    Ok(found.records.into())
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(there)) = (file.metadata(), std::fs::metadata(path)) else {
        return true;
    };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

/// The latest records that fit.
struct Latest<'f> {
    filter: &'f Filter,
    records: VecDeque<Found>,
}

impl<'f> Latest<'f> {
    fn new(filter: &'f Filter) -> Self {
        Self {
            filter,
            records: VecDeque::new(),
        }
    }

    /// Reads what is there; a line that is not whole yet stays in `rest`.
    fn read(&mut self, file: &mut BufReader<File>, rest: &mut String) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let most = MAX_LINE as u64 + 1;
            if file.by_ref().take(most).read_until(b'\n', &mut bytes)? == 0 {
                return Ok(());
            }
            rest.push_str(&String::from_utf8_lossy(&bytes));
            if bytes.last() != Some(&b'\n') {
                // A line that is longer than any record is none.
                if rest.len() > MAX_LINE {
                    rest.clear();
                }
                continue;
            }
            if let Some(found) = self.filter.read(rest.trim_end()) {
                self.records.push_back(found);
            }
            if self.records.len() > self.filter.limit {
                self.records.pop_front();
            }
            rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn numbers(found: &[Found]) -> Vec<u64> {
        let numbers = found.iter().map(|found| found.record["n"].as_u64());
        numbers.map(Option::unwrap_or_default).collect()
    }

    #[test]
    fn files_are_read_through_rotation_and_torn_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(kept(&path, 2), "{\"n\":1}\n").expect("ours");
        std::fs::write(kept(&path, 1), "{\"n\":2}\nnonsense\n").expect("ours");
        let mut file = File::create(&path).expect("ours");
        file.write_all(b"{\"n\":3}\n{\"n\":").expect("ours");
        let mut records = Records::open(&path).expect("a file");
        let filter = Filter::default();
        assert_eq!(numbers(&records.next(&filter).expect("records")), [1, 2, 3]);
        file.write_all(b"4}\n{\"n\":5}\n").expect("ours");
        assert_eq!(numbers(&records.next(&filter).expect("records")), [4, 5]);
        assert!(records.next(&filter).expect("records").is_empty());
        // What was written before the file was moved is not lost.
        file.write_all(b"{\"n\":6}\n").expect("ours");
        std::fs::rename(&path, kept(&path, 1)).expect("ours");
        std::fs::write(&path, "{\"n\":7}\n").expect("ours");
        assert_eq!(numbers(&records.next(&filter).expect("records")), [6, 7]);
        let last = Filter {
            limit: 1,
            ..Filter::default()
        };
        let mut records = Records::open(&path).expect("a file");
        assert_eq!(numbers(&records.next(&last).expect("records")), [7]);
    }

    #[test]
    fn everything_that_is_asked_for_has_to_fit() {
        let line = serde_json::json!({
            "at": "2026-11-29T12:00:00.000Z", "principal": "key:ann", "target": "t", "outcome": "ok",
            "attempts": [{ "backend": "a", "target": "a__t" }, { "backend": "b", "target": "b__t" }],
            "backend": "b",
        })
        .to_string();
        let at = parse_time("2026-11-29T12:00:00Z").expect("a time");
        let text = |text: &str| Some(text.to_owned());
        let any = Filter::default;
        for (filter, fits) in [
            (any(), true),
            (
                Filter {
                    principal: text("key:ann"),
                    ..any()
                },
                true,
            ),
            (
                Filter {
                    principal: text("ann"),
                    ..any()
                },
                false,
            ),
            (
                Filter {
                    tool: text("a__*"),
                    ..any()
                },
                true,
            ),
            (
                Filter {
                    tool: text("t"),
                    ..any()
                },
                true,
            ),
            (
                Filter {
                    tool: text("c*"),
                    ..any()
                },
                false,
            ),
            (
                Filter {
                    backend: text("a"),
                    ..any()
                },
                true,
            ),
            (
                Filter {
                    backend: text("c"),
                    ..any()
                },
                false,
            ),
            (
                Filter {
                    outcome: text("failed"),
                    ..any()
                },
                false,
            ),
            (
                Filter {
                    since: Some(at),
                    until: Some(at),
                    ..any()
                },
                true,
            ),
            (
                Filter {
                    since: Some(at + 1),
                    ..any()
                },
                false,
            ),
            (
                Filter {
                    until: Some(at - 1),
                    ..any()
                },
                false,
            ),
        ] {
            assert_eq!(filter.read(&line).is_some(), fits, "{filter:?}");
        }
    }
}
