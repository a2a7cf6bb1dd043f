//! Reading the configuration again: at SIGHUP, and when one of its files has changed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use switchboard_gateway::{ReloadAnswer, ReloadRequest, ReloadRequests, Reloaded, Reloader};
use switchboard_telemetry::{Metrics, ReloadResult};
use tokio::signal::unix::Signal;
use tokio::time::sleep;

use crate::commands::load;
use crate::config::Loaded;

/// How often the files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What the configuration is loaded from, and what it is put in force with.
pub(super) struct ConfigWatcher {
    /// The files that `serve` was given.
    pub(super) sources: Vec<PathBuf>,
    /// Its `--listen`.
    pub(super) listen: Option<String>,
    pub(super) watched: Watched,
    /// Whether changes of the files are looked for.
    pub(super) is_watching: bool,
    pub(super) hangups: Signal,
    /// Those of the admin API.
    pub(super) requests: ReloadRequests,
    pub(super) reloader: Reloader,
    pub(super) metrics: Arc<Metrics>,
}

impl ConfigWatcher {
    /// Reloads whenever that is asked for, one after the other.
    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let (why, request) = self.changed().await;
            let answer = self.reload(why).await;
            let result = match &answer {
                Ok(reloaded) => tell(reloaded),
                Err(problems) => {
                    for problem in problems {
                        tracing::error!("the configuration stays as it was: {problem}");
                    }
                    ReloadResult::Failed
                }
            };
            self.metrics.config_reloaded(result);
            if let Some(request) = request {
                request.answer(answer);
            }
        }
    }

    /// Waits until there is a reason to reload. Signals that come while a reload is under way are
    /// one.
    async fn changed(&mut self) -> (Why, Option<ReloadRequest>) {
        loop {
            tokio::select! {
                Some(()) = self.hangups.recv() => {
                    // What is loaded now is no news at the next look.
                    self.watched.take_note().await;
                    return (Why::Asked, None);
                }
                Some(request) = self.requests.recv() => {
                    self.watched.take_note().await;
                    return (Why::Asked, Some(request));
                }
                () = sleep(POLL_INTERVAL), if self.is_watching => {
                    if self.watched.have_changed().await {
                        return (Why::Changed, None);
                    }
                }
            }
        }
    }

    async fn reload(&mut self, why: Why) -> ReloadAnswer {
        let (sources, listen) = (self.sources.clone(), self.listen.clone());
        // Reads files, so not where connections are served.
        let loaded = tokio::task::spawn_blocking(move || load(&sources, listen)).await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(errors)) => {
                return Err(errors.0.iter().map(ToString::to_string).collect());
            }
            Err(error) => return Err(vec![format!("it was not read: {error}")]),
        };
        self.put_in_force(loaded, why).await
    }

    async fn put_in_force(&mut self, loaded: Loaded, why: Why) -> ReloadAnswer {
        // The end of a file may be missing, or its section be lost in an edit; nobody is asked.
        if why == Why::Changed
            && let Some(lost) = self.lost(&loaded)
        {
            return Err(vec![format!(
                "it has {lost}; if that is meant, send SIGHUP or start again"
            )]);
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let is_watching = loaded.config.server.watch_config;
        let watched = loaded.watched();
        match self.reloader.reload(&loaded.config).await {
            Ok(reloaded) => {
                self.is_watching = is_watching;
                self.watched.set(watched).await;
                Ok(reloaded)
            }
            Err(error) => Err(vec![error.to_string()]),
        }
    }

    /// What is too much to lose by a change that nobody asked for.
    fn lost(&self, loaded: &Loaded) -> Option<&'static str> {
        if self.reloader.has_auth() && loaded.config.auth.is_none() {
            return Some("no `auth` any more, so that everybody could call");
        }
        if self.reloader.has_rules() && loaded.config.access.is_none() {
            return Some("no `access` any more, so that everybody could do everything");
        }
        if self.reloader.has_backends() && loaded.config.backends.is_empty() {
            return Some("no `backends` any more, as if it were empty");
        }
        None
    }
}

/// Why the configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Somebody sent SIGHUP, or asked through the admin API.
    Asked,
    /// A file has changed.
    Changed,
}

fn tell(reloaded: &Reloaded) -> ReloadResult {
    if !reloaded.needs_restart.is_empty() {
        tracing::warn!(
            "these keys have changed and take effect after a restart: {}",
            reloaded.needs_restart.join(", ")
        );
    }
    if !reloaded.is_changed {
        tracing::info!("configuration read again: nothing to change");
        return ReloadResult::Unchanged;
    }
    let backends = &reloaded.backends;
    tracing::info!(
        keys = reloaded.keys.join(","),
        added = backends.added.join(","),
        changed = backends.changed.join(","),
        removed = backends.removed.join(","),
        "configuration read again: in force"
    );
    ReloadResult::Done
}

/// The files of the configuration and what they held when they were last looked at.
///
/// They are compared by what they hold, and not by a notification of the system: a ConfigMap of
/// Kubernetes is a symbolic link whose target is exchanged, which no watch of the file itself
/// tells, nor do network file systems. Nor by their times, which say less and cost as much as
/// reading the few KiB.
pub(super) struct Watched {
    files: Vec<File>,
}

