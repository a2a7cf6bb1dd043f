//! What the gateway and the owner of a process say to each other: lines, and one descriptor.
//!
//! The lifeline is a pair of connected sockets. The owner's end is its standard input, so it is
//! inherited by nobody else and by no accident; the program's own standard input travels over it.
//! The gateway's end is closed by the kernel when the gateway is gone, whatever ended it.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The longest line that either says.
pub const MAX_LINE: usize = 64;

/// What the gateway says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Everything of the tree is asked to end.
    Term,
    /// Everything of the tree is ended.
    Kill,
}

impl Order {
    /// The line, with its end.
    #[must_use]
    pub const fn line(self) -> &'static str {
        match self {
            Self::Term => "term\n",
            Self::Kill => "kill\n",
        }
    }

    /// Reads a line, without its end.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        match line {
            b"term" => Some(Self::Term),
            b"kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// What a tree was ended for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It used more memory than it may.
    Memory,
    /// It started more processes than it may.
    Processes,
}

/// What the owner says. First one of [`Report::Started`] and [`Report::Failed`], then how the
/// program ended, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The program runs, as this process.
    Started(i32),
    /// The program does not run: the system's number for why.
    Failed(i32),
    /// A limit of its was the reason for the end that is said next.
    Exceeded(Limit),
    /// The program has ended. What it started may not have.
    Ended(End),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(pid) => writeln!(f, "started {pid}"),
            Self::Failed(number) => writeln!(f, "failed {number}"),
            Self::Exceeded(Limit::Memory) => writeln!(f, "exceeded memory"),
            Self::Exceeded(Limit::Processes) => writeln!(f, "exceeded processes"),
            Self::Ended(End::Exited(code)) => writeln!(f, "exited {code}"),
            Self::Ended(End::Signalled(signal)) => writeln!(f, "signalled {signal}"),
        }
    }
}

impl Report {
    /// Reads a line, with or without its end.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.trim_end().split_once(' ')?;
        match (word, number) {
            ("exceeded", "memory") => return Some(Self::Exceeded(Limit::Memory)),
            ("exceeded", "processes") => return Some(Self::Exceeded(Limit::Processes)),
            _ => {}
        }
        let number = number.parse().ok()?;
        Some(match word {
            "started" => Self::Started(number),
            "failed" => Self::Failed(number),
            "exited" => Self::Ended(End::Exited(number)),
            "signalled" => Self::Ended(End::Signalled(number)),
            _ => return None,
        })
    }
}

/// Sends a descriptor, to be taken by [`receive_descriptor`] before anything else is said.
///
/// # Errors
/// What the system says.
pub fn send_descriptor(socket: impl AsFd, descriptor: impl AsFd) -> io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A descriptor travels with at least one byte.
    sendmsg(
        socket,
        &[IoSlice::new(b"\n")],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Takes the descriptor that was sent. Does not wait: it is sent before there is anybody to take it.
///
/// # Errors
/// What the system says; `InvalidData` if something else was sent.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    let mut received = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    received
        .next()
        .and_then(|mut descriptors| descriptors.next())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for order in [Order::Term, Order::Kill] {
            assert_eq!(
                Order::parse(order.line().trim_end().as_bytes()),
                Some(order)
            );
        }
        for report in [
            Report::Started(i32::MAX),
            Report::Failed(2),
            Report::Exceeded(Limit::Memory),
            Report::Exceeded(Limit::Processes),
            Report::Ended(End::Exited(255)),
            Report::Ended(End::Signalled(9)),
        ] {
            let line = report.to_string();
            assert!(line.len() <= MAX_LINE && line.ends_with('\n'), "{line}");
            assert_eq!(Report::parse(&line), Some(report));
        }
    }

    #[test]
    fn a_descriptor_arrives_and_nothing_else_is_taken_for_one() {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        assert!(receive_descriptor(&theirs).is_err(), "nothing was sent");
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        send_descriptor(&ours, &writer).expect("sent");
        let received = receive_descriptor(&theirs).expect("received");
        std::fs::File::from(received)
            .write_all(b"through the other end")
            .expect("written");
        writer.write_all(b".").expect("written");
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "through the other end.");
        (&ours).write_all(b"term\n").expect("sent");
        let error = receive_descriptor(&theirs).expect_err("no descriptor");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_does_harm(line in ".{0,80}") {
            let _ = Report::parse(&line);
            let _ = Order::parse(line.as_bytes());
        }
    }
}
