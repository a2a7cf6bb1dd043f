//! The MCP servers behind the gateway: how they are reached, which era they speak, what they offer,
//! and how they are doing.
//!
//! A [`Backend`] is the handle of one server. Below it: `keeper` connects, learns and reconnects;
//! `message` and `answer` translate a call and its answer; `link` moves bytes; `legacy` is the
//! sessions of servers before 2026-07-28.

mod answer;
mod arriving;
mod attempt;
mod backend;
mod balance;
mod breaker;
mod bulkhead;
pub mod config;
mod connect;
mod dependencies;
mod discovery;
mod endpoint;
mod endpoints;
mod health;
mod keeper;
mod learn;
mod legacy;
mod link;
mod list_memory;
pub mod lists;
mod message;
pub mod pattern;
mod pause;
mod retry;
mod safety;
pub mod status;
mod tasks;
mod tries;
mod window;

pub use answer::Answer;
pub use arriving::{Arriving, Reply};
pub use backend::Backend;
pub use legacy::Shared;
pub use message::{RequestState, Rewrite};
