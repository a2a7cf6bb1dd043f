//! `asking-server`: the server of [`switchboard_testkit::asking`] as a process.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use switchboard_testkit::asking::{AskingHttp, Options, serve_stdio};

/// A light MCP server that asks its client in the middle of calls.
#[derive(Parser)]
#[command(name = "asking-server")]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Serve HTTP at this address and say so on standard output; port 0 is any free one. Otherwise
    /// standard input and output are served.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
}

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(arguments));
    // A read of standard input that goes on would hold up an orderly end.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(arguments: Arguments) -> io::Result<()> {
    let Some(address) = arguments.http else {
        return serve_stdio(arguments.options, tokio::io::stdin(), tokio::io::stdout()).await;
    };
    let mut server = AskingHttp::bind(address, arguments.options).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {}", server.url())?;
    stdout.flush()?;
    server.wait().await
}
