//! What a call costs through Switchboard, beside a plain reverse proxy and beside the least that a
//! gateway of this kind could cost, in one run on one machine.
//!
//! `compare` starts everything that it measures on loopback, each part a process of its own. The
//! parts that are not programs of somebody else are hidden subcommands of this one: `backend`,
//! the MCP server that answers, and `floor`.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::fake::{Fake, Form, ServerEra};

mod accounting;
mod answer;
mod backend;
mod client;
mod compare;
mod connect;
mod field;
mod floor;
mod gateway;
mod instructions;
mod listener;
mod lists;
mod load;
mod memory;
mod open_loop;
mod overload;
mod peers;
mod process;
mod rate;
mod report;
mod rows;
mod run;
mod script;
mod startup;
mod storm;
mod subjects;
mod wire;

// The gateway's own allocator, so that the floor differs from it by what it does alone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a call costs through Switchboard.
#[derive(Parser)]
#[command(name = "switchboard-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure Switchboard beside nginx, the floor, other gateways and no gateway at all.
    Compare(compare::Options),
    /// Count the instructions of one call through Switchboard, with valgrind's callgrind.
    Instructions(instructions::Options),
    /// Let most of twenty servers go wrong at random, check every answer, and measure what that costs
    /// the callers of the others.
    Storm(storm::Options),
    /// Offer ten times what a gateway takes on at once, and measure what it still does.
    Overload(overload::Options),
    /// Answer as the MCP servers that everything is measured against.
    #[command(hide = true)]
    Backend(BackendOptions),
    /// Pass calls on with as little work as a gateway can do.
    #[command(hide = true)]
    Floor {
        /// Where to listen.
        #[arg(long)]
        listen: SocketAddr,
        /// Where the MCP server listens.
        #[arg(long)]
        backend: SocketAddr,
    },
}

#[derive(Args)]
struct BackendOptions {
    /// Where to listen; the path of a request says what it is made to.
    #[arg(long, required_unless_present = "stdio")]
    listen: Option<SocketAddr>,
    /// Be one server that is spoken to in lines.
    #[arg(long, conflicts_with = "listen")]
    stdio: bool,
    /// What that one speaks.
    #[arg(long, value_enum, default_value = "modern")]
    era: ServerEra,
    /// The bytes of its results.
    #[arg(long, default_value_t = 200)]
    result_bytes: usize,
    /// How many tools it lists.
    #[arg(long, default_value_t = 1)]
    tools: usize,
}

/// Why a run, or the part of it that concerns one subject, came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    /// Puts what was being done in front of an error.
    pub(crate) fn at<E: std::fmt::Display>(doing: &str) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{doing}: {error}"))
    }
}

// One thread: the load, the backend and the subject share the machine, and what this program
// takes for itself it takes from them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Compare(options) => until_interrupted(compare::run(&options)).await,
        Command::Instructions(options) => until_interrupted(instructions::run(&options)).await,
        Command::Storm(options) => until_interrupted(storm::run(&options)).await,
        Command::Overload(options) => until_interrupted(overload::run(&options)).await,
        Command::Backend(options) => serve_backend(&options).await.map(|()| true),
        Command::Floor { listen, backend } => floor::serve(listen, backend).await.map(|()| true),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("switchboard-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn serve_backend(options: &BackendOptions) -> Result<(), Failure> {
    if let Some(listen) = options.listen {
        return backend::serve(listen).await;
    }
    let fake = Fake {
        era: options.era,
        form: Form::Json,
        result_bytes: options.result_bytes,
        tools: options.tools,
    };
    if !fake.is_within_bounds() {
        return Err(Failure("that is too large".to_owned()));
    }
    backend::stdio::serve(fake)
}

/// Runs to the end, or until a signal asks to stop: then the run is dropped, and with it every
/// process that it started.
async fn until_interrupted(
    run: impl Future<Output = Result<bool, Failure>>,
) -> Result<bool, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::at("cannot listen for signals"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::select! {
        ended = run => return ended,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Err(Failure("interrupted".to_owned()))
}
