//! From files and the environment to a [`Config`], or to every mistake in them at once.
//!
//! Each source is read by itself ([`parse`]), its variables are expanded, a client's
//! `mcpServers` becomes `backends`, and it is checked against the JSON Schema that the types
//! carry; what is wrong is reported with its line and taken out. The rest is merged by figment and
//! becomes the types, whose own rules are checked last.

mod document;
mod downloads;
mod finding;
mod formats;
mod lock;
mod mcp_servers;
mod merge;
mod missing;
mod node;
mod parse;
mod reference;
mod sandboxes;
mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use switchboard_backends::config::BalancePolicy;
use switchboard_backends::effects::Effects;
use switchboard_gateway::config::Config;

use self::document::Document;
use self::shape::Shape;

pub(crate) use self::document::LISTEN_FLAG;
pub(crate) use self::downloads::{Download, Downloads};
pub(crate) use self::finding::{ConfigErrors, Finding};
pub(crate) use self::lock::Lock;
pub(crate) use self::merge::Index;
pub(crate) use self::reference::reference_markdown;

/// A configuration and how it came to be.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) config: Config,
    /// What has no effect.
    pub(crate) warnings: Vec<Finding>,
    /// The files that were read, in the order in which they were laid over each other.
    pub(crate) files: Vec<PathBuf>,
    /// The files that hold values of variables (`${file:…}`, `NAME_FILE`).
    pub(crate) referenced: Vec<PathBuf>,
    /// Where each key stands, for what only comes to light later.
    pub(crate) index: Index,
    /// What runners fetch; the versions of the lock stand in the configuration already.
    pub(crate) downloads: Downloads,
    /// The sections that are there, those that were not asked for included.
    pub(crate) sections: BTreeSet<String>,
}

/// Keys of a configuration, each as its path.
pub(crate) type Keys<'k> = &'k [&'k [&'k str]];

impl Loaded {
    /// The files whose change is a reason to load again: the lock may be written later.
    pub(crate) fn watched(&self) -> Vec<PathBuf> {
        let files = self.files.iter().chain(&self.referenced);
        files.chain(self.downloads.lock.iter()).cloned().collect()
    }
}

/// What has been found so far.
#[derive(Default)]
struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Loads the files, later ones over earlier ones, and the environment's `SWITCHBOARD_…__…` over
/// all. Without any file the first of [`default_files`] that is there is taken.
///
/// # Errors
///
/// Every mistake in all the sources.
pub(crate) fn load(
    sources: &[PathBuf],
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Result<Loaded, ConfigErrors> {
    load_keys(sources, env, cwd, None)
}

/// Loads as [`load`] does, but nothing beside these keys: the variables of others may be missing, and
/// nothing is said about how the parts fit together.
///
/// # Errors
///
/// Every mistake in these keys.
pub(crate) fn load_only(
    sources: &[PathBuf],
    env: &BTreeMap<String, String>,
    cwd: &Path,
    only: Keys<'_>,
) -> Result<Loaded, ConfigErrors> {
    load_keys(sources, env, cwd, Some(only))
}

/// Loads these keys, or all.
fn load_keys(
    sources: &[PathBuf],
    env: &BTreeMap<String, String>,
    cwd: &Path,
    only: Option<Keys<'_>>,
) -> Result<Loaded, ConfigErrors> {
    let files = files(sources, env, cwd)?;
    let mut findings = Findings::default();
    let mut documents: Vec<Document> = files
        .iter()
        .filter_map(|file| Document::read(file, cwd, env, only, &mut findings))
        .collect();
    // What a file that can't be read would have said is unknown, so nothing is said about how
    // the parts fit together.
    let complete = documents.len() == files.len() && only.is_none();
    documents.extend(Document::overrides(env, cwd, &documents));
    let sections = documents
        .iter()
        .flat_map(|document| document.root.entries());
    let sections = sections.map(|section| section.key.clone()).collect();
    if let Some(only) = only {
        for document in &mut documents {
            document.leave_out_others(only);
        }
    }

    let schema = shape::schema();
    for document in &mut documents {
        document.check(&schema, &mut findings);
    }
    let referenced: BTreeSet<PathBuf> = documents
        .iter()
        .flat_map(|document| document.referenced.iter().cloned())
        .collect();
    let referenced: Vec<PathBuf> = referenced.into_iter().collect();
    let index = Index::of(&documents);
    let mut config = compose(&documents, &index, &schema, complete, &mut findings);
    let downloads = Downloads::prepare(&mut config, &files, cwd).unwrap_or_else(|wrong| {
        findings.errors.push(wrong);
        Downloads::default()
    });
    let deciding: Vec<PathBuf> = files.iter().chain(&referenced).cloned().collect();
    let mistakes = sandboxes::mistakes(&config, &deciding, &downloads, cwd, &index);
    findings.errors.extend(mistakes);

    sort(&mut findings.errors, &files);
    sort(&mut findings.warnings, &files);
    if !findings.errors.is_empty() {
        return Err(ConfigErrors(findings.errors));
    }
    Ok(Loaded {
        config,
        warnings: findings.warnings,
        files,
        referenced,
        index,
        downloads,
        sections,
    })
}

/// Where a configuration is looked for when none is named, the first that is there: the working
/// folder, the user's configuration folder, the system's.
pub(crate) fn default_files(env: &BTreeMap<String, String>, cwd: &Path) -> Vec<PathBuf> {
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty());
    let user = match (set("XDG_CONFIG_HOME"), set("HOME")) {
        (Some(folder), _) => Some(PathBuf::from(folder)),
        (None, Some(home)) => Some(Path::new(home).join(".config")),
        (None, None) => None,
    };
    let folders = [
        Some(cwd.to_owned()),
        user.map(|folder| folder.join("switchboard")),
        Some(PathBuf::from("/etc/switchboard")),
    ];
    let folders = folders.into_iter().flatten();
    folders
        .flat_map(|folder| {
            ["yaml", "toml", "json"].map(|e| folder.join(format!("switchboard.{e}")))
        })
        .collect()
}

