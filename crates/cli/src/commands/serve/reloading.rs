//! Reading the configuration again: at SIGHUP, and when one of its files has changed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use switchboard_gateway::{Reloaded, Reloader};
use switchboard_telemetry::{Metrics, Reload};
use tokio::signal::unix::Signal;
use tokio::time::sleep;

use crate::commands::load;
use crate::config::Loaded;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What the configuration is loaded from, and what it is put in force with.
pub(super) struct Reloading {
    /// The files that `serve` was given.
    pub(super) sources: Vec<PathBuf>,
    /// Its `--listen`.
    pub(super) listen: Option<String>,
    pub(super) watched: Watched,
    /// Whether changes of the files are looked for.
    pub(super) is_watching: bool,
    pub(super) hangups: Signal,
    pub(super) reloader: Reloader,
    pub(super) metrics: Arc<Metrics>,
}

impl Reloading {
    /// Reloads whenever that is asked for, one after the other.
    pub(super) async fn keep(mut self) -> Infallible {
        loop {
            self.wanted().await;
            let result = self.reload().await;
            self.metrics.config_reloaded(result);
        }
    }

    /// Waits until there is a reason to reload. Signals that come while a reload is under way are
    /// one.
    async fn wanted(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.hangups.recv() => {
                    // What is loaded now is no news at the next look.
                    self.watched.have_changed().await;
                    return;
                }
                () = sleep(LOOK), if self.is_watching => {
                    if self.watched.have_changed().await {
                        return;
                    }
                }
            }
        }
    }

    async fn reload(&mut self) -> Reload {
        let (sources, listen) = (self.sources.clone(), self.listen.clone());
        // Reads files, so not where connections are served.
        let loaded = tokio::task::spawn_blocking(move || load(&sources, listen)).await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(errors)) => {
                for finding in errors.0 {
                    tracing::error!("the configuration stays as it was: {finding}");
                }
                return Reload::Failed;
            }
            Err(error) => {
                tracing::error!(%error, "the configuration stays as it was: it was not read");
                return Reload::Failed;
            }
        };
        self.put_in_force(loaded).await
    }

    async fn put_in_force(&mut self, loaded: Loaded) -> Reload {
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let is_watching = loaded.config.server.watch_config;
        match self.reloader.reload(loaded.config).await {
            Ok(reloaded) => {
                self.is_watching = is_watching;
                self.watched.are(loaded.files).await;
                tell(&reloaded)
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                Reload::Failed
            }
        }
    }
}

fn tell(reloaded: &Reloaded) -> Reload {
    if !reloaded.needs_restart.is_empty() {
        tracing::warn!(
            "these keys have changed and take effect after a restart: {}",
            reloaded.needs_restart.join(", ")
        );
    }
    if !reloaded.is_changed {
        tracing::info!("configuration read again: nothing to change");
        return Reload::Unchanged;
    }
    let exchanged = &reloaded.exchanged;
    tracing::info!(
        keys = reloaded.keys.join(","),
        added = exchanged.added.join(","),
        changed = exchanged.changed.join(","),
        removed = exchanged.removed.join(","),
        "configuration read again: in force"
    );
    Reload::Done
}

/// The files of the configuration and what they held when they were last looked at.
///
/// They are compared by what they hold, and not by a notification of the system: a ConfigMap of
/// Kubernetes is a symbolic link whose target is exchanged, which no watch of the file itself
/// tells, nor do network file systems. Nor by their times, which say less and cost as much as
/// reading the few KiB.
pub(super) struct Watched {
    files: Vec<(PathBuf, Option<[u8; 32]>)>,
}

impl Watched {
    /// Looks at these files for the first time.
    pub(super) async fn new(files: Vec<PathBuf>) -> Self {
        let mut watched = Self { files: Vec::new() };
        watched.are(files).await;
        watched
    }

    /// Watches these files, of which those that it knows are compared with what it saw before.
    async fn are(&mut self, files: Vec<PathBuf>) {
        let mut known = std::mem::take(&mut self.files);
        for file in files {
            let at = known.iter().position(|(path, _)| *path == file);
            let entry = match at {
                Some(at) => known.swap_remove(at),
                None => (file.clone(), digest(&file).await),
            };
            self.files.push(entry);
        }
    }

    /// Whether any holds something else than when it was last looked at.
    async fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for (file, before) in &mut self.files {
            let now = digest(file).await;
            changed |= now != *before;
            *before = now;
        }
        changed
    }
}

/// The digest of what a file holds. `None` if it cannot be read, or is no file: what comes out of a
/// pipe comes once.
async fn digest(file: &PathBuf) -> Option<[u8; 32]> {
    let is_file = tokio::fs::metadata(file).await.ok()?.is_file();
    let bytes = match is_file {
        true => tokio::fs::read(file).await.ok()?,
        false => return None,
    };
    Some(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::Watched;

    #[tokio::test]
    async fn a_change_is_seen_once_also_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new, link] = ["old", "new", "link"].map(|name| folder.path().join(name));
        std::fs::write(&old, "a: 1").unwrap();
        std::fs::write(&new, "a: 2").unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();
        let mut watched = Watched::new(vec![link.clone()]).await;
        assert!(!watched.have_changed().await);
        // As a ConfigMap changes: a new link takes the place of the old one.
        let other = folder.path().join("other");
        std::os::unix::fs::symlink(&new, &other).unwrap();
        std::fs::rename(&other, &link).unwrap();
        assert!(watched.have_changed().await);
        assert!(!watched.have_changed().await);
        std::fs::remove_file(&new).unwrap();
        assert!(watched.have_changed().await);
        assert!(!watched.have_changed().await);
    }
}
