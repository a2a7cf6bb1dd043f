//! What a sandbox must not let its server change: the files that decide what runs outside of it.

use std::path::{Path, PathBuf};

use switchboard_gateway::config::Config;

use super::downloads::Downloads;
use super::{Finding, Index};

/// The mistakes of this kind, at the `sandbox.write` that makes them.
pub(super) fn mistakes(
    config: &Config,
    files: &[PathBuf],
    downloads: &Downloads,
    cwd: &Path,
    index: &Index,
) -> Vec<Finding> {
    let tls = config.server.tls.iter();
    let tls = tls.flat_map(|tls| [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca));
    let deciding: Vec<PathBuf> = files
        .iter()
        .chain(&downloads.lock)
        .chain(&config.server.cache_dir)
        .chain(tls)
        .map(|path| real(&cwd.join(path)))
        .collect();
    let sandboxes = config.backends.iter().filter_map(|(name, backend)| {
        let sandbox = backend.sandbox.as_ref()?;
        let mut written = sandbox.write.iter().map(|path| real(path));
        let changed = written.find_map(|root| deciding.iter().find(|path| path.starts_with(&root)));
        let message = format!(
            "lets the server change `{}`, which decides what the gateway does outside of the sandbox; \
             expected folders without files of the configuration",
            changed?.display()
        );
        let key = ["backends", name, "sandbox", "write"].map(str::to_owned);
        Some(index.finding(&key, message))
    });
    sandboxes.collect()
}

/// Where a path leads: of one that is not there, where its folder does.
fn real(path: &Path) -> PathBuf {
    let of_folder = || {
        let folder = path.parent()?.canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    path.canonicalize()
        .ok()
        .or_else(of_folder)
        .unwrap_or_else(|| path.to_owned())
}
