//! What a fake server is, and how its path says so.

use std::fmt;

/// Which era a fake server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum ServerEra {
    /// 2026-07-28.
    Modern,
    /// 2025-11-25; over HTTP it assigns a session.
    Legacy,
    /// 2025-11-25 without a session.
    Sessionless,
}

/// How a fake server answers over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(crate) enum Form {
    /// One JSON body of a known length.
    Json,
    /// An event stream of one event, in chunks.
    Sse,
}

/// One fake server. Any number of them are paths of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fake {
    /// What it speaks.
    pub(crate) era: ServerEra,
    /// How it answers.
    pub(crate) form: Form,
    /// The bytes of a call's result.
    pub(crate) result_bytes: usize,
    /// How many tools it lists.
    pub(crate) tools: usize,
}

/// The largest result that is made, in bytes.
const MAX_RESULT_BYTES: usize = 128 * 1024 * 1024;
/// The longest list of tools that is made.
const MAX_TOOLS: usize = 100_000;

impl Fake {
    /// A modern server that answers in JSON.
    pub(crate) const fn modern(result_bytes: usize, tools: usize) -> Self {
        Self {
            era: ServerEra::Modern,
            form: Form::Json,
            result_bytes,
            tools,
        }
    }

    /// The path of one of the servers of this kind.
    pub(crate) fn path(&self, instance: usize) -> String {
        format!("/mcp/{self}/{instance}")
    }

    /// The server at a path: `/mcp/{era}/{form}/{result_bytes}/{tools}`, and whatever follows.
    pub(crate) fn at(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/mcp/")?.split('/');
        let era = match parts.next()? {
            "modern" => ServerEra::Modern,
            "legacy" => ServerEra::Legacy,
            "sessionless" => ServerEra::Sessionless,
            _ => return None,
        };
        let form = match parts.next()? {
            "json" => Form::Json,
            "sse" => Form::Sse,
            _ => return None,
        };
        let fake = Self {
            era,
            form,
            result_bytes: parts.next()?.parse().ok()?,
            tools: parts.next()?.parse().ok()?,
        };
        fake.is_within_bounds().then_some(fake)
    }

    /// Whether it can be made.
    pub(crate) const fn is_within_bounds(&self) -> bool {
        self.result_bytes <= MAX_RESULT_BYTES && self.tools <= MAX_TOOLS
    }
}

impl ServerEra {
    /// As it stands in a path and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Modern => "modern",
            Self::Legacy => "legacy",
            Self::Sessionless => "sessionless",
        }
    }
}

impl fmt::Display for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Json => "json",
            Form::Sse => "sse",
        };
        let era = self.era.name();
        write!(f, "{era}/{form}/{}/{}", self.result_bytes, self.tools)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_is_there() {
        let fake = Fake {
            era: ServerEra::Sessionless,
            form: Form::Sse,
            result_bytes: 1024,
            tools: 10,
        };
        assert_eq!(fake.path(7), "/mcp/sessionless/sse/1024/10/7");
        assert_eq!(Fake::at(&fake.path(7)), Some(fake));
        assert_eq!(
            Fake::at("/mcp/modern/json/200/1"),
            Some(Fake::modern(200, 1))
        );
        for wrong in [
            "/mcp",
            "/mcp/modern/json/200",
            "/mcp/modern/xml/200/1",
            "/mcp/modern/json/999999999999/1",
        ] {
            assert_eq!(Fake::at(wrong), None, "{wrong}");
        }
    }
}
