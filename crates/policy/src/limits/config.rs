//! What an operator writes about limits, budgets and costs: the sections `limits`, `budgets`, `costs`
//! and `store` of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

pub(crate) mod units;

pub use self::units::{
    Rate, check_rate, parse_entry_size, parse_size, parse_timeout, parse_window,
};
use self::units::{deserialize_size, deserialize_timeout, deserialize_window};

/// How often calls may be made, and how many at once.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// Its name, as callers, logs and metrics show it: at least one character, and no other limit's.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it counts apart: each combination of these has a limit of its own. Without it all calls
    /// share one.
    #[serde(default)]
    pub per: Vec<LimitPart>,
    /// The principals whose calls it concerns, as patterns in which `*` stands for any characters.
    /// Without it: everybody's.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub users: Option<Vec<String>>,
    /// The groups whose members' calls it concerns, as patterns. Without it: everybody's.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub groups: Option<Vec<String>>,
    /// The profiles through which the calls come that it concerns, as patterns. Without it: calls
    /// through any profile, and through none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub profiles: Option<Vec<String>>,
    /// The backends whose calls it concerns, as patterns. Without it: all.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub backends: Option<Vec<String>>,
    /// The tools whose calls it concerns, as patterns of the names that the gateway lists. Without
    /// it: all calls, those of prompts and resources too.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub tools: Option<Vec<String>>,
    /// How many calls in how long, such as `60/1m`: at most one call each microsecond, in at most 31
    /// days. A call that did nothing is not counted.
    #[serde(default)]
    #[schemars(with = "Option<String>", extend("format" = "rate"))]
    pub rate: Option<Rate>,
    /// How many calls of `rate` may come at once after a pause, at least 1. By default the number of
    /// calls in `rate`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// How many calls may be under way at once, at least 1.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub concurrency: Option<u32>,
    /// What becomes of its calls while the store does not answer. By default `open`.
    #[serde(default = "open")]
    #[schemars(extend("default" = "open"))]
    pub if_store_is_away: IfStoreIsAway,
}

/// How much may be used in a window of time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// Its name, as callers, logs and metrics show it: at least one character, and no other budget's.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it counts apart: each combination of these has a budget of its own. Without it all calls
    /// share one.
    #[serde(default)]
    pub per: Vec<BudgetPart>,
    /// The principals whose calls it concerns, as patterns in which `*` stands for any characters.
    /// Without it: everybody's.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub users: Option<Vec<String>>,
    /// The groups whose members' calls it concerns, as patterns. Without it: everybody's.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub groups: Option<Vec<String>>,
    /// The profiles through which the calls come that it concerns, as patterns. Without it: calls
    /// through any profile, and through none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub profiles: Option<Vec<String>>,
    /// The backends whose calls it concerns, as patterns. Without it: all.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub backends: Option<Vec<String>>,
    /// The tools whose calls it concerns, as patterns of the names that the gateway lists. Without
    /// it: all calls, those of prompts and resources too.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub tools: Option<Vec<String>>,
    /// How many calls. One that did nothing is not counted.
    #[serde(default)]
    pub calls: Option<u64>,
    /// How many bytes of results: a size such as `10MiB`, or a number of bytes. A call is let in
    /// while anything is left, and what its result has more is charged too.
    #[serde(default, deserialize_with = "deserialize_size")]
    #[schemars(schema_with = "units::size_schema")]
    pub bytes: Option<u64>,
    /// How many units of `costs`.
    #[serde(default)]
    pub cost: Option<u64>,
    /// How long until it begins anew: a duration from 1 s to 31 days. Windows begin at multiples of
    /// it since 1970-01-01T00:00Z, so one of `1d` at midnight UTC.
    #[serde(deserialize_with = "deserialize_window")]
    #[schemars(schema_with = "units::window_schema")]
    pub window: Duration,
    /// What becomes of its calls while the store does not answer. By default `closed`.
    #[serde(default = "closed")]
    #[schemars(extend("default" = "closed"))]
    pub if_store_is_away: IfStoreIsAway,
}

/// What a limit counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitPart {
    /// The calls of each principal.
    Principal,
    /// The calls through each profile; those through none are one more.
    Profile,
    /// The calls of each backend.
    Backend,
    /// The calls of each tool; those of prompts and resources are one more.
    Tool,
}

/// What a budget counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPart {
    /// The calls of each principal.
    Principal,
    /// The calls through each profile; those through none are one more.
    Profile,
    /// The calls of each backend.
    Backend,
    /// The calls of each tool; those of prompts and resources are one more.
    Tool,
    /// The calls of each conversation of a principal: of one value of
    /// `_meta["dev.switchboard/conversation"]`, a text of at most 128 bytes, which is the client's
    /// own word. Calls without it are one more.
    Conversation,
}

