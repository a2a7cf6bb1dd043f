//! What is said about a configuration: mistakes and warnings.

use std::fmt;

use serde::Serialize;

/// One mistake or warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Finding {
    /// The file as it was named on the command line, or the environment variable.
    pub(crate) file: String,
    /// Counted from 1. A variable has no lines, nor has a file that can't be read.
    pub(crate) line: Option<usize>,
    /// The key as the file writes it; empty where it is about the whole file.
    pub(crate) key: String,
    /// What is wrong and what is expected. Never holds a value that came from a variable,
    /// but for the name of what a runner fetches.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Every mistake of a configuration, in the order of its files and their lines. Serialises as a
/// list of [`Finding`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub(crate) struct ConfigErrors(pub(crate) Vec<Finding>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}
