//! One run: where it takes place, how much is measured, and what came of it so far.

use crate::Failure;
use crate::report::results::Results;
use crate::rows::Scale;
use crate::subjects::Site;
use crate::subjects::setup::Kind;

/// What everything that measures works on.
pub(crate) struct Run {
    /// Where subjects are started.
    pub(crate) site: Site,
    /// How much is measured.
    pub(crate) scale: Scale,
    /// What came of it.
    pub(crate) results: Results,
}

impl Run {
    /// Notes why a subject was not measured in a row.
    pub(crate) fn absent(&mut self, row: &'static str, kind: Kind, failure: &Failure) {
        let name = self.site.name(kind).to_owned();
        self.results.absent(row, name, failure);
    }
}
