//! A storm: many servers that go wrong at random behind one gateway, and clients that check every
//! answer that they get.
//!
//! [`Storm::ride`] makes a calm run first, then lets everything go wrong, then sees whether all is
//! well again. What goes wrong comes from one seed. Some servers stay well all the time: what their
//! callers wait in the storm, beside the calm run, is what the others cost them.
//!
//! Whoever starts the gateway, with [`Storm::gateway_config`], is no part of this: a test and a
//! program do that in different ways.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::fake::Era;
use crate::fault::FaultServer;

mod caller;
mod footprint;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;
mod weather;

pub use self::footprint::Footprint;
pub use self::tally::{Group, Tally};
pub use self::verdict::Violations;

use self::caller::{Made, Plan};

/// How many servers there are.
pub const SERVERS: usize = 20;
/// How many of them stay well, the first ones.
const WELL: usize = 6;
/// How many clients call those that stay well, and how many the others.
const CLIENTS: [(Group, usize); 2] = [(Group::Well, 8), (Group::Ill, 24)];

/// The timeout of a server that goes wrong, which is the deadline of its calls.
const ILL_DEADLINE: Duration = Duration::from_secs(1);
/// That of one that stays well: not even a busy machine makes its calls last so long.
const WELL_DEADLINE: Duration = Duration::from_secs(15);
/// How long after its deadline a call may still be answered: what a busy machine needs.
const SLACK: Duration = Duration::from_secs(10);
/// How long all servers may take until they are usable: at the start, and after the storm.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long the servers may take until they have nothing to do any more.
const QUIET_LIMIT: Duration = Duration::from_secs(20);

/// A gateway that runs with [`Storm::gateway_config`].
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Its MCP endpoint.
    pub url: &'a str,
    /// Where its metrics are.
    pub metrics_url: &'a str,
}

/// The servers of a storm.
#[derive(Debug)]
pub struct Storm {
    seed: u64,
    servers: Vec<FaultServer>,
}

/// How a ride ended.
#[derive(Debug)]
pub struct Outcome {
    /// The calls of the calm run.
    pub calm: Tally,
    /// The calls of the storm.
    pub storm: Tally,
    /// How long it took after the storm until every server was usable again.
    pub recovered_in: Duration,
    /// What the gateway held after the calm run.
    pub before: Footprint,
    /// What it held in the end.
    pub after: Footprint,
    /// What must not be and was.
    pub violations: Violations,
}

impl Storm {
    /// Starts the servers, three of four of the modern era.
    pub async fn gather(seed: u64) -> Self {
        let mut servers = Vec::with_capacity(SERVERS);
        for at in 0..SERVERS {
            let label = match at {
                ..WELL => format!("well-{at}"),
                _ => format!("ill-{at}"),
            };
            let era = if at % 4 == 3 {
                Era::Legacy
            } else {
                Era::Modern
            };
            servers.push(FaultServer::start(&label, era).await);
        }
        Self { seed, servers }
    }

    /// The configuration of the gateway, without the addresses that it listens at.
    pub fn gateway_config(&self) -> Value {
        let groups = [(Group::Well, self.well()), (Group::Ill, self.ill())];
        let servers = groups
            .iter()
            .flat_map(|(group, servers)| servers.iter().map(|server| (*group, server)));
        let backends: Map<String, Value> = servers
            .map(|(group, server)| {
                let config = json!({
                    "url": server.url(),
                    "timeout": format!("{}ms", deadline(group).as_millis()),
                    "trust_annotations": true,
                    // Seconds must do for what takes minutes elsewhere.
                    "breaker": { "open_for": "200ms", "max_open_for": "1s" },
                    "health": { "interval": "500ms", "slow_start": "1s" },
                });
                (server.label().to_owned(), config)
            })
            .collect();
        json!({ "backends": backends })
    }

    /// Calls for `calm`, then for `storm` while the ill servers go wrong, then sees what is left of
    /// it. Takes about two minutes longer at the most.
    pub async fn ride(&self, gateway: Gateway<'_>, calm: Duration, storm: Duration) -> Outcome {
        let mut violations = Violations::default();
        self.until_usable(gateway, &mut violations).await;

        let calm = self.call_for(gateway, "calm", calm).await;
        self.until_quiet().await;
        let before = Footprint::of(gateway).await;

        let (storm, ()) = tokio::join!(
            self.call_for(gateway, "storm", storm),
            weather::storm(self.ill(), self.seed, storm),
        );
        let recovered_in = self.until_usable(gateway, &mut violations).await;

        self.until_quiet().await;
        for made in calm.iter().chain(&storm) {
            violations.judge(made, &self.servers);
        }
        // As many connections as there are clients and servers may be idle still.
        let idle = CLIENTS.iter().map(|(_, clients)| clients).sum::<usize>() + SERVERS;
        let after = Footprint::once_within(&before.with_room(idle), gateway, &mut violations).await;
        Outcome {
            calm: Tally::of(&calm),
            storm: Tally::of(&storm),
            recovered_in,
            before,
            after,
            violations,
        }
    }

    fn well(&self) -> &[FaultServer] {
        &self.servers[..WELL]
    }

    fn ill(&self) -> &[FaultServer] {
        &self.servers[WELL..]
    }

    /// Has all clients call for so long, and gives what they made of it.
    async fn call_for(&self, gateway: Gateway<'_>, run: &str, time: Duration) -> Vec<Made> {
        let end = Instant::now() + time;
        let mut random = Rng::with_seed(self.seed);
        let mut callers = Vec::new();
        for (group, clients) in CLIENTS {
            let servers = match group {
                Group::Well => self.well(),
                Group::Ill => self.ill(),
            };
            for client in 0..clients {
                let plan = Plan::new(group, servers, format!("{run}-{group:?}-{client}"));
                callers.push(caller::call_until(end, gateway.url, plan, random.fork()));
            }
        }
        let made = futures_util::future::join_all(callers).await;
        made.into_iter().flatten().collect()
    }

    /// Waits until every server answers a call, and says how long that took.
    async fn until_usable(&self, gateway: Gateway<'_>, violations: &mut Violations) -> Duration {
        let began = Instant::now();
        let client = Client::new(gateway.url);
        for server in &self.servers {
            let usable = async {
                while !caller::is_usable(&client, server).await {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let left = READY_LIMIT.saturating_sub(began.elapsed());
            if timeout(left, usable).await.is_err() {
                let label = server.label();
                violations.add(format!("{label} is not usable within {READY_LIMIT:?}"));
            }
        }
        began.elapsed()
    }

    /// Waits until no server has anything to do: then what was sent has arrived.
    async fn until_quiet(&self) {
        let quiet = async {
            while self.servers.iter().any(|server| server.in_flight() > 0) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        // One that is kept busy by a call that nobody waits for shows in the footprint.
        let _ = timeout(QUIET_LIMIT, quiet).await;
    }
}

/// When a call to one of these servers has to be answered.
fn deadline(group: Group) -> Duration {
    match group {
        Group::Well => WELL_DEADLINE,
        Group::Ill => ILL_DEADLINE,
    }
}
