//! The commands, and how they end: 0 done, 1 failed, 2 usage or configuration.

pub(crate) mod audit;
pub(crate) mod backends;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod health;
pub(crate) mod runners;
pub(crate) mod serve;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Keys, Loaded};

/// Ends a command that could not do its work.
pub(crate) fn failed(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(1)
}

/// Ends a command that was asked for something that makes no sense.
pub(crate) fn misused(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(2)
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "switchboard: {message}");
}

/// Prints to standard output; whoever reads it may be gone, which is nobody's fault.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Loads the configuration.
pub(crate) fn load(
    files: &[PathBuf],
    listen: Option<String>,
) -> Result<Loaded, config::ConfigErrors> {
    let mut env = environment();
    if let Some(listen) = listen {
        env.insert(config::LISTEN_FLAG.to_owned(), listen);
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    config::load(files, &env, &cwd)
}

/// Loads these keys of the configuration alone, for a command that needs no others: whoever gives it
/// has not all the secrets of the gateway.
pub(crate) fn load_only(files: &[PathBuf], only: Keys<'_>) -> Result<Loaded, config::ConfigErrors> {
    let cwd = std::env::current_dir().unwrap_or_default();
    config::load_only(files, &environment(), &cwd, only)
}

/// Whether there is a configuration where one is looked for that is not named.
pub(crate) fn has_default_file() -> bool {
    let cwd = std::env::current_dir().unwrap_or_default();
    let files = config::default_files(&environment(), &cwd);
    files.iter().any(|file| file.is_file())
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// `1 tool`, `2 tools`.
pub(crate) fn counted(count: usize, one: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {one}s")
    }
}
