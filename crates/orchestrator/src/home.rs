//! Where something lives that a call goes on with: a question, a task.

use std::fmt;
use std::sync::Arc;

/// Parts the name of a backend, which may be any text without it, from its endpoint.
const BEFORE_ENDPOINT: char = '\u{1}';

/// A backend, and which of its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Home {
    /// The backend.
    pub(crate) backend: Arc<str>,
    /// The endpoint as the backend calls it; 0 where there is but one.
    pub(crate) endpoint: u64,
}

impl Home {
    /// The endpoint, if the backend has several.
    pub(crate) fn endpoint(&self) -> Option<u64> {
        Some(self.endpoint).filter(|endpoint| *endpoint != 0)
    }

    /// Reads what its `Display` wrote.
    pub(crate) fn parse(text: &str) -> Self {
        let parted = text.rsplit_once(BEFORE_ENDPOINT);
        let read = parted.and_then(|(backend, endpoint)| {
            let endpoint = u64::from_str_radix(endpoint, 16).ok()?;
            Some((backend, endpoint))
        });
        let (backend, endpoint) = read.unwrap_or((text, 0));
        Self {
            backend: backend.into(),
            endpoint,
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.backend)?;
        match self.endpoint() {
            Some(endpoint) => write!(f, "{BEFORE_ENDPOINT}{endpoint:x}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (backend, endpoint) in [("files", 0), ("files", u64::MAX), ("of \u{1} two", 7)] {
            let home = Home {
                backend: backend.into(),
                endpoint,
            };
            assert_eq!(Home::parse(&home.to_string()), home);
        }
    }
}
