//! The connection to a Redis: whether it answers, and how it comes back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, RedisError,
    ServerErrorKind,
};
use switchboard_telemetry::{StoreFailure, StoreMetrics};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::cause::{self, cause_of};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many requests may wait to be written.
const PIPELINE: usize = 1024;

/// How long a probe's key is kept, in milliseconds.
const PROBE_KEPT_MS: u32 = 10_000;

/// Why Redis gave no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It does not answer, or not as it should, or takes no writes: nobody is to ask it for a while.
    /// Why, in a label and in a sentence.
    Away(StoreFailure, &'static str),
    /// It does not take this one: what stands under a key is not ours, its user may not run the script,
    /// the keys are on several nodes. Whether it is away says that not.
    /// Why, in a sentence.
    Request(&'static str),
}

/// A connection that works as far as is known.
pub(crate) struct Up(MultiplexedConnection);

pub(crate) struct Link {
    client: Client,
    up: ArcSwapOption<Up>,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    probe_key: String,
    pub(crate) lost: Arc<Notify>,
    metrics: Option<StoreMetrics>,
    /// What is said when it is away.
    loss: &'static str,
    pub(crate) runtime: Handle,
}

impl Link {
    pub(crate) fn new(
        client: Client,
        timeout: Duration,
        prefix: &str,
        metrics: Option<StoreMetrics>,
        loss: &'static str,
    ) -> Self {
        if let Some(metrics) = &metrics {
            metrics.set_up(false);
        }
        Self {
            client,
            up: ArcSwapOption::empty(),
            timeout,
            probe_key: format!("{prefix}probe"),
            lost: Arc::default(),
            metrics,
            loss,
            runtime: Handle::current(),
        }
    }

    /// Its host and port, or the path of its socket, without the user and the password.
    pub(crate) fn address(&self) -> &ConnectionAddr {
        self.client.get_connection_info().addr()
    }

    /// The connection, unless Redis is away.
    pub(crate) fn up(&self) -> Option<Arc<Up>> {
        self.up.load_full()
    }

    /// Connects, sees whether Redis takes writes, and loads these scripts: one that had to be loaded
    /// first would run behind that of the next call.
    pub(crate) async fn connect(&self, scripts: &[&redis::Script]) -> Result<(), Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // Each answer has a time of its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        let connected = match timeout(CONNECT_TIMEOUT, connecting).await {
            Err(_) => Err(Failure::Away(StoreFailure::Timeout, cause::TIMEOUT)),
            Ok(connected) => connected.map_err(|error| failure_of(&error)),
        };
        let up = match connected {
            Ok(connection) => Arc::new(Up(connection)),
            Err(failure) => return Err(self.count(failure)),
        };
        self.probe(&up).await?;
        for script in scripts {
            let mut connection = up.0.clone();
            let asked = async move { script.load_async(&mut connection).await };
            self.answer(&up, asked).await?;
        }
        self.up.store(Some(up));
        if let Some(metrics) = &self.metrics {
            metrics.set_up(true);
        }
        Ok(())
    }

    /// Whether Redis takes writes.
    pub(crate) async fn probe(&self, up: &Arc<Up>) -> Result<(), Failure> {
        let mut command = redis::cmd("SET");
        command
            .arg(&self.probe_key)
            .arg(1)
            .arg("PX")
            .arg(PROBE_KEPT_MS);
        let mut connection = up.0.clone();
        let asked = async move { command.query_async::<()>(&mut connection).await };
        self.answer(up, asked).await
    }

    /// Runs a script, for as long as an answer may take.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        up: &Arc<Up>,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, Failure> {
        let mut connection = up.0.clone();
        let asked = async move { script.invoke_async(&mut connection).await };
        self.answer(up, asked).await
    }

    /// Runs a command, for as long as an answer may take.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        up: &Arc<Up>,
        command: redis::Cmd,
    ) -> Result<T, Failure> {
        let mut connection = up.0.clone();
        let asked = async move { command.query_async(&mut connection).await };
        self.answer(up, asked).await
    }

    async fn answer<T>(
        &self,
        up: &Arc<Up>,
        asked: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Failure> {
        let failure = match timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => failure_of(&error),
            Err(_) => Failure::Away(StoreFailure::Timeout, cause::TIMEOUT),
        };
        Err(self.fail(up, failure))
    }

    /// Notes that an answer was none, and asks no more over this connection if that says that Redis is
    /// away.
    pub(crate) fn fail(&self, up: &Arc<Up>, failure: Failure) -> Failure {
        let failure = self.count(failure);
        if matches!(failure, Failure::Request(_)) {
            return failure;
        }
        let before = self.up.compare_and_swap(up, None);
        if before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, up))
        {
            if let Some(metrics) = &self.metrics {
                metrics.set_up(false);
            }
            self.warn_of(failure);
            self.lost.notify_one();
        }
        failure
    }

    /// Says in the log that it is away, and why.
    pub(crate) fn warn_of(&self, failure: Failure) {
        tracing::warn!(
            address = %self.address(),
            reason = failure.as_str(),
            cause = failure.cause(),
            "{}",
            self.loss
        );
    }

    fn count(&self, failure: Failure) -> Failure {
        if let Some(metrics) = &self.metrics {
            metrics.failed(match failure {
                Failure::Away(reason, _) => reason,
                Failure::Request(_) => StoreFailure::Answer,
            });
        }
        failure
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client's own form has the address, and so perhaps a password.
        let is_up = self.up.load().is_some();
        f.debug_struct("Link")
            .field("is_up", &is_up)
            .finish_non_exhaustive()
    }
}

fn failure_of(error: &RedisError) -> Failure {
    let cause = cause_of(error);
    let reason = match error.kind() {
        _ if error.is_timeout() => StoreFailure::Timeout,
        ErrorKind::Server(
            ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot | ServerErrorKind::NoPerm,
        ) => return Failure::Request(cause),
        ErrorKind::Extension if error.code() == Some("WRONGTYPE") => {
            return Failure::Request(cause);
        }
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
            StoreFailure::Refused
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => StoreFailure::Answer,
        _ => StoreFailure::Connection,
    };
    Failure::Away(reason, cause)
}
