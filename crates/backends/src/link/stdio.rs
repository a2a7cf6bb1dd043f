//! Local processes: newline-delimited JSON over their pipes (specification:
//! `basic/transports/stdio`).

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::ioctl_fionread;
use std::sync::Arc;
use std::time::Duration;
use switchboard_protocol::passage::MAX_HELD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};

use super::inbox::Inbox;
use super::mux::{Incoming, MessageReader, MessageWriter, Mux, WriteError};
use super::rest::Chunk;
use crate::process::roster::RosterEntry;
use crate::process::stderr::Stderr;
use crate::process::{self, Process, Program, Supervisor};

/// How much of an oversize line is kept at either end.
const KEPT: usize = 4096;
/// How much is made room for at a time.
const PIECE: usize = 16 * 1024;
/// How much of a line is read at a time that is thrown or given away: what a pipe holds.
const LONG_PIECE: usize = 64 * 1024;
/// A line of which more than this was thrown or given away has no end: the process is given up. Nothing
/// else that it says can be heard meanwhile: a few seconds, or as long as who takes it needs.
const ENDLESS: u64 = 2 * 1024 * 1024 * 1024;

/// Starts a process and speaks with it.
///
/// # Errors
/// A sentence for the caller; the program's name is the operator's own word, paths and arguments
/// are left out.
pub(crate) async fn spawn(
    backend: &Arc<str>,
    supervisor: &Supervisor,
    program: &Program<'_>,
    inbox: Arc<Inbox>,
) -> Result<Mux, String> {
    let Process {
        stdin,
        stdout,
        stderr,
        owner,
    } = process::start(supervisor, program, &inbox.tasks).await?;
    let stderr = Stderr::follow(backend, program, stderr, &inbox.tasks);
    let reader = LineReader::new(stdout, program.max_line);
    let writer = LineWriter::new(stdin, |pipe| ioctl_fionread(pipe).ok());
    let queue = owner.entry().map(RosterEntry::queue_counter);
    let mux = Mux::start(reader, writer, inbox, move |stop| {
        owner.see_to_the_end(stop, stderr)
    });
    if let Some(queue) = queue {
        queue.set(mux.queued());
    }
    Ok(mux)
}

