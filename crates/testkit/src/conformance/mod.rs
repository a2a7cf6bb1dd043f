//! A real MCP server for the tests, written with the official SDK (rmcp), so that the gateway meets
//! a peer that shares no code with it.
//!
//! It carries the fixtures that the official conformance suite expects of a server (`test_*` tools,
//! prompts, `test://` resources) and a few controls for tests of a gateway: `echo`, `slow`,
//! `counters`, `add_tool`, `remove_tool` and `touch_resource`. [`HttpServer`] serves it over
//! streamable HTTP on a loopback address, [`serve_stdio`] over the standard streams, each in the
//! eras that an [`Era`] names.
//!
//! What is data lives in `fixtures.json`; `handler` holds the table of methods and tools.

mod controls;
mod era;
mod fixtures;
mod handler;
mod http;
mod legacy;
mod questions;
mod reports;
mod state;
mod stdio;

pub use era::{Era, UnknownEra};
pub use http::HttpServer;
pub use state::Counts;
pub use stdio::serve_stdio;
