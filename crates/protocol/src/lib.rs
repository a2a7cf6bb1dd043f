//! The Model Context Protocol on the wire: JSON-RPC over raw bytes, versions, metadata, headers,
//! error codes and sealed tokens, and a call as data.
//!
//! No I/O and no clock: whoever calls passes bytes and times in. Nothing in here knows who is a
//! client and who a backend.

/// Keys of `_meta` that begin with this are the gateway's own and never cross it.
pub const OWN_META_PREFIX: &str = "dev.switchboard/";

pub mod call;
pub mod capabilities;
pub mod envelope;
pub mod error;
pub mod header;
pub mod json;
pub mod method;
pub mod param_header;
pub mod splice;
pub mod token;
pub mod uri_template;
pub mod version;
