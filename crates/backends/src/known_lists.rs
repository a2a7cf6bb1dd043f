//! What local servers that are started lazily were last known to offer, kept in files: so that a
//! gateway need not start them to list it.
//!
//! A file is found by a digest of what its server is started as. It is a hint: what a server says
//! when it is started takes its place.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use switchboard_protocol::version::Version;

use crate::config::{BackendConfig, TransportConfig};
use crate::learn::{self, PROMPTS, RESOURCES, SKILLS, TEMPLATES, TOOLS};
use crate::lists::{Features, Found, Item, Lists, Server, TaskSupport};

/// The most files there are; the oldest goes for another.
const MAX_FILES: usize = 256;
/// The largest file that is written or read, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The end of the files' names.
const EXTENSION: &str = "json";

/// A folder of such files, or none. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KnownLists(Option<Arc<Path>>);

impl KnownLists {
    /// Keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Keeps them in this folder, which is made when there is something to keep.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self(Some(folder.into()))
    }

    /// What the server of this backend was last known to offer. Reads a file.
    pub(crate) fn read(&self, backend: &str, config: &BackendConfig) -> Option<Lists> {
        let file = self.file(backend, config)?;
        match read(&file) {
            Ok(lists) => lists,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::debug!(backend, "what it offers is not known from a file: {error}");
                None
            }
        }
    }

    /// Keeps what the server of this backend offers, if that is all of it. Writes a file, unless it
    /// says so already.
    pub(crate) fn write(&self, backend: &str, config: &BackendConfig, lists: &Lists) {
        let Some(file) = self.file(backend, config) else {
            return;
        };
        if lists.missing.is_some() {
            return;
        }
        if let Err(error) = write(&file, lists) {
            tracing::debug!(backend, "what it offers cannot be kept in a file: {error}");
        }
    }

    /// Of a local server that is started lazily. No value of its environment decides, since a
    /// digest of a short secret may be guessed; its arguments do.
    fn file(&self, backend: &str, config: &BackendConfig) -> Option<PathBuf> {
        let folder = self.0.as_ref()?;
        let TransportConfig::Stdio {
            command,
            args,
            env,
            cwd,
        } = &config.transport
        else {
            return None;
        };
        let variables: Vec<&String> = env.keys().collect();
        let started_as = (
            (env!("CARGO_PKG_VERSION"), backend, command, args),
            (variables, cwd, &config.include_tools, &config.exclude_tools),
        );
        let text = serde_json::to_vec(&started_as).ok()?;
        let digest = Sha256::digest(text);
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(folder.join(name).with_extension(EXTENSION))
    }
}

/// The form of a file.
#[derive(Serialize, Deserialize)]
struct Known {
    version: String,
    instructions: Option<String>,
    extensions: Vec<(String, Box<RawValue>)>,
    features: Features,
    tools: Vec<KnownTool>,
    left_out: Vec<String>,
    prompts: Vec<Box<RawValue>>,
    resources: Vec<Box<RawValue>>,
    templates: Vec<Box<RawValue>>,
    skills: Vec<Box<RawValue>>,
    ttl_ms: Option<u64>,
    public: bool,
}

#[derive(Serialize, Deserialize)]
struct KnownTool {
    raw: Box<RawValue>,
    task_support: Option<TaskSupport>,
}

fn read(file: &Path) -> io::Result<Option<Lists>> {
    let known: Known = serde_json::from_slice(&read_at_most(file)?)?;
    Ok(known.into_lists())
}

