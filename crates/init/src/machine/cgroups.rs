//! Where control groups can be made: below this process's own, or beside it where only a folder
//! without processes may have groups with limits below it (version 2).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{CgroupVersion, Controller};
use crate::groups::PREFIX;

/// The three kinds, by the kernel's names and the file that each needs to have (version 1, 2).
const KINDS: [(&str, &str, &str); 3] = [
    ("memory", "memory.limit_in_bytes", "memory.max"),
    ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    ("pids", "pids.max", "pids.max"),
];
/// What the name of the group begins with that is made to see whether it can be.
const PROBE: &str = "probe-";

/// Memory, processor time and processes.
pub(super) fn find() -> [Option<Controller>; 3] {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let mounts = mounts(&read("/proc/self/mountinfo"));
    let own = read("/proc/self/cgroup");
    let controllers = KINDS.map(|(kind, first, second)| {
        let below = own_folder(&mounts, &own, Some(kind)).filter(|folder| is_usable(folder, first));
        let first = below.map(|parent| Controller {
            parent,
            version: CgroupVersion::V1,
        });
        first.or_else(|| {
            let parent = second_version(&own_folder(&mounts, &own, None)?, kind, second)?;
            Some(Controller {
                parent,
                version: CgroupVersion::V2,
            })
        })
    });
    for controller in controllers.iter().flatten() {
        sweep(&controller.parent);
    }
    controllers
}

/// The folder itself or the one that it is in, if groups with such limits can be made there.
fn second_version(own: &Path, kind: &str, file: &str) -> Option<PathBuf> {
    // Nobody but its owner may make groups in a tree, which is systemd but where it says otherwise.
    let above = own.parent().filter(|above| is_delegated(above));
    let mut folders = [Some(own), above].into_iter().flatten();
    folders
        .find(|folder| {
            // Fails where a process is in it, and where the folder is not ours.
            let _ = enable(folder, kind);
            is_usable(folder, file) && can_move_into(folder)
        })
        .map(Path::to_owned)
}

/// Whether systemd has left this part of the tree to a service (`Delegate=`).
fn is_delegated(folder: &Path) -> bool {
    let mut value = [0; 1];
    let length = rustix::fs::getxattr(folder, "user.delegate", &mut value[..]);
    length == Ok(1) && value == *b"1"
}

/// Lets groups below have such limits.
fn enable(folder: &Path, kind: &str) -> io::Result<()> {
    let control = folder.join("cgroup.subtree_control");
    let mut control = fs::OpenOptions::new().write(true).open(control)?;
    control.write_all(format!("+{kind}").as_bytes())
}

/// Whether a process may be moved from its own group into one that is made here.
fn can_move_into(folder: &Path) -> bool {
    let procs = folder.join("cgroup.procs");
    fs::OpenOptions::new().write(true).open(procs).is_ok()
}

/// Whether a group can be made here that has this file.
fn is_usable(parent: &Path, file: &str) -> bool {
    let probe = parent.join(format!("{PREFIX}{PROBE}{}", std::process::id()));
    if fs::create_dir(&probe).is_err() {
        return false;
    }
    let limit = fs::OpenOptions::new().write(true).open(probe.join(file));
    let _ = fs::remove_dir(&probe);
    limit.is_ok()
}

/// Removes groups whose owners were killed before they could. One with a process in it stays.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.map(|owner| owner.strip_prefix(PROBE).unwrap_or(owner));
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else {
            continue;
        };
        let status = fs::metadata(format!("/proc/{owner}"));
        if status.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Where a tree of groups is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The part of the tree that is mounted.
    root: String,
    at: PathBuf,
    /// The kinds of a tree of version 1; `None` for that of version 2.
    kinds: Option<Vec<String>>,
}

/// Of `/proc/self/mountinfo`.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, at) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let kinds = match kind.next()? {
            "cgroup" => Some(kind.nth(1)?.split(',').map(str::to_owned).collect()),
            "cgroup2" => None,
            _ => return None,
        };
        Some(Mount {
            root: root.to_owned(),
            at: at.replace("\\040", " ").into(),
            kinds,
        })
    };
    text.lines().filter_map(mount).collect()
}

/// The folder of this process's own group in the tree of a kind, or in that of version 2.
fn own_folder(mounts: &[Mount], own: &str, kind: Option<&str>) -> Option<PathBuf> {
    let group = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (kinds, path) = (fields.next()?, fields.next()?);
        let is_it = match kind {
            Some(kind) => kinds.split(',').any(|of| of == kind),
            None => kinds.is_empty(),
        };
        is_it.then_some(path)
    })?;
    mounts.iter().find_map(|mount| {
        let is_it = match (kind, &mount.kinds) {
            (Some(kind), Some(kinds)) => kinds.iter().any(|of| of == kind),
            (None, None) => true,
            _ => false,
        };
        let below = Path::new(group).strip_prefix(&mount.root).ok()?;
        is_it.then(|| mount.at.join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 1 0:22 / /proc rw - proc proc rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 30 0:28 /docker/a1 /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw
";
    const OWN: &str = "\
7:memory:/one/two
3:cpu,cpuacct:/docker/a1/deep
1:name=systemd:/
0::/user.slice/unit
";

    #[test]
    fn the_own_group_is_found_in_each_tree() {
        let mounts = mounts(MOUNTS);
        let of = |kind| own_folder(&mounts, OWN, kind);
        for (kind, folder) in [
            (Some("memory"), Some("/sys/fs/cgroup/memory/one/two")),
            (Some("cpu"), Some("/sys/fs/cgroup/cpu,cpuacct/deep")),
            (Some("pids"), None),
            (None, Some("/sys/fs/cgroup/uni fied/user.slice/unit")),
        ] {
            assert_eq!(of(kind), folder.map(PathBuf::from), "{kind:?}");
        }
        assert_eq!(own_folder(&mounts, "3:cpu:/elsewhere", Some("cpu")), None);
    }

    #[test]
    fn in_plain_folders_nothing_has_limits() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!is_usable(folder.path(), "memory.max"));
        assert_eq!(second_version(folder.path(), "memory", "memory.max"), None);
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0);
    }

    #[test]
    fn what_a_killed_owner_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = format!("{PREFIX}{}", std::process::id());
        // More than any number that a process can have.
        let gone = format!("{PREFIX}4294967295");
        for name in [&*own, &*gone, "other", "switchboard-x"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        sweep(folder.path());
        assert!(!folder.path().join(&gone).exists());
        for name in [&*own, "other", "switchboard-x"] {
            assert!(folder.path().join(name).exists(), "{name}");
        }
    }
}
