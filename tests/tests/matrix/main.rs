//! The matrix: every feature of the protocol, between clients and servers of either era, made with
//! every official SDK, through one gateway.
//!
//! The servers are the fixtures of `tests/real/fixture`, which offer the same with each SDK, and
//! `server-everything`. Each client runs one plan over all of them. The table in the README says
//! what came of it: run with `UPDATE=1` to write it anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};
use switchboard_tests::clients::Client;
use switchboard_tests::gateway::Gateway;
use switchboard_tests::waiting::until;
use tokio::task::JoinSet;

use crate::features::Feature;
use crate::servers::{Backend, Fleet};

mod caps;
mod everything;
mod exceptions;
mod features;
mod fixture;
mod servers;
mod table;

/// What a client saw, by the label of the step.
type Seen = BTreeMap<String, Value>;

const CLIENTS: [Client; 6] = [
    Client::TypeScript,
    Client::Python,
    Client::Rmcp,
    Client::TypeScriptLegacy,
    Client::PythonLegacy,
    Client::RmcpLegacy,
];

/// Whether a client is one of the modern era.
fn is_modern(client: Client) -> bool {
    matches!(client, Client::TypeScript | Client::Python | Client::Rmcp)
}

/// One feature between one client and one server, over one transport to the server.
#[derive(Clone, Copy)]
struct Cell {
    feature: Feature,
    client: Client,
    backend: Backend,
}

impl Cell {
    fn label(&self) -> String {
        format!("{} {:?}", self.backend.name(), self.feature)
    }

    /// What tells the traces of this client from those of others.
    fn tag(&self) -> String {
        format!("{:?}", self.client)
    }

    fn steps(&self) -> Vec<Value> {
        if self.backend.is_everything() {
            everything::steps(self)
        } else {
            fixture::steps(self)
        }
    }

    fn check(&self, seen: &Seen) -> Result<(), String> {
        if self.backend.is_everything() {
            everything::check(self, seen)
        } else {
            fixture::check(self, seen)
        }
    }
}

/// All cells there are, those included that are not tried.
fn possible() -> Vec<Cell> {
    let mut cells = Vec::new();
    for client in CLIENTS {
        for backend in Backend::all() {
            cells.extend(Feature::ALL.map(|feature| Cell {
                feature,
                client,
                backend,
            }));
        }
    }
    cells
}

/// Runs the cells of one client.
async fn run(url: &str, client: Client, cells: &[Cell]) -> Seen {
    let steps: Vec<Value> = cells
        .iter()
        .filter(|cell| cell.client == client)
        .flat_map(Cell::steps)
        .collect();
    client.run_answering(url, &json!(steps)).await
}

/// Runs all cells, and returns what each client saw.
async fn run_all(gateway: &Gateway, cells: &[Cell]) -> BTreeMap<Client, Seen> {
    let (alone, together): (Vec<Cell>, Vec<Cell>) =
        cells.iter().partition(|cell| cell.feature.is_alone());
    let mut seen: BTreeMap<Client, Seen> = BTreeMap::new();
    for client in CLIENTS {
        let saw = run(gateway.url(), client, &alone).await;
        seen.entry(client).or_default().extend(saw);
    }
    let mut running = JoinSet::new();
    for client in CLIENTS {
        let (url, cells) = (gateway.url().to_owned(), together.clone());
        running.spawn(async move { (client, run(&url, client, &cells).await) });
    }
    while let Some(ended) = running.join_next().await {
        let (client, saw) = ended.expect("every client runs its plan");
        seen.entry(client).or_default().extend(saw);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_reaches_every_server_with_every_feature() {
    let fleet = Fleet::start().await;
    let gateway = Gateway::start(json!({ "backends": fleet.config() })).await;
    gateway.wait_for_backends().await;

    let mut cells = possible();
    cells.retain(|cell| exceptions::reason(cell).is_none());

    let seen = run_all(&gateway, &cells).await;
    let mut failures = String::new();
    for cell in &cells {
        if let Err(why) = cell.check(&seen[&cell.client]) {
            let label = cell.label();
            let _ = writeln!(failures, "{:?} {label}: {why}", cell.client);
        }
    }
    assert!(failures.is_empty(), "\n{failures}");

    for cell in &cells {
        if cell.feature == Feature::Cancellation && !cell.backend.is_everything() {
            let expected = format!("cancelled {}", cell.tag());
            until(
                &format!("{expected} at {}", cell.backend.name()),
                async || {
                    let journal = fleet.folder(cell.backend).journal();
                    journal.contains(&expected).then_some(())
                },
            )
            .await;
        }
    }
    gateway.stop().await;
    fleet.stop().await;
    table::compare(&cells);
}