/// What is in a file; of one that is too large only a part, which is no JSON.
fn read_at_most(file: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    is_own(file.parent().ok_or(io::ErrorKind::NotFound)?)?;
    File::open(file)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

fn write(file: &Path, lists: &Lists) -> io::Result<()> {
    let text = serde_json::to_vec(&Known::of(lists)?)?;
    let before = read_at_most(file);
    if text.len() as u64 > MAX_BYTES || before.as_ref().is_ok_and(|before| *before == text) {
        return Ok(());
    }
    let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    is_own(folder)?;
    if before.is_err() {
        make_room(folder)?;
    }
    // Another that writes the same file writes another of these.
    let unique = format!("{}-{:x}.new", std::process::id(), fastrand::u64(..));
    let new = folder.join(unique);
    let mut options = File::options();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let moved = written
        .write_all(&text)
        .and_then(|()| fs::rename(&new, file));
    if moved.is_err() {
        // What went wrong first is what matters.
        let _ = fs::remove_file(&new);
    }
    moved
}

/// Whether a folder is this user's alone to write to, and no link to another.
///
/// # Errors
/// If not.
fn is_own(folder: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    let is_own = metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0;
    match is_own {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Whether a file is one that was written here.
fn is_list(file: &Path) -> bool {
    file.extension()
        .is_some_and(|end| end == EXTENSION || end == "new")
}

/// Removes the oldest files but for one less than there may be.
fn make_room(folder: &Path) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .filter(|entry| is_list(&entry.path()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_unstable();
    let surplus = (files.len() + 1).saturating_sub(MAX_FILES);
    for (_, file) in files.into_iter().take(surplus) {
        fs::remove_file(file)?;
    }
    Ok(())
}

impl Known {
    fn of(lists: &Lists) -> io::Result<Self> {
        let raw = |raw: &Bytes| -> io::Result<Box<RawValue>> { Ok(serde_json::from_slice(raw)?) };
        let all = |items: &[Item]| -> io::Result<Vec<_>> {
            items.iter().map(|item| raw(&item.raw)).collect()
        };
        let tools = lists.tools.iter().map(|tool| {
            Ok(KnownTool {
                raw: raw(&tool.raw)?,
                task_support: tool.task_support,
            })
        });
        let extensions = lists.server.extensions.iter();
        let extensions = extensions.map(|(name, settings)| Ok((name.clone(), raw(settings)?)));
        Ok(Self {
            version: lists.server.version.as_str().to_owned(),
            instructions: lists.server.instructions.clone(),
            extensions: extensions.collect::<io::Result<_>>()?,
            features: lists.server.features,
            tools: tools.collect::<io::Result<_>>()?,
            left_out: lists.left_out.clone(),
            prompts: all(&lists.prompts)?,
            resources: all(&lists.resources)?,
            templates: all(&lists.templates)?,
            skills: all(&lists.skills)?,
            ttl_ms: lists.ttl_ms,
            public: lists.public,
        })
    }

    /// `None` if any part of it is none that this gateway would have kept.
    fn into_lists(self) -> Option<Lists> {
        let bytes = |raw: Box<RawValue>| Bytes::from(String::from(Box::<str>::from(raw)));
        let all = |kind: learn::Kind, raws: Vec<Box<RawValue>>| -> Option<Vec<Item>> {
            let items = raws
                .into_iter()
                .map(|raw| learn::item(kind, bytes(raw)).ok());
            items.collect()
        };
        let tools = self.tools.into_iter().map(|tool| {
            let item = learn::item(TOOLS, bytes(tool.raw)).ok()?;
            Some(Item {
                task_support: tool.task_support,
                ..item
            })
        });
        let extensions = self.extensions.into_iter();
        Some(Lists {
            server: Arc::new(Server {
                version: Version::parse(&self.version)?,
                instructions: self.instructions,
                extensions: extensions.map(|(name, raw)| (name, bytes(raw))).collect(),
                features: self.features,
                found: Found::Before,
            }),
            tools: tools.collect::<Option<_>>()?,
            left_out: self.left_out,
            prompts: all(PROMPTS, self.prompts)?,
            resources: all(RESOURCES, self.resources)?,
            templates: all(TEMPLATES, self.templates)?,
            skills: all(SKILLS, self.skills)?,
            ttl_ms: self.ttl_ms,
            public: self.public,
            missing: None,
        })
    }
}

#[cfg(test)]
mod tests;