fn files(
    sources: &[PathBuf],
    env: &BTreeMap<String, String>,
    cwd: &Path,
) -> Result<Vec<PathBuf>, ConfigErrors> {
    if !sources.is_empty() {
        return Ok(sources.to_vec());
    }
    let candidates = default_files(env, cwd);
    if let Some(file) = candidates.iter().find(|file| file.is_file()) {
        return Ok(vec![file.clone()]);
    }
    let looked: Vec<String> = candidates
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    Err(ConfigErrors(vec![Finding {
        file: "switchboard.yaml".to_owned(),
        line: None,
        key: String::new(),
        message: format!(
            "there is no configuration; expected `-c FILE`, or one of {}",
            looked.join(", ")
        ),
    }]))
}

/// Makes the configuration of what the sources say together. Where a part of it has been taken
/// out, or is wrong, its default stands in, so that the other parts can be checked.
fn compose(
    documents: &[Document],
    index: &Index,
    schema: &Json,
    complete: bool,
    findings: &mut Findings,
) -> Config {
    let mut merged = match merge::merge(documents) {
        Ok(merged) => merged,
        Err(error) => {
            findings.errors.push(index.finding(&[], error));
            return Config::default();
        }
    };
    let mut removed: Vec<Vec<String>> = documents
        .iter()
        .flat_map(|document| document.removed.clone())
        .collect();
    if complete {
        let missing = missing::take_out(&mut merged, Shape::root(schema), &removed);
        removed.extend(missing.iter().map(|(key, _)| key.clone()));
        let missing = missing.into_iter();
        let missing = missing.map(|(key, message)| index.finding(&key, message));
        findings.errors.extend(missing);
    }
    let mut wrong: Vec<(Vec<String>, String)> = Vec::new();

    let config = Config {
        server: section(&mut merged, &["server"], &mut wrong).unwrap_or_default(),
        auth: section(&mut merged, &["auth"], &mut wrong),
        access: section(&mut merged, &["access"], &mut wrong),
        admin: section(&mut merged, &["admin"], &mut wrong),
        names: section(&mut merged, &["names"], &mut wrong).unwrap_or_default(),
        fallbacks: section(&mut merged, &["fallbacks"], &mut wrong).unwrap_or_default(),
        equivalents: section(&mut merged, &["equivalents"], &mut wrong).unwrap_or_default(),
        profiles: section(&mut merged, &["profiles"], &mut wrong).unwrap_or_default(),
        limits: section(&mut merged, &["limits"], &mut wrong).unwrap_or_default(),
        budgets: section(&mut merged, &["budgets"], &mut wrong).unwrap_or_default(),
        costs: section(&mut merged, &["costs"], &mut wrong).unwrap_or_default(),
        result_caps: section(&mut merged, &["result_caps"], &mut wrong).unwrap_or_default(),
        redaction: section(&mut merged, &["redaction"], &mut wrong),
        store: section(&mut merged, &["store"], &mut wrong).unwrap_or_default(),
        kept_results: section(&mut merged, &["kept_results"], &mut wrong),
        cache: section(&mut merged, &["cache"], &mut wrong).unwrap_or_default(),
        parked_calls: section(&mut merged, &["parked_calls"], &mut wrong).unwrap_or_default(),
        audit: section(&mut merged, &["audit"], &mut wrong),
        heartbeat: section(&mut merged, &["heartbeat"], &mut wrong).unwrap_or_default(),
        telemetry: section(&mut merged, &["telemetry"], &mut wrong).unwrap_or_default(),
        backends: names(&merged, "backends")
            .into_iter()
            .filter_map(|name| {
                let backend = section(&mut merged, &["backends", &name], &mut wrong)?;
                Some((name, backend))
            })
            .collect(),
    };

    for (name, backend) in &config.backends {
        if backend.balance != BalancePolicy::RoundRobin {
            continue;
        }
        for (item, endpoint) in backend.endpoints.iter().enumerate() {
            if endpoint.weight != 1 {
                let item = format!("[{item}]");
                let key = ["backends", name, "endpoints", &item, "weight"].map(str::to_owned);
                let message = "has no effect with `balance: round_robin`; expected 1, or another \
                               `balance` such as `weighted`";
                findings
                    .warnings
                    .push(index.finding(&key, message.to_owned()));
            }
        }
    }

    for (name, backend) in &config.backends {
        let marked = backend.cache.iter().flat_map(|cache| &cache.tools);
        for (item, tool) in marked.enumerate() {
            if Effects::of_tool(tool, b"{}").changes {
                let item = format!("[{item}]");
                let key = ["backends", name, "cache", "tools", &item].map(str::to_owned);
                let message = format!(
                    "names `{tool}`, which says that it changes something: its results are not cached"
                );
                findings.warnings.push(index.finding(&key, message));
            }
        }
    }

    let idle = config.idle_exceptions();
    let idle = idle.map(|problem| index.finding(&problem.path, problem.message));
    findings.warnings.extend(idle);

    // A section that lacks what was taken out of it is not wrong once more.
    wrong.retain(|(key, _)| !removed.iter().any(|other| breaks(other, key)));
    removed.extend(wrong.iter().map(|(key, _)| key.clone()));
    let wrong = wrong.into_iter();
    let wrong = wrong.map(|(key, message)| index.finding(&key, message));
    findings.errors.extend(wrong);
    if complete {
        let unsure = |key: &[String]| removed.iter().any(|other| overlap(key, other));
        let problems = config.problems().into_iter();
        let problems = problems.chain(config.certificate_problem());
        let sure = problems.filter(|problem| {
            !unsure(&problem.path) && !problem.other.as_deref().is_some_and(&unsure)
        });
        let errors = sure.map(|problem| index.finding(&problem.path, problem.message));
        findings.errors.extend(errors);
    }
    config
}

