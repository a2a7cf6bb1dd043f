//! What must not happen to a call, whatever goes wrong.

use std::fmt;

use super::caller::{Made, Said, Tool};
use crate::fault::{Counts, FaultServer};

/// How many violations are told in full.
const TOLD: usize = 20;

/// What must not be and was.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    count: usize,
    first: Vec<String>,
}

impl Violations {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    pub(super) fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(what);
        }
    }

    /// Compares what a client was told with what the server did.
    pub(super) fn judge(&mut self, made: &Made, servers: &[FaultServer]) {
        let server = servers.iter().find(|server| server.label() == made.server);
        let counts = server.map_or(Counts::default(), |server| server.journal().of(&made.key));
        if let Some(wrong) = wrong(made, counts) {
            let Made {
                key, server, tool, ..
            } = made;
            self.add(format!("{key} of {server}, {tool:?}: {wrong} ({counts:?})"));
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.first {
            writeln!(out, "- {violation}")?;
        }
        let untold = self.count - self.first.len();
        if untold > 0 {
            writeln!(out, "- and {untold} more")?;
        }
        Ok(())
    }
}

/// What is wrong with what a client was told, if anything is.
fn wrong(made: &Made, counts: Counts) -> Option<String> {
    if made.tool == Tool::Write && counts.executed > 1 {
        return Some(format!("executed {} times", counts.executed));
    }
    if counts.cancelled > counts.received {
        return Some(format!("cancelled {} times", counts.cancelled));
    }
    match &made.said {
        Said::Wrong(what) => Some(what.clone()),
        Said::Success if counts.executed == 0 => Some("a result of nothing".to_owned()),
        Said::Failed { reason, outcome } => match outcome.as_str() {
            "not_sent" | "failed" if counts.executed > 0 => {
                Some(format!("told that it {outcome} ({reason}), yet executed"))
            }
            "not_sent" | "failed" | "unknown" => None,
            _ => Some(format!("an outcome that is none: {outcome:?}")),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storm::Group;

    fn judged(tool: Tool, said: Said, executed: u32) -> bool {
        let made = Made {
            group: Group::Ill,
            server: "a".to_owned(),
            tool,
            key: "k".to_owned(),
            took: Duration::ZERO,
            said,
        };
        let counts = Counts {
            received: executed,
            executed,
            ..Counts::default()
        };
        wrong(&made, counts).is_none()
    }

    fn failed(outcome: &str) -> Said {
        Said::Failed {
            reason: "unavailable".to_owned(),
            outcome: outcome.to_owned(),
        }
    }

    #[test]
    fn what_is_not_safe_happens_once_at_most() {
        for said in [Said::Success, Said::GivenUp, failed("unknown")] {
            assert!(judged(Tool::Write, said.clone(), 1));
            assert!(!judged(Tool::Write, said.clone(), 2));
            assert!(judged(Tool::Read, said.clone(), 2));
            assert!(judged(Tool::Put, said, 2));
        }
    }

    #[test]
    fn a_success_is_one_and_a_failure_is_none() {
        assert!(!judged(Tool::Read, Said::Success, 0));
        for outcome in ["not_sent", "failed"] {
            assert!(judged(Tool::Write, failed(outcome), 0));
            assert!(!judged(Tool::Read, failed(outcome), 1));
        }
        assert!(!judged(Tool::Read, failed("perhaps"), 0));
        assert!(!judged(Tool::Read, Said::Wrong("late".to_owned()), 0));
    }
}
