//! The control groups of one program: made by its owner, joined by its second step, removed when
//! nothing of the tree is left. The owner itself is in none of them.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

use crate::InitError;
use crate::confinement::Group;

/// What the names of all groups begin with; the number of their owner follows.
pub(crate) const PREFIX: &str = "switchboard-";
/// How long the kernel may take to count the last process out of a group.
const EMPTY_WITHIN: Duration = Duration::from_secs(1);
/// How often is looked whether it has.
const TICK: Duration = Duration::from_millis(10);

/// The groups of one program. Dropped, they are removed, if nothing is in them.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Their folders, and the file of each that counts processes ended for their memory.
    made: Vec<(PathBuf, Option<PathBuf>)>,
    /// How many of these have been seen.
    oom_kills: u64,
}

impl Groups {
    /// Makes them, and sets their limits.
    pub(crate) fn make(wanted: &[Group]) -> Result<Self, InitError> {
        let mut made = Self::default();
        for group in wanted {
            let folder = group.parent.join(format!("{PREFIX}{}", std::process::id()));
            // Left by one that was killed, and had this number.
            let _ = fs::remove_dir(&folder);
            fs::create_dir(&folder).map_err(InitError::on("make its group"))?;
            let oom = group.oom.as_ref().map(|file| folder.join(file));
            made.made.push((folder.clone(), oom));
            for (file, value) in &group.files {
                fs::write(folder.join(file), value).map_err(InitError::on("limit its group"))?;
            }
            for (file, value) in &group.if_there {
                let file = folder.join(file);
                // Written later than what it builds on; no kernel that has it refuses.
                if file.exists() {
                    let _ = fs::write(file, value);
                }
            }
        }
        Ok(made)
    }

    /// Their folders.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.made.iter().map(|(folder, _)| folder.clone()).collect()
    }

    /// Whether the kernel counts the processes of theirs that it ends for their memory.
    pub(crate) fn count_oom_kills(&self) -> bool {
        self.made.iter().any(|(_, oom)| oom.is_some())
    }

    /// Whether the kernel has ended a process of theirs for its memory since this was asked last.
    pub(crate) fn ran_out_of_memory(&mut self) -> bool {
        let files = self.made.iter().filter_map(|(_, oom)| oom.as_ref());
        let counts = files.filter_map(|file| fs::read_to_string(file).ok());
        let count = counts.map(|text| oom_kills(&text)).max().unwrap_or(0);
        std::mem::replace(&mut self.oom_kills, count) < count
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTY_WITHIN;
        for (folder, _) in &self.made {
            while let Err(error) = fs::remove_dir(folder)
                && error.kind() == io::ErrorKind::ResourceBusy
                && Instant::now() < deadline
            {
                let tick = Timespec::try_from(TICK).ok();
                let _ = poll(&mut [], tick.as_ref());
            }
        }
    }
}

/// How many processes were ended, as `memory.events` and `memory.oom_control` say.
fn oom_kills(text: &str) -> u64 {
    let mut counts = text
        .lines()
        .filter_map(|line| line.strip_prefix("oom_kill "));
    let count = counts.next().and_then(|count| count.trim().parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_say_how_many_were_ended() {
        let second = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n";
        let first = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!((oom_kills(second), oom_kills(first)), (1, 3));
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\n"), 0);
    }

    #[test]
    fn a_group_is_a_folder_with_its_limits_and_goes_with_its_owner() {
        let parent = tempfile::tempdir().expect("a folder");
        let wanted = Group {
            parent: parent.path().to_owned(),
            files: vec![],
            if_there: vec![("memory.swap.max".into(), "0".into())],
            oom: Some("memory.events".into()),
        };
        let mut groups = Groups::make(&[wanted]).expect("made");
        let [folder] = &groups.folders()[..] else {
            panic!("one group");
        };
        assert!(folder.is_dir() && groups.count_oom_kills() && !groups.ran_out_of_memory());
        let folder = folder.clone();
        // Each is told once.
        for (kills, is_new) in [(1, true), (1, false), (3, true), (3, false)] {
            fs::write(folder.join("memory.events"), format!("oom_kill {kills}\n")).expect("ours");
            assert_eq!(groups.ran_out_of_memory(), is_new, "{kills}");
        }
        fs::remove_file(folder.join("memory.events")).expect("ours");
        drop(groups);
        assert!(!folder.exists());
    }
}
