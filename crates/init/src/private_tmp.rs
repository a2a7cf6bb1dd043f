//! A folder for temporary files of one program alone, and the removal of those whose owner is dead.
//!
//! A folder is locked (`flock`) as long as its owner lives: the kernel lets the lock go with the
//! process, whatever ended it, so a folder without one is nobody's. Unlike a process id, a lock
//! means the same in every container that shares the file system.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, fstat, openat, stat};
use rustix::process::geteuid;

use crate::InitError;

mod removal;

/// How many names are tried.
const TRIES: u32 = 100;
/// What the names of all such folders begin with; the number of their owner follows, and one more.
const PREFIX: &str = "switchboard-private-";
/// How long the removal of one may take. What is left then goes at the next start of a gateway.
const REMOVED_WITHIN: Duration = Duration::from_secs(20);

/// The folder. Dropped, it is removed with all that is in it.
#[derive(Debug)]
pub(crate) struct PrivateTmp {
    path: PathBuf,
    /// Held as long as it is in use.
    _lock: OwnedFd,
}

impl PrivateTmp {
    /// Makes one where temporary files belong, for this user alone.
    pub(crate) fn make() -> Result<Self, InitError> {
        Self::make_in(&std::env::temp_dir())
            .map_err(InitError::on("make its folder for temporary files"))
    }

    fn make_in(parent: &Path) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.map_or(0, |now| now.subsec_nanos());
        // Whoever takes the name first gets nothing by it: the folder has to be a new one.
        for name in (0..TRIES).map(|at| seed.wrapping_add(at)) {
            let path = parent.join(format!("{PREFIX}{}-{name:x}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // None: a gateway that starts in this moment took it for one that nobody owns.
            if let Some(lock) = lock(&path)? {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateTmp {
    fn drop(&mut self) {
        // What stays is tried again by the next gateway; nobody could be told.
        let _ = removal::remove(&self.path, Instant::now() + REMOVED_WITHIN);
    }
}

/// Locks a folder of this user; `None` if somebody else has it, or it is not there any more.
fn lock(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(CWD, path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Removed, and maybe made anew, between the two.
    let (held, named) = (fstat(&folder)?, stat(path));
    let is_it = named.is_ok_and(|named| (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino));
    Ok(is_it.then_some(folder))
}

/// Removes the folders for temporary files whose owners are dead, each in at most 20 s. Looks only
/// at folders of this user; one whose owner lives is not touched. Returns how many were found, and
/// how many of these are gone. Takes as long as the disk does: nothing for a thread of a runtime.
#[must_use]
pub fn remove_abandoned() -> Abandoned {
    remove_abandoned_in(&std::env::temp_dir())
}

/// What became of the folders that nobody owned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// How many there were.
    pub found: usize,
    /// How many of them are gone.
    pub removed: usize,
}

fn remove_abandoned_in(parent: &Path) -> Abandoned {
    let mut abandoned = Abandoned::default();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(is_name) {
            continue;
        }
        let path = entry.path();
        // The program may have made the folder itself unreadable, which is mended before it is locked.
        if !is_own_folder(&path) || removal::make_accessible(CWD, &path).is_err() {
            continue;
        }
        let Ok(Some(_lock)) = lock(&path) else {
            continue;
        };
        abandoned.found += 1;
        let removed = removal::remove(&path, Instant::now() + REMOVED_WITHIN);
        abandoned.removed += usize::from(removed.is_ok());
    }
    abandoned
}

/// Whether [`PrivateTmp::make`] gives such names.
fn is_name(name: &str) -> bool {
    let numbers = name.strip_prefix(PREFIX);
    let numbers = numbers.and_then(|numbers| numbers.split_once('-'));
    numbers.is_some_and(|(owner, number)| {
        owner.parse::<u32>().is_ok() && u32::from_str_radix(number, 16).is_ok()
    })
}

/// Whether this is a folder, not a link to one, that belongs to this user.
fn is_own_folder(path: &Path) -> bool {
    rustix::fs::lstat(path).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::Directory
            && found.st_uid == geteuid().as_raw()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn each_is_a_folder_of_its_own_and_goes_with_all_in_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let make = || PrivateTmp::make_in(parent.path()).expect("made");
        let (one, other) = (make(), make());
        assert_ne!(one.path(), other.path());
        let mode = fs::metadata(one.path())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::create_dir(one.path().join("inside")).expect("made");
        fs::write(one.path().join("inside/file"), "text").expect("written");
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn only_what_nobody_owns_is_swept_away() {
        let parent = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let owned = PrivateTmp::make_in(parent.path()).expect("made");
        let child = |name: &str| parent.path().join(name);
        let left = child("switchboard-private-1-ff");
        fs::create_dir_all(left.join("a/b")).expect("made");
        for mode in [left.join("a"), left.clone()] {
            fs::set_permissions(mode, fs::Permissions::from_mode(0o000)).expect("ours");
        }
        let others = [
            "switchboard-1-ff",
            "switchboard-private-1",
            "switchboard-private-x-1",
        ];
        for other in others {
            fs::create_dir(child(other)).expect("made");
        }
        let link = child("switchboard-private-2-0");
        symlink(elsewhere.path(), &link).expect("made");
        let expected = Abandoned {
            found: 1,
            removed: 1,
        };
        assert_eq!(remove_abandoned_in(parent.path()), expected);
        assert!(!left.exists() && owned.path().exists() && elsewhere.path().exists());
        assert!(others.iter().all(|other| child(other).exists()));
        assert_eq!(remove_abandoned_in(parent.path()), Abandoned::default());
    }
}
