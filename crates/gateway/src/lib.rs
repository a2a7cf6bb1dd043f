//! The gateway: the listener, the endpoint of each era, the two stacks, and how it all starts and
//! ends.
//!
//! Begin to read at `stack`: it is the table of contents.

mod authenticate;
mod check;
pub mod config;
mod count;
mod deadline;
mod edge;
mod endpoint;
mod heartbeat;
mod legacy;
mod listener;
mod ops;
mod paths;
mod server;
mod shed;
mod stack;
mod tls;
mod trace;
mod workers;

pub use server::{Gateway, StartError};
pub use tls::TlsError;
