//! What a program needs to run at all, and what its runtime does.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::SandboxConfig;
use crate::config::sandbox::{Preset, Tmp};

/// What every program may read: the system's programs and libraries, and what the C library and TLS
/// look at. No user's files, and none of a service.
const SYSTEM: [&str; 33] = [
    "/bin",
    "/sbin",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    // Of other processes Landlock leaves the names and numbers, not memory, environment or files.
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];
/// Devices that hold nothing.
const DEVICES: [&str; 5] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// The longest first line of a script that is read.
const MAX_FIRST_LINE: u64 = 512;

/// What a sandbox names, all in all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) read: Vec<PathBuf>,
    pub(super) write: Vec<PathBuf>,
    /// Those of `write` that are made when they are not there.
    pub(super) caches: Vec<PathBuf>,
}

/// What the program of this sandbox may reach. `variable` reads the program's environment.
pub(super) fn paths(
    sandbox: &SandboxConfig,
    command: &str,
    cwd: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Paths {
    let mut world = World {
        cwd,
        variable,
        writable: Vec::new(),
    };
    let mut paths = Paths {
        read: sandbox.read.clone(),
        write: sandbox.write.clone(),
        caches: Vec::new(),
    };
    paths.read.extend(SYSTEM.map(PathBuf::from));
    paths.write.extend(DEVICES.map(PathBuf::from));
    if sandbox.tmp == Tmp::Shared {
        let own = variable("TMPDIR").map(PathBuf::from);
        let all = [Some("/tmp".into()), Some("/var/tmp".into()), own];
        paths.write.extend(all.into_iter().flatten());
    }
    for preset in &sandbox.presets {
        world.add_preset(*preset, &mut paths);
    }
    // What the program could change says nothing of what it may reach.
    let writable = paths.write.iter().chain(&paths.caches);
    world.writable = writable.map(|path| real(path)).collect();
    paths.read.retain(|path| !world.is_writable(path));
    world.add_program(OsStr::new(command), &mut paths.read);
    for preset in &sandbox.presets {
        for program in programs(*preset) {
            world.add_program(OsStr::new(program), &mut paths.read);
        }
        for program in programs(*preset).iter().copied().chain([command]) {
            world.add_installation(OsStr::new(program), &mut paths.read);
        }
    }
    paths.write.extend(paths.caches.iter().cloned());
    for list in [&mut paths.read, &mut paths.write, &mut paths.caches] {
        list.sort_unstable();
        list.dedup();
    }
    paths
}

const fn programs(preset: Preset) -> &'static [&'static str] {
    match preset {
        Preset::Node => &["node", "npm", "npx"],
        Preset::Python => &["python3", "python", "uv", "uvx"],
    }
}

/// What a program is started in.
struct World<'a> {
    cwd: Option<&'a Path>,
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What the program may change.
    writable: Vec<PathBuf>,
}

