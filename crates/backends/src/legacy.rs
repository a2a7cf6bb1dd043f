//! The legacy edge: what 2025-11-25 and older need besides the messages themselves (2025-11-25:
//! `basic/lifecycle`).
//!
//! A backend has one session for its lists, which its keeper looks after, and as many as its calls
//! need, which [`pool`] opens, leases and closes ([`handshake`] begins them, [`session`] is what
//! they remember). [`parked`] is the calls that wait for their client.
//!
//! What is not here: the form of a legacy call (`message`), the session's header (`link::http`),
//! and the HTTP+SSE transport (`link::http_sse`).

mod attempt;
mod call;
mod exchange;
mod handshake;
mod parked;
mod pool;
mod questions;
mod relay;
mod session;
mod tasks;
mod translate;
mod urls;

pub(crate) use attempt::{attempt, is_parked};
pub(crate) use call::ParkedCall;
pub(crate) use exchange::SessionHold;
pub(crate) use handshake::{Introduction, initialize};
pub use parked::Shared;
pub(crate) use pool::Pool;
pub(crate) use questions::error_among;
pub(crate) use relay::Relay;
pub(crate) use session::{Session, attribute, listen, subscribe};
pub(crate) use tasks::Tasks;
pub(crate) use translate::tool as modern_tool;
pub(crate) use urls::is_known_to as knows_url_error;
