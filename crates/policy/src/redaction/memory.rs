//! What is known of a text from having looked at it.

use std::cell::Cell;

use super::plausible::Implausible;
use super::runs::Runs;
use super::shapes::jwt::Headers;

/// What is known of one text, so that the work it takes grows with its length alone, whatever is in it:
/// nothing in here changes what is found.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) runs: Runs,
    pub(super) implausible: Cell<Implausible>,
    pub(super) headers: Cell<Headers>,
}
