//! Loading as a user sees it: files in, a configuration or the text of every mistake out.

mod access;
mod cache;
mod chains;
mod clients;
mod errors;
mod kept_results;
mod limits;
mod loading;
mod pages;
mod redaction;
mod reference;
mod replicas;
mod results;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Loaded, load};

/// A folder with files, and an environment.
struct Place {
    folder: TempDir,
    env: BTreeMap<String, String>,
    sources: Vec<PathBuf>,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            env: BTreeMap::new(),
            sources: Vec::new(),
        }
    }

    /// Writes a file and loads it, after those that were added before.
    fn file(mut self, name: &str, text: impl AsRef<[u8]>) -> Self {
        self.sources.push(PathBuf::from(name));
        self.other_file(name, text)
    }

    /// Writes a file that is not loaded by name.
    fn other_file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    fn load(&self) -> Loaded {
        load(&self.sources, &self.env, self.path()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The text of every mistake.
    #[track_caller]
    fn errors(&self) -> String {
        let errors = load(&self.sources, &self.env, self.path()).unwrap_err();
        let folder = self.path().to_str().unwrap();
        errors.to_string().replace(folder, "FOLDER")
    }

    #[track_caller]
    fn fails_with(&self, expected: &str) {
        let errors = self.errors();
        assert!(
            errors == expected.trim(),
            "expected:\n{expected}\nfound:\n{errors}"
        );
    }
}

/// A backend that needs nothing.
const BACKEND: &str = "backends: { files: { command: npx } }\n";

fn data(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("src/config/tests/data").join(name)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn warnings(loaded: &Loaded) -> String {
    let lines = loaded.warnings.iter().map(|warning| {
        let file = Path::new(&warning.file)
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        format!(
            "{file}:{}: {}: {}",
            warning.line.unwrap(),
            warning.key,
            warning.message
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
