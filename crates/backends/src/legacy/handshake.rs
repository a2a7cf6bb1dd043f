//! The handshake (2025-11-25: `basic/lifecycle`).

use std::sync::Arc;
use switchboard_protocol::capabilities::ClientCapabilities;
use switchboard_protocol::json;
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;

use super::relay::Relay;
use super::session::Session;
use crate::connect::{Agreed, describe};
use crate::link::watch::Watch;
use crate::link::{Link, LinkError, Wire, next_id};
use crate::lists::Found;
use crate::message;

/// What MCP Apps are declared with (extension `io.modelcontextprotocol/ui`).
const UI: &str = concat!(
    "\"extensions\":{\"io.modelcontextprotocol/ui\":",
    "{\"mimeTypes\":[\"text/html;profile=mcp-app\"]}}"
);

/// As what the gateway introduces itself in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Introduction {
    /// The version asked for; the server may answer with another.
    pub(crate) version: Version,
    /// What it says it can be asked.
    pub(crate) capabilities: ClientCapabilities,
    /// Whether it says that it shows user interfaces (MCP Apps).
    pub(crate) ui: bool,
}

impl Introduction {
    /// One that declares nothing.
    pub(crate) const BARE: Self = Self {
        version: Version::LATEST_LEGACY,
        capabilities: ClientCapabilities {
            elicitation_form: false,
            elicitation_url: false,
            sampling: false,
            sampling_tools: false,
            sampling_context: false,
            roots: false,
            roots_list_changed: false,
        },
        ui: false,
    };

    /// One that declares everything, for the session that lists come from: some servers register
    /// tools by what the client can do.
    pub(crate) const FULL: Self = Self {
        version: Version::LATEST_LEGACY,
        capabilities: ClientCapabilities {
            elicitation_form: true,
            elicitation_url: true,
            sampling: true,
            sampling_tools: true,
            sampling_context: true,
            roots: true,
            roots_list_changed: true,
        },
        ui: true,
    };

    /// Whether the server may ask anything in a session that began with it.
    pub(crate) fn may_be_asked(&self) -> bool {
        !self.capabilities.is_empty()
    }

    fn params(&self) -> String {
        let mut capabilities = self.capabilities.to_members();
        if self.ui {
            if !capabilities.is_empty() {
                capabilities.push(',');
            }
            capabilities.push_str(UI);
        }
        format!(
            "\"protocolVersion\":\"{}\",\"capabilities\":{{{capabilities}}},\"clientInfo\":{{\"name\":\"switchboard\",\"version\":\"{}\"}}",
            self.version,
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// The handshake of a session. Takes as long as the server does: the deadline is that of connecting
/// as a whole. `relay` is the way to the legacy client that the session belongs to, if it belongs to one.
pub(crate) async fn initialize(
    link: &Link,
    introduction: &Introduction,
    relay: Option<Relay>,
    found: Found,
) -> Result<Agreed, LinkError> {
    let out = message::own("initialize", next_id(), "", &introduction.params());
    // The version is not agreed yet, so no header names it; 2024-11-05 had none.
    let mut wire = Wire {
        version: Version::V2024_11_05,
        session: None,
    };
    let (response, session) = match link {
        Link::Http(http) => http.request_with_session(&wire, out, Watch::deaf()).await?,
        Link::Mux(mux) => (mux.request(out, Watch::deaf()).await?, None),
    };
    let Some(result) = response.result.map(|span| response.slice(span)) else {
        let code = response.error_code().unwrap_or_default();
        return Err(LinkError::HandshakeRefused(code));
    };
    let version = member(result, "protocolVersion").and_then(json::as_str);
    wire.version = version
        .and_then(|version| Version::parse(&version))
        .filter(|version| !version.is_modern())
        .ok_or_else(|| {
            LinkError::Invalid(
                "it speaks a version of the protocol that the gateway does not".to_owned(),
            )
        })?;
    wire.session = session;
    let server = describe(result, wire.version, found);
    let relay = relay.map(Arc::new);
    match link {
        Link::Http(http) => http.speak_legacy(&wire),
        Link::Mux(mux) => mux.speak_legacy(relay.clone()),
    }
    link.notify(
        &wire,
        (&b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"[..]).into(),
    )
    .await?;
    Ok(Agreed {
        wire,
        server,
        legacy: Some(Session::new(relay)),
    })
}
