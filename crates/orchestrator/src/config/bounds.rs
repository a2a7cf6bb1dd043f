//! Bounds of which one has to be within another.

use switchboard_protocol::byte_size;

use super::{ConfigProblem, path};

/// A bound, and its key.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'k> {
    /// Its key, from the top.
    pub key: &'k [&'k str],
    /// What it is.
    pub value: u64,
    /// What it is if nobody says.
    pub default: u64,
    /// What it counts.
    pub unit: Unit,
}

/// What a bound counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, written as a size.
    Bytes,
    /// Whatever it is, written as a number.
    Number,
}

impl Bound<'_> {
    /// What is wrong with a bound that lets there be more than another around it. Where the one is a
    /// default, the problem is told at the other, which somebody wrote.
    #[must_use]
    pub fn within(&self, around: &Bound<'_>) -> Option<ConfigProblem> {
        if self.value <= around.value {
            return None;
        }
        let (inner, outer) = (self.shown(self.value), around.shown(around.value));
        let is_told_outside = self.is_default() && !around.is_default();
        let (at, other, message) = if is_told_outside {
            let other = self.name();
            let message = format!(
                "is {outer}, less than `{other}`, which is {inner} by default; expected \
                 `{other}: {outer}` or less beside it, or at least {inner} here"
            );
            (around, self, message)
        } else {
            let other = around.name();
            let by_default = match around.is_default() {
                true => " by default",
                false => "",
            };
            let message = format!(
                "is {inner}, more than `{other}`, which is {outer}{by_default}; expected at most \
                 {outer} here, or `{other}: {inner}` or more beside it"
            );
            (self, around, message)
        };
        Some(ConfigProblem {
            path: path(at.key),
            other: Some(path(other.key)),
            message,
        })
    }

    fn is_default(&self) -> bool {
        self.value == self.default
    }

    fn name(&self) -> String {
        self.key.join(".")
    }

    fn shown(&self, value: u64) -> String {
        match self.unit {
            Unit::Bytes => byte_size::written(value),
            Unit::Number => value.to_string(),
        }
    }
}