struct File {
    path: PathBuf,
    /// What it held when a change was last told.
    told: Contents,
    /// What it held at the last look.
    seen: Contents,
}

/// The digest of what a file holds, if it can be read.
type Contents = Option<[u8; 32]>;

impl Watched {
    /// Looks at these files for the first time.
    pub(super) async fn new(files: Vec<PathBuf>) -> Self {
        let mut watched = Self { files: Vec::new() };
        watched.set(files).await;
        watched
    }

    /// Watches these files, of which those that it knows are compared with what it saw before.
    async fn set(&mut self, files: Vec<PathBuf>) {
        let mut known = std::mem::take(&mut self.files);
        for path in files {
            let at = known.iter().position(|file| file.path == path);
            let file = match at {
                Some(at) => known.swap_remove(at),
                None => {
                    let seen = digest(&path).await;
                    File {
                        path,
                        told: seen,
                        seen,
                    }
                }
            };
            self.files.push(file);
        }
    }

    /// Whether any holds something else than when that was last so, and all have held the same for
    /// two looks: whoever writes a file may be in the middle of it, and half a file may be valid.
    async fn have_changed(&mut self) -> bool {
        let (mut are_steady, mut has_news) = (true, false);
        for file in &mut self.files {
            let now = digest(&file.path).await;
            are_steady &= now == file.seen;
            has_news |= now != file.told;
            file.seen = now;
        }
        if !are_steady || !has_news {
            return false;
        }
        for file in &mut self.files {
            file.told = file.seen;
        }
        true
    }

    /// Takes what they hold now for known.
    async fn take_note(&mut self) {
        for file in &mut self.files {
            file.seen = digest(&file.path).await;
            file.told = file.seen;
        }
    }
}

/// The digest of what a file holds. `None` if it cannot be read, or is no file: what comes out of a
/// pipe comes once.
async fn digest(file: &PathBuf) -> Contents {
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
        assert!(!watched.have_changed().await);
        assert!(watched.have_changed().await);
        assert!(!watched.have_changed().await);
        std::fs::remove_file(&new).unwrap();
        assert!(!watched.have_changed().await);
        assert!(watched.have_changed().await);
        assert!(!watched.have_changed().await);
    }

    #[tokio::test]
    async fn a_change_of_a_volume_of_kubernetes_is_seen_once() {
        use std::fs::{create_dir, remove_dir_all, rename, write};
        use std::os::unix::fs::symlink;
        // As the kubelet lays it out: files are links through `..data` to a folder, and the link
        // to the folder is what it exchanges. Then it removes the old folder.
        let volume = tempfile::tempdir().unwrap();
        let at = |name: &str| volume.path().join(name);
        let fill = |folder: &str, text: &str| {
            create_dir(at(folder)).unwrap();
            for name in ["config", "token"] {
                write(at(folder).join(name), format!("{name}: {text}")).unwrap();
            }
        };
        fill("..1", "old");
        symlink("..1", at("..data")).unwrap();
        for name in ["config", "token"] {
            symlink(format!("..data/{name}"), at(name)).unwrap();
        }
        let mut watched = Watched::new(vec![at("config"), at("token")]).await;
        assert!(!watched.have_changed().await);
        fill("..2", "new");
        symlink("..2", at("..data_tmp")).unwrap();
        rename(at("..data_tmp"), at("..data")).unwrap();
        remove_dir_all(at("..1")).unwrap();
        assert!(!watched.have_changed().await);
        assert!(watched.have_changed().await);
        assert!(!watched.have_changed().await);
        // The same again under another name, as when another key of the volume has changed.
        fill("..3", "new");
        symlink("..3", at("..data_tmp")).unwrap();
        rename(at("..data_tmp"), at("..data")).unwrap();
        remove_dir_all(at("..2")).unwrap();
        assert!(!watched.have_changed().await);
        assert!(!watched.have_changed().await);
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_has_not_changed_yet() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        std::fs::write(&first, "a: 1").unwrap();
        std::fs::write(&second, "b: 1").unwrap();
        let mut watched = Watched::new(vec![first.clone(), second.clone()]).await;
        for half in ["", "a", "a: ", "a: 2"] {
            std::fs::write(&first, half).unwrap();
            assert!(!watched.have_changed().await, "{half:?}");
        }
        // The second is written while the first has come to rest: they belong together.
        std::fs::write(&second, "b: 2").unwrap();
        assert!(!watched.have_changed().await);
        assert!(watched.have_changed().await);
        // What was there before is back: nothing has changed.
        std::fs::write(&first, "a: 3").unwrap();
        assert!(!watched.have_changed().await);
        std::fs::write(&first, "a: 2").unwrap();
        assert!(!watched.have_changed().await);
        assert!(!watched.have_changed().await);
        // What was loaded at a signal is no news.
        std::fs::write(&first, "a: 4").unwrap();
        watched.take_note().await;
        assert!(!watched.have_changed().await);
        assert!(!watched.have_changed().await);
    }
}