/// What becomes of calls while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfStoreIsAway {
    /// They pass, uncounted.
    Open,
    /// They are refused, with 503 and `policy_unavailable`.
    Closed,
}

fn open() -> IfStoreIsAway {
    IfStoreIsAway::Open
}

fn closed() -> IfStoreIsAway {
    IfStoreIsAway::Closed
}

/// What calls cost, in units of the operator's own: by patterns of tools' names.
pub type CostsConfig = BTreeMap<String, u64>;

/// Where limits and budgets are counted. Without `redis` each process counts for itself, in memory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The address of a Redis that all replicas share, version 6.2 or newer: `redis://HOST:PORT/DB`,
    /// `redis://USER:PASSWORD@HOST`, or `rediss://…` for TLS.
    #[schemars(
        with = "Option<String>",
        extend("format" = "redis-url", "writeOnly" = true)
    )]
    pub redis: Option<RedisUrl>,
    /// How long a call waits for its answer: a duration from 1 ms to 10 s. Then the store counts as
    /// away until it answers again, and no call waits.
    #[serde(deserialize_with = "deserialize_timeout")]
    #[schemars(schema_with = "units::timeout_schema", extend("default" = "100ms"))]
    pub timeout: Duration,
    /// What all keys begin with. In a cluster a part in braces, such as `{switchboard}:`, keeps them
    /// on one node, as the scripts need them.
    pub prefix: String,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            redis: None,
            timeout: Duration::from_millis(100),
            prefix: "switchboard:".to_owned(),
        }
    }
}

/// The address of a Redis. It may hold a password, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The address as it was written.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(…)")
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        check_redis_url(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(text))
    }
}

/// Checks the address of a Redis.
///
/// # Errors
/// Says what is wrong with it, without the address.
pub fn check_redis_url(text: &str) -> Result<(), String> {
    use redis::IntoConnectionInfo as _;
    text.into_connection_info()
        .map(drop)
        .map_err(|_| "is not the address of a Redis".to_owned())
}

/// Of a list that is there and names nothing: to leave out a list means all, so it would limit what
/// nobody meant.
const EMPTY: &str = "is empty, which concerns no call; leave it out to concern all, or say which";

/// Which of the lists of a limit or budget are empty, by their keys.
fn empty_lists(lists: [&Option<Vec<String>>; 5]) -> impl Iterator<Item = &'static str> {
    let keys = ["users", "groups", "profiles", "backends", "tools"];
    let lists = keys.into_iter().zip(lists);
    lists.filter_map(|(key, list)| list.as_ref().is_some_and(Vec::is_empty).then_some(key))
}

/// What is wrong with limits and budgets: for each problem its key, from the section down, and what to
/// do.
#[must_use]
pub fn problems(limits: &[LimitConfig], budgets: &[BudgetConfig]) -> Vec<(Vec<String>, String)> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for (index, limit) in limits.iter().enumerate() {
        let mut wrong = |key: &str, message: &str| {
            let path = ["limits", &format!("[{index}]"), key].map(str::to_owned);
            problems.push((path.to_vec(), message.to_owned()));
        };
        if !names.insert(&limit.name) {
            wrong("name", "is another limit's too; expected one of its own");
        }
        for key in empty_lists([
            &limit.users,
            &limit.groups,
            &limit.profiles,
            &limit.backends,
            &limit.tools,
        ]) {
            wrong(key, EMPTY);
        }
        if limit.rate.is_none() && limit.concurrency.is_none() {
            wrong(
                "rate",
                "is not there, nor `concurrency`, so nothing is limited; expected one or both",
            );
        }
        if limit.rate.is_none() && limit.burst.is_some() {
            wrong(
                "burst",
                "is part of a rate; expected `rate` beside it, such as `60/1m`",
            );
        }
    }
    names.clear();
    for (index, budget) in budgets.iter().enumerate() {
        let mut wrong = |key: &str, message: &str| {
            let path = ["budgets", &format!("[{index}]"), key].map(str::to_owned);
            problems.push((path.to_vec(), message.to_owned()));
        };
        if !names.insert(&budget.name) {
            wrong("name", "is another budget's too; expected one of its own");
        }
        for key in empty_lists([
            &budget.users,
            &budget.groups,
            &budget.profiles,
            &budget.backends,
            &budget.tools,
        ]) {
            wrong(key, EMPTY);
        }
        if [budget.calls, budget.bytes, budget.cost]
            .iter()
            .all(Option::is_none)
        {
            wrong(
                "calls",
                "is not there, nor `bytes` nor `cost`, so nothing is counted; expected at least one",
            );
        }
    }
    problems
}

#[cfg(test)]
mod tests;
