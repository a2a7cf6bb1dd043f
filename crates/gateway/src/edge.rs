//! The client edge: HTTP requests become calls, outcomes become HTTP responses.
//!
//! This is the edge of 2026-07-28. That of older revisions, [`crate::legacy`], stands beside it and
//! speaks to the same stacks: `decode::parse` is where they part.

pub(crate) mod arriving;
pub(crate) mod decode;
pub(crate) mod listen;
pub(crate) mod refuse;
pub(crate) mod respond;
pub(crate) mod stream;
