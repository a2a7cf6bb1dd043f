//! backends

pub mod config;
pub mod lists;
pub mod status;
