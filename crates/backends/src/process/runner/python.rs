//! `uvx` and `uv tool run`.

use super::npm::is_commit;
use super::options::Known;
use super::{Ecosystem, Found, Package, Pin, Place, Version};

/// Of `uvx` (uv 0.13); those that change what is run beyond the package are left out on purpose.
const UVX: Known = Known {
    flags: &[
        "--isolated",
        "--no-env-file",
        "--lfs",
        "--no-index",
        "--no-sources",
        "-U",
        "--upgrade",
        "--reinstall",
        "--refresh",
        "--compile-bytecode",
        "--no-build",
        "--no-binary",
        "--no-build-isolation",
        "-n",
        "--no-cache",
        "--managed-python",
        "--no-managed-python",
        "--no-python-downloads",
        "-q",
        "--quiet",
        "-v",
        "--verbose",
        "--native-tls",
        "--system-certs",
        "--offline",
        "--no-progress",
        "--no-config",
    ],
    valued: &[
        "--from",
        "-w",
        "--with",
        "--with-editable",
        "--with-requirements",
        "-c",
        "--constraints",
        "-b",
        "--build-constraints",
        "--overrides",
        "--env-file",
        "--python-platform",
        "--torch-backend",
        "--index",
        "--default-index",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
        "--index-strategy",
        "--keyring-provider",
        "-P",
        "--upgrade-package",
        "--resolution",
        "--prerelease",
        "--fork-strategy",
        "--exclude-newer",
        "--reinstall-package",
        "--refresh-package",
        "--link-mode",
        "-C",
        "--config-setting",
        "--no-build-package",
        "--no-binary-package",
        "--no-build-isolation-package",
        "--cache-dir",
        "-p",
        "--python",
        "--color",
        "--allow-insecure-host",
        "--directory",
        "--project",
        "--config-file",
    ],
    clusters: false,
};

/// Reads the arguments behind a subcommand.
pub(super) fn run(
    tool: &'static str,
    args: &[String],
    start: usize,
) -> Option<(&'static str, Found)> {
    let options = UVX.read(args, start)?;
    let from = options
        .given
        .iter()
        .filter(|option| option.name == "--from");
    let from: Vec<_> = from.filter_map(|option| option.value).collect();
    // Without a program to run, nothing runs.
    let operand = args.get(options.operand)?;
    let (spec, at, from, is_alone) = match from[..] {
        [] => (operand.as_str(), options.operand, 0, true),
        [(spec, at, from)] => (spec, at, from, false),
        _ => return None,
    };
    let requirement = classify(spec)?;
    let place = Place {
        at,
        from,
        own: options.end,
        is_alone,
        extras: requirement.extras.to_owned(),
        registry: Vec::new(),
    };
    let found = Found {
        ecosystem: Ecosystem::PyPi,
        spec: spec.to_owned(),
        name: requirement.name.to_owned(),
        pin: requirement.pin,
        place,
    };
    Some((tool, found))
}

struct Requirement<'a> {
    name: &'a str,
    extras: &'a str,
    pin: Pin,
}

/// Reads a requirement: `NAME[EXTRAS]` and `@VERSION`, `==VERSION` or a range.
fn classify(spec: &str) -> Option<Requirement<'_>> {
    let unnamed = |pin| {
        Some(Requirement {
            name: "",
            extras: "",
            pin,
        })
    };
    let is_local = matches!(spec, "." | "..")
        || ["./", "../", "/", "~/", "file:"]
            .iter()
            .any(|start| spec.starts_with(start))
        || spec.ends_with(".whl");
    if let Some((_, address)) = spec.split_once("git+") {
        let commit = address.split('#').next().and_then(|address| {
            let (_, commit) = address.rsplit_once('@')?;
            Some(commit)
        });
        let is_exact = commit.is_some_and(is_commit);
        return unnamed(if is_exact { Pin::Exact } else { Pin::Source });
    }
    if is_local || spec.contains("://") {
        return unnamed(Pin::Nothing);
    }
    // Markers are conditions, of which nothing is decided here.
    if spec.contains(';') {
        return None;
    }
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = spec.find(|c| !is_of_name(c)).unwrap_or(spec.len());
    let (name, rest) = spec.split_at(end);
    let ends = |c: char| c.is_ascii_alphanumeric();
    if !name.starts_with(ends) || !name.ends_with(ends) {
        return None;
    }
    let (extras, rest) = match rest.starts_with('[') {
        true => rest.split_at(rest.find(']')? + 1),
        false => ("", rest),
    };
    let is_of_extras = |c: char| is_of_name(c) || matches!(c, '[' | ']' | ',');
    if !extras.chars().all(is_of_extras) {
        return None;
    }
    Some(Requirement {
        name,
        extras,
        pin: pin(rest)?,
    })
}

/// How certain a version is, from what stands behind the name.
fn pin(rest: &str) -> Option<Pin> {
    let rest = rest.trim();
    let exact = rest
        .strip_prefix("===")
        .or_else(|| rest.strip_prefix("=="))
        .or_else(|| rest.strip_prefix('@'));
    match exact.map(str::trim) {
        Some(version) if is_exact(version) => Some(Pin::Exact),
        Some("latest") => Some(Pin::Open),
        Some(version) if version.ends_with(".*") || version.contains(',') => Some(Pin::Open),
        Some(_) => None,
        None if rest.is_empty() || rest.starts_with(['<', '>', '!', '~']) => Some(Pin::Open),
        None => None,
    }
}

/// Whether a person wrote one version; there are more ways than the normal form.
fn is_exact(version: &str) -> bool {
    let allowed =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'!' | b'+' | b'-' | b'_');
    let begins = version.starts_with(|c: char| c.is_ascii_digit() || c == 'v');
    Version::of_python(version).is_some()
        || (begins
            && version.contains(|c: char| c.is_ascii_digit())
            && version.bytes().all(allowed))
}

/// Python, with these arguments, in the environment that the package would be run in.
pub(super) fn within(package: &Package, arguments: &[&str]) -> Vec<String> {
    let mut args = package.own().to_vec();
    if package.place.is_alone {
        args.extend(["--from".to_owned(), package.spec.clone()]);
    }
    args.push("python".to_owned());
    args.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    args
}

/// Asks what is installed under the name. `-I`: nothing of the working folder is imported.
pub(super) fn question(package: &Package) -> Vec<String> {
    let script = "import sys, importlib.metadata; print(importlib.metadata.version(sys.argv[1]))";
    within(package, &["-I", "-c", script, &package.name])
}
