//! What was measured: kept, put into tables, and held against the targets.

pub(crate) mod document;
pub(crate) mod results;
pub(crate) mod tables;
pub(crate) mod targets;
