//! Where what is kept is: in memory, or in a file and in memory what is not written yet.
//!
//! The files have no names (`O_TMPFILE`, or unlinked before anything is written), so no path leads
//! to them, and nothing is left of them whatever ends the program.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

/// As much is written to a file at once, in bytes.
pub(super) const SPILL: usize = 256 * 1024;
/// Line breaks are counted for each so many bytes.
const BLOCK: u64 = 64 * 1024;

/// A file without a name. To give back what it has on the disk may take a while, so it is closed
/// beside the threads of the runtime.
#[derive(Debug)]
struct Nameless(Option<File>);

impl Nameless {
    fn make(folder: &Path) -> io::Result<Self> {
        tempfile::tempfile_in(folder).map(|file| Self(Some(file)))
    }

    fn file(&self) -> io::Result<&File> {
        self.0
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        if let (Some(file), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// Whether files can be made in this folder. Not for a thread of a runtime.
///
/// # Errors
/// Why not.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    Nameless::make(folder).map(drop)
}

/// What is kept of one result, in order: a file, then memory. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    file: Option<Arc<Nameless>>,
    /// How much of it is in the file.
    written: u64,
    rest: Bytes,
    /// How many line breaks there are before each block.
    breaks_before: Arc<[u64]>,
}

impl Body {
    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.written + self.rest.len() as u64
    }

    /// Whether this much of it is in memory, so that to read it takes no time.
    pub(super) fn is_in_memory(&self) -> bool {
        self.file.is_none()
    }

    /// What is at `offset`, at most `length` bytes, less at the end. Not for a thread of a runtime
    /// unless it is in memory.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let end = (offset + length as u64).min(self.len());
        let start = offset.min(end);
        let in_rest = |at: u64| at.saturating_sub(self.written) as usize;
        let rest = self.rest.slice(in_rest(start)..in_rest(end));
        let Some(file) = self.file.as_ref().filter(|_| start < self.written) else {
            return Ok(rest);
        };
        let from_file = (end.min(self.written) - start) as usize;
        let mut out = BytesMut::zeroed(from_file);
        file.file()?.read_exact_at(&mut out, start)?;
        out.extend_from_slice(&rest);
        Ok(out.freeze())
    }

    /// The number of the line at `offset`, counted from 1. As [`Body::read`].
    ///
    /// # Errors
    /// As [`Body::read`].
    pub(super) fn line_at(&self, offset: u64) -> io::Result<u64> {
        let block = (offset / BLOCK).min((self.breaks_before.len() as u64).saturating_sub(1));
        let before = self.breaks_before.get(block as usize).copied().unwrap_or(0);
        let start = block * BLOCK;
        let text = self.read(start, offset.saturating_sub(start) as usize)?;
        Ok(1 + before + breaks(&text))
    }
}

