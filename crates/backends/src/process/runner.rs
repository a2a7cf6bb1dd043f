//! Programs that fetch and run other ones: `npx`, `uvx`, `docker run` and the like (decision 16).
//!
//! Pure: a command is read, nothing is started. What is not understood for certain is not recognised,
//! and then everything stays as it is written.

use std::path::Path;

mod container;
mod npm;
mod options;
mod python;
#[cfg(test)]
mod tests;
mod version;

pub use self::container::{Container, REFUSED, container};
pub use self::version::Version;

/// A recognised command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// The tool, as it is called in texts: `npx`, `docker run`.
    pub tool: &'static str,
    /// What it fetches; `None` of tools that run what is there (`node`, `python`).
    pub package: Option<Package>,
}

/// What a runner fetches and runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// What is fetched, as it is written: `@scope/name@^1`. Without anything secret, but for
    /// [`Pin::Source`], which may hold a credential.
    pub spec: String,
    /// Its name alone; empty for [`Pin::Source`] and [`Pin::Nothing`].
    pub name: String,
    /// How certain it is which version is run.
    pub pin: Pin,
    /// The program that answers for the runner: `npx` and its like as the configuration writes it,
    /// perhaps with a path.
    command: String,
    /// The arguments as they are written.
    args: Vec<String>,
    place: Place,
}

/// Where packages come from, and so how versions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ecosystem {
    /// Packages of an npm registry.
    Npm,
    /// Packages of a Python index.
    PyPi,
    /// Images of a container registry.
    Image,
}

/// How certain it is which version is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Always the same.
    Exact,
    /// Whatever an image's tag leads to: usually the same, but it can be moved.
    Tag,
    /// Whatever is the newest, or the newest of a range.
    Open,
    /// What a repository of sources holds now: only a commit in its address would say which.
    Source,
    /// It is on this machine, or an address leads to one file.
    Nothing,
}

/// Where the package is in the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The argument that holds it.
    at: usize,
    /// At which byte of that it begins: behind `--package=`.
    from: usize,
    /// The number of arguments that are the runner's own, without the package that stands alone, and
    /// without a `--` before that.
    own: usize,
    /// Whether the package stands alone, not as the value of an option.
    is_alone: bool,
    /// The extras of a Python package: `[cli]`, or nothing.
    extras: String,
    /// The options of the registry, which count for questions to it as well.
    registry: Vec<String>,
}

/// A command that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Recognises a command; `None` if it is no runner, or has options that are not known.
#[must_use]
pub fn recognise(command: &str, args: &[String]) -> Option<Runner> {
    let found = match base_name(command) {
        "npx" => npm::run("npx", args, 0),
        "pnpx" => npm::run("pnpx", args, 0),
        "bunx" => npm::run("bunx", args, 0),
        "npm" => npm::run("npm exec", args, after(args, &["exec", "x"])?),
        "pnpm" => npm::run("pnpm dlx", args, after(args, &["dlx"])?),
        "bun" => npm::run("bun x", args, after(args, &["x"])?),
        "uvx" => python::run("uvx", args, 0),
        "uv" if args.first().is_some_and(|arg| arg == "tool") => {
            python::run("uv tool run", args, 1 + after(&args[1..], &["run"])?)
        }
        "docker" => container::run("docker run", args),
        "podman" => container::run("podman run", args),
        "node" => return Some(plain("node")),
        name if is_python(name) => return Some(plain("python")),
        _ => None,
    };
    let (tool, found) = found?;
    Some(Runner {
        tool,
        package: Some(Package {
            ecosystem: found.ecosystem,
            spec: found.spec,
            name: found.name,
            pin: found.pin,
            command: command.to_owned(),
            args: args.to_vec(),
            place: found.place,
        }),
    })
}

/// What was found in the arguments.
struct Found {
    ecosystem: Ecosystem,
    spec: String,
    name: String,
    pin: Pin,
    place: Place,
}

