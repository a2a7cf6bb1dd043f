//! `conformance-server`: the server of [`switchboard_testkit::conformance`] as a process.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use switchboard_testkit::conformance::{Era, HttpServer, serve_stdio};

/// An MCP server with the fixtures of the official conformance suite and controls for tests.
#[derive(Parser)]
#[command(name = "conformance-server")]
struct Arguments {
    #[command(flatten)]
    transport: Transport,
    /// Which protocol versions to speak: modern, legacy or both.
    #[arg(long, default_value = "both")]
    era: Era,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Transport {
    /// Serve streamable HTTP at this address and say so on standard output; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Serve standard input and output.
    #[arg(long)]
    stdio: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> io::Result<()> {
    let Some(address) = arguments.transport.http else {
        return serve_stdio(arguments.era).await;
    };
    let server = HttpServer::bind(address, arguments.era).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", server.url())?;
    stdout.flush()?;
    server.wait().await
}
