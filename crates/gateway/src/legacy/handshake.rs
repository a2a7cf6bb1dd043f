//! `initialize` (2025-11-25 `basic/lifecycle`).

use bytes::Bytes;
use switchboard_orchestrator::catalogue::Snapshot;
use switchboard_protocol::capabilities::ClientCapabilities;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::extension;
use switchboard_protocol::json::{as_str, write_str};
use switchboard_protocol::splice::{filter_object, for_each_member, member};
use switchboard_protocol::version::Version;

use super::clients::Agreed;
use super::session::Session;
use super::tasks;
use super::translate::ClientIdentity;

/// The longest `clientInfo`, and the longest capabilities, that a session keeps as they came, in
/// bytes. Of longer ones what the gateway knows is kept.
const MAX_KEPT: usize = 4 * 1024;
/// The longest name and version that are kept of a longer `clientInfo`, in bytes.
const MAX_TEXT: usize = 256;

/// Agrees with a client on a version: the one that it asks for, or else the newest of its era
/// (2025-11-25 `basic/lifecycle`, Version Negotiation).
///
/// # Errors
/// −32602 if the parameters name no version.
pub(super) fn agree(request: &Envelope) -> Result<Agreed, ProtocolError> {
    let params = request.keys.params.map(|params| request.slice(params));
    let param = |key| params.and_then(|params| member(params, key));
    let requested = param("protocolVersion").and_then(as_str).ok_or_else(|| {
        ProtocolError::invalid_params("params.protocolVersion is missing or no string")
    })?;
    let version = Version::parse(&requested)
        .filter(|version| !version.is_modern())
        .unwrap_or(Version::LATEST_LEGACY);
    let capabilities = param("capabilities").unwrap_or(b"{}");
    if capabilities.first() != Some(&b'{') {
        return Err(ProtocolError::invalid_params(
            "params.capabilities is an object",
        ));
    }
    let info = param("clientInfo").map(kept_info);
    let identity = ClientIdentity::new(version, info.as_deref(), &kept_capabilities(capabilities));
    Ok(Agreed::new(identity))
}

fn kept_info(raw: &[u8]) -> Vec<u8> {
    if raw.len() <= MAX_KEPT {
        return raw.to_vec();
    }
    let mut out = vec![b'{'];
    for_each_member(raw, |key, member, value| {
        if matches!(key, "name" | "version") && value.len() <= MAX_TEXT {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(member);
        }
    });
    out.push(b'}');
    out
}

fn kept_capabilities(raw: &[u8]) -> Vec<u8> {
    if raw.len() <= MAX_KEPT {
        return raw.to_vec();
    }
    format!("{{{}}}", ClientCapabilities::parse(raw).to_members()).into_bytes()
}

/// The result of `initialize`, for who began this session.
pub(super) fn result(version: Version, snapshot: &Snapshot, session: &Session) -> Bytes {
    let profile = session.profile().map(|profile| &**profile);
    let view = snapshot.view(&session.principal(), profile);
    let mut out = format!("{{\"protocolVersion\":\"{version}\",\"capabilities\":").into_bytes();
    capabilities(version, snapshot.capabilities(), &mut out);
    out.extend_from_slice(b",\"serverInfo\":{\"name\":\"switchboard\",\"version\":\"");
    out.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    out.extend_from_slice(b"\"}");
    if let Some(instructions) = view.instructions() {
        out.extend_from_slice(b",\"instructions\":");
        write_str(&mut out, instructions);
    }
    out.push(b'}');
    out.into()
}

/// The capabilities, with tasks as 2025-11-25 declares them, which alone of its kind has them.
fn capabilities(version: Version, modern: &[u8], out: &mut Vec<u8>) {
    let mut extra = Vec::new();
    if version == Version::V2025_11_25 && extension::is_declared(modern, extension::TASKS) {
        extra.extend_from_slice(tasks::CAPABILITY);
    }
    let mut extensions = Vec::new();
    if let Some(raw) = member(modern, "extensions") {
        filter_object(raw, b"", |name| name != extension::TASKS, &mut extensions);
    }
    if extensions.len() > b"{}".len() {
        if !extra.is_empty() {
            extra.push(b',');
        }
        extra.extend_from_slice(b"\"extensions\":");
        extra.extend_from_slice(&extensions);
    }
    filter_object(modern, &extra, |key| key != "extensions", out);
}
