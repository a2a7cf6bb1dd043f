//! The owner's life: start the program, wait, look what its tree uses, end what is left.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Pid, Signal, getpid, set_child_subreaper};
use rustix::stdio::{dup2_stderr, dup2_stdout, stdin};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::children::{Children, list};
use crate::confinement::{Confinement, Sampled};
use crate::epilogue::Epilogue;
use crate::groups::Groups;
use crate::lifeline::{End, Limit, MAX_LINE, Order, Report, receive_descriptor, send_descriptor};
use crate::private_tmp::PrivateTmp;
use crate::tree;
use crate::{EXEC, InitError};

/// How long what is left may take to end by itself once the gateway or the program is gone.
const GRACE: Duration = Duration::from_secs(2);
/// How often is looked for new children while the tree ends: nothing tells of a process that
/// loses its parent.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// How often is looked what the tree uses, where no control group counts it, and where one does
/// whether the kernel has ended a process of it for its memory.
const SAMPLE: Duration = Duration::from_secs(1);

/// Owns the program until nothing of its tree is left.
pub(crate) fn supervise(arguments: &[OsString]) -> Result<ExitCode, InitError> {
    crate::descriptors::close_inherited();
    let (confinement, arguments) = arguments.split_first().ok_or(InitError::Arguments)?;
    let confinement = Confinement::from_argument(confinement).ok_or(InitError::Arguments)?;
    let (epilogue, program) = Epilogue::split(arguments).ok_or(InitError::Arguments)?;
    let input = receive_descriptor(stdin()).map_err(InitError::NoLifeline)?;
    match start(confinement, program, input) {
        Ok(owner) => {
            let (end, child_ended) = owner.run()?;
            if let Some(epilogue) = epilogue {
                epilogue.run(end, &child_ended);
            }
            Ok(exit_code(end))
        }
        Err(error) => {
            report(Report::Failed(error.number()));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What the owner holds while its program runs.
struct Owner {
    program: Pid,
    children: Children,
    child_ended: UnixStream,
    told_to_end: UnixStream,
    /// Closed when the program has begun, or brings the number of why it has not.
    beginning: Option<UnixStream>,
    /// Whether the gateway is there.
    is_held: bool,
    /// What of a line has come.
    line: Vec<u8>,
    /// When what is left is ended.
    kill_at: Option<Instant>,
    is_ending: bool,
    end: Option<End>,
    /// What is looked at each second, and when next.
    sampled: Sampled,
    sample_at: Instant,
    /// Removed when nothing of the tree is left.
    groups: Groups,
    _tmp: Option<PrivateTmp>,
}

/// Starts the second step, which becomes the program.
fn start(
    mut confinement: Confinement,
    program: &[OsString],
    input: OwnedFd,
) -> Result<Owner, InitError> {
    set_child_subreaper(Some(getpid())).map_err(InitError::on("adopt orphans"))?;
    // Before there is anybody who could end.
    let child_ended = signals(&[SIGCHLD])?;
    let told_to_end = signals(&[SIGTERM, SIGINT, SIGHUP, SIGQUIT])?;
    let sockets = UnixStream::pair();
    let (beginning, theirs) = sockets.map_err(InitError::on("make a socket"))?;
    send_descriptor(&beginning, input).map_err(InitError::on("pass standard input on"))?;
    let groups = Groups::make(&confinement.groups)?;
    let mut command = Command::new("/proc/self/exe");
    let tmp = private_tmp(&mut confinement, &mut command)?;
    let argument = confinement.to_argument();
    let child = command
        .arg0("switchboard")
        .arg(EXEC)
        .arg(getpid().as_raw_nonzero().to_string())
        .arg(argument.map_err(|_| InitError::Arguments)?)
        .args(groups.folders())
        .args(program)
        .stdin(OwnedFd::from(theirs))
        .process_group(0)
        .spawn()
        .map_err(InitError::on("start the second step"))?;
    // It holds an end of the socket that is to close with the second step.
    drop(command);
    // Held here, the pipes would not end with the program.
    let nowhere = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(InitError::on("open /dev/null"))?;
    dup2_stdout(&nowhere).map_err(InitError::on("let standard output go"))?;
    dup2_stderr(&nowhere).map_err(InitError::on("let standard error go"))?;
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let program = id.ok_or(InitError::Arguments)?;
    Ok(Owner {
        program,
        children: Children::of(program),
        child_ended,
        told_to_end,
        beginning: Some(beginning),
        is_held: true,
        line: Vec::with_capacity(MAX_LINE),
        kill_at: None,
        is_ending: false,
        end: None,
        sampled: confinement.sampled,
        sample_at: Instant::now() + SAMPLE,
        groups,
        _tmp: tmp,
    })
}

/// Makes the program's own folder for temporary files, if it is to have one.
fn private_tmp(
    confinement: &mut Confinement,
    command: &mut Command,
) -> Result<Option<PrivateTmp>, InitError> {
    let Some(sandbox) = confinement.sandbox.as_mut().filter(|s| s.private_tmp) else {
        return Ok(None);
    };
    let tmp = PrivateTmp::make()?;
    sandbox.write.push(tmp.path().to_owned());
    command.env("TMPDIR", tmp.path());
    Ok(Some(tmp))
}

/// A socket that becomes readable when one of these signals has come.
fn signals(signals: &[i32]) -> Result<UnixStream, InitError> {
    let sockets = UnixStream::pair();
    let (reader, writer) = sockets.map_err(InitError::on("make a socket"))?;
    reader
        .set_nonblocking(true)
        .map_err(InitError::on("make a socket"))?;
    for signal in signals {
        let writer = writer.try_clone().map_err(InitError::on("copy a socket"))?;
        pipe::register(*signal, writer).map_err(InitError::on("wait for a signal"))?;
    }
    Ok(reader)
}

impl Owner {
    /// Returns once nothing of the tree is left: how the program ended, and what tells of children.
    fn run(mut self) -> Result<(Option<End>, UnixStream), InitError> {
        loop {
            let seen = self.children.look();
            // Of a program that has ended it is known whether it had begun.
            self.hear_beginning();
            if let Some(end) = seen.program {
                self.program_ended(end);
            }
            if seen.none_left {
                return Ok((self.end, self.child_ended));
            }
            self.look_at_usage();
            if self.kill_at.is_some_and(|at| at <= Instant::now()) {
                self.kill_at = None;
                self.children.end_with(Signal::KILL);
                continue;
            }
            self.wait()?;
            drain(&self.child_ended);
            if drain(&self.told_to_end) {
                self.end_within(GRACE);
            }
            self.hear_gateway();
        }
    }

    /// Waits until something happens, or is due.
    fn wait(&self) -> Result<(), InitError> {
        let mut watched = vec![
            PollFd::from_borrowed_fd(self.child_ended.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.told_to_end.as_fd(), PollFlags::IN),
        ];
        let beginning = self.beginning.as_ref().map(AsFd::as_fd);
        let lifeline: Option<BorrowedFd<'_>> = self.is_held.then(stdin);
        for descriptor in beginning.into_iter().chain(lifeline) {
            watched.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        }
        let until_tick = self.is_ending.then_some(TICK);
        let until_kill = self
            .kill_at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let until_sample = self
            .is_sampled()
            .then(|| self.sample_at.saturating_duration_since(Instant::now()));
        let timeouts = until_tick.into_iter().chain(until_kill).chain(until_sample);
        let timeout = timeouts.min();
        let timeout = timeout.map(Timespec::try_from).and_then(Result::ok);
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(InitError::on("wait")(error)),
        }
    }

    /// Asks everything to end, and ends it after this.
    fn end_within(&mut self, grace: Duration) {
        let at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
        self.terminate();
    }

    fn terminate(&mut self) {
        if !std::mem::replace(&mut self.is_ending, true) {
            self.children.end_with(Signal::TERM);
        }
    }

    /// Whether there is something to look at each second.
    fn is_sampled(&self) -> bool {
        !self.sampled.is_nothing() || self.groups.count_oom_kills()
    }

    /// Tells of a process that the kernel ended for its memory, while the program may go on; ends a
    /// tree that uses more than it may: at once, since it may not listen, and uses more with every
    /// moment.
    fn look_at_usage(&mut self) {
        if !self.is_sampled() || self.sample_at > Instant::now() {
            return;
        }
        self.sample_at = Instant::now() + SAMPLE;
        self.tell_oom_kills();
        if let Some(limit) = tree::over(self.sampled, list()) {
            // Told once.
            self.sampled = Sampled::default();
            report(Report::Exceeded(limit));
            self.is_ending = true;
            self.children.end_with(Signal::KILL);
        }
    }

    fn tell_oom_kills(&mut self) {
        if self.groups.ran_out_of_memory() {
            report(Report::Exceeded(Limit::Memory));
        }
    }

    fn program_ended(&mut self, end: End) {
        self.end = Some(end);
        self.tell_oom_kills();
        report(Report::Ended(end));
        // What it left behind serves nobody any more.
        self.end_within(GRACE);
    }

    fn hear_beginning(&mut self) {
        let Some(beginning) = &mut self.beginning else {
            return;
        };
        let mut text = [0; MAX_LINE];
        let flags = RecvFlags::DONTWAIT;
        match recv(&*beginning, &mut text, flags) {
            Ok((_, 0)) => report(Report::Started(self.program.as_raw_nonzero().get())),
            Ok((_, length)) => {
                let number = std::str::from_utf8(&text[..length]).ok();
                let number = number.and_then(|number| number.trim_end().parse().ok());
                let unknown = Errno::IO.raw_os_error();
                report(Report::Failed(number.unwrap_or(unknown)));
            }
            Err(Errno::AGAIN | Errno::INTR) => return,
            // What was sent to a program that died before it took it is lost with it.
            Err(error) => report(Report::Failed(error.raw_os_error())),
        }
        self.beginning = None;
    }

    /// Takes what the gateway says; that it is gone is the last of it.
    fn hear_gateway(&mut self) {
        while self.is_held {
            let mut bytes = [0; MAX_LINE];
            match recv(stdin(), &mut bytes, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.gateway_gone(),
                Ok((_, length)) => bytes[..length].iter().for_each(|byte| self.hear(*byte)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.gateway_gone(),
            }
        }
    }

    fn gateway_gone(&mut self) {
        self.is_held = false;
        self.end_within(GRACE);
    }

    fn hear(&mut self, byte: u8) {
        if byte != b'\n' {
            if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
            return;
        }
        match Order::parse(&self.line) {
            Some(Order::Term) => self.terminate(),
            Some(Order::Kill) => {
                self.is_ending = true;
                self.children.end_with(Signal::KILL);
            }
            None => {}
        }
        self.line.clear();
    }
}

/// Tells the gateway; one that is gone, or does not listen, is not waited for.
fn report(report: Report) {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let _ = send(stdin(), report.to_string().as_bytes(), flags);
}

/// Whether something has come.
pub(crate) fn drain(mut socket: &UnixStream) -> bool {
    let mut bytes = [0; MAX_LINE];
    let mut came = false;
    loop {
        match socket.read(&mut bytes) {
            Ok(1..) => came = true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return came,
        }
    }
}

/// The program's own code, in the way of shells where a signal ended it.
fn exit_code(end: Option<End>) -> ExitCode {
    let code = match end {
        Some(End::Exited(code)) => code,
        Some(End::Signalled(signal)) => 128 + signal,
        None => return ExitCode::FAILURE,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
