//! The gateway: the listener, the endpoint of each era, the two stacks, and how it all starts and
//! ends.
//!
//! Begin to read at `stack`: it is the table of contents.

mod access;
mod admin;
pub mod audit;
mod authenticate;
mod check;
mod cluster;
pub mod config;
mod count;
mod counted;
mod deadline;
mod edge;
mod end_watch;
mod endpoint;
mod facade;
mod heartbeat;
mod in_place;
mod legacy;
mod listener;
mod ops;
mod paths;
pub mod policy;
mod redaction;
mod reload;
mod result_caps;
mod server;
mod shed;
mod stack;
mod subject;
mod tls;
mod trace;
mod well_known;
mod workers;

pub use admin::{ReloadAnswer, ReloadRequest, ReloadRequests};
pub use cluster::IdentityError;
pub use reload::{ReloadError, Reloaded, Reloader};
pub use server::{Gateway, StartError};
pub use tls::TlsError;
