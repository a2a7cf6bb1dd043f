//! A folder for temporary files of one program alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::InitError;

/// How many names are tried.
const TRIES: u32 = 100;

/// The folder. Dropped, it is removed with all that is in it.
#[derive(Debug)]
pub(crate) struct PrivateTmp(PathBuf);

impl PrivateTmp {
    /// Makes one where temporary files belong, for this user alone.
    pub(crate) fn make() -> Result<Self, InitError> {
        let parent = std::env::temp_dir();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.map_or(0, |now| now.subsec_nanos());
        let mut result = Err(io::ErrorKind::AlreadyExists.into());
        // Whoever takes the name first gets nothing by it: the folder has to be a new one.
        for name in (0..TRIES).map(|at| seed.wrapping_add(at)) {
            let path = parent.join(format!("switchboard-{}-{name:x}", std::process::id()));
            result = DirBuilder::new().mode(0o700).create(&path).map(|()| path);
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                _ => break,
            }
        }
        result
            .map(Self)
            .map_err(InitError::on("make its folder for temporary files"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateTmp {
    fn drop(&mut self) {
        // What the program has made unreadable stays; nobody could be told.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_is_a_folder_of_its_own_and_goes_with_all_in_it() {
        let (one, other) = (
            PrivateTmp::make().expect("made"),
            PrivateTmp::make().expect("made"),
        );
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
}
