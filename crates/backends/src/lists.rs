//! What a backend offers, as it wrote it.

use bytes::Bytes;
use std::sync::Arc;
use switchboard_protocol::json::Span;
use switchboard_protocol::param_header::ParamHeaders;
use switchboard_protocol::version::Version;

/// Everything that one backend offers, learned from its lists. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Lists {
    /// Who the server is and how it is spoken to.
    pub server: Arc<Server>,
    /// Its tools, after `include_tools` and `exclude_tools`, in its order.
    pub tools: Vec<Item>,
    /// Its prompts.
    pub prompts: Vec<Item>,
    /// Its resources.
    pub resources: Vec<Item>,
    /// Its resource templates.
    pub templates: Vec<Item>,
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
}

/// The features that decide what is asked of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // These are the protocol's own independent flags.
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
}

/// One tool, prompt, resource or template, as the server wrote it.
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
}
