//! How calls are spread over the endpoints of a backend: its `balance`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of the endpoints of a backend a call goes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalancePolicy {
    /// One after the other, whatever their weights.
    RoundRobin,
    /// The one with the fewest calls in flight for its weight; in turn where these are equal.
    #[default]
    LeastRequests,
    /// One after the other by weight, evenly mixed.
    Weighted,
    /// Of two that are drawn by weight, the one with fewer calls in flight for its weight.
    RandomTwo,
}
