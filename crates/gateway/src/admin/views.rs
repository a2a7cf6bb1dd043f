//! What the admin API shows of the catalogue, principals, limits and the audit. The names are a
//! contract: members are added, never changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_orchestrator::catalogue::{Entry, Kind, Snapshot};
use switchboard_orchestrator::rfc3339;
use switchboard_policy::limits::Limits;
use switchboard_policy::limits::report::{LimitState, MAX_REPORT};

use crate::audit::Record;

/// The most tools, and the most prompts, that are told of.
const MAX_ENTRIES: usize = 10_000;

/// What clients see, without regard to who may see what.
#[derive(Serialize, JsonSchema)]
pub(super) struct CatalogueView {
    /// At most 10,000.
    tools: Vec<EntryView>,
    /// At most 10,000.
    prompts: Vec<EntryView>,
    /// How many tools there are.
    total_tools: usize,
    /// How many prompts there are.
    total_prompts: usize,
    /// Names that more than one has a claim on.
    collisions: Vec<CollisionView>,
}

/// A tool or prompt.
#[derive(Serialize, JsonSchema)]
struct EntryView {
    /// The name that clients see.
    name: Arc<str>,
    backend: Arc<str>,
    /// The server's own name for it.
    original: String,
}

/// A name that more than one has a claim on.
#[derive(Serialize, JsonSchema)]
struct CollisionView {
    /// `tool` or `prompt`.
    kind: &'static str,
    name: String,
    /// First the one that keeps it.
    backends: Vec<Arc<str>>,
    /// The name that each has it under now; null: not listed.
    resolved_as: Vec<Option<String>>,
}

impl CatalogueView {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let entries = |kind| {
            let entries = snapshot.entries(kind).iter().take(MAX_ENTRIES);
            entries.map(EntryView::of).collect()
        };
        let collisions = snapshot.collisions().iter().take(MAX_ENTRIES);
        Self {
            tools: entries(Kind::Tool),
            prompts: entries(Kind::Prompt),
            total_tools: snapshot.entries(Kind::Tool).len(),
            total_prompts: snapshot.entries(Kind::Prompt).len(),
            collisions: collisions
                .map(|collision| CollisionView {
                    kind: match collision.kind {
                        Kind::Tool => "tool",
                        Kind::Prompt => "prompt",
                    },
                    name: collision.name.clone(),
                    backends: collision.backends.clone(),
                    resolved_as: collision.resolved_as.clone(),
                })
                .collect(),
        }
    }
}

impl EntryView {
    fn of(entry: &Entry) -> Self {
        Self {
            name: Arc::clone(&entry.exposed),
            backend: Arc::clone(&entry.backend),
            original: entry.original().to_owned(),
        }
    }
}

/// The principals that the configuration names.
#[derive(Serialize, JsonSchema)]
pub(super) struct PrincipalsView {
    pub(super) principals: Vec<PrincipalView>,
}

/// A principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct PrincipalView {
    /// As it stands in records of the audit.
    pub(super) id: String,
    pub(super) groups: Vec<String>,
}

/// Limits and budgets.
#[derive(Serialize, JsonSchema)]
pub(super) struct LimitsView {
    /// Where is counted: `memory`, or `redis` for a Redis that replicas share.
    store: &'static str,
    /// Whether that Redis answers, as far as is known; absent for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_is_up: Option<bool>,
    /// Those of which something is used, at most 1,000. Empty where a Redis counts: its own keys, which
    /// begin with `store.prefix`, say what is used.
    pub(super) limits: Vec<LimitView>,
}

/// How much of a limit or budget is used by one combination of what it counts apart.
#[derive(Serialize, JsonSchema)]
pub(super) struct LimitView {
    /// `limit` or `budget`.
    policy: &'static str,
    name: Arc<str>,
    /// What it counts apart and the combination's part of it, such as `principal` and `key:ci`.
    key: BTreeMap<&'static str, String>,
    uses: Vec<UseView>,
}

/// How much of one measure is used.
#[derive(Serialize, JsonSchema)]
struct UseView {
    /// `rate`, `concurrency`, `calls`, `bytes` or `cost`.
    measure: &'static str,
    /// How much is used now; of a rate, how many calls of the burst.
    used: u64,
    of: u64,
    /// When nothing of it will be used, if nothing more is taken; not where that depends on when calls
    /// end.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
}

impl LimitsView {
    pub(super) fn of(limits: &Limits) -> Self {
        let states = limits.report(None, MAX_REPORT).into_iter();
        let redis = limits.redis();
        Self {
            store: redis.map_or("memory", |_| "redis"),
            store_is_up: redis,
            limits: states.map(LimitView::from).collect(),
        }
    }
}

impl From<LimitState> for LimitView {
    fn from(state: LimitState) -> Self {
        let uses = state.uses.iter().map(|used| UseView {
            measure: used.measure,
            used: used.used,
            of: used.of,
            resets_at: used
                .resets_at_ms
                .map(|ms| rfc3339(UNIX_EPOCH + Duration::from_millis(ms))),
        });
        Self {
            policy: state.policy,
            name: state.name,
            uses: uses.collect(),
            key: state.key.into_iter().collect(),
        }
    }
}

/// Records of the audit.
#[derive(Serialize, JsonSchema)]
pub(super) struct AuditView {
    #[schemars(with = "Vec<Record>")]
    pub(super) records: Vec<Value>,
}
