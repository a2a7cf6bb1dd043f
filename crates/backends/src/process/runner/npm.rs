//! `npx` and its like.

use super::options::Known;
use super::{Ecosystem, Found, Invocation, NoVersion, Package, Pin, Place, Version};

/// Of `npm exec` (npm 11) and its switches; those that run something else (`--call`), or in several
/// places (`--workspace`), are left out on purpose.
const NPX: Known = Known {
    flags: &[
        "-y",
        "--yes",
        "-q",
        "--quiet",
        "-s",
        "--silent",
        "--offline",
        "--prefer-offline",
        "--prefer-online",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        "--no-color",
        "--no-progress",
        "--legacy-peer-deps",
        "--force",
        "-f",
        "-d",
        "-dd",
        "-ddd",
        "--verbose",
    ],
    valued: &[
        "-p",
        "--package",
        "--registry",
        "--cache",
        "--userconfig",
        "--globalconfig",
        "--loglevel",
        "--script-shell",
        "--node-options",
        "--before",
        "--tag",
        "--fetch-timeout",
        "--fetch-retries",
    ],
    clusters: false,
};
const PNPM: Known = Known {
    flags: &["--silent", "-s", "--offline", "--prefer-offline"],
    valued: &["--package", "--registry"],
    clusters: false,
};
const BUN: Known = Known {
    flags: &["--bun", "--silent", "--verbose", "--no-install"],
    valued: &["-p", "--package"],
    clusters: false,
};
/// Options that a question to the registry needs as well.
const OF_REGISTRY: [&str; 6] = [
    "--registry",
    "--cache",
    "--userconfig",
    "--globalconfig",
    "--tag",
    "--before",
];

/// Reads the arguments behind a subcommand.
pub(super) fn run(
    tool: &'static str,
    args: &[String],
    start: usize,
) -> Option<(&'static str, Found)> {
    let known = match tool {
        "bunx" | "bun x" => BUN,
        "pnpx" | "pnpm dlx" => PNPM,
        _ => NPX,
    };
    let options = known.read(args, start)?;
    // A switch takes `true` as well, and everything else is another argument; too rare to tell.
    let has_valued_switch = options
        .given
        .iter()
        .any(|option| option.value.is_some() && known.flags.contains(&option.name.as_str()));
    if has_valued_switch {
        return None;
    }
    let is_package = |name: &str| matches!(name, "-p" | "--package");
    let packages = options
        .given
        .iter()
        .filter(|option| is_package(&option.name));
    let packages: Vec<_> = packages.filter_map(|option| option.value).collect();
    let (spec, at, from, is_alone) = match packages[..] {
        [] => (
            args.get(options.operand)?.as_str(),
            options.operand,
            0,
            true,
        ),
        [(spec, at, from)] => (spec, at, from, false),
        // Which of them the program comes from is not known.
        _ => return None,
    };
    let registry = options.given.iter().filter_map(|option| {
        let (value, ..) = option.value?;
        let counts = OF_REGISTRY.contains(&option.name.as_str());
        counts.then(|| format!("{}={value}", option.name))
    });
    let (name, pin) = classify(spec)?;
    let place = Place {
        at,
        from,
        own: options.end,
        is_alone,
        extras: String::new(),
        registry: registry.collect(),
    };
    let found = Found {
        ecosystem: Ecosystem::Npm,
        spec: spec.to_owned(),
        name: name.to_owned(),
        pin,
        place,
    };
    Some((tool, found))
}

/// The name in a package's specification, and how certain its version is.
fn classify(spec: &str) -> Option<(&str, Pin)> {
    if is_local(spec) {
        return Some(("", Pin::Nothing));
    }
    if spec.contains("://") || spec.starts_with("git@") || has_host(spec) {
        return Some(("", of_address(spec)));
    }
    let at = spec.char_indices().skip(1).find(|(_, c)| *c == '@');
    let (name, version) = match at {
        Some((at, _)) => (&spec[..at], Some(&spec[at + 1..])),
        None => (spec, None),
    };
    if !name.starts_with('@') && name.split('/').count() == 2 {
        // `owner/repository` of GitHub.
        return Some(("", of_address(spec)));
    }
    if !is_name(name) {
        return None;
    }
    let Some(version) = version else {
        return Some((name, Pin::Open));
    };
    // An alias, or something else with an address in it.
    if version.contains(':') || version.contains('/') {
        return None;
    }
    let bare = version.trim_start_matches(['=', 'v']);
    let is_exact = Version::of_npm(bare).is_some();
    Some((name, if is_exact { Pin::Exact } else { Pin::Open }))
}

