//! A gateway with a configuration of its own, for measurements that stand alone.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::sleep;

use crate::Failure;
use crate::connect::connect;
use crate::process::Process;

/// How long the gateway may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often it is tried whether it does.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Starts a gateway that serves clients and probes at these two addresses, and waits until it
/// listens.
///
/// # Errors
/// If it does not, with what it said.
pub(crate) async fn start(
    mut config: Value,
    switchboard: &Path,
    dir: &Path,
    [listen, ops]: [SocketAddr; 2],
) -> Result<Process, Failure> {
    config["server"]["listen"] = json!(listen);
    config["server"]["ops_listen"] = json!(ops);
    let file = dir.join("switchboard.json");
    fs::write(&file, config.to_string()).map_err(Failure::at("cannot write its configuration"))?;
    let mut command = Command::new(switchboard);
    command.args(["serve", "-c"]).arg(file);
    let mut gateway = Process::start(command, &dir.join("log"))?;
    let began = Instant::now();
    while let Err(failure) = connect(listen).await {
        if let Some(ended) = gateway.ended() {
            return Err(ended);
        }
        if began.elapsed() > START_LIMIT {
            return Err(failure);
        }
        sleep(ASK_EVERY).await;
    }
    Ok(gateway)
}
