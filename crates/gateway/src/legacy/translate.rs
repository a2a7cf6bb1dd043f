//! Between a legacy revision and the modern form that everything inside speaks. Pure functions over
//! bytes: what is not translated stays as it was written.
//!
//! The table of what differs between the revisions, and what is done about it, is in
//! `docs/versions.md`.

mod content;
mod edit;
mod error;
mod form;
mod items;
mod question;
mod request;
mod result;
mod rope;
mod schema;

pub(crate) use error::error;
pub(crate) use question::{answer, question, refusal};
pub(crate) use request::{ClientIdentity, request, retry};
pub(crate) use result::{notification, result};

#[cfg(test)]
mod tests;
