//! The MCP servers behind the gateway: how they are reached, which era they speak, what they offer,
//! and how they are doing.
//!
//! A [`Backend`] is the handle of one server, wherever it runs: each place is an endpoint
//! (`endpoint`, `discovery`), of which a call is sent to one. What keeps a server that fails from
//! costing others is around that: `bulkhead`, `balance`, `breaker`, `health`, `retry` and `safety`.
//! `credentials` are the tokens that a server is shown. Below an endpoint: `keeper` connects, learns and reconnects; `message` and `answer` translate a
//! call and its answer; `link` moves bytes; `process`
//! owns local servers, `confinement` says what holds for them; `legacy` is the sessions of servers before 2026-07-28.

mod answer;
mod arriving;
mod backend;
mod balance;
mod breaker;
mod bulkhead;
mod call_attempts;
pub mod config;
pub mod confinement;
mod connect;
mod credentials;
mod dependencies;
mod discovery;
pub mod effects;
mod endpoint;
mod endpoints;
mod exchange;
mod health;
pub mod inspect;
mod keeper;
mod known_lists;
mod learn;
mod legacy;
mod link;
mod list_memory;
pub mod lists;
mod message;
pub mod method_label;
mod observe;
mod pause;
mod process;
pub mod redaction;
mod retry;
mod safety;
pub mod status;
mod tasks;
mod window;

pub use answer::Answer;
pub use arriving::{Arriving, Reply};
pub use backend::{Backend, BackendContext};
pub use known_lists::KnownLists;
pub use legacy::Shared;
pub use message::{RequestState, Rewrite, Take};
pub use process::command::{CommandError, run_command};
pub use process::{Supervisor, Usage, runner};