/// Writes each message as a line.
struct LineWriter<W> {
    /// Buffered, so that a message and its line end are one write.
    output: BufWriter<W>,
    /// How much was written of whole lines.
    written: u64,
    /// How much of it was not read yet, if the system can tell.
    unread: fn(&W) -> Option<u64>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> LineWriter<W> {
    fn new(output: W, unread: fn(&W) -> Option<u64>) -> Self {
        Self {
            output: BufWriter::new(output),
            written: 0,
            unread,
        }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> MessageWriter for LineWriter<W> {
    fn is_read(&self) -> bool {
        (self.unread)(self.output.get_ref()).is_none_or(|unread| unread < self.written)
    }

    async fn write(&mut self, message: Bytes) -> Result<(), WriteError> {
        let stopped = |_| WriteError::Broken;
        // A message is one line: what a client formatted over several is folded. JSON strings hold
        // no raw line ends.
        if memchr::memchr2(b'\n', b'\r', &message).is_some() {
            let folded: Vec<u8> = message
                .iter()
                .map(|byte| {
                    if matches!(byte, b'\n' | b'\r') {
                        b' '
                    } else {
                        *byte
                    }
                })
                .collect();
            self.output.write_all(&folded).await.map_err(stopped)?;
        } else {
            self.output.write_all(&message).await.map_err(stopped)?;
        }
        self.output.write_all(b"\n").await.map_err(stopped)?;
        self.output.flush().await.map_err(stopped)?;
        self.written += message.len() as u64 + 1;
        Ok(())
    }
}

/// What is known of the line that is being read.
enum Line {
    /// It is not long enough yet for its beginning to be judged.
    Unjudged,
    /// Its beginning was given away, or taken back.
    Judged,
    /// It is longer than the limit, and thrown away: its head.
    Oversize(Bytes),
}

/// Cuts a byte stream into lines of bounded length.
pub(crate) struct LineReader<R> {
    input: R,
    buffer: BytesMut,
    searched: usize,
    limit: usize,
    line: Line,
    /// How much of the line was thrown or given away.
    thrown: u64,
    /// How much is thrown away of a line before the process is given up.
    endless: u64,
}

impl<R: AsyncRead + Send + Unpin + 'static> LineReader<R> {
    pub(crate) fn new(input: R, limit: usize) -> Self {
        Self {
            input,
            buffer: BytesMut::with_capacity(PIECE),
            searched: 0,
            limit,
            line: Line::Unjudged,
            thrown: 0,
            endless: ENDLESS,
        }
    }

    /// The next thing in the buffer, if it is whole.
    fn take(&mut self) -> Option<Incoming> {
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            let line = line.freeze();
            return Some(match self.end_line() {
                Line::Oversize(head) => Incoming::Oversize {
                    head,
                    tail: Some(line),
                },
                _ if line.len() > self.limit => Self::ends(&line),
                _ => Incoming::Message(line),
            });
        }
        self.searched = self.buffer.len();
        if !self.is_oversize() && self.buffer.len() > self.limit {
            let head = &self.buffer[..KEPT.min(self.buffer.len())];
            self.line = Line::Oversize(Bytes::copy_from_slice(head));
        }
        if self.is_oversize() && self.buffer.len() > KEPT {
            let extra = self.buffer.len() - KEPT;
            self.thrown += extra as u64;
            // The room of the whole limit is needed no longer, and few messages ever need it.
            if self.buffer.capacity() > KEPT + 2 * LONG_PIECE {
                let mut kept = BytesMut::with_capacity(KEPT + LONG_PIECE);
                kept.extend_from_slice(&self.buffer[extra..]);
                self.buffer = kept;
            } else {
                let kept = self.buffer.len() - extra;
                self.buffer.copy_within(extra.., 0);
                self.buffer.truncate(kept);
            }
            self.searched = self.buffer.len();
        }
        None
    }

    fn is_oversize(&self) -> bool {
        matches!(self.line, Line::Oversize(_))
    }

    /// Goes on with the next line; what is known of the last.
    fn end_line(&mut self) -> Line {
        self.thrown = 0;
        std::mem::replace(&mut self.line, Line::Unjudged)
    }

    /// Reads more, into room for at least so many bytes; `false` when the peer closed the channel.
    async fn fill(&mut self, room: usize) -> Result<bool, String> {
        if self.thrown > self.endless {
            return Err("the server writes a line without end".to_owned());
        }
        self.buffer.reserve(room);
        match self.input.read_buf(&mut self.buffer).await {
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(_) => Err("the server's output broke".to_owned()),
        }
    }

    fn ends(line: &Bytes) -> Incoming {
        let cut = KEPT.min(line.len());
        Incoming::Oversize {
            head: line.slice(..cut),
            tail: Some(line.slice(line.len() - cut..)),
        }
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> MessageReader for LineReader<R> {
    const ENDS_WITHIN: Duration = Duration::from_millis(250);

    async fn read(&mut self) -> Result<Option<Incoming>, String> {
        loop {
            let known_oversize = self.is_oversize();
            if let Some(incoming) = self.take() {
                match &incoming {
                    Incoming::Message(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
                    _ => return Ok(Some(incoming)),
                }
            }
            // The caller of a line that may never end need not wait for it: its head is told at
            // once, and the rest of it is nobody's.
            if let (false, Line::Oversize(head)) = (known_oversize, &self.line) {
                return Ok(Some(Incoming::Oversize {
                    head: head.clone(),
                    tail: None,
                }));
            }
            if matches!(self.line, Line::Unjudged) && self.buffer.len() > MAX_HELD {
                self.line = Line::Judged;
                self.searched = 0;
                return Ok(Some(Incoming::Beginning {
                    text: self.buffer.split().freeze(),
                    limit: self.limit,
                }));
            }
            if !self.fill(PIECE).await? {
                return Ok(None);
            }
        }
    }

    async fn read_part(&mut self) -> Result<Option<Chunk>, String> {
        if self.buffer.is_empty() && !self.fill(LONG_PIECE).await? {
            return Ok(None);
        }
        let end = memchr::memchr(b'\n', &self.buffer);
        let data = self.buffer.split_to(end.unwrap_or(self.buffer.len()));
        self.thrown += data.len() as u64;
        if end.is_some() {
            self.buffer.advance(1);
            self.end_line();
        }
        Ok(Some(Chunk {
            data: data.freeze(),
            is_last: end.is_some(),
        }))
    }

    fn take_back(&mut self, text: Bytes) {
        debug_assert!(self.buffer.is_empty(), "nothing was read since");
        // First, since it is a part of the same memory, which is taken back without a copy if it is whole.
        self.buffer = BytesMut::new();
        self.buffer = BytesMut::from(text);
        self.searched = self.buffer.len();
    }
}

#[cfg(test)]
mod tests;
