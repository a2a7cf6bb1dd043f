//! The gateway's word that it still works, for somebody who notices when it stops coming (a dead
//! man's switch): a metric, and a URL that is called.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use reqwest::redirect::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use switchboard_backends::config::{duration, parse_url};
use switchboard_orchestrator::Orchestrator;
use switchboard_telemetry::Metrics;
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use url::Url;

/// How long everything may take to answer in a round.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call of the URL may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How the gateway shows that it still works.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// What is called by GET after each health round that was completed: `http` or `https`.
    #[serde(deserialize_with = "deserialize_url")]
    #[schemars(with = "Option<String>", extend("format" = "http-url"))]
    pub url: Option<Url>,
    /// The time between two health rounds: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "30s"))]
    pub interval: Duration,
}

impl Default for HeartbeatConfig {
    fn default() -> Self {
        Self {
            url: None,
            interval: Duration::from_secs(30),
        }
    }
}

fn deserialize_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| parse_url(&text).map_err(de::Error::custom))
        .transpose()
}

/// Goes round, in the task of whoever polls [`Heartbeat::beat`].
pub(crate) struct Heartbeat {
    interval: Duration,
    /// Who is told of each completed round.
    target: Option<Target>,
    /// Where calls run: that of the catalogue, and those of the workers.
    runtimes: Vec<Handle>,
    metrics: Arc<Metrics>,
    orchestrator: Orchestrator,
}

/// A URL that is called.
pub(crate) struct Target {
    url: Url,
    client: reqwest::Client,
}

impl Target {
    /// That of the configuration, if there is one.
    ///
    /// # Errors
    /// If there is nothing to call it with: no TLS.
    pub(crate) fn new(config: &HeartbeatConfig) -> Result<Option<Self>, reqwest::Error> {
        let Some(url) = config.url.clone() else {
            return Ok(None);
        };
        let client = reqwest::Client::builder()
            .timeout(CALL_TIMEOUT)
            // The operator named a URL, and not whatever that leads to.
            .redirect(Policy::none())
            .build()?;
        Ok(Some(Self { url, client }))
    }

    async fn call(&self) -> Result<(), String> {
        let request = self.client.get(self.url.clone());
        // The URL is a secret where it alone says whose heartbeat it is.
        let sent = request.send().await.map_err(reqwest::Error::without_url);
        let status = sent.map_err(|error| error.to_string())?.status();
        if !status.is_success() {
            return Err(format!("it is answered with HTTP status {status}"));
        }
        Ok(())
    }
}

impl Heartbeat {
    pub(crate) fn new(
        interval: Duration,
        target: Option<Target>,
        runtimes: impl Iterator<Item = Handle>,
        metrics: &Arc<Metrics>,
        orchestrator: &Orchestrator,
    ) -> Self {
        metrics.set_health_round_interval(interval);
        Self {
            interval,
            target,
            runtimes: runtimes.collect(),
            metrics: Arc::clone(metrics),
            orchestrator: orchestrator.clone(),
        }
    }

    /// Goes round for ever.
    pub(crate) async fn beat(&self) {
        let mut rounds = interval(self.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut completes, mut is_heard) = (true, true);
        loop {
            rounds.tick().await;
            let completed = all_answer(&self.runtimes, &self.orchestrator).await;
            if completed != completes {
                completes = completed;
                match completed {
                    true => tracing::info!("health rounds are completed again"),
                    false => tracing::error!("a health round was not completed"),
                }
            }
            if !completed {
                continue;
            }
            self.metrics.health_round_completed();
            let Some(target) = &self.target else {
                continue;
            };
            let heard = target.call().await;
            if heard.is_ok() != is_heard {
                is_heard = heard.is_ok();
                match heard {
                    Ok(()) => tracing::info!("the heartbeat is heard again"),
                    Err(error) => tracing::warn!(%error, "the heartbeat is not heard"),
                }
            }
        }
    }
}

/// Whether every thread that serves calls takes a task in time, and every backend tells its status.
async fn all_answer(runtimes: &[Handle], orchestrator: &Orchestrator) -> bool {
    let orchestrator = orchestrator.clone();
    let threads = runtimes.iter().map(|runtime| runtime.spawn(async {}));
    let answers = async {
        try_join_all(threads).await?;
        tokio::spawn(async move {
            orchestrator
                .backends()
                .iter()
                .for_each(|it| drop(it.status()))
        })
        .await
    };
    matches!(timeout(ROUND_TIMEOUT, answers).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    use switchboard_orchestrator::Parts;
    use switchboard_protocol::token::Sealer;

    #[tokio::test(start_paused = true)]
    async fn a_round_with_a_thread_that_hangs_is_not_completed() {
        let sealer = Sealer::with_random_key().expect("a key");
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let orchestrator = Orchestrator::start(Parts::new(sealer, metrics));
        let here = Handle::current();
        assert!(all_answer(std::slice::from_ref(&here), &orchestrator).await);
        let hanging = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime that nobody runs");
        assert!(!all_answer(&[here, hanging.handle().clone()], &orchestrator).await);
        hanging.shutdown_background();
    }
}
