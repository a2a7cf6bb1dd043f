//! The owner of one local server (decision 14): `switchboard __init` starts it and ends all that it
//! started, when it is told to or when the gateway is gone.
//!
//! One process for each server, all the time: so one thread, no runtime, and hardly an allocation.
//! [`lifeline`] is what it and the gateway say to each other; `supervise` is its life; `children`
//! waits and signals; `exec` is the second step, which becomes the program. [`confinement`] is what is
//! to hold for the program, [`machine`] what can be (decision 15): `groups` and `tree` hold the tree
//! as a whole, `confine` is put on the second step.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

mod children;
mod confine;
pub mod confinement;
mod descriptors;
mod epilogue;
mod exec;
mod groups;
pub mod lifeline;
pub mod machine;
pub mod private_tmp;
mod supervise;
mod tree;

/// The argument that makes the program the owner of a server; its [`confinement`] follows, then
/// maybe [`EPILOGUE`], then [`PROGRAM`].
pub const INIT: &str = "__init";
/// The argument before what the owner runs last, once nothing of the tree is left. There follow an
/// exit code of the server with which it is not run, or `-`; the number of the command's arguments,
/// its program among them; and these.
pub const EPILOGUE: &str = "--epilogue";
/// The argument before the server's command, with which the owner's own arguments end.
pub const PROGRAM: &str = "--";
/// How long the epilogue may take.
pub const EPILOGUE_DEADLINE: Duration = Duration::from_secs(10);
/// The argument that makes the program become a server; its owner's process id, its confinement,
/// the folders of its groups and the server's command follow.
pub const EXEC: &str = "__exec";

/// Why a process could not be what its arguments ask of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// Standard input is no lifeline, or brought nothing.
    #[error("is started by the gateway alone: standard input is no lifeline ({0})")]
    NoLifeline(#[source] std::io::Error),
    /// The arguments are not those of the gateway.
    #[error("is started by the gateway alone: the arguments are others than its")]
    Arguments,
    /// The owner ended before the program began.
    #[error("the owner of the program is gone")]
    OwnerGone,
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was not possible.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl InitError {
    /// For `map_err`: what the system refused.
    fn on<E: Into<std::io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            doing,
            source: error.into(),
        }
    }

    /// The system's number for it.
    fn number(&self) -> i32 {
        match self {
            Self::NoLifeline(source) | Self::System { source, .. } => source.raw_os_error(),
            Self::Arguments | Self::OwnerGone => None,
        }
        .unwrap_or(rustix::io::Errno::IO.raw_os_error())
    }
}

/// Does what the arguments ask, if that is one of the two steps of a local server. Comes before
/// anything else in `main`: what is started first may leave threads and descriptors.
pub fn run(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let step = args.nth(1)?;
    let done = if step == INIT {
        supervise::supervise(&args.collect::<Vec<_>>())
    } else if step == EXEC {
        exec::exec(args)
    } else {
        return None;
    };
    Some(match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("switchboard {}: {error}", step.display());
            ExitCode::FAILURE
        }
    })
}
