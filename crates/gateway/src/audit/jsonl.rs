//! A file of records, one line each, that is exchanged when it is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::config::{FileConfig, RotateConfig};

/// The file that is written to.
pub(super) struct JsonLines {
    path: PathBuf,
    rotate: RotateConfig,
    open: Option<Open>,
    /// Whether the file cannot be moved away, which was said.
    is_stuck: bool,
}

struct Open {
    file: File,
    len: u64,
}

impl JsonLines {
    /// Opens the file, or makes it.
    pub(super) fn open(config: &FileConfig) -> io::Result<Self> {
        let mut lines = Self {
            path: config.path.clone(),
            rotate: config.rotate,
            open: None,
            is_stuck: false,
        };
        lines.current()?;
        Ok(lines)
    }

    /// Adds lines. What could not be written is not there at all, so that no line is torn.
    ///
    /// # Errors
    /// What the system said, and how many of the lines are lost.
    pub(super) fn write(&mut self, lines: &[String]) -> Result<(), (io::Error, usize)> {
        let mut at = 0;
        while at < lines.len() {
            let next = lines[at].len() as u64 + 1;
            let room = self.room(next).map_err(|error| (error, lines.len() - at))?;
            let mut batch = Vec::new();
            let begin = at;
            while at < lines.len() {
                let len = batch.len() + lines[at].len() + 1;
                // A file has one record at least, however small it is to be.
                if at > begin && len as u64 > room {
                    break;
                }
                batch.extend_from_slice(lines[at].as_bytes());
                batch.push(b'\n');
                at += 1;
            }
            self.append(&batch)
                .map_err(|error| (error, lines.len() - begin))?;
        }
        Ok(())
    }

    /// How many bytes fit in the file, which is another one if the next record does not.
    fn room(&mut self, next: u64) -> io::Result<u64> {
        let size = self.rotate.size;
        let len = self.current()?.len;
        if len == 0 || len + next <= size {
            return Ok(size.saturating_sub(len));
        }
        if let Err(error) = self.exchange() {
            // Better a file that is too long than none, as far as that goes.
            let most = size.saturating_mul(2);
            if len + next > most {
                return Err(error);
            }
            if !std::mem::replace(&mut self.is_stuck, true) {
                tracing::warn!(%error, "the file of the audit cannot be moved away and grows on, to twice its size");
            }
            return Ok(most - len);
        }
        self.is_stuck = false;
        Ok(size.saturating_sub(self.current()?.len))
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let open = self.current()?;
        let result = open.file.write_all(batch);
        match result {
            Ok(()) => open.len += batch.len() as u64,
            Err(_) => {
                // Part of it may be there. If this fails too, the next open mends the last line.
                let _ = open.file.set_len(open.len);
                self.open = None;
            }
        }
        result
    }

    fn current(&mut self) -> io::Result<&mut Open> {
        let is_there = self.open.as_ref().is_some_and(|open| self.is_at_path(open));
        let open = match self.open.take() {
            Some(open) if is_there => open,
            // Somebody moved it away, as rotating programs do.
            _ => open(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    fn is_at_path(&self, open: &Open) -> bool {
        let (Ok(own), Ok(there)) = (open.file.metadata(), fs::metadata(&self.path)) else {
            return false;
        };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }

    /// Makes the file the newest of those that are kept.
    fn exchange(&mut self) -> io::Result<()> {
        self.open = None;
        if self.rotate.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for number in (1..self.rotate.keep).rev() {
            move_if_there(&kept(&self.path, number), &kept(&self.path, number + 1))?;
        }
        fs::rename(&self.path, kept(&self.path, 1))
    }
}

/// The name of a file that is kept; 1 is the newest.
pub(super) fn kept(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let metadata = file.metadata()?;
    let mut len = metadata.len();
    if metadata.is_file() && len > 0 {
        // The process before may have ended in the middle of a line.
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            len += 1;
        }
    }
    Ok(Open { file, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn lines(path: &Path, size: u64, keep: usize) -> JsonLines {
        let config = FileConfig {
            path: path.to_owned(),
            rotate: RotateConfig { size, keep },
        };
        JsonLines::open(&config).expect("a file")
    }

    fn records(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|n| format!("{{\"n\":{n:04}}}")).collect()
    }

    #[test]
    fn a_full_file_is_kept_under_a_number_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let mut file = lines(&path, 40, 2);
        for n in 0..4 {
            file.write(&records(n * 3, n * 3 + 3)).expect("room");
        }
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let all = [kept(&path, 2), kept(&path, 1), path.clone()].map(|path| read(&path));
        for text in &all {
            assert!(text.len() <= 40 && text.ends_with('\n'), "{text:?}");
        }
        // The newest, whole, without a gap.
        let text = all.concat();
        assert!(
            "\n".len() < text.len() && text.ends_with("{\"n\":0011}\n"),
            "{text}"
        );
        let numbers: Vec<&str> = text.lines().collect();
        let expected = records(12 - numbers.len(), 12);
        assert_eq!(numbers, expected);
        assert!(!kept(&path, 3).exists());
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_moved_away_grows_to_twice_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut lines = lines(&path, 100, 1);
        fs::create_dir_all(kept(&path, 1).join("in the way")).unwrap();
        lines.write(&["x".repeat(90)]).unwrap();
        lines.write(&["y".repeat(90)]).unwrap();
        assert!(lines.write(&["z".repeat(90)]).is_err());
        fs::remove_dir_all(kept(&path, 1)).unwrap();
        lines.write(&["z".repeat(90)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "z".repeat(90) + "\n");
        assert_eq!(fs::metadata(kept(&path, 1)).unwrap().len(), 182);
    }

    #[test]
    fn a_torn_line_is_ended_and_a_file_that_was_moved_is_begun_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "{\"n\":1}\n{\"n\"").expect("a file");
        let mut file = lines(&path, 1 << 20, 1);
        file.write(&records(2, 3)).expect("room");
        let text = fs::read_to_string(&path).expect("a file");
        assert_eq!(text, "{\"n\":1}\n{\"n\"\n{\"n\":0002}\n");
        fs::rename(&path, folder.path().join("elsewhere")).expect("ours");
        file.write(&records(3, 4)).expect("room");
        assert_eq!(fs::read_to_string(&path).expect("a file"), "{\"n\":0003}\n");
    }

    #[test]
    fn a_disk_that_is_full_loses_whole_records_alone() {
        let mut file = JsonLines {
            path: "/dev/full".into(),
            rotate: RotateConfig::default(),
            open: None,
            is_stuck: false,
        };
        let (error, lost) = file.write(&records(0, 3)).expect_err("no room");
        assert_eq!((error.kind(), lost), (io::ErrorKind::StorageFull, 3));
        // It is tried again each time.
        assert!(file.write(&records(3, 4)).is_err());
    }
}
