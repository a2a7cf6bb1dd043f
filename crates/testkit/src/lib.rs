//! Fake and real MCP servers and a raw client, for the tests of the workspace.

pub mod asking;
pub mod client;
pub mod conformance;
pub mod fake;
pub mod fake_http;
pub mod fake_stdio;
pub mod fake_tasks;
pub mod fault;
pub mod issuer;
pub mod legacy_client;
mod lock;
pub mod redis_server;
mod serving;
pub mod storm;
pub mod token_server;
