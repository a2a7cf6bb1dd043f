//! What Prometheus does beside the calls: reads the metrics each second.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::Failure;
use crate::client::Connection;
use crate::script::Target;

/// How often the metrics are read.
const EVERY: Duration = Duration::from_secs(1);

/// Reads metrics until it is dropped.
pub(crate) struct Scraper(JoinHandle<()>);

impl Scraper {
    /// Reads `/metrics` at this address.
    pub(crate) fn start(ops: SocketAddr) -> Self {
        Self(tokio::spawn(async move {
            let mut ticks = interval(EVERY);
            loop {
                ticks.tick().await;
                // A listener that is not there yet, or not any more, is asked again.
                let _ = scrape(ops).await;
            }
        }))
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn scrape(ops: SocketAddr) -> Result<(), Failure> {
    let target = Target::new(ops, "/metrics".to_owned());
    let step = target.file(&target.path, 0)?;
    let mut connection = Connection::open(ops).await?;
    connection.ask_for_message(&step).await?;
    Ok(())
}
