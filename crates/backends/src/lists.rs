//! What a backend offers, as it wrote it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use switchboard_protocol::extension;
use switchboard_protocol::json::Span;
use switchboard_protocol::param_header::ParamHeaders;
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;

use crate::effects::Effects;

/// Everything that one backend offers, learned from its lists. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Lists {
    /// Who the server is and how it is spoken to.
    pub server: Arc<Server>,
    /// Its tools, after `include_tools` and `exclude_tools`, in its order.
    pub tools: Vec<Item>,
    /// The names of its tools that these leave out.
    pub left_out: Vec<String>,
    /// Its prompts.
    pub prompts: Vec<Item>,
    /// Its resources.
    pub resources: Vec<Item>,
    /// Its resource templates.
    pub templates: Vec<Item>,
    /// Its skills (SEP-2640).
    pub skills: Vec<Item>,
    /// How long the lists are fresh, the shortest of what the server said; `None`: it said nothing.
    pub ttl_ms: Option<u64>,
    /// Whether the server let anybody cache every one of its lists.
    pub public: bool,
    /// Why a part of the lists is missing, in words fit for a caller.
    pub missing: Option<String>,
}

/// What a server says about itself (specification: `server/discover`; 2025-11-25: `initialize`).
#[derive(Clone, Debug)]
pub struct Server {
    /// The version spoken with it.
    pub version: Version,
    /// How to use it, for a model; cut to a bound.
    pub instructions: Option<String>,
    /// Its extensions: identifier and settings as JSON.
    pub extensions: Vec<(String, Bytes)>,
    /// Which features it declared.
    pub features: Features,
    /// How its era was found out.
    pub found: Found,
}

/// How it was found out which era a server speaks (specification: `basic/transports`, Backward
/// Compatibility). Its `Display` is words for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The configuration names the era, or a transport of one era only.
    Configured,
    /// It was known from before: its process was not started yet.
    Before,
    /// It answered `server/discover`.
    Discovered,
    /// It answered `server/discover` with an error that modern servers alone have.
    ModernError(i64),
    /// It answered `server/discover` with another error, as legacy servers do.
    OtherError(i64),
    /// It answered `server/discover` and offers only versions with a handshake.
    OnlyOlder,
    /// It answered `server/discover` with something that is neither an answer to it nor an error.
    NoAnswer,
    /// It kept silent about `server/discover`.
    Silence,
    /// Its process, or its event stream, ended over `server/discover`.
    Ended,
    /// It answered `server/discover` with this HTTP status.
    Status(u16),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("configured"),
            Self::Before => f.write_str("known from before"),
            Self::Discovered => f.write_str("it answered server/discover"),
            Self::ModernError(code) | Self::OtherError(code) => {
                write!(f, "it answered server/discover with error {code}")
            }
            Self::OnlyOlder => {
                f.write_str("it answered server/discover and offers older versions only")
            }
            Self::NoAnswer => f.write_str("it answered server/discover with something else"),
            Self::Silence => f.write_str("it did not answer server/discover"),
            Self::Ended => f.write_str("it ended when asked server/discover"),
            Self::Status(status) => {
                write!(f, "it answered server/discover with HTTP status {status}")
            }
        }
    }
}

impl Server {
    /// Whether it has skills (SEP-2640).
    #[must_use]
    pub fn has_skills(&self) -> bool {
        self.skills_settings().is_some()
    }

    /// Whether it lists the directories of its skills (SEP-2640).
    #[must_use]
    pub fn reads_directories(&self) -> bool {
        self.skills_settings()
            .is_some_and(|settings| extension::reads_directories(settings))
    }

    fn skills_settings(&self) -> Option<&Bytes> {
        let mut extensions = self.extensions.iter();
        extensions.find_map(|(name, settings)| (name == extension::SKILLS).then_some(settings))
    }

    /// Words for what the server can be asked for: those of its features, then its extensions,
    /// without `io.modelcontextprotocol/`.
    pub fn offers(&self) -> impl Iterator<Item = &str> {
        let extensions = self.extensions.iter().map(|(name, _)| {
            let short = name.strip_prefix("io.modelcontextprotocol/");
            short.unwrap_or(name)
        });
        let features = self.features.words().map(|word| -> &str { word });
        features.chain(extensions)
    }
}

/// The features that decide what is asked of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Has tools.
    pub tools: bool,
    /// Says when its tools change.
    pub tools_changed: bool,
    /// Has prompts.
    pub prompts: bool,
    /// Says when its prompts change.
    pub prompts_changed: bool,
    /// Has resources.
    pub resources: bool,
    /// Says when its resources change.
    pub resources_changed: bool,
    /// Says when a single resource changes.
    pub subscribe: bool,
    /// Completes arguments.
    pub completions: bool,
    /// Sends logs.
    pub logging: bool,
    /// Takes tool calls as tasks of 2025-11-25, as each tool says.
    pub tasks: bool,
}

impl Features {
    /// The words for what the server can be asked for, in a fixed order: some of `tools`,
    /// `prompts`, `resources`, `completions`, `logging` and `subscribe`.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        [
            (self.tools, "tools"),
            (self.prompts, "prompts"),
            (self.resources, "resources"),
            (self.completions, "completions"),
            (self.logging, "logging"),
            (self.subscribe, "subscribe"),
        ]
        .into_iter()
        .filter_map(|(has, word)| has.then_some(word))
    }
}

/// One tool, prompt, resource, template or skill, as the server wrote it.
#[derive(Clone, Debug)]
pub struct Item {
    /// The item's JSON object.
    pub raw: Bytes,
    /// Its name, URI or URI template, escapes resolved.
    pub key: String,
    /// Where that stands in `raw`, quotes included.
    pub key_span: Span,
    /// Where `_meta.ui.resourceUri` of a tool stands in `raw`, quotes included (MCP Apps).
    pub ui_resource: Option<Span>,
    /// Which arguments of a tool are mirrored into headers.
    pub param_headers: Arc<ParamHeaders>,
    /// Whether a legacy server's tool may, or has to, be called as a task of 2025-11-25; `None`: it
    /// cannot.
    pub task_support: Option<TaskSupport>,
    /// What a tool says that it does to the world.
    pub effects: Effects,
}

/// How a tool can be called as a task (2025-11-25: `basic/utilities/tasks`, Tool-Level
/// Negotiation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskSupport {
    /// As one or otherwise.
    Optional,
    /// Only as one.
    Required,
}

impl TaskSupport {
    /// Reads it from a tool as a server of 2025-11-25 lists it.
    #[must_use]
    pub fn of_tool(raw: &[u8]) -> Option<Self> {
        match member(member(raw, "execution")?, "taskSupport")? {
            b"\"optional\"" => Some(Self::Optional),
            b"\"required\"" => Some(Self::Required),
            _ => None,
        }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}
