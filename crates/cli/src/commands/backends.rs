//! `switchboard backends`: what runs behind a gateway, and its restart, through the admin API.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use tokio::time::{Instant, sleep};
use url::Url;

use self::admin::{Admin, Backend};
use self::table::Table;
use super::client::visible;
use super::{failed, has_default_file, load_only, misused, print};

mod admin;
mod table;

/// How often the table is drawn again.
const EVERY: Duration = Duration::from_secs(1);
/// How long a backend may take to start until it is left to itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Has a terminal forget what it shows, and begin at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Where the admin API is unless the configuration says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8081";

/// What to do with the backends.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Begin a backend anew: its processes are ended and started again, a connection is made again.
    /// Calls in it fail. One that was left alone, since it failed too often, is tried again.
    Restart {
        /// Its name in the configuration.
        name: String,
    },
}

/// Which gateway, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The address of the admin API; without it that of the configuration (server.admin_listen), or
    /// http://127.0.0.1:8081 where there is none.
    #[arg(long, value_name = "URL", env = "SWITCHBOARD_ADMIN_URL", global = true)]
    url: Option<Url>,
    /// A key of admin.api_keys. Rather give it in the environment: others on this machine can read
    /// the arguments of a command.
    #[arg(
        long,
        value_name = "KEY",
        env = "SWITCHBOARD_ADMIN_KEY",
        hide_env_values = true,
        global = true
    )]
    key: Option<String>,
    /// A configuration file, which is read only for the address, so that its other variables need not be
    /// set; as with `serve`.
    #[arg(short = 'c', long = "config", value_name = "FILE", global = true)]
    files: Vec<PathBuf>,
    /// Draw the table again each second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// The form of what is printed.
    #[arg(long, value_enum, default_value_t, global = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people.
    #[default]
    Text,
    /// What the admin API says; with --watch a line each time.
    Json,
}

/// Prints the backends, or restarts one.
pub(crate) async fn run(action: Option<Action>, options: &Options) -> ExitCode {
    let url = match options.url.clone().map_or_else(|| configured(options), Ok) {
        Ok(url) => url,
        Err(message) => return misused(&message),
    };
    let admin = match Admin::new(url, options.key.as_deref()) {
        Ok(admin) => admin,
        Err(message) => return misused(&message),
    };
    match action {
        None if options.watch => watch(&admin, options.format).await,
        None => list(&admin, options.format).await,
        Some(Action::Restart { .. }) if options.watch => {
            misused("--watch does not go with `restart`")
        }
        Some(Action::Restart { name }) => restart(&admin, &name, options.format).await,
    }
}

/// The address that the configuration says; that of a gateway on this machine if there is none.
fn configured(options: &Options) -> Result<Url, String> {
    if options.files.is_empty() && !has_default_file() {
        return Ok(DEFAULT_URL.parse().expect("an address"));
    }
    let loaded = load_only(
        &options.files,
        &[&["server", "admin_listen"], &["server", "tls"]],
    )
    .map_err(|errors| format!("{errors}\n(with --url no configuration is read)"))?;
    if !loaded.sections.contains("admin") {
        return Err(NO_KEYS.to_owned());
    }
    let server = loaded.config.server;
    let Some(mut address) = server.admin_listen.address() else {
        return Err("`server.admin_listen` is `off`, so there is no admin API".to_owned());
    };
    if address.port() == 0 {
        return Err(
            "`server.admin_listen` has port 0, which is another one each time: give --url with \
             the address that `switchboard serve` says"
                .to_owned(),
        );
    }
    let scheme = match server.is_encrypted_at(address) {
        true => "https",
        false => "http",
    };
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Url::parse(&format!("{scheme}://{address}")).map_err(|error| error.to_string())
}

/// What to add where there is no admin API.
const NO_KEYS: &str = "\
the configuration has no keys in `admin.api_keys`, so the gateway opens no admin API. Make a key:
    export SWITCHBOARD_ADMIN_KEY=$(openssl rand -hex 32)
    printf %s \"$SWITCHBOARD_ADMIN_KEY\" | sha256sum | cut -d' ' -f1
and add what the second line prints to the configuration:
    admin:
      api_keys: [{ name: ops, key_sha256: \"...\" }]
then start the gateway again";

async fn list(admin: &Admin, format: Format) -> ExitCode {
    match admin.backends().await {
        Ok((backends, raw)) => {
            print(&match format {
                Format::Text => Table::default().draw(&backends),
                Format::Json => format!("{raw:#}\n"),
            });
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

/// Draws until Ctrl-C, or until nobody reads it any more. What fails later than at first is said and
/// tried again: a gateway may be restarted meanwhile.
async fn watch(admin: &Admin, format: Format) -> ExitCode {
    let is_terminal = std::io::stdout().is_terminal();
    let mut table = Table::default();
    let mut has_drawn = false;
    let drawing = async {
        loop {
            let text = match (admin.backends().await, format) {
                (Ok((backends, _)), Format::Text) => {
                    let text = table.draw(&backends);
                    let clear = if is_terminal { CLEAR } else { "" };
                    format!("{clear}{text}")
                }
                (Ok((_, raw)), Format::Json) => format!("{raw}\n"),
                (Err(message), _) if !has_drawn => return failed(&message),
                (Err(message), _) => {
                    let _ = writeln!(std::io::stderr(), "switchboard: {message}");
                    String::new()
                }
            };
            has_drawn = true;
            let mut out = std::io::stdout().lock();
            if out.write_all(text.as_bytes()).is_err() || out.flush().is_err() {
                return ExitCode::SUCCESS;
            }
            drop(out);
            sleep(EVERY).await;
        }
    };
    tokio::select! {
        code = drawing => code,
        _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
    }
}

/// Restarts a backend and waits until it is there again.
async fn restart(admin: &Admin, name: &str, format: Format) -> ExitCode {
    let deadline = Instant::now() + PATIENCE;
    let mut state = admin.restart(name).await;
    loop {
        let (backend, raw) = match state {
            Ok(state) => state,
            Err(message) => return failed(&message),
        };
        if backend.is_starting() && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            state = admin.backend(name).await;
            continue;
        }
        return told(&backend, &raw, format);
    }
}

fn told(backend: &Backend, raw: &serde_json::Value, format: Format) -> ExitCode {
    if format == Format::Json {
        print(&format!("{raw:#}\n"));
    }
    let (name, state) = (visible(&backend.name), visible(&backend.state));
    if !matches!(&*backend.state, "ready" | "degraded") {
        return failed(&format!("{name} is {state}: {}", visible(&backend.reason)));
    }
    if format == Format::Text {
        let pids = backend.pids().map(|pid| pid.to_string());
        let pids = pids.collect::<Vec<_>>().join(", ");
        let process = match pids.is_empty() {
            true => String::new(),
            false => format!(", process {pids}"),
        };
        print(&format!("{name} is {state}{process}\n"));
    }
    ExitCode::SUCCESS
}
