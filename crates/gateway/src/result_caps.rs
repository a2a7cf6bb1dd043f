//! How large results may be, as far as it has to do with other parts of the configuration.

use std::collections::BTreeSet;

use switchboard_orchestrator::config::ConfigProblem;
use switchboard_policy::result_caps::{self, ResultCaps};

use crate::config::Config;

impl Config {
    pub(crate) fn result_caps(&self) -> ResultCaps {
        ResultCaps::new(&self.result_caps, self.backends.keys())
    }

    pub(crate) fn wrong_result_caps(&self) -> Vec<ConfigProblem> {
        let wrong = result_caps::config::problems(&self.result_caps);
        wrong.into_iter().map(problem).collect()
    }

    /// Caps that concern nothing, by key.
    pub fn unmatched_result_caps(&self) -> Vec<ConfigProblem> {
        let backends: BTreeSet<&str> = self.backends.keys().map(String::as_str).collect();
        let profiles: BTreeSet<&str> = self.profiles.keys().map(String::as_str).collect();
        let unmatched = result_caps::unmatched(&self.result_caps, &backends, &profiles);
        unmatched.into_iter().map(problem).collect()
    }
}

fn problem((path, message): (Vec<String>, String)) -> ConfigProblem {
    ConfigProblem {
        // Of an entry that is not valid in itself nothing more is said.
        other: Some(path[..path.len().saturating_sub(1)].to_vec()),
        path,
        message,
    }
}
