//! `faulty-server`: the server of [`switchboard_testkit::fake_stdio`] as a process.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use switchboard_testkit::fake_stdio::{Options, lingering, serve};
use tokio::signal::unix::{SignalKind, signal};

/// An MCP server over standard input and output with faults to choose from.
#[derive(Parser)]
#[command(name = "faulty-server")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Serve nothing and stay.
    #[arg(long, hide = true)]
    lingers: bool,
}

fn main() -> io::Result<ExitCode> {
    let Arguments { options, lingers } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        // As long as somebody listens for it, the signal ends nothing.
        let _ignored = options
            .ignore_sigterm
            .then(|| signal(SignalKind::terminate()))
            .transpose()?;
        if lingers {
            lingering::linger(&options).await;
            return Ok(0);
        }
        io::Result::Ok(serve(options, tokio::io::stdin(), tokio::io::stdout()).await)
    })?;
    // A read of standard input that goes on would hold up an orderly end.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}