fn names(merged: &Json, section: &str) -> Vec<String> {
    let names = merged[section].as_object().into_iter().flatten();
    names.map(|(name, _)| name.clone()).collect()
}

/// Takes a section out of the merged value; `None` if it is not there or breaks a rule.
fn section<T: DeserializeOwned>(
    merged: &mut Json,
    path: &[&str],
    wrong: &mut Vec<(Vec<String>, String)>,
) -> Option<T> {
    let mut value = merged;
    for key in path {
        value = value.as_object_mut()?.get_mut(*key)?;
    }
    serde_json::from_value(value.take())
        .map_err(|error| {
            let path = path.iter().map(|key| (*key).to_owned()).collect();
            wrong.push((path, error.to_string()));
        })
        .ok()
}

/// Whether the lack of `removed` may be what is wrong with `section`. Of a backend only these keys
/// can be missed, or are wrong without a part of them; without any other it has a default.
fn breaks(removed: &[String], section: &[String]) -> bool {
    let missed = match removed {
        [backends, _, field, ..] if backends == "backends" => {
            matches!(
                field.as_str(),
                "command" | "url" | "endpoints" | "discovery"
            )
        }
        _ => true,
    };
    missed && overlap(removed, section)
}

/// Whether one of two keys is inside the other.
fn overlap(a: &[String], b: &[String]) -> bool {
    let shared = a.len().min(b.len());
    a[..shared] == b[..shared]
}

/// By file, in their order and with the environment last, and by line.
fn sort(findings: &mut Vec<Finding>, files: &[PathBuf]) {
    let place = |name: &str| {
        files
            .iter()
            .position(|file| file.display().to_string() == name)
    };
    findings.sort_by_cached_key(|finding| {
        let place = place(&finding.file).unwrap_or(files.len());
        (place, finding.line)
    });
    findings.dedup();
}