fn is_local(spec: &str) -> bool {
    let starts = ["./", "../", "/", "~/", "file:"];
    matches!(spec, "." | "..")
        || starts.iter().any(|start| spec.starts_with(start))
        || (!spec.contains("://") && [".tgz", ".tar.gz"].iter().any(|end| spec.ends_with(end)))
}

/// Whether it begins with the short name of a service that keeps sources.
fn has_host(spec: &str) -> bool {
    let hosts = ["github:", "gitlab:", "bitbucket:", "gist:"];
    hosts.iter().any(|host| spec.starts_with(host))
}

/// How certain an address is: a repository only with the whole number of a commit.
fn of_address(spec: &str) -> Pin {
    let is_file = spec.starts_with("http://") || spec.starts_with("https://");
    let (address, commit) = spec.split_once('#').unwrap_or((spec, ""));
    match is_commit(commit) {
        true => Pin::Exact,
        false if is_file && !address.ends_with(".git") => Pin::Nothing,
        false => Pin::Source,
    }
}

/// Whether it is the whole number of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// Whether it is the name of a package, with or without a scope.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'~');
        !part.is_empty() && !part.starts_with(['-', '.']) && part.bytes().all(allowed)
    };
    match name.strip_prefix('@').map(|name| name.split_once('/')) {
        Some(Some((scope, name))) => is_part(scope) && is_part(name),
        Some(None) => false,
        None => is_part(name),
    }
}

/// Starts Node with the package in its path: npm names what it keeps by the package alone, so the
/// server finds it.
pub(super) fn warming(package: &Package) -> Option<Vec<String>> {
    let is_npm = matches!(super::base_name(&package.command), "npx" | "npm");
    if !is_npm {
        return None;
    }
    let mut args = package.own().to_vec();
    if package.place.is_alone {
        args.push(format!("--package={}", package.spec));
    }
    args.extend(["--yes", "--", "node", "--version"].map(str::to_owned));
    Some(args)
}

/// Asks npm, which stands beside `npx`.
pub(super) fn question(package: &Package) -> Invocation {
    let command = &package.command;
    let npx = super::base_name(command) == "npx" && !command.ends_with(".cmd");
    let command = match command.strip_suffix("npx") {
        Some(folder) if npx => format!("{folder}npm"),
        _ if super::base_name(command) == "npm" => command.clone(),
        _ => "npm".to_owned(),
    };
    let mut args = vec!["view".to_owned(), "--json".to_owned()];
    args.extend(package.place.registry.iter().cloned());
    args.extend(["--", &package.spec, "version", "dist-tags.latest"].map(str::to_owned));
    Invocation { command, args }
}

/// Of a range npm takes what `latest` leads to, if that is in it, and else the highest version.
pub(super) fn resolved(answer: &str) -> Result<Version, NoVersion> {
    let answer: serde_json::Value =
        serde_json::from_str(answer).map_err(|_| NoVersion::Malformed)?;
    let each = match answer {
        serde_json::Value::Array(each) => each,
        one => vec![one],
    };
    let mut found = Vec::with_capacity(each.len());
    for one in &each {
        // Alone, without a `latest`, it is no object.
        let version = one.as_str().or_else(|| one["version"].as_str());
        let version = version.and_then(Version::of_npm);
        let version = version.ok_or(NoVersion::Malformed)?;
        if one["dist-tags.latest"].as_str() == Some(version.as_str()) {
            return Ok(version);
        }
        found.push(version);
    }
    let order = |version: &Version| semver::Version::parse(version.as_str()).ok();
    found
        .into_iter()
        .max_by_key(order)
        .ok_or(NoVersion::Missing)
}
