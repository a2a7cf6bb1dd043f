//! The Model Context Protocol on the wire: JSON-RPC over raw bytes, versions, metadata, headers,
//! error codes and sealed tokens, and a call as data.
//!
//! No I/O and no clock: whoever calls passes bytes and times in. Nothing in here knows who is a
//! client and who a backend.

/// Keys of `_meta` that begin with this are the gateway's own and never cross it.
pub const OWN_META_PREFIX: &str = "dev.switchboard/";
/// The key of `_meta` under which a client says how many milliseconds it gives a call.
pub const TIMEOUT_KEY: &str = "dev.switchboard/timeoutMs";
/// The key of `_meta` under which a client says which conversation a call is part of.
pub const CONVERSATION_KEY: &str = "dev.switchboard/conversation";
/// The key of what went wrong: in `_meta` of a result that tells of a [`Fault`], and between the
/// two legacy edges in the place of an answer, where a client gave an error instead.
///
/// [`Fault`]: error::Fault
pub const ERROR_KEY: &str = "dev.switchboard/error";
/// The key of `_meta` under which the edge for legacy clients tells the edge for legacy servers
/// that a client called with `task`, and with what (2025-11-25: `basic/utilities/tasks`).
pub const TASK_KEY: &str = "dev.switchboard/task";

pub mod byte_size;
pub mod call;
pub mod canonical;
pub mod capabilities;
pub mod credentials;
pub mod delivery;
pub mod envelope;
pub mod error;
pub mod extension;
pub mod header;
pub mod json;
pub mod method;
pub mod network;
pub mod param_header;
pub mod passage;
pub mod pattern;
pub mod plain_uri;
pub mod policy;
pub mod result_cache;
pub mod size;
pub mod splice;
pub mod token;
pub mod trail;
pub mod uri_template;
pub mod version;

/// A time in whole milliseconds, as the wire has it; more than fits is the most that fits.
#[must_use]
pub fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
