//! The client edge: HTTP requests become calls, outcomes become HTTP responses.
//!
//! This is the edge of 2026-07-28. The one of older revisions stands beside it and speaks to the
//! same stacks: [`decode::era`] is where they part.

pub(crate) mod decode;
pub(crate) mod listen;
pub(crate) mod respond;
pub(crate) mod stream;
