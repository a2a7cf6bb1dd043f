//! `docker run` and `podman run`.

use super::options::Known;
use super::{
    Ecosystem, Found, Invocation, NoVersion, Package, Pin, Place, Version, base_name, recognise,
};

/// Before `run`: which daemon is spoken to.
const BEFORE: Known = Known {
    flags: &["--debug", "-D", "--tls", "--tlsverify"],
    valued: &[
        "--context",
        "-c",
        "--host",
        "-H",
        "--config",
        "--log-level",
        "-l",
        "--connection",
        "--url",
        "--root",
        "--runroot",
        "--tlscacert",
        "--tlscert",
        "--tlskey",
    ],
    clusters: false,
};
/// Of `docker run` (docker 28) and `podman run`. `--detach` is left out on purpose: what it starts
/// speaks to nobody.
const RUN: Known = Known {
    flags: &[
        "-i",
        "--interactive",
        "-t",
        "--tty",
        "-P",
        "--publish-all",
        "-q",
        "--quiet",
        "--disable-content-trust",
        "--init",
        "--no-healthcheck",
        "--oom-kill-disable",
        "--privileged",
        "--read-only",
        "--rm",
        "--sig-proxy",
        "--use-api-socket",
        "--replace",
        "--rmi",
        "--no-hosts",
        "--no-hostname",
        "--env-host",
        "--http-proxy",
        "--tls-verify",
    ],
    valued: &[
        "--add-host",
        "--annotation",
        "-a",
        "--attach",
        "--authfile",
        "--blkio-weight",
        "--blkio-weight-device",
        "--cap-add",
        "--cap-drop",
        "--cgroup-parent",
        "--cgroupns",
        "--cgroups",
        "--cidfile",
        "--cpu-period",
        "--cpu-quota",
        "--cpu-rt-period",
        "--cpu-rt-runtime",
        "-c",
        "--cpu-shares",
        "--cpus",
        "--cpuset-cpus",
        "--cpuset-mems",
        "--detach-keys",
        "--device",
        "--device-cgroup-rule",
        "--device-read-bps",
        "--device-read-iops",
        "--device-write-bps",
        "--device-write-iops",
        "--dns",
        "--dns-option",
        "--dns-search",
        "--domainname",
        "--entrypoint",
        "-e",
        "--env",
        "--env-file",
        "--expose",
        "--gpus",
        "--group-add",
        "--health-cmd",
        "--health-interval",
        "--health-retries",
        "--health-start-interval",
        "--health-start-period",
        "--health-timeout",
        "-h",
        "--hostname",
        "--ip",
        "--ip6",
        "--ipc",
        "--isolation",
        "-l",
        "--label",
        "--label-file",
        "--link",
        "--link-local-ip",
        "--log-driver",
        "--log-opt",
        "--mac-address",
        "-m",
        "--memory",
        "--memory-reservation",
        "--memory-swap",
        "--memory-swappiness",
        "--mount",
        "--name",
        "--net",
        "--network",
        "--network-alias",
        "--oom-score-adj",
        "--pid",
        "--pids-limit",
        "--platform",
        "--pod",
        "-p",
        "--publish",
        "--pull",
        "--restart",
        "--runtime",
        "--secret",
        "--security-opt",
        "--shm-size",
        "--stop-signal",
        "--stop-timeout",
        "--storage-opt",
        "--sysctl",
        "--tmpfs",
        "-u",
        "--ulimit",
        "--umask",
        "--user",
        "--userns",
        "--uts",
        "-v",
        "--volume",
        "--volume-driver",
        "--volumes-from",
        "-w",
        "--workdir",
    ],
    clusters: true,
};
/// The exit code by which `docker run` and `podman run` say that they could not make the container,
/// as if its name is taken.
pub const REFUSED: u8 = 125;
/// The longest part of a container's name that is the backend's.
const MAX_NAME: usize = 40;

/// The arguments, as far as they are the tool's own.
struct Arguments<'a> {
    /// How many stand before the options of `run`.
    run: usize,
    name: Option<&'a str>,
    platform: Option<&'a str>,
    is_interactive: bool,
    /// Where the image is.
    image: usize,
}

fn read(args: &[String]) -> Option<Arguments<'_>> {
    let before = BEFORE.read(args, 0)?;
    let mut run = before.operand;
    if args.get(run)? == "container" {
        run += 1;
    }
    if args.get(run)? != "run" {
        return None;
    }
    run += 1;
    let options = RUN.read(args, run)?;
    let value = |name: &str| {
        let mut given = options.given.iter().rev();
        let option = given.find(|option| option.name == name)?;
        option.value.map(|(value, ..)| value)
    };
    Some(Arguments {
        run,
        name: value("--name"),
        platform: value("--platform"),
        is_interactive: options.has(&["-i", "--interactive"]),
        image: options.operand,
    })
}

