//! Changing what is logged while the program runs.

use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::Registry;

use crate::config::parse_filter;
use crate::logs::FilterHandle;

/// Changes what is logged. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: nothing is logged that could be changed.
    filter: Option<FilterHandle<Registry>>,
    levels: Mutex<LogLevels>,
}

/// What is logged, each in the form of `telemetry.log.level`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// What the configuration says.
    pub configured: String,
    /// What is in force.
    pub current: String,
}

/// Why what is logged is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogControlError {
    /// It is no filter.
    #[error("it {0}")]
    Filter(String),
    /// The log has ended, or was never begun.
    #[error("there is no log")]
    NoLog,
}

impl LogControl {
    /// One of a log that there is not.
    #[must_use]
    pub fn none() -> Self {
        Self::new(None, "off")
    }

    pub(crate) fn of(filter: FilterHandle<Registry>, configured: &str) -> Self {
        Self::new(Some(filter), configured)
    }

    fn new(filter: Option<FilterHandle<Registry>>, configured: &str) -> Self {
        Self(Arc::new(Inner {
            filter,
            levels: Mutex::new(LogLevels {
                configured: configured.to_owned(),
                current: configured.to_owned(),
            }),
        }))
    }

    /// What is logged now.
    #[must_use]
    pub fn levels(&self) -> LogLevels {
        self.0.levels.lock().clone()
    }

    /// Logs this from now on, until the configuration says something else; `None`: what it says now.
    ///
    /// # Errors
    /// [`LogControlError`]; then nothing has changed.
    pub fn set(&self, level: Option<&str>) -> Result<LogLevels, LogControlError> {
        let mut levels = self.0.levels.lock();
        let level = level.map_or_else(|| levels.configured.clone(), str::to_owned);
        self.put_in_force(&level)?;
        levels.current = level;
        Ok(levels.clone())
    }

    /// Takes note of what the configuration says now, and logs that if it is something else than
    /// before.
    ///
    /// # Errors
    /// [`LogControlError`]; then nothing has changed.
    pub fn configure(&self, level: &str) -> Result<(), LogControlError> {
        let mut levels = self.0.levels.lock();
        if levels.configured != level {
            self.put_in_force(level)?;
            *levels = LogLevels {
                configured: level.to_owned(),
                current: level.to_owned(),
            };
        }
        Ok(())
    }

    fn put_in_force(&self, level: &str) -> Result<(), LogControlError> {
        let filter = parse_filter(level).map_err(LogControlError::Filter)?;
        let handle = self.0.filter.as_ref().ok_or(LogControlError::NoLog)?;
        handle.reload(filter).map_err(|_| LogControlError::NoLog)
    }
}
