//! The calls of a run in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::caller::{Made, Said};

/// Which servers a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Those that stay well.
    Well,
    /// Those that the storm strikes.
    Ill,
}

/// The calls of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How long each call took that was for a server that stays well.
    pub well: Vec<Duration>,
    ends: [BTreeMap<String, usize>; 2],
}

impl Tally {
    pub(super) fn of(calls: &[Made]) -> Self {
        let mut tally = Self::default();
        for made in calls {
            if made.group == Group::Well {
                tally.well.push(made.took);
            }
            let ends = &mut tally.ends[made.group as usize];
            *ends.entry(word(&made.said)).or_default() += 1;
        }
        tally
    }

    /// How many calls for these servers came to what end: `success`, `server error`, `broken off`,
    /// `given up`, or the reason and the outcome of a failure.
    pub fn ends(&self, group: Group) -> &BTreeMap<String, usize> {
        &self.ends[group as usize]
    }

    /// How many calls were made for these servers.
    pub fn calls(&self, group: Group) -> usize {
        self.ends(group).values().sum()
    }

    /// How many of them were answered with the right result.
    pub fn successes(&self, group: Group) -> usize {
        self.ends(group).get("success").copied().unwrap_or_default()
    }
}

fn word(said: &Said) -> String {
    match said {
        Said::Success => "success".to_owned(),
        Said::Failed { reason, outcome } => format!("{reason}, {outcome}"),
        Said::ServerError => "server error".to_owned(),
        Said::BrokenOff => "broken off".to_owned(),
        Said::GivenUp => "given up".to_owned(),
        Said::Wrong(_) => "wrong".to_owned(),
    }
}
