//! What the end-to-end tests share: the programs of the workspace and the real servers, clients
//! and conformance suite that `scripts/install-test-tools` installs, as processes.
//!
//! Everything here panics instead of returning errors, since only tests call it: the message is
//! what the failed test says.

pub mod asking;
pub mod clients;
pub mod commands;
pub mod conformance;
pub mod example;
pub mod fixture;
pub mod front;
pub mod gateway;
pub mod keys;
pub mod manual;
pub mod process;
pub mod replicas;
pub mod scripted;
pub mod servers;
pub mod tools;
pub mod tunnel;
pub mod waiting;
