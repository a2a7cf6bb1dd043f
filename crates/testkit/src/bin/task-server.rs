//! `task-server`: the server of [`switchboard_testkit::fake_tasks`] as a process.

use clap::Parser;
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_tasks::{TaskServer, serve};

/// An MCP server over standard input and output whose calls are answered later.
#[derive(Parser)]
#[command(name = "task-server")]
struct Arguments {
    /// Which era to speak.
    #[arg(long, default_value = "modern")]
    era: Era,
    /// A name that every result repeats.
    #[arg(long, default_value = "tasks")]
    label: String,
}

fn main() -> std::io::Result<()> {
    let Arguments { era, label } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let server = TaskServer::new(era, &label);
    runtime.block_on(serve(server, tokio::io::stdin(), tokio::io::stdout()));
    // A read of standard input that goes on would hold up an orderly end.
    runtime.shutdown_background();
    Ok(())
}
