//! `switchboard serve`.

use std::fmt::Write as _;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use switchboard_backends::Backend;
use switchboard_backends::status::State;
use switchboard_gateway::Gateway;
use switchboard_init::private_tmp::{self, Abandoned};
use switchboard_orchestrator::Orchestrator;
use switchboard_telemetry::Metrics;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use url::{Host, Url};

use self::config_watcher::{ConfigWatcher, Watched};
use super::{counted, failed, load, misused, print};

mod config_watcher;

/// Where the endpoint is, below the address.
const ENDPOINT: &str = "/mcp";

/// How long the first screen waits for backends that start.
const FIRST_SCREEN: Duration = Duration::from_secs(10);

/// Runs the gateway until it is told to end.
pub(crate) async fn run(files: &[PathBuf], listen: Option<String>) -> ExitCode {
    let loaded = match load(files, listen.clone()) {
        Ok(loaded) => loaded,
        Err(errors) => return misused(&errors.to_string()),
    };
    let metrics = match Metrics::new() {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => return failed(&format!("cannot set up metrics: {error}")),
    };
    let telemetry = match switchboard_telemetry::init(&loaded.config.telemetry, &metrics) {
        Ok(guard) => guard,
        Err(error) => return misused(&error.to_string()),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    for line in loaded.downloads.log_lines() {
        tracing::warn!("{line}");
    }
    let shutdown = match shutdown_signal() {
        Ok(shutdown) => shutdown,
        Err(error) => return failed(&format!("cannot wait for signals: {error}")),
    };
    // Before anything is started: the signal ends a process that does not listen to it.
    let hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return failed(&format!("cannot wait for signals: {error}")),
    };
    let watched = Watched::new(loaded.watched()).await;
    let is_watching = loaded.config.server.watch_config;
    raise_file_limit();
    remove_abandoned_folders();
    let needs_key = loaded.config.auth.is_some();
    let public_url = loaded.config.server.public_url.clone();
    let begun = SystemTime::now();
    let started = Gateway::start(
        loaded.config,
        Arc::clone(&metrics),
        telemetry.sampler(),
        telemetry.log_control(),
    );
    let mut gateway = match started.await {
        Ok(gateway) => gateway,
        Err(error) => return failed(&error.to_string()),
    };
    let screen = match gateway.url() {
        Ok(url) => first_screen(&gateway, &url, public_url.as_ref(), needs_key, begun),
        Err(error) => return failed(&format!("the listener has no address: {error}")),
    };
    let watcher = ConfigWatcher {
        sources: files.to_vec(),
        listen,
        watched,
        is_watching,
        hangups,
        requests: gateway.take_reload_requests(),
        reloader: gateway.reloader(),
        metrics,
    };
    let beside = async { tokio::join!(screen, watcher.run()).1 };
    let running = gateway.run(shutdown);
    tokio::select! {
        () = running => {}
        never = beside => match never {},
    }
    ExitCode::SUCCESS
}

/// Takes as many open files as the system grants: every connection is one, and the usual limit of
/// 1,024 is for programs without any.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Removes what local servers left in their private folders for temporary files when their owner was
/// killed. Nobody waits for it.
fn remove_abandoned_folders() {
    let started = thread::Builder::new()
        .name("abandoned".to_owned())
        .spawn(|| {
            let Abandoned { found, removed } = private_tmp::remove_abandoned();
            if found > removed {
                tracing::warn!(
                    found,
                    removed,
                    "folders for temporary files of servers that are gone stay in {}",
                    std::env::temp_dir().display()
                );
            } else if found > 0 {
                tracing::info!(
                    removed,
                    "removed folders for temporary files of servers that are gone"
                );
            }
        });
    if let Err(error) = started {
        tracing::debug!(%error, "abandoned folders for temporary files stay");
    }
}

