//! The audit: who called what, what was decided, who answered and how it ended. One record for each
//! call and subscription, for each refused credential, and for what operators change; docs/audit.md has the format.
//!
//! A call leaves what is known of it in a bounded queue, as it came: one thread makes records of it
//! and writes them. If that thread is behind, records are dropped and counted; a call never waits.

mod arguments;
pub mod config;
mod event;
mod jsonl;
mod layer;
pub mod query;
mod queue;
mod record;
mod refusals;
mod sqlite;
mod subscription;
mod writer;

pub(crate) use self::layer::{Audit, AuditLayer};
pub(crate) use self::queue::AuditLog;
pub use self::record::{AttemptRecord, DecisionRecord, Record};
pub(crate) use self::refusals::Refusals;
pub(crate) use self::subscription::{Named, Subscriber, SubscriptionEnd};
pub use self::writer::{AuditError, session_digest};
pub(crate) use self::writer::{AuditWriter, start};
