//! What becomes of a backend's part of the lists while it is away.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The default of [`DegradeConfig::hide_after`].
pub const DEFAULT_HIDE_AFTER: Duration = Duration::from_secs(30);
/// The default of [`DegradeConfig::show_after`].
pub const DEFAULT_SHOW_AFTER: Duration = Duration::from_secs(10);

/// What becomes of what a backend offers while it is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DegradeConfig {
    /// Whether it is hidden.
    pub on_unavailable: OnUnavailable,
    /// How long a backend has been away before it is hidden.
    pub hide_after: Duration,
    /// How long it has been well again before it is shown.
    pub show_after: Duration,
    /// How long lists are shown that cannot be read again; `None`: for ever.
    pub stale_if_error: Option<Duration>,
}

impl DegradeConfig {
    /// How long a backend is away before it is hidden; `None`: never.
    #[must_use]
    pub fn hidden_after(&self) -> Option<Duration> {
        let hidden = match self.on_unavailable {
            OnUnavailable::Hide => Some(self.hide_after),
            OnUnavailable::KeepListed => None,
        };
        hidden.into_iter().chain(self.stale_if_error).min()
    }
}

impl Default for DegradeConfig {
    fn default() -> Self {
        Self {
            on_unavailable: OnUnavailable::default(),
            hide_after: DEFAULT_HIDE_AFTER,
            show_after: DEFAULT_SHOW_AFTER,
            stale_if_error: None,
        }
    }
}

/// Whether what a backend offers is hidden while it is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnavailable {
    /// It leaves the lists.
    Hide,
    /// It stays as it was last.
    #[default]
    KeepListed,
}
