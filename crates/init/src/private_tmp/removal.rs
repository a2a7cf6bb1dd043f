//! Removes a folder that a program had for itself, however it left it: without permissions, deep, or
//! full of links.
//!
//! Only two levels are looked at: what is deeper is moved up first. So the number of open files does
//! not grow with the depth, and no path becomes too long. Names are resolved one at a time, never
//! through a link.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fstat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;

/// How many names are tried for one folder that is moved up.
const TRIES: u64 = 1_000;

/// Removes a folder with all that is in it, but for what it has not got to at `deadline`.
///
/// # Errors
/// What the system says of the first that cannot be removed; `TimedOut` at the deadline.
pub(super) fn remove(path: &Path, deadline: Instant) -> io::Result<()> {
    make_accessible(CWD, path)?;
    let root = open(CWD, path)?;
    let mut moved = 0;
    // Each pass takes one level away from what is deepest.
    loop {
        let folders = empty(&root, deadline)?;
        if folders.is_empty() {
            break;
        }
        for name in folders {
            make_accessible(&root, name.as_c_str())?;
            let folder = open(&root, name.as_c_str())?;
            for inner in empty(&folder, deadline)? {
                // A folder that is moved is written to: its `..` is another then.
                make_accessible(&folder, inner.as_c_str())?;
                move_up(&folder, &inner, &root, &mut moved)?;
            }
            unlinkat(&root, name.as_c_str(), AtFlags::REMOVEDIR)?;
        }
    }
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

/// Gives this user all permissions for a folder, itself and not what it may be a link to.
pub(super) fn make_accessible(parent: impl AsFd, name: impl Arg) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(fstat(&folder)?.st_mode);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    // The permissions are changed of what was opened, whatever has its name by now. No older kernel
    // changes them by a descriptor that was opened without any.
    let itself = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Ok(chmod(itself, Mode::RWXU)?)
}

fn open(parent: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Removes all of a folder that is no folder itself, and returns the names of those that are.
fn empty(folder: &OwnedFd, deadline: Instant) -> io::Result<Vec<CString>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory || !is_unlinked(folder, name)? {
            folders.push(name.to_owned());
        }
    }
    Ok(folders)
}

/// Removes what is no folder; whether it was none. Not every file system says so beforehand.
fn is_unlinked(folder: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Moves a folder to the root, under a name that is free there.
fn move_up(from: &OwnedFd, name: &CStr, root: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    for _ in 0..TRIES {
        *moved += 1;
        match renameat(from, name, root, format!("moved-{moved}")) {
            Ok(()) => return Ok(()),
            // The program had such a name.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A folder with so many below one another; whoever runs out of open files or of path fails.
    fn deep(root: &Path, levels: usize) {
        let mut at = OwnedFd::from(fs::File::open(root).expect("a folder"));
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, "moved-1", Mode::RWXU).expect("made");
            let flags = OFlags::WRONLY | OFlags::CREATE;
            openat(&at, "file", flags, Mode::RUSR).expect("made");
            at = open(&at, "moved-1").expect("there");
        }
    }

    #[test]
    fn what_is_deeper_than_any_path_goes() {
        let parent = tempfile::tempdir().expect("a folder");
        let root = parent.path().join("root");
        fs::create_dir(&root).expect("made");
        deep(&root, 1_200);
        remove(&root, later()).expect("removed");
        assert!(!root.exists());
    }

    #[test]
    fn what_has_no_permissions_goes_and_what_links_lead_to_stays() {
        let parent = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        fs::write(elsewhere.path().join("file"), "stays").expect("written");
        fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o500)).expect("ours");
        let root = parent.path().join("root");
        fs::create_dir_all(root.join("a/b/c/d")).expect("made");
        for folder in ["", "a", "a/b"] {
            symlink(elsewhere.path(), root.join(folder).join("link")).expect("made");
            fs::write(root.join(folder).join("moved-1"), "in the way").expect("written");
        }
        for closed in ["a/b/c/d", "a/b/c", "a/b", "a", ""] {
            fs::set_permissions(root.join(closed), Permissions::from_mode(0o000)).expect("ours");
        }
        remove(&root, later()).expect("removed");
        assert!(!root.exists());
        let mode = fs::metadata(elsewhere.path()).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o500);
        assert!(elsewhere.path().join("file").exists());
        fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o700)).expect("ours");
    }

    #[test]
    fn it_has_an_end() {
        let parent = tempfile::tempdir().expect("a folder");
        let root = parent.path().join("root");
        fs::create_dir_all(root.join("a/b")).expect("made");
        let error = remove(&root, Instant::now()).expect_err("no time");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        remove(&root, later()).expect("removed");
    }
}