/// Resolves at SIGTERM or SIGINT.
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Says what is listening at once, and what is behind it as soon as that is known.
fn first_screen(
    gateway: &Gateway,
    url: &str,
    public_url: Option<&Url>,
    needs_key: bool,
    begun: SystemTime,
) -> impl Future<Output = ()> + use<> {
    let from_here = reached_from_here(url);
    let for_clients = public_url.and_then(|public| public.join(ENDPOINT).ok());
    let for_clients = for_clients.map_or_else(|| from_here.clone(), String::from);
    let mut head = format!(
        "\nswitchboard {}\n\n  endpoint  {url}\n",
        env!("CARGO_PKG_VERSION")
    );
    if let Some(ops) = gateway.ops_address() {
        let _ = writeln!(
            head,
            "  ops       http://{ops}/metrics  (also /healthz, /readyz)"
        );
    }
    let _ = match gateway.admin_url() {
        Some(url) => writeln!(head, "  admin     {url}  (switchboard backends)"),
        None => writeln!(
            head,
            "  admin     none: no keys in admin.api_keys, or it is off"
        ),
    };
    print(&head);
    let orchestrator = gateway.orchestrator().clone();
    async move {
        orchestrator.known(Instant::now() + FIRST_SCREEN).await;
        let mut screen = backends(&orchestrator, begun);
        screen.push_str(&how_to_begin(&for_clients, &from_here, needs_key));
        print(&screen);
    }
}

/// The address at which the gateway is reached on this machine: one that stands for all is none to call.
fn reached_from_here(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return url.to_owned();
    };
    let loopback = match parsed.host() {
        Some(Host::Ipv4(ip)) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        Some(Host::Ipv6(ip)) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
        _ => return url.to_owned(),
    };
    match parsed.set_ip_host(loopback) {
        Ok(()) => parsed.into(),
        Err(()) => url.to_owned(),
    }
}

/// What to do with a gateway that runs: `for_clients` is where those of others find it, `from_here` where
/// this machine does.
fn how_to_begin(for_clients: &str, from_here: &str, needs_key: bool) -> String {
    let (credential, key) = if needs_key {
        (" --header \"Authorization: Bearer KEY\"", " --api-key KEY")
    } else {
        ("", "")
    };
    format!(
        "\n  Add it to a client, for example:\n    claude mcp add --transport http switchboard {for_clients}{credential}\n  Or try it from another terminal:\n    switchboard tools --url {from_here}{key}\n\n"
    )
}

fn backends(orchestrator: &Orchestrator, begun: SystemTime) -> String {
    let mut out = String::from("\n  backends\n");
    let all = orchestrator.backends();
    let width = all
        .iter()
        .map(|backend| backend.name().len())
        .max()
        .unwrap_or(0);
    for backend in &all {
        let _ = writeln!(
            out,
            "    {:width$}  {}",
            backend.name(),
            describe(backend, begun)
        );
    }
    if width == 0 {
        out.push_str("    none configured\n");
    }
    out
}

fn describe(backend: &Backend, begun: SystemTime) -> String {
    let status = backend.status();
    let Some(lists) = backend.lists() else {
        return format!("{}: {}", status.state.as_str(), status.told_operators());
    };
    let offers = [
        counted(lists.tools.len(), "tool"),
        counted(lists.resources.len() + lists.templates.len(), "resource"),
        counted(lists.prompts.len(), "prompt"),
    ];
    let took = status.since.duration_since(begun).unwrap_or_default();
    let state = match status.state {
        State::Ready => format!("ready in {:.1} s", took.as_secs_f64()),
        other => format!("{}: {}", other.as_str(), status.told_operators()),
    };
    let version = lists.server.version;
    format!(
        "{:6} {}  {}  {state}",
        version.era().as_str(),
        version.as_str(),
        offers.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_called_by_loopback() {
        for (listens, called) in [
            ("http://0.0.0.0:8080/mcp", "http://127.0.0.1:8080/mcp"),
            ("https://[::]:8443/mcp", "https://[::1]:8443/mcp"),
            ("http://10.0.0.7:8080/mcp", "http://10.0.0.7:8080/mcp"),
        ] {
            assert_eq!(reached_from_here(listens), called);
        }
    }
}
