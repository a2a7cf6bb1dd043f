//! The `switchboard` command.

mod commands;
mod config;
mod examples;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands::runners::Preparation;
use crate::commands::{audit, backends, check, client, health, serve};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One MCP address for a team.
#[derive(Debug, Parser)]
#[command(
    name = "switchboard",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve {
        #[command(flatten)]
        sources: Sources,
        /// Listen here instead of at `server.listen`.
        #[arg(long, value_name = "ADDR")]
        listen: Option<String>,
    },
    /// Validate the configuration; with --connect start every backend and list what it offers; with
    /// --as and --can say whether somebody may use something, and why: the exit code is 0 if so, 1 if
    /// not.
    Check {
        #[command(flatten)]
        sources: Sources,
        /// Start every backend, and warn of what does not fit what they offer.
        #[arg(long)]
        connect: bool,
        /// Before that, fetch what `npx`, `uvx` and `docker run` start, so that nobody waits for it
        /// later. Each may take 10 minutes.
        #[arg(long, requires = "connect")]
        warm: bool,
        /// Before that, write the versions that these would start now, where the configuration says
        /// none, to `switchboard.lock` beside it; `serve` and `check` start these from then on.
        #[arg(long, requires = "connect")]
        pin: bool,
        /// The form of the report.
        #[arg(long, value_enum, default_value_t)]
        format: check::Format,
        #[command(flatten)]
        question: check::Question,
    },
    /// List the tools of a running gateway, or of any modern MCP server.
    Tools {
        #[command(flatten)]
        server: client::Server,
    },
    /// Call a tool and print its answer.
    Call {
        /// The tool's name.
        name: String,
        /// The arguments, a JSON object.
        #[arg(value_name = "JSON", default_value = "{}")]
        arguments: String,
        /// Print the whole result as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: client::Server,
    },
    /// Show what runs behind a gateway, or restart it, through its admin API.
    Backends {
        #[command(subcommand)]
        action: Option<backends::Action>,
        #[command(flatten)]
        options: backends::Options,
    },
    /// Search what the gateway has noted of calls (the section `audit` of the configuration).
    Audit {
        #[command(flatten)]
        options: audit::Options,
    },
    /// Ask whether the gateway on this machine is well: the exit code is 0 if so, 1 if not. For
    /// whoever watches over containers.
    Health {
        #[command(flatten)]
        options: health::Options,
    },
    /// Run one of the built-in example servers: notes, toolbox. Over standard input and output, or
    /// over HTTP with --listen.
    ExampleServer {
        /// Its name.
        name: String,
        /// Serve HTTP at this address, under /mcp. Anybody who reaches it may call it.
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
        /// A name that clients reach it by, beside localhost and the address; may repeat.
        #[arg(long = "allowed-host", value_name = "NAME", requires = "listen")]
        allowed_hosts: Vec<String>,
    },
    /// Print the reference of the configuration as Markdown.
    #[command(hide = true)]
    ConfigReference,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Sources {
    /// A configuration file (YAML, TOML, JSON, or a client's mcpServers JSON); may repeat, later
    /// files win. Without one: switchboard.{yaml,toml,json} here, in the user's config folder, in
    /// /etc/switchboard.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = switchboard_init::run(std::env::args_os()) {
        return code;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return commands::failed(&format!("cannot start: {error}")),
    };
    runtime.block_on(async {
        match cli.command {
            Command::Serve { sources, listen } => serve::run(&sources.files, listen).await,
            Command::Check {
                sources,
                connect,
                warm,
                pin,
                format,
                question,
            } => {
                if let Some(name) = &question.can {
                    return check::can(&sources.files, name, &question, format);
                }
                let preparation = Preparation { warm, pin };
                check::run(&sources.files, connect, preparation, format).await
            }
            Command::Tools { server } => client::tools(&server).await,
            Command::Call {
                name,
                arguments,
                json,
                server,
            } => client::call(&server, &name, &arguments, json).await,
            Command::Backends { action, options } => backends::run(action, &options).await,
            Command::Audit { options } => audit::run(options).await,
            Command::Health { options } => health::run(&options).await,
            Command::ExampleServer {
                name,
                listen,
                allowed_hosts,
            } => {
                let ended = match listen {
                    None => examples::run(&name).await,
                    Some(address) => examples::over_http(&name, address, allowed_hosts).await,
                };
                match ended {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(error @ examples::ExampleError::Unknown { .. }) => {
                        commands::misused(&error.to_string())
                    }
                    Err(error) => commands::failed(&error.to_string()),
                }
            }
            Command::ConfigReference => {
                commands::print(&config::reference_markdown());
                ExitCode::SUCCESS
            }
        }
    })
}
