//! Many clients at once, as a closed loop: each asks again when it was answered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Failure;
use crate::client::Client;
use crate::script::{Script, Target};

/// The longest that one load may take.
pub(crate) const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// Clients with one script, which outlive a load.
pub(crate) struct Clients {
    target: Target,
    script: Script,
    /// Empty before they are opened, and after a load that failed.
    open: Vec<Client>,
    count: usize,
}

/// What a load took.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// From before the first call to after the last answer.
    pub(crate) elapsed: Duration,
    /// Of each call in nanoseconds, in rising order.
    latencies: Vec<u64>,
}

impl Loaded {
    /// Of calls that were answered within these times, in nanoseconds.
    pub(crate) fn new(elapsed: Duration, mut latencies: Vec<u64>) -> Self {
        latencies.sort_unstable();
        Self { elapsed, latencies }
    }

    /// The latency that this share of the calls, between 0 and 1, did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let rank = (share * last as f64).round() as usize;
        Duration::from_nanos(self.latencies.get(rank).copied().unwrap_or_default())
    }
}

impl Clients {
    /// So many clients, none of them connected yet.
    pub(crate) fn new(target: Target, script: Script, count: usize) -> Self {
        Self {
            target,
            script,
            open: Vec::with_capacity(count),
            count,
        }
    }

    /// Connects those that are not connected, or not any more.
    ///
    /// # Errors
    /// If one of them is refused.
    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        for client in &mut self.open {
            client.reopen(&self.target).await?;
        }
        while self.open.len() < self.count {
            self.open
                .push(Client::open(&self.target, &self.script).await?);
        }
        Ok(())
    }

    /// Makes so many calls in all, one at a time on each connection.
    ///
    /// # Errors
    /// At the first call that is not answered as it should be, or after `limit`.
    pub(crate) async fn closed_loop(
        &mut self,
        calls: u64,
        limit: Duration,
    ) -> Result<Loaded, Failure> {
        let taken = Arc::new(AtomicU64::new(0));
        self.run(calls, limit, move |client| {
            call_until_done(client, Arc::clone(&taken), calls)
        })
        .await
    }

    /// Lets every client work at once, and puts the latencies that each returns together.
    ///
    /// # Errors
    /// As the work of any of them, or after `limit`.
    pub(crate) async fn run<F>(
        &mut self,
        calls: u64,
        limit: Duration,
        mut work: impl FnMut(Client) -> F,
    ) -> Result<Loaded, Failure>
    where
        F: Future<Output = Result<(Client, Vec<u64>), Failure>> + Send + 'static,
    {
        let start = Instant::now();
        let mut working: JoinSet<_> = self.open.drain(..).map(&mut work).collect();
        let mut latencies = Vec::with_capacity(usize::try_from(calls).unwrap_or_default());
        let all = async {
            while let Some(ended) = working.join_next().await {
                let (client, took) = ended.map_err(Failure::at("a client's task failed"))??;
                self.open.push(client);
                latencies.extend(took);
            }
            Ok(())
        };
        timeout(limit, all)
            .await
            .map_err(|_| Failure(format!("{calls} calls took longer than {limit:?}")))??;
        Ok(Loaded::new(start.elapsed(), latencies))
    }
}

async fn call_until_done(
    mut client: Client,
    taken: Arc<AtomicU64>,
    calls: u64,
) -> Result<(Client, Vec<u64>), Failure> {
    let mut latencies = Vec::new();
    loop {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= calls {
            return Ok((client, latencies));
        }
        let start = Instant::now();
        client.call(number).await?;
        latencies.push(nanoseconds(start.elapsed()));
    }
}

/// A duration as a number, cut at 580 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_calls() {
        let loaded = Loaded::new(Duration::from_secs(1), (1..=101).rev().collect());
        assert_eq!(loaded.quantile(0.5), Duration::from_nanos(51));
        assert_eq!(loaded.quantile(0.99), Duration::from_nanos(100));
        assert_eq!(loaded.quantile(1.0), Duration::from_nanos(101));
        let none = Loaded::new(Duration::ZERO, Vec::new());
        assert_eq!(none.quantile(0.5), Duration::ZERO);
    }
}
