//! The section `audit` of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use switchboard_backends::config::count;
use switchboard_backends::config::limits::{LEAST_SIZE, check_size, parse_size};

/// The longest that records are kept, and a bound against mistyped numbers.
const LONGEST_KEPT: Duration = Duration::from_secs(3660 * 24 * 60 * 60);
/// The shortest.
const SHORTEST_KEPT: Duration = Duration::from_secs(60);
/// The most rotated files.
const MOST_FILES: usize = 1000;
/// The longest queue.
const LONGEST_QUEUE: usize = 1_000_000;

/// What is noted of calls, and where: at least one of `stdout`, `file` and `sqlite`. Without this
/// section nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Whether records are written to standard output, one line of JSON each, among the few lines that
    /// the gateway says there when it starts.
    pub stdout: bool,
    /// The file that records are written to, one line of JSON each.
    #[schemars(with = "FileConfig")]
    pub file: Option<FileConfig>,
    /// The database that records are written to, which `switchboard audit` and the admin API search.
    #[schemars(with = "SqliteConfig")]
    pub sqlite: Option<SqliteConfig>,
    /// The tools, as the gateway lists them, whose arguments are noted with their values; `*` stands for
    /// any characters. What looks like a secret is left out even so. Of all others only keys, types and
    /// sizes are noted.
    pub values: Vec<String>,
    /// What is noted.
    pub include: Vec<AuditKind>,
    /// The most records that wait to be written, from 1 to 1,000,000. What comes while there are so many
    /// is dropped and counted.
    #[serde(deserialize_with = "deserialize_queue")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            stdout: false,
            file: None,
            sqlite: None,
            values: Vec::new(),
            include: AuditKind::ALL.to_vec(),
            queue: 10_000,
        }
    }
}

impl AuditConfig {
    /// What is wrong with it, if anything is: the key below `audit`, and a sentence.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if !self.stdout && self.file.is_none() && self.sqlite.is_none() {
            let message = "says nothing of where records are written; expected `stdout: true`, `file` or \
                           `sqlite`, or no such section at all";
            return Some(("", message.to_owned()));
        }
        let paths = [
            self.file.as_ref().map(|file| &file.path),
            self.sqlite.as_ref().map(|sqlite| &sqlite.path),
        ];
        if paths[0].is_some() && paths[0] == paths[1] {
            let message = "is the path of `audit.file` too; expected a file of its own for each";
            return Some(("sqlite", message.to_owned()));
        }
        None
    }
}

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditKind {
    /// Calls of tools, prompts, resources, skills, tasks, and completions.
    Calls,
    /// Lists, and discover.
    Lists,
    /// Requests whose credential was refused, at most 10 a second: how many more there were is in the
    /// next record.
    Authentications,
    /// What was changed through the admin API.
    Admin,
}

impl AuditKind {
    /// All kinds.
    pub const ALL: &'static [Self] =
        &[Self::Calls, Self::Lists, Self::Authentications, Self::Admin];

    /// The word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Lists => "lists",
            Self::Authentications => "authentications",
            Self::Admin => "admin",
        }
    }
}

/// A file of records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where it is. A relative path is meant from the folder of the configuration file. It is made
    /// readable for its owner alone.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// When the next file is begun.
    #[serde(default)]
    pub rotate: RotateConfig,
}

/// When a file of records is full, and how many full ones are kept, as `PATH.1` (the newest), `PATH.2`
/// and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateConfig {
    /// The size at which a file is full: a size such as `100MiB`, or a number of bytes, at least 1 MiB.
    #[serde(deserialize_with = "deserialize_size")]
    #[schemars(schema_with = "size_schema", extend("default" = "100MiB"))]
    pub size: u64,
    /// How many full files are kept, at most 1,000.
    #[serde(deserialize_with = "deserialize_files")]
    #[schemars(range(max = 1000))]
    pub keep: usize,
}

impl Default for RotateConfig {
    fn default() -> Self {
        Self {
            size: 100 * 1024 * 1024,
            keep: 10,
        }
    }
}

/// A database of records.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// Where it is. A relative path is meant from the folder of the configuration file. It is made
    /// readable for its owner alone, and has to be on a local disk.
    #[schemars(with = "String")]
    pub path: PathBuf,
    /// How long records are kept: a duration such as `30d`, from a minute to ten years.
    #[serde(default = "default_keep", deserialize_with = "deserialize_keep")]
    #[schemars(schema_with = "keep_schema", extend("default" = "30d"))]
    pub keep: Duration,
}

fn default_keep() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

/// Reads how long records are kept.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_keep(text: &str) -> Result<Duration, String> {
    let keep = humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned())?;
    if !(SHORTEST_KEPT..=LONGEST_KEPT).contains(&keep) {
        return Err("is not between a minute and ten years".to_owned());
    }
    Ok(keep)
}

/// Reads a size that is one: `none` is not.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_file_size(text: &str) -> Result<u64, String> {
    parse_size(text)?.ok_or_else(|| "is not a size".to_owned())
}

fn keep_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "retention" })
}

fn size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "format": "size", "minimum": LEAST_SIZE })
}

fn deserialize_keep<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_keep(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "is not a size")]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    let size = match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => check_size(bytes),
        Written::Text(text) => parse_file_size(&text),
    };
    size.map_err(de::Error::custom)
}

fn deserialize_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_most(usize::deserialize(deserializer)?, MOST_FILES)
}

fn deserialize_queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    at_most(count::deserialize(deserializer)?, LONGEST_QUEUE)
}

fn at_most<E: de::Error>(number: usize, most: usize) -> Result<usize, E> {
    if number > most {
        return Err(E::custom(format!("is more than {most}")));
    }
    Ok(number)
}