/// Where a path leads, as far as that is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl World<'_> {
    /// Whether the program may change where this leads.
    fn is_writable(&self, path: &Path) -> bool {
        let folder = path.parent().map(real);
        let leads_to = real(path);
        let mut writable = self.writable.iter();
        writable.any(|root| {
            leads_to.starts_with(root)
                || path.starts_with(root)
                || folder
                    .as_ref()
                    .is_some_and(|folder| folder.starts_with(root))
        })
    }

    /// A program, the folder that it lies in, and the same of what interprets it.
    fn add_program(&self, command: &OsStr, read: &mut Vec<PathBuf>) {
        let mut next = self.find(command);
        // A script's interpreter is none itself.
        for _ in 0..2 {
            let Some(file) = next.filter(|file| !self.is_writable(file)) else {
                return;
            };
            next = interpreter(&file).and_then(|name| self.find(&name));
            read.extend(self.folder(&file));
            if let Ok(target) = file.canonicalize() {
                next = next.or_else(|| interpreter(&target).and_then(|name| self.find(&name)));
                read.extend(self.folder(&target));
                read.push(target);
            }
        }
    }

    /// What a runtime keeps beside the folder of its programs: its libraries, and what says that it
    /// is a virtual environment.
    fn add_installation(&self, command: &OsStr, read: &mut Vec<PathBuf>) {
        let Some(file) = self.find(command).filter(|file| !self.is_writable(file)) else {
            return;
        };
        for file in [file.canonicalize().ok(), Some(file)].into_iter().flatten() {
            let folder = file.parent();
            let is_bin = folder.is_some_and(|folder| folder.ends_with("bin"));
            if let Some(prefix) = folder.and_then(Path::parent).filter(|_| is_bin) {
                read.extend(["lib", "lib64", "pyvenv.cfg"].map(|name| prefix.join(name)));
            }
        }
    }

    fn add_preset(&self, preset: Preset, paths: &mut Paths) {
        let Some(home) = self.home() else { return };
        let cache = (self.variable)("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
        let cache = cache.map_or_else(|| home.join(".cache"), PathBuf::from);
        let (read, caches): (&[&str], Vec<PathBuf>) = match preset {
            Preset::Node => (
                &[
                    ".fnm",
                    ".local/share/fnm",
                    ".nodenv",
                    ".npmrc",
                    ".nvm",
                    ".volta",
                ],
                vec![home.join(".npm"), cache.join("node")],
            ),
            Preset::Python => (
                &[
                    ".config/pip",
                    ".config/uv",
                    ".local/bin",
                    ".local/lib",
                    ".pyenv",
                ],
                vec![
                    cache.join("pip"),
                    cache.join("uv"),
                    home.join(".local/share/uv"),
                ],
            ),
        };
        paths.read.extend(read.iter().map(|name| home.join(name)));
        paths.caches.extend(caches);
    }

    fn home(&self) -> Option<PathBuf> {
        let home = (self.variable)("HOME").map(PathBuf::from)?;
        (home.is_absolute() && home != Path::new("/")).then_some(home)
    }

    /// The folder of a program, unless that holds much more than the program: `/`, or the home folder
    /// or one that it is in.
    fn folder(&self, file: &Path) -> Option<PathBuf> {
        let folder = file.parent()?;
        let home = self.home();
        let is_too_much = folder == Path::new("/")
            || folder == Path::new("/tmp")
            || home.is_some_and(|home| home.starts_with(folder));
        (!is_too_much).then(|| folder.to_owned())
    }

    /// The file of a command, as the system finds it.
    fn find(&self, command: &OsStr) -> Option<PathBuf> {
        let here = || {
            let cwd = self.cwd.map(Path::to_owned);
            cwd.or_else(|| std::env::current_dir().ok())
        };
        if command.as_bytes().contains(&b'/') {
            return Some(here()?.join(command));
        }
        let path = (self.variable)("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(command))
            .find(|file| is_executable(file))
    }
}

fn is_executable(file: &Path) -> bool {
    let metadata = std::fs::metadata(file);
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// What the first line of a script names: behind `env`, what that looks for.
fn interpreter(file: &Path) -> Option<OsString> {
    let mut line = Vec::new();
    // A pipe in its place is not waited for.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(nonblocking)
        .open(file)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let file = BufReader::new(file);
    let mut file = file.take(MAX_FIRST_LINE);
    file.read_until(b'\n', &mut line).ok()?;
    let line = std::str::from_utf8(line.strip_prefix(b"#!")?).ok()?;
    let mut words = line.split_ascii_whitespace();
    let program = words.next()?;
    let name = match Path::new(program).file_name()?.to_str()? {
        "env" => words.find(|word| !word.starts_with('-') && !word.contains('='))?,
        _ => program,
    };
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(file: &Path, text: &str) {
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    #[test]
    fn a_program_its_interpreter_and_their_folders_can_be_read_and_a_home_cannot() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let home = root.join("home/me");
        program(&root.join("runtime/bin/runtime"), "\u{7f}ELF");
        program(
            &root.join("tools/bin/server"),
            "#!/usr/bin/env -S runtime\n",
        );
        program(&home.join("server"), "#!/bin/sh\n");
        let path = format!("{0}/runtime/bin:{0}/tools/bin", root.display());
        let variable = |name: &str| match name {
            "PATH" => Some(OsString::from(&path)),
            "HOME" => Some(home.clone().into()),
            _ => None,
        };
        let read = |command: &str| {
            let sandbox = SandboxConfig::default();
            paths(&sandbox, command, Some(&home), &variable).read
        };
        let by_name = read("server");
        for file in [
            "tools/bin",
            "tools/bin/server",
            "runtime/bin",
            "runtime/bin/runtime",
        ] {
            assert!(by_name.contains(&root.join(file)), "{file} in {by_name:?}");
        }
        let by_path = read("./server");
        assert!(by_path.contains(&home.join("server")), "{by_path:?}");
        assert!(!by_path.contains(&home), "{by_path:?}");
        // One that is not there is found out by starting it.
        assert!(!read("nothing").contains(&home));
    }

    #[test]
    fn a_preset_adds_installations_and_caches_and_nothing_else_of_a_home() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let home = root.join("me");
        program(&root.join("real/bin/python3.12"), "\u{7f}ELF");
        let link = root.join("venv/bin/python3");
        fs::create_dir_all(root.join("venv/bin")).expect("made");
        std::os::unix::fs::symlink(root.join("real/bin/python3.12"), &link).expect("made");
        let variable = |name: &str| match name {
            "PATH" => Some(root.join("venv/bin").into()),
            "HOME" => Some(home.clone().into()),
            _ => None,
        };
        let sandbox = SandboxConfig {
            presets: vec![Preset::Python],
            ..SandboxConfig::default()
        };
        let paths = paths(&sandbox, "python3", None, &variable);
        for file in ["venv/pyvenv.cfg", "venv/lib", "real/lib", "me/.pyenv"] {
            assert!(paths.read.contains(&root.join(file)), "{file}: {paths:?}");
        }
        let caches = [".cache/pip", ".cache/uv", ".local/share/uv"];
        assert_eq!(paths.caches, caches.map(|name| home.join(name)));
        assert!(paths.caches.iter().all(|cache| paths.write.contains(cache)));
        let of_home = |path: &&PathBuf| home.starts_with(path);
        assert_eq!(paths.read.iter().chain(&paths.write).find(of_home), None);
    }

    #[test]
    fn what_a_program_may_change_says_nothing_of_what_it_may_reach() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        let app = root.join("app");
        let secret = root.join("secret");
        program(&secret.join("key"), "#!/bin/sh\n");
        let interpreter = secret.join("key").display().to_string();
        program(
            &app.join("server"),
            &format!("#!/usr/bin/env {interpreter}\n"),
        );
        std::os::unix::fs::symlink(&secret, app.join("assets")).expect("made");
        std::os::unix::fs::symlink(secret.join("key"), app.join("link")).expect("made");
        let pipe = app.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("made");
        let variable = |name: &str| (name == "PATH").then(|| app.clone().into());
        let sandbox = SandboxConfig {
            write: vec![app.clone()],
            read: vec![app.join("assets")],
            ..SandboxConfig::default()
        };
        for command in ["server", "link", "./pipe", "./server"] {
            let read = paths(&sandbox, command, Some(&app), &variable).read;
            let reached = read.iter().find(|path| real(path).starts_with(&secret));
            assert_eq!(reached, None, "{command}: {read:?}");
        }
        // Without `write` a pipe in the place of a script is not waited for either.
        assert_eq!(super::interpreter(&pipe), None);
    }
}