impl Package {
    /// The arguments with this version in the place of what is written.
    #[must_use]
    pub fn pinned(&self, version: &Version) -> Vec<String> {
        let mut args = self.args.clone();
        if let Some(arg) = args.get_mut(self.place.at) {
            arg.truncate(self.place.from);
            arg.push_str(&self.exact(version));
        }
        args
    }

    /// How this version of it is written where it stands.
    #[must_use]
    pub fn exact(&self, version: &Version) -> String {
        let Place {
            extras, is_alone, ..
        } = &self.place;
        let (name, version) = (&self.name, version.as_str());
        match self.ecosystem {
            // `uvx` takes `==` only behind `--from`, in versions that are in use.
            Ecosystem::PyPi if !is_alone => format!("{name}{extras}=={version}"),
            _ => format!("{name}{extras}@{version}"),
        }
    }

    /// The same package with other arguments, such as [`Package::pinned`] makes them.
    #[must_use]
    pub fn with_args(&self, args: &[String]) -> Option<Self> {
        recognise(&self.command, args)?.package
    }

    /// The command that fills the runner's cache, and does nothing else; `None` if there is none
    /// that is known to fill what the runner uses later.
    #[must_use]
    pub fn warming(&self) -> Option<Invocation> {
        let args = match self.ecosystem {
            Ecosystem::Npm => npm::warming(self)?,
            Ecosystem::PyPi => python::within(self, &["--version"]),
            Ecosystem::Image => container::pulling(self),
        };
        Some(self.invocation(args))
    }

    /// The command that prints which version it would be: to be read by [`Package::resolved`].
    /// `None` if there is nothing to ask.
    ///
    /// That of an image answers once it is there, after [`Package::warming`].
    #[must_use]
    pub fn question(&self) -> Option<Invocation> {
        if !matches!(self.pin, Pin::Open | Pin::Tag) {
            return None;
        }
        Some(match self.ecosystem {
            Ecosystem::Npm => npm::question(self),
            Ecosystem::PyPi => self.invocation(python::question(self)),
            Ecosystem::Image => self.invocation(container::question(self)),
        })
    }

    /// The command that succeeds if an image is on this machine; `None` of other packages.
    #[must_use]
    pub fn presence(&self) -> Option<Invocation> {
        let is_image = self.ecosystem == Ecosystem::Image;
        is_image.then(|| self.invocation(container::question(self)))
    }

    /// Reads the answer to [`Package::question`].
    ///
    /// # Errors
    ///
    /// Says why it is no version. Nothing of the answer is repeated.
    pub fn resolved(&self, answer: &str) -> Result<Version, NoVersion> {
        match self.ecosystem {
            Ecosystem::Npm => npm::resolved(answer),
            Ecosystem::PyPi => Version::of_python(answer.trim()).ok_or(NoVersion::Malformed),
            Ecosystem::Image => container::resolved(&self.name, answer),
        }
    }

    fn invocation(&self, args: Vec<String>) -> Invocation {
        Invocation {
            command: self.command.clone(),
            args,
        }
    }

    /// The runner's own arguments.
    fn own(&self) -> &[String] {
        &self.args[..self.place.own]
    }
}

/// Why an answer is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// It is something else.
    #[error("the answer is not a version")]
    Malformed,
    /// No version fits.
    #[error("no version fits")]
    Missing,
    /// The image has no digest under its name: it was built here.
    #[error("the image was made on this machine, so it has no digest")]
    BuiltHere,
}

/// The name of a program without its folder, and without what it ends with on Windows.
fn base_name(command: &str) -> &str {
    let name = Path::new(command).file_name();
    let name = name.and_then(|name| name.to_str()).unwrap_or_default();
    let endings = [".cmd", ".exe", ".ps1"];
    let ending = endings.iter().find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(name)
}

/// `python`, `python3`, `python3.13`.
fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python");
    version.is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn plain(tool: &'static str) -> Runner {
    Runner {
        tool,
        package: None,
    }
}

/// The number of arguments up to the subcommand, if that comes first.
fn after(args: &[String], subcommands: &[&str]) -> Option<usize> {
    let first = args.first()?;
    subcommands.contains(&first.as_str()).then_some(1)
}
