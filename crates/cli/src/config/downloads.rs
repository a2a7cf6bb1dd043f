//! What the runners of local servers fetch, and in which version: as the configuration writes it, or
//! as the lock beside it says.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchboard_backends::config::TransportConfig;
use switchboard_backends::runner::{self, Ecosystem, Package, Pin, Runner, Version};
use switchboard_gateway::config::Config;

use super::lock::{LOCK_FILE, Lock, LockError, beside};
use super::{Finding, Index};

/// A local server that a runner fetches.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// The backend's name.
    pub(crate) backend: String,
    /// The runner, as it is called in texts.
    pub(crate) tool: &'static str,
    /// What it fetches, as it is written.
    pub(crate) package: Package,
    /// The version that the lock says.
    pub(crate) locked: Option<Version>,
    /// Of a container: whether it is given any input.
    hears: bool,
}

/// All that runners fetch for a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downloads {
    /// In the order of the backends' names.
    pub(crate) all: Vec<Download>,
    /// Where the lock is, or would be; as the configuration's first file is named.
    pub(crate) lock: Option<PathBuf>,
    /// Entries of the lock that fit nothing that is written.
    stale: Vec<String>,
}

impl Download {
    fn of(backend: &str, command: &str, args: &[String]) -> Option<Self> {
        let Runner { tool, package } = runner::recognise(command, args)?;
        let container = runner::container(backend, command, args, 0);
        Some(Self {
            backend: backend.to_owned(),
            tool,
            package: package?,
            locked: None,
            hears: container.is_none_or(|container| container.is_interactive),
        })
    }

    /// What is fetched, for people: an address may hold a credential.
    pub(crate) fn shown(&self) -> String {
        match self.package.name.as_str() {
            "" => format!("the address of `{}`", self.tool),
            _ => format!("`{} {}`", self.tool, self.package.spec),
        }
    }

    /// Whether nothing says which version is run.
    fn is_open(&self) -> bool {
        let is_open = matches!(self.package.pin, Pin::Open | Pin::Tag | Pin::Source);
        is_open && self.locked.is_none()
    }

    /// What is wrong with how its version is written.
    fn warning(&self) -> Option<String> {
        if !self.is_open() {
            return None;
        }
        let shown = self.shown();
        let (written, or) = match self.package.ecosystem {
            Ecosystem::Npm => ("@1.2.3", ""),
            Ecosystem::PyPi if self.package.spec.contains(['=', '<', '>', '~']) => ("==1.2.3", ""),
            Ecosystem::PyPi => ("@1.2.3", ""),
            Ecosystem::Image => ("@sha256:…", "a digest, "),
        };
        let name = &self.package.name;
        Some(match self.package.pin {
            Pin::Source => format!(
                "{shown} leads to whatever the repository holds at that time; expected the whole number of a commit in it"
            ),
            Pin::Tag => format!(
                "{shown} is pinned by half: a tag can be moved to another image; expected {or}`{name}{written}`, or have it pinned: `switchboard check --connect --pin`"
            ),
            _ => format!(
                "{shown} runs whatever version is the newest; write `{name}{written}`, or have it pinned: `switchboard check --connect --pin`"
            ),
        })
    }

    fn report(&self) -> Value {
        let pin = match (&self.locked, self.package.pin) {
            (Some(_), _) => "lock",
            (None, Pin::Exact) => "exact",
            (None, Pin::Tag) => "tag",
            (None, Pin::Open) => "open",
            (None, Pin::Source) => "source",
            (None, Pin::Nothing) => "nothing",
        };
        let mut report = json!({ "backend": self.backend, "runner": self.tool, "pinned": pin });
        if !self.package.name.is_empty() {
            report["package"] = self.package.spec.as_str().into();
        }
        if let Some(version) = &self.locked {
            report["version"] = version.as_str().into();
        }
        report
    }
}

impl Downloads {
    /// Finds what the backends fetch, and puts the versions of the lock into their arguments.
    ///
    /// # Errors
    ///
    /// If there is a lock that cannot be used.
    pub(super) fn prepare(
        config: &mut Config,
        files: &[PathBuf],
        cwd: &Path,
    ) -> Result<Self, Finding> {
        let mut downloads = Self {
            all: Vec::new(),
            lock: beside(files),
            stale: Vec::new(),
        };
        for (name, backend) in &config.backends {
            if let TransportConfig::Stdio { command, args, .. } = &backend.transport {
                downloads.all.extend(Download::of(name, command, args));
            }
        }
        let Some(path) = &downloads.lock else {
            return Ok(downloads);
        };
        let lock = Lock::read(&cwd.join(path)).map_err(|error| of_lock(path, &error))?;
        downloads.apply(&lock, config);
        Ok(downloads)
    }