/// Reads the arguments.
pub(super) fn run(tool: &'static str, args: &[String]) -> Option<(&'static str, Found)> {
    let arguments = read(args)?;
    let spec = args.get(arguments.image)?;
    let (name, pin) = classify(spec)?;
    let place = Place {
        at: arguments.image,
        from: 0,
        own: arguments.run - 1,
        is_alone: true,
        extras: String::new(),
        registry: Vec::new(),
    };
    let found = Found {
        ecosystem: Ecosystem::Image,
        spec: spec.clone(),
        name: name.to_owned(),
        pin,
        place,
    };
    Some((tool, found))
}

/// The name of an image without tag and digest, and how certain it is.
fn classify(spec: &str) -> Option<(&str, Pin)> {
    let (tagged, digest) = match spec.split_once('@') {
        Some((tagged, digest)) => (tagged, Some(digest)),
        None => (spec, None),
    };
    // A colon before a slash is that of a port.
    let path = tagged.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match tagged[path..].split_once(':') {
        Some((last, tag)) => (&tagged[..path + last.len()], Some(tag)),
        None => (tagged, None),
    };
    let allowed =
        |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-' | b'/' | b':');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(allowed)
        && !name.ends_with('/');
    let is_tag = |tag: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        !tag.is_empty() && tag.bytes().all(allowed)
    };
    if !is_name || !tag.is_none_or(is_tag) {
        return None;
    }
    let pin = match (digest, tag) {
        (Some(digest), _) => Version::of_image(digest).map(|_| Pin::Exact)?,
        (None, None | Some("latest")) => Pin::Open,
        (None, Some(_)) => Pin::Tag,
    };
    Some((name, pin))
}

pub(super) fn pulling(package: &Package) -> Vec<String> {
    let mut args = global(package);
    args.push("pull".to_owned());
    if let Some(platform) = read(&package.args).and_then(|arguments| arguments.platform) {
        args.push(format!("--platform={platform}"));
    }
    args.push(package.spec.clone());
    args
}

pub(super) fn question(package: &Package) -> Vec<String> {
    let mut args = global(package);
    let rest = ["image", "inspect", "--format", "{{json .RepoDigests}}"];
    args.extend(rest.map(str::to_owned));
    args.push(package.spec.clone());
    args
}

/// The arguments before `run`.
fn global(package: &Package) -> Vec<String> {
    let mut args = package.own().to_vec();
    if args.last().is_some_and(|last| last == "container") {
        args.pop();
    }
    args
}

/// Of all names that the image has, that under which it is run.
pub(super) fn resolved(name: &str, answer: &str) -> Result<Version, NoVersion> {
    let digests: Option<Vec<String>> =
        serde_json::from_str(answer).map_err(|_| NoVersion::Malformed)?;
    let digests = digests.filter(|digests| !digests.is_empty());
    let digests = digests.ok_or(NoVersion::BuiltHere)?;
    let mut of_name = digests.iter().filter_map(|digest| {
        let (of, digest) = digest.split_once('@')?;
        (whole_name(of) == whole_name(name)).then_some(digest)
    });
    let digest = of_name.next().ok_or(NoVersion::Missing)?;
    Version::of_image(digest).ok_or(NoVersion::Malformed)
}

/// A name with what it may leave out: the registry of Docker, and its own namespace.
fn whole_name(name: &str) -> String {
    let has_registry = name
        .split_once('/')
        .is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
    match (has_registry, name.contains('/')) {
        (true, _) => match name.strip_prefix("docker.io/") {
            Some(short) if !short.contains('/') => format!("docker.io/library/{short}"),
            _ => name.to_owned(),
        },
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    }
}

/// A container that a backend runs in, and how it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Whether the configuration gives it that name; if not, nobody else's has it.
    pub is_named: bool,
    /// Whether it is given any input (`-i`); if not, it hears nothing.
    pub is_interactive: bool,
    /// The arguments that start it under that name.
    pub args: Vec<String>,
    /// The command that ends and removes it.
    pub removal: Invocation,
}

/// The container that a command starts: under its own name, or one of the backend's with a number;
/// `None` if it starts none.
#[must_use]
pub fn container(backend: &str, command: &str, args: &[String], number: u64) -> Option<Container> {
    recognise(command, args)?;
    if !matches!(base_name(command), "docker" | "podman") {
        return None;
    }
    let arguments = read(args)?;
    let mut started = args.to_vec();
    let name = match arguments.name {
        Some(name) => name.to_owned(),
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
            let backend = backend.chars().take(MAX_NAME);
            let backend: String = backend.map(|c| if allowed(c) { c } else { '-' }).collect();
            let name = format!("switchboard-{backend}-{number:016x}");
            started.insert(arguments.run, format!("--name={name}"));
            name
        }
    };
    let mut removal = args[..arguments.run - 1].to_vec();
    if removal.last().is_some_and(|last| last == "container") {
        removal.pop();
    }
    removal.extend(["rm", "--force", "--", &name].map(str::to_owned));
    Some(Container {
        is_named: arguments.name.is_some(),
        is_interactive: arguments.is_interactive,
        name,
        args: started,
        removal: Invocation {
            command: command.to_owned(),
            args: removal,
        },
    })
}
