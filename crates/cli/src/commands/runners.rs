//! What `switchboard check` does for runners before it connects: fills their caches, and asks for the
//! versions to be locked (decision 16).

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use switchboard_backends::config::TransportConfig;
use switchboard_backends::confinement::Plan;
use switchboard_backends::runner::{Ecosystem, Invocation, NoVersion, Package, Pin};
use switchboard_backends::{Supervisor, run_command};
use switchboard_gateway::config::Config;
use switchboard_init::machine::Machine;

use crate::config::{Download, Downloads, Lock};

/// How long one command of a runner may take: a first download over a slow network.
const WITHIN: Duration = Duration::from_mins(10);

/// What is done before connecting.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Preparation {
    /// The caches are filled.
    pub(crate) warm: bool,
    /// The lock is written.
    pub(crate) pin: bool,
}

impl Preparation {
    /// Does it, and says in `text` what was done. What takes long is told on standard error.
    ///
    /// # Errors
    ///
    /// All that failed, a line each. Of a lock that could not be completed nothing is written.
    pub(crate) async fn run(
        self,
        downloads: &mut Downloads,
        config: &mut Config,
        text: &mut String,
    ) -> Result<(), String> {
        if self.pin {
            pin(downloads, config, text).await?;
        }
        if self.warm {
            warm(downloads, config, text).await?;
        }
        Ok(())
    }
}

/// Writes the lock, and puts its versions in force.
async fn pin(
    downloads: &mut Downloads,
    config: &mut Config,
    text: &mut String,
) -> Result<(), String> {
    let Some(path) = downloads.lock.clone() else {
        return Err("--pin writes beside a configuration file, and there is none".to_owned());
    };
    let mut lock = Lock::default();
    let mut errors = Vec::new();
    for download in &downloads.all {
        let Some(question) = download.package.question() else {
            continue;
        };
        match resolve(download, &question, config, &mut lock).await {
            Ok(Some(note)) => {
                let _ = writeln!(text, "{note}");
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    let written = lock.write(&path);
    written.map_err(|error| format!("{} can't be written: {error}", path.display()))?;
    let _ = writeln!(text, "The versions are written to {}.", path.display());
    downloads.apply(&lock, config);
    Ok(())
}

/// Asks for the version of one and locks it; or says why there is nothing to lock.
async fn resolve(
    download: &Download,
    question: &Invocation,
    config: &Config,
    lock: &mut Lock,
) -> Result<Option<String>, String> {
    let Download {
        backend, package, ..
    } = download;
    let shown = download.shown();
    tell(&format!("asking for the version of {shown} ({backend})"));
    let failed = |why: &str| format!("{backend}: the version of {shown} is not known: {why}");
    let pulled = match package.warming() {
        Some(pull) if package.ecosystem == Ecosystem::Image => run(download, &pull, config).await,
        _ => Ok(String::new()),
    };
    let answer = run(download, question, config).await;
    let answer = match (answer, &pulled) {
        (Ok(answer), _) => answer,
        // Why it is not there says more than that it is not.
        (Err(_), Err(error)) => return Err(failed(error)),
        (Err(error), Ok(_)) => return Err(failed(&error)),
    };
    let version = match (package.resolved(&answer), pulled) {
        (Err(NoVersion::BuiltHere), _) => {
            let why = NoVersion::BuiltHere;
            return Ok(Some(format!("{backend}: {shown} is not pinned: {why}")));
        }
        (_, Err(error)) => return Err(failed(&error)),
        (Err(error), Ok(_)) => return Err(failed(&error.to_string())),
        (Ok(version), Ok(_)) => version,
    };
    let locked = lock.lock(package.ecosystem, &package.spec, &version);
    locked.map_err(|other| {
        failed(&format!(
            "it is {} for this backend and {} for another; write the versions in the configuration",
            version.as_str(),
            other.as_str()
        ))
    })?;
    Ok(None)
}

/// Fills the caches with what will be started.
async fn warm(downloads: &Downloads, config: &Config, text: &mut String) -> Result<(), String> {
    let mut errors = Vec::new();
    for download in &downloads.all {
        if download.package.pin == Pin::Nothing {
            continue;
        }
        let shown = download.shown();
        let backend = &download.backend;
        let Some(package) = started(download) else {
            continue;
        };
        let Some(warming) = package.warming() else {
            let _ = writeln!(
                text,
                "{backend}: {shown} is not fetched beforehand: only `npx`, `npm exec`, `uvx`, `docker` and `podman` are known to keep it"
            );
            continue;
        };
        tell(&format!("fetching {shown} ({backend})"));
        let began = Instant::now();
        let Err(error) = run(download, &warming, config).await else {
            let took = began.elapsed().as_secs_f64();
            let _ = writeln!(text, "{backend}: {shown} is fetched ({took:.1} s)");
            continue;
        };
        let is_here = match package.presence() {
            Some(presence) => run(download, &presence, config).await.is_ok(),
            None => false,
        };
        if is_here {
            let _ = writeln!(
                text,
                "{backend}: {shown} is not fetched ({error}); the image that is on this machine will be used"
            );
        } else {
            errors.push(format!("{backend}: {shown} is not fetched: {error}"));
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors.join("\n")),
    }
}

/// The package with the version that it is started in.
fn started(download: &Download) -> Option<Package> {
    let package = &download.package;
    match &download.locked {
        Some(version) => package.with_args(&package.pinned(version)),
        None => Some(package.clone()),
    }
}

/// Runs a command as the backend's process is run: with its environment, in its folder.
async fn run(
    download: &Download,
    invocation: &Invocation,
    config: &Config,
) -> Result<String, String> {
    let no_process = || "it is no local server".to_owned();
    let backend = config.backends.get(&download.backend);
    let backend = backend.ok_or_else(no_process)?;
    let plan = Plan::of(backend, Machine::this()).ok_or_else(no_process)?;
    if let Some(refusal) = plan.refusal() {
        return Err(refusal);
    }
    let TransportConfig::Stdio { env, cwd, .. } = &backend.transport else {
        return Err(no_process());
    };
    let supervisor = Supervisor::this_program();
    let done = run_command(&supervisor, &plan, invocation, env, cwd.as_deref(), WITHIN).await;
    done.map_err(|error| {
        let command = &invocation.command;
        format!("`{command}`: {error}")
    })
}

/// Tells what is being done; the report comes when all of it is.
fn tell(what: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "switchboard: {what}; up to {} min",
        WITHIN.as_secs() / 60
    );
}
