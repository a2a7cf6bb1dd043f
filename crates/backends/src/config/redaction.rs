//! Whether secrets are taken out of what a backend's server says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether secrets are taken out of what a server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedactionSwitch {
    /// Those that are looked for.
    #[default]
    On,
    /// None: for a server whose purpose is to hand out secrets.
    Off,
}
