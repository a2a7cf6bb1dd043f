//! What is done last: removing what the tree made that is not of it, such as a container.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use crate::children::Children;
use crate::lifeline::End;
use crate::supervise::{TICK, drain};
use crate::{EPILOGUE, EPILOGUE_DEADLINE, PROGRAM};

/// A command to run once nothing of the tree is left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Epilogue<'a> {
    /// With this exit code, or a higher one, which is a signal's, the program may have made nothing.
    unless: Option<i32>,
    command: &'a [OsString],
}

impl<'a> Epilogue<'a> {
    /// Parts the owner's own arguments from the program's command; `None` if they are not such.
    pub(crate) fn split(arguments: &'a [OsString]) -> Option<(Option<Self>, &'a [OsString])> {
        let (first, mut rest) = arguments.split_first()?;
        let mut epilogue = None;
        if first == EPILOGUE {
            let [unless, count, more @ ..] = rest else {
                return None;
            };
            let count: usize = count.to_str()?.parse().ok()?;
            let unless = match unless.to_str()? {
                "-" => None,
                code => Some(code.parse().ok()?),
            };
            let (command, more) = more.split_at_checked(count)?;
            epilogue = Some(Self { unless, command });
            let (end, more) = more.split_first()?;
            if end != PROGRAM || command.is_empty() {
                return None;
            }
            rest = more;
        } else if first != PROGRAM {
            return None;
        }
        (!rest.is_empty()).then_some((epilogue, rest))
    }

    /// Runs it, and ends it and what it started when its time is over. Nobody could be told that it
    /// failed: the gateway may be gone.
    pub(crate) fn run(&self, end: Option<End>, child_ended: &UnixStream) {
        // Ended before it said so, it may have made nothing either.
        let is_needless = match (end, self.unless) {
            (Some(End::Exited(code)), Some(unless)) => code >= unless,
            (_, Some(_)) => true,
            (_, None) => false,
        };
        let Some((program, args)) = self.command.split_first().filter(|_| !is_needless) else {
            return;
        };
        let started = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn();
        let id = started
            .ok()
            .and_then(|child| i32::try_from(child.id()).ok());
        let Some(id) = id.and_then(Pid::from_raw) else {
            return;
        };
        let mut children = Children::of(id);
        let deadline = Instant::now() + EPILOGUE_DEADLINE;
        while !children.look().none_left {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                children.end_with(Signal::KILL);
            }
            let mut watched = [PollFd::from_borrowed_fd(child_ended.as_fd(), PollFlags::IN)];
            let timeout = Timespec::try_from(left.max(TICK).min(EPILOGUE_DEADLINE)).ok();
            let _ = poll(&mut watched, timeout.as_ref());
            drain(child_ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exit code without an epilogue and its command, and the program's.
    fn split(arguments: &[&str]) -> Option<(Option<i32>, String, String)> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let text = |arguments: &[OsString]| {
            let texts = arguments.iter().map(|text| text.to_string_lossy());
            texts.collect::<Vec<_>>().join(" ")
        };
        let (epilogue, program) = Epilogue::split(&arguments)?;
        let unless = epilogue.as_ref().and_then(|epilogue| epilogue.unless);
        let command = epilogue.map(|epilogue| text(epilogue.command));
        Some((unless, command.unwrap_or_default(), text(program)))
    }

    #[test]
    fn the_program_is_what_stands_behind_the_owners_own() {
        let program = ["--", "sh", "--epilogue"];
        for (own, unless, command) in [
            (&[][..], None, ""),
            (&["--epilogue", "-", "2", "rm", "--"], None, "rm --"),
            (&["--epilogue", "125", "1", "rm"], Some(125), "rm"),
        ] {
            let found = split(&[own, &program].concat());
            let program = "sh --epilogue".to_owned();
            assert_eq!(found, Some((unless, command.to_owned(), program)));
        }
    }

    #[test]
    fn other_arguments_start_nothing() {
        for wrong in [
            &[][..],
            &["--"],
            &["sh"],
            &["--epilogue"],
            &["--epilogue", "-", "1"],
            &["--epilogue", "-", "0", "--", "sh"],
            &["--epilogue", "-", "9", "rm", "--", "sh"],
            &["--epilogue", "-", "-1", "rm", "--", "sh"],
            &["--epilogue", "no", "1", "rm", "--", "sh"],
            &["--epilogue", "-", "1", "rm", "sh"],
            &["--epilogue", "-", "1", "rm", "--"],
        ] {
            assert_eq!(split(wrong), None, "{wrong:?}");
        }
    }
}
