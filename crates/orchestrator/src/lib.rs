//! orchestrator

pub mod config;
pub mod catalogue;
pub mod hub;
pub mod names;
