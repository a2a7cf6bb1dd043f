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
pub(crate) struct Groups(Vec<(PathBuf, Option<PathBuf>)>);

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
            made.0.push((folder.clone(), oom));
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
        self.0.iter().map(|(folder, _)| folder.clone()).collect()
    }

    /// Whether the kernel has ended a process of theirs for its memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let mut counters = self.0.iter().filter_map(|(_, oom)| oom.as_ref());
        counters.any(|file| fs::read_to_string(file).is_ok_and(|text| oom_kills(&text) > 0))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTY_WITHIN;
        for (folder, _) in &self.0 {
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
        let groups = Groups::make(&[wanted]).expect("made");
        let [folder] = &groups.folders()[..] else {
            panic!("one group");
        };
        assert!(folder.is_dir() && !groups.ran_out_of_memory());
        let folder = folder.clone();
        drop(groups);
        assert!(!folder.exists());
    }
}
