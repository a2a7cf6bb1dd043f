//! What the admin API shows of the catalogue, principals, limits and the audit. The names are a
//! contract: members are added, never changed.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_orchestrator::catalogue::{Entry, Kind, Snapshot};

use super::routes::any_objects;
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
    #[schemars(schema_with = "any_objects")]
    pub(super) limits: Vec<Value>,
}

/// Records of the audit.
#[derive(Serialize, JsonSchema)]
pub(super) struct AuditView {
    #[schemars(with = "Vec<Record>")]
    pub(super) records: Vec<Value>,
}