    /// Puts the versions of a lock into the backends' arguments.
    pub(crate) fn apply(&mut self, lock: &Lock, config: &mut Config) {
        for download in &mut self.all {
            let package = &download.package;
            let is_open = matches!(package.pin, Pin::Open | Pin::Tag);
            let locked = lock.get(package.ecosystem, &package.spec);
            download.locked = locked.filter(|_| is_open).cloned();
            let backend = config.backends.get_mut(&download.backend);
            if let Some(TransportConfig::Stdio { args, .. }) =
                backend.map(|backend| &mut backend.transport)
                && let Some(version) = &download.locked
            {
                *args = package.pinned(version);
            }
        }
        let is_used = |ecosystem: Ecosystem, spec: &str| {
            let mut all = self.all.iter();
            all.any(|download| {
                let package = &download.package;
                download.locked.is_some()
                    && (package.ecosystem, &*package.spec) == (ecosystem, spec)
            })
        };
        let unused = lock
            .specs()
            .filter(|(ecosystem, spec)| !is_used(*ecosystem, spec));
        self.stale = unused.map(|(_, spec)| spec.to_owned()).collect();
    }

    /// What is not as it should be, each at its place.
    pub(crate) fn warnings(&self, index: &Index) -> Vec<Finding> {
        let at = |download: &Download, message: String| {
            let key = ["backends", &download.backend, "args"].map(str::to_owned);
            index.finding(&key, message)
        };
        let open = self.all.iter();
        let open = open.filter_map(|download| Some(at(download, download.warning()?)));
        let deaf = self.all.iter().filter(|download| !download.hears);
        let deaf = deaf.map(|download| {
            let message = format!(
                "`{}` without `-i` gives the server no input, so it cannot answer; expected `-i`",
                download.tool
            );
            at(download, message)
        });
        let stale = self.stale.iter().map(|spec| self.about_lock(&format!(
            "`{spec}` fits no backend any more, so it has no effect; bring the file up to date with `switchboard check --connect --pin`"
        )));
        open.chain(deaf).chain(stale).collect()
    }

    fn about_lock(&self, message: &str) -> Finding {
        let lock = self.lock.as_deref().unwrap_or(Path::new(LOCK_FILE));
        Finding {
            file: lock.display().to_string(),
            line: None,
            key: String::new(),
            message: message.to_owned(),
        }
    }

    /// What holds without being written in the configuration.
    pub(crate) fn notes(&self) -> Vec<String> {
        let pinned = self.all.iter().filter_map(|download| {
            let version = download.locked.as_ref()?.as_str();
            let (backend, shown) = (&download.backend, download.shown());
            Some(format!(
                "{backend}: {shown} is {version}, pinned by {LOCK_FILE}"
            ))
        });
        let images = |download: &&Download| download.package.ecosystem == Ecosystem::Image;
        let containers = self.all.iter().filter(images).map(|download| {
            format!(
                "{}: its container is no process below the gateway: no limit and no sandbox of the gateway's holds in it; it is removed when the backend ends",
                download.backend
            )
        });
        pinned.chain(containers).collect()
    }

    /// One line for the log about all that is not pinned, and one about what of the lock is stale.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        let open = self.all.iter().filter(|download| download.is_open());
        let open: Vec<&str> = open.map(|download| download.backend.as_str()).collect();
        let mut lines = Vec::new();
        if !open.is_empty() {
            lines.push(format!(
                "nothing says which version of these local servers is run: {}; `switchboard check` tells more",
                open.join(", ")
            ));
        }
        if !self.stale.is_empty() {
            lines.push(format!(
                "{LOCK_FILE} has entries that fit no backend any more: {}",
                self.stale.join(", ")
            ));
        }
        lines
    }

    /// For programs: each of them.
    pub(crate) fn report(&self) -> Value {
        self.all.iter().map(Download::report).collect()
    }
}

fn of_lock(path: &Path, error: &LockError) -> Finding {
    Finding {
        file: path.display().to_string(),
        line: None,
        key: String::new(),
        message: error.to_string(),
    }
}
