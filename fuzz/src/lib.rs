//! The checks that the targets run: those of `crates/protocol/tests/corpus.rs`, which runs them on
//! the seeds.

#[path = "../../crates/protocol/tests/checks/mod.rs"]
pub mod checks;
