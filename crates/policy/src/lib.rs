//! policy

pub mod config;
