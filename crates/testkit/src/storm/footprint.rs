//! What a gateway holds, by its own metrics.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::time::sleep;

use super::{Gateway, Violations};
use crate::client::{Client, Draft};

/// How long a gateway may take until it holds no more than it should: connections to servers are
/// closed after they were idle for 20 s.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// How much more memory it may hold after a storm: what an allocator keeps, and nothing that grows
/// with the number of calls. After storms of 4 s and of a minute it was less than 5 MiB.
const MEMORY_ROOM: f64 = 32.0 * 1024.0 * 1024.0;

/// What a gateway holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Footprint {
    /// Its resident memory in bytes.
    pub memory: f64,
    /// Its open file descriptors.
    pub descriptors: f64,
    /// Its tasks.
    pub tasks: f64,
}

impl Footprint {
    /// What it holds right now.
    ///
    /// # Panics
    ///
    /// If it has no metrics.
    pub async fn of(gateway: Gateway<'_>) -> Self {
        let client = Client::new(gateway.metrics_url);
        let draft = Draft {
            verb: Method::GET,
            uri: client.endpoint().clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let text = client.send(draft).await.finish().await.raw;
        let sample = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once(' '));
            let mut values = lines.filter(|(found, _)| *found == name);
            let value = values.next().and_then(|(_, value)| value.parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        Self {
            memory: sample("process_resident_memory_bytes"),
            descriptors: sample("process_open_fds"),
            tasks: sample("switchboard_tasks"),
        }
    }

    /// The most that a gateway may hold that held this, with so many idle connections more.
    pub(super) fn with_room(self, connections: usize) -> Self {
        let connections = connections as f64;
        Self {
            memory: self.memory + MEMORY_ROOM,
            descriptors: self.descriptors + connections,
            tasks: self.tasks + connections,
        }
    }

    fn is_within(self, most: &Self) -> bool {
        self.memory <= most.memory
            && self.descriptors <= most.descriptors
            && self.tasks <= most.tasks
    }

    /// What the gateway holds once that is no more than this, or after a minute.
    pub(super) async fn once_within(
        most: &Self,
        gateway: Gateway<'_>,
        violations: &mut Violations,
    ) -> Self {
        let began = Instant::now();
        loop {
            let now = Self::of(gateway).await;
            if now.is_within(most) {
                return now;
            }
            if began.elapsed() > SETTLE_LIMIT {
                violations.add(format!("{now:?} is held, and {most:?} allowed"));
                return now;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}
