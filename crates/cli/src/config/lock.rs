//! `switchboard.lock`: the versions of what runners fetch, beside the configuration (decision 16).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use switchboard_backends::runner::{Ecosystem, Version};

/// Its name.
pub(crate) const LOCK_FILE: &str = "switchboard.lock";
/// The most that is read of a file, in bytes; what is cut there is no lock.
const LARGEST: u64 = 4 * 1024 * 1024;
/// The version of its form.
const FORM: u32 = 1;
/// What it begins with.
const HEAD: &str = "\
# The exact versions of what `npx`, `uvx` and `docker run` fetch for the configuration beside this\n\
# file. Written by `switchboard check --connect --pin`, which also brings it up to date.\n";

/// The versions, by what is written in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lock(BTreeMap<(Ecosystem, String), Version>);

/// Why a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// It is there and cannot be read.
    #[error("can't be read: {0}")]
    Unreadable(#[source] io::Error),
    /// It is not of its form.
    #[error("is not a lock file: {0}")]
    Malformed(String),
    /// It is of another form.
    #[error("is of version {0}; expected version {FORM}: this program is older or newer than it")]
    OtherForm(u32),
    /// A version is none.
    #[error(
        "`{0}` has no exact version; write the file again with `switchboard check --connect --pin`"
    )]
    NoVersion(String),
}

/// The form of the file.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LockFile {
    version: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    npm: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pypi: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    images: BTreeMap<String, String>,
}

impl Lock {
    /// Reads a file; without one, nothing is locked.
    ///
    /// # Errors
    ///
    /// If it is there and cannot be used: to start other versions than the locked ones would be worse.
    pub(crate) fn read(path: &Path) -> Result<Self, LockError> {
        let read = || {
            let mut text = String::new();
            let file = std::fs::File::open(path)?;
            file.take(LARGEST).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) => Self::parse(&text),
            Err(error) if is_absent(&error) => Ok(Self::default()),
            Err(error) => Err(LockError::Unreadable(error)),
        }
    }

    fn parse(text: &str) -> Result<Self, LockError> {
        let file: LockFile = toml::from_str(text)
            .map_err(|error| LockError::Malformed(error.message().to_owned()))?;
        if file.version != FORM {
            return Err(LockError::OtherForm(file.version));
        }
        let mut lock = Self::default();
        let sections = [
            (Ecosystem::Npm, file.npm),
            (Ecosystem::PyPi, file.pypi),
            (Ecosystem::Image, file.images),
        ];
        for (ecosystem, entries) in sections {
            for (spec, text) in entries {
                let Some(version) = version(ecosystem, &text) else {
                    return Err(LockError::NoVersion(spec));
                };
                lock.0.insert((ecosystem, spec), version);
            }
        }
        Ok(lock)
    }

    /// Puts it in the place of the file.
    ///
    /// # Errors
    ///
    /// If that is not possible; then the file is as it was.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension(format!("lock.{:x}.new", std::process::id()));
        let mut file = std::fs::File::create_new(&new)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(new, path)
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> String {
        let mut file = LockFile {
            version: FORM,
            ..LockFile::default()
        };
        for ((ecosystem, spec), version) in &self.0 {
            let section = match ecosystem {
                Ecosystem::Npm => &mut file.npm,
                Ecosystem::PyPi => &mut file.pypi,
                Ecosystem::Image => &mut file.images,
            };
            section.insert(spec.clone(), version.as_str().to_owned());
        }
        // Texts in tables of texts can always be written.
        format!("{HEAD}{}", toml::to_string(&file).unwrap_or_default())
    }

    /// The version of what is written so.
    pub(crate) fn get(&self, ecosystem: Ecosystem, spec: &str) -> Option<&Version> {
        self.0.get(&(ecosystem, spec.to_owned()))
    }

    /// Locks what is written so; returns the version that it is locked to, if that is another one.
    pub(crate) fn lock(
        &mut self,
        ecosystem: Ecosystem,
        spec: &str,
        version: &Version,
    ) -> Result<(), Version> {
        let entry = self.0.entry((ecosystem, spec.to_owned()));
        let locked = entry.or_insert_with(|| version.clone());
        if locked == version {
            Ok(())
        } else {
            Err(locked.clone())
        }
    }

    /// What is written of each entry.
    pub(crate) fn specs(&self) -> impl Iterator<Item = (Ecosystem, &str)> {
        self.0.keys().map(|(ecosystem, spec)| (*ecosystem, &**spec))
    }
}

fn version(ecosystem: Ecosystem, text: &str) -> Option<Version> {
    match ecosystem {
        Ecosystem::Npm => Version::of_npm(text),
        Ecosystem::PyPi => Version::of_python(text),
        Ecosystem::Image => Version::of_image(text),
    }
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// Where the lock of a configuration is: beside its first file.
pub(crate) fn beside(files: &[PathBuf]) -> Option<PathBuf> {
    let folder = files.first()?.parent()?;
    Some(folder.join(LOCK_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    #[test]
    fn what_is_written_is_read_and_its_order_is_stable() {
        let mut lock = Lock::default();
        let entries = [
            (Ecosystem::Image, "mcp/fetch:1", digest()),
            (Ecosystem::PyPi, "pkg[cli]>=1", "2026.1.1".to_owned()),
            (Ecosystem::Npm, "b", "1.0.0".to_owned()),
            (Ecosystem::Npm, "@scope/a@^1", "1.2.3-rc.1".to_owned()),
        ];
        for (ecosystem, spec, text) in &entries {
            let version = version(*ecosystem, text).unwrap();
            assert_eq!(lock.lock(*ecosystem, spec, &version), Ok(()));
            assert_eq!(lock.lock(*ecosystem, spec, &version), Ok(()));
            assert_eq!(lock.get(*ecosystem, spec), Some(&version));
        }
        let other = Version::of_npm("2.0.0").unwrap();
        let first = Version::of_npm("1.0.0").unwrap();
        assert_eq!(lock.lock(Ecosystem::Npm, "b", &other), Err(first));
        let text = lock.text();
        assert_eq!(Lock::parse(&text).unwrap(), lock);
        let expected = format!(
            "{HEAD}version = 1\n\n[npm]\n\"@scope/a@^1\" = \"1.2.3-rc.1\"\nb = \"1.0.0\"\n\n\
             [pypi]\n\"pkg[cli]>=1\" = \"2026.1.1\"\n\n[images]\n\"mcp/fetch:1\" = \"{}\"\n",
            digest()
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_file_that_says_something_else_is_refused() {
        for (text, message) in [
            ("", "is not a lock file: missing field `version`"),
            ("version = 2", "is of version 2; expected version 1"),
            (
                "version = 1\n[other]",
                "is not a lock file: unknown field `other`",
            ),
            ("version = 1\n[npm]\na = \"^1\"", "`a` has no exact version"),
            (
                "version = 1\n[npm]\na = \"1.0.0 --x\"",
                "`a` has no exact version",
            ),
            (
                "version = 1\n[npm]\na = 1",
                "is not a lock file: invalid type",
            ),
            (
                "version = 1\n[images]\na = \"1.0.0\"",
                "`a` has no exact version",
            ),
        ] {
            let error = Lock::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        let nowhere = Path::new("/proc/self/no-such-folder/switchboard.lock");
        assert_eq!(Lock::read(nowhere).unwrap(), Lock::default());
    }
}
