//! The processes that are the owner's own: waited for, and signalled only until then.
//!
//! Whoever loses its parent below the owner becomes its child, so ending the children until there
//! are none ends the tree. The list of children is only where to look: a number in it is signalled
//! after the kernel has confirmed that it is a child that has not been reaped, and nobody else
//! reaps.

use std::fs;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpgid, getpid, kill_process,
    kill_process_group, waitid,
};

use crate::lifeline::End;

/// How often the list is gone through before the next event is waited for: it may leave out some
/// while others end.
const PASSES: usize = 16;

/// The tree below this process.
pub(crate) struct Children {
    /// The program, which leads a process group of its own; `None` once it is reaped.
    program: Option<Pid>,
    /// That group, whose number is no other's as long as a child is in it.
    group: Pid,
    /// Whether it was asked to end.
    is_group_told: bool,
    /// What children are sent.
    signal: Option<Signal>,
    /// Those that SIGTERM was sent to: a second one means haste to many programs.
    told: Vec<Pid>,
}

/// What became of the children.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The program has ended, just now.
    pub(crate) program: Option<End>,
    /// There are no children any more, and so nothing below.
    pub(crate) none_left: bool,
}

impl Children {
    pub(crate) fn of(program: Pid) -> Self {
        Self {
            program: Some(program),
            group: program,
            is_group_told: false,
            signal: None,
            told: Vec::new(),
        }
    }

    /// Sends this to all children from now on, and to the program's process group.
    pub(crate) fn end_with(&mut self, signal: Signal) {
        if self.signal != Some(Signal::KILL) {
            self.signal = Some(signal);
            self.signal_group();
        }
    }

    /// Reaps those that have ended and signals the others, if they are to end.
    pub(crate) fn look(&mut self) -> Seen {
        let mut seen = Seen::default();
        for _ in 0..PASSES {
            for child in list() {
                if let Some(end) = self.look_at(child) {
                    seen.program = Some(end);
                }
            }
            match waitid(WaitId::All, ended(WaitIdOptions::NOWAIT)) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    seen.none_left = error == Errno::CHILD;
                    break;
                }
            }
        }
        seen
    }

    /// How the program ended, if that is it and it has.
    fn look_at(&mut self, child: Pid) -> Option<End> {
        match waitid(WaitId::Pid(child), ended(WaitIdOptions::NOWAIT)) {
            Ok(Some(status)) => {
                let is_program = self.program == Some(child);
                if is_program {
                    // What it leaves behind serves nobody any more.
                    self.signal.get_or_insert(Signal::TERM);
                    // The last moment at which the number of the group is certainly its own.
                    self.signal_group();
                    self.program = None;
                }
                let _ = waitid(WaitId::Pid(child), ended(WaitIdOptions::empty()));
                self.told.retain(|told| *told != child);
                is_program.then(|| end(&status))
            }
            Ok(None) => {
                self.signal(child);
                None
            }
            // Not a child.
            Err(_) => None,
        }
    }

    /// Signals a child that has not been reaped.
    fn signal(&mut self, child: Pid) {
        let Some(signal) = self.signal else { return };
        if signal == Signal::KILL {
            let _ = kill_process(child, signal);
        } else if !self.is_told(child) {
            self.told.push(child);
            let _ = kill_process(child, signal);
            // One that is stopped would never hear of it.
            let _ = kill_process(child, Signal::CONT);
        }
    }

    fn is_told(&self, child: Pid) -> bool {
        let in_group = || getpgid(Some(child)).is_ok_and(|group| group == self.group);
        self.told.contains(&child) || (self.is_group_told && in_group())
    }

    /// Signals the program's process group, while its leader is not reaped; SIGTERM once.
    fn signal_group(&mut self) {
        let (Some(signal), Some(program)) = (self.signal, self.program) else {
            return;
        };
        if signal == Signal::KILL || !std::mem::replace(&mut self.is_group_told, true) {
            let _ = kill_process_group(program, signal);
        }
        if signal != Signal::KILL {
            let _ = kill_process_group(program, Signal::CONT);
        }
    }
}

fn ended(options: WaitIdOptions) -> WaitIdOptions {
    options | WaitIdOptions::EXITED | WaitIdOptions::NOHANG
}

fn end(status: &WaitIdStatus) -> End {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => End::Exited(code),
        (None, Some(signal)) => End::Signalled(signal),
        (None, None) => End::Exited(0),
    }
}

/// The children of this process, which has one thread.
pub(crate) fn list() -> Vec<Pid> {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(children) => children.split_ascii_whitespace().filter_map(pid).collect(),
        // Not every kernel is built with that file.
        Err(_) => search(getpid()),
    }
}

/// The children of any process, of all its threads.
pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let threads = format!("/proc/{}/task", parent.as_raw_nonzero());
    let mut found = Vec::new();
    for thread in fs::read_dir(threads).into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(children) => {
                found.extend(children.split_ascii_whitespace().filter_map(pid));
            }
            // Gone meanwhile, or a kernel without that file.
            Err(_) if thread.path().exists() => return search(parent),
            Err(_) => {}
        }
    }
    found
}

/// The children of a process, found among all.
fn search(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| {
            let child = pid(entry.ok()?.file_name().to_str()?)?;
            let stat = fs::read_to_string(format!(
                "/proc/{child}/stat",
                child = child.as_raw_nonzero()
            ))
            .ok()?;
            // The name, in parentheses, may hold anything.
            let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
            (fields.nth(1).and_then(pid)? == parent).then_some(child)
        })
        .collect()
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}