/// How many line breaks there are.
pub(super) fn breaks(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// A body that grows.
#[derive(Debug)]
pub(super) struct Growing {
    folder: Arc<Path>,
    /// Whether it is text: lines are counted then, and characters not cut.
    is_text: bool,
    file: Option<Arc<Nameless>>,
    written: u64,
    /// What is not written: whoever adds to it says so with [`Growing::note`].
    pub(super) rest: Vec<u8>,
    breaks_before: Vec<u64>,
    /// Where was counted to.
    counted: u64,
    breaks: u64,
}

impl Growing {
    pub(super) fn new(folder: Arc<Path>, is_text: bool) -> Self {
        Self {
            folder,
            is_text,
            file: None,
            written: 0,
            rest: Vec::new(),
            breaks_before: vec![0],
            counted: 0,
            breaks: 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.written + self.rest.len() as u64
    }

    /// Counts the lines of what was added.
    pub(super) fn note(&mut self) {
        if !self.is_text {
            return;
        }
        let mut new = &self.rest[(self.counted - self.written) as usize..];
        while !new.is_empty() {
            let until_next = (BLOCK - self.counted % BLOCK) as usize;
            let (block, behind) = new.split_at(until_next.min(new.len()));
            self.breaks += breaks(block);
            self.counted += block.len() as u64;
            if self.counted.is_multiple_of(BLOCK) {
                self.breaks_before.push(self.breaks);
            }
            new = behind;
        }
    }

    /// How many bytes at the end are the beginning of a character.
    fn held_back(&self) -> usize {
        match self.is_text {
            true => incomplete(&self.rest),
            false => 0,
        }
    }

    /// Writes what is in memory to the file, but for a character of which a part is there.
    ///
    /// # Errors
    /// If it cannot be written. Then all of it is still there.
    pub(super) async fn spill(&mut self) -> io::Result<()> {
        let cut = self.rest.len() - self.held_back();
        let tail = self.rest.split_off(cut);
        let text = std::mem::take(&mut self.rest);
        let (file, folder, offset) = (self.file.clone(), Arc::clone(&self.folder), self.written);
        let writing = spawn_blocking(move || {
            let file = match file {
                Some(file) => Ok(file),
                None => Nameless::make(&folder).map(Arc::new),
            };
            let written = file.and_then(|file| {
                file.file()?.write_all_at(&text, offset)?;
                Ok(file)
            });
            (text, written)
        });
        let (mut text, written) = writing.await.map_err(io::Error::other)?;
        match written {
            Ok(file) => {
                self.file = Some(file);
                self.written += text.len() as u64;
                text.clear();
                // Until the first of it was written, all that may stay in memory was in there.
                text.shrink_to(2 * SPILL);
                text.extend_from_slice(&tail);
                self.rest = text;
                Ok(())
            }
            Err(error) => {
                text.extend_from_slice(&tail);
                self.rest = text;
                Err(error)
            }
        }
    }

    /// What there is, but for a character of which only a part came.
    pub(super) fn finish(mut self) -> Body {
        let cut = self.rest.len() - self.held_back();
        self.rest.truncate(cut);
        self.rest.shrink_to_fit();
        Body {
            file: self.file,
            written: self.written,
            rest: self.rest.into(),
            breaks_before: self.breaks_before.into(),
        }
    }
}

/// How many bytes at the end are the beginning of a character.
fn incomplete(text: &[u8]) -> usize {
    let last = &text[text.len().saturating_sub(4)..];
    for (at, byte) in last.iter().rev().enumerate() {
        let length = match byte {
            0x80..0xc0 => continue,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
            _ => 1,
        };
        return if at + 1 < length { at + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_character_is_incomplete() {
        for (text, expected) in [
            (&b""[..], 0),
            (b"a", 0),
            ("\u{e9}".as_bytes(), 0),
            ("a\u{1f600}".as_bytes(), 0),
            (&"a\u{1f600}".as_bytes()[..4], 3),
            (&"\u{4e16}".as_bytes()[..2], 2),
            (&"\u{e9}".as_bytes()[..1], 1),
        ] {
            assert_eq!(incomplete(text), expected, "{text:?}");
        }
    }

    #[tokio::test]
    async fn what_is_in_a_file_and_what_is_not_read_as_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let text: Vec<u8> = (0..300_000u32)
            .map(|at| {
                if at % 7 == 0 {
                    b'\n'
                } else {
                    b'a' + (at % 26) as u8
                }
            })
            .collect();
        let mut growing = Growing::new(folder.path().into(), true);
        for piece in text.chunks(40_001) {
            growing.rest.extend_from_slice(piece);
            growing.note();
            if growing.rest.len() > 100_000 {
                growing.spill().await.expect("written");
            }
        }
        let body = growing.finish();
        assert!(!body.is_in_memory() && !body.rest.is_empty());
        assert_eq!(body.len(), 300_000);
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
        for (offset, length) in [
            (0, 300_000),
            (5, 10),
            (239_990, 30_000),
            (299_999, 5),
            (300_000, 1),
        ] {
            let end = (offset + length).min(text.len());
            let read = body.read(offset as u64, length).expect("read");
            assert_eq!(read, text[offset..end], "{offset} {length}");
        }
        for offset in [0, 1, 65_535, 65_536, 65_537, 200_000, 300_000] {
            let expected = 1 + breaks(&text[..offset]);
            assert_eq!(
                body.line_at(offset as u64).expect("read"),
                expected,
                "{offset}"
            );
        }
    }
}
