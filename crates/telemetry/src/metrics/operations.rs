//! The histograms of operations, a cell for each method and error.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec};

use crate::labels::{ErrorType, MethodLabel};

/// The histograms of one side, a cell for each method and error.
///
/// A cell is filled at its first use: a family with every possible child would be thousands of
/// lines a scrape.
#[derive(Debug)]
pub(super) struct Operations {
    family: HistogramVec,
    backend: Option<String>,
    cells: Box<[OnceLock<Histogram>]>,
}

impl Operations {
    pub(super) fn new(family: HistogramVec, backend: Option<String>) -> Self {
        let cells = MethodLabel::ALL.len() * (ErrorType::ALL.len() + 1);
        Self {
            family,
            backend,
            cells: (0..cells).map(|_| OnceLock::new()).collect(),
        }
    }

    pub(super) fn observe(&self, method: MethodLabel, error: Option<ErrorType>, elapsed: Duration) {
        let column = error.map_or(0, |error| error as usize + 1);
        self.cells[method as usize * (ErrorType::ALL.len() + 1) + column]
            .get_or_init(|| {
                let (method, error) = (method.as_str(), error.map_or("", ErrorType::as_str));
                match &self.backend {
                    Some(backend) => self.family.with_label_values(&[method, backend, error]),
                    None => self.family.with_label_values(&[method, error]),
                }
            })
            .observe(elapsed.as_secs_f64());
    }
}
