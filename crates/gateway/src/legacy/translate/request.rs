//! A legacy client's request as a modern one (specification: `basic/index`, `_meta`).

use std::sync::OnceLock;

use bytes::Bytes;
use switchboard_protocol::envelope::{Envelope, MAX_ID_BYTES, PreparedMeta};
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::extension;
use switchboard_protocol::method::{LogLevel, Method};
use switchboard_protocol::splice::{filter_object, for_each_member};
use switchboard_protocol::version::Version;
use switchboard_protocol::{CONVERSATION_KEY, OWN_META_PREFIX, TIMEOUT_KEY};

use super::edit::is_object;

/// Who a legacy client said it is when it initialized: what a modern client says with each request.
#[derive(Clone, Debug)]
pub(crate) struct ClientIdentity {
    /// The version agreed on.
    pub(crate) version: Version,
    /// `clientInfo`, as written; `None` if it was no object.
    pub(crate) client_info: Option<Bytes>,
    /// Its capabilities in modern form: a JSON object.
    pub(crate) capabilities: Bytes,
    /// [`ClientIdentity::meta`] by log level, made when it is first needed; `None` if no request
    /// can carry it.
    prepared: [OnceLock<Option<Box<PreparedMeta>>>; LogLevel::COUNT],
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.client_info == other.client_info
            && self.capabilities == other.capabilities
    }
}

impl ClientIdentity {
    /// Reads `clientInfo` and `capabilities` of `initialize`, both valid JSON as written.
    pub(crate) fn new(version: Version, client_info: Option<&[u8]>, capabilities: &[u8]) -> Self {
        Self {
            version,
            client_info: client_info
                .filter(|info| is_object(info))
                .map(Bytes::copy_from_slice),
            capabilities: modern_capabilities(version, capabilities).into(),
            prepared: Default::default(),
        }
    }

    fn prepared(&self, log_level: LogLevel) -> Option<&PreparedMeta> {
        let prepared = self.prepared[log_level as usize].get_or_init(|| {
            let meta = PreparedMeta::new(&self.meta(Some(log_level)));
            meta.ok().map(Box::new)
        });
        prepared.as_deref()
    }

    /// The members of `_meta` that a modern request begins with, comma-separated.
    pub(crate) fn meta(&self, log_level: Option<LogLevel>) -> Vec<u8> {
        let version = Version::LATEST.as_str();
        let mut out =
            format!("\"io.modelcontextprotocol/protocolVersion\":\"{version}\",").into_bytes();
        if let Some(info) = &self.client_info {
            out.extend_from_slice(b"\"io.modelcontextprotocol/clientInfo\":");
            out.extend_from_slice(info);
            out.push(b',');
        }
        out.extend_from_slice(b"\"io.modelcontextprotocol/clientCapabilities\":");
        out.extend_from_slice(&self.capabilities);
        if let Some(level) = log_level {
            let level = level.as_str();
            out.extend_from_slice(
                format!(",\"io.modelcontextprotocol/logLevel\":\"{level}\"").as_bytes(),
            );
        }
        out
    }
}

/// The capabilities of a client of this version as a modern client would declare them.
///
/// What its version does not have yet is not declared, whatever it wrote: elicitation came with
/// 2025-06-18, its modes and what sampling can be given with 2025-11-25. Extensions pass, but for
/// tasks, which a legacy client knows in another form only. `roots.listChanged`, which 2026-07-28
/// has no more, stays: legacy servers are told.
fn modern_capabilities(version: Version, raw: &[u8]) -> Vec<u8> {
    let mut out = vec![b'{'];
    let newest = version >= Version::V2025_11_25;
    for_each_member(raw, |key, member, value| {
        let separator: &[u8] = if out.len() > 1 { b"," } else { b"" };
        if !is_object(value) {
            return;
        }
        match key {
            "elicitation" if version < Version::V2025_06_18 => {}
            "elicitation" | "sampling" if !newest => {
                out.extend_from_slice(separator);
                out.extend_from_slice(format!("\"{key}\":{{}}").as_bytes());
            }
            "elicitation" | "sampling" | "roots" => {
                out.extend_from_slice(separator);
                out.extend_from_slice(member);
            }
            "extensions" => {
                out.extend_from_slice(separator);
                out.extend_from_slice(b"\"extensions\":");
                filter_object(value, b"", |name| name != extension::TASKS, &mut out);
            }
            _ => {}
        }
    });
    out.push(b'}');
    out
}

/// A legacy request as the modern request that means the same: version, client and capabilities are
/// in its `_meta`, and so is the level of logs that the session asked for. The client's own
/// `_meta` stays, progress token included, but for keys that only modern clients or this gateway
/// give a meaning; so do its parameters, but for those that its version has no such meaning for
/// (`requestState`, `inputResponses`; `task`, which is `tasks`' concern;
/// `context` of a completion before 2025-06-18). `may_have_task`: what [`may_have_task`] says of its
/// parameters.
///
/// [`may_have_task`]: switchboard_protocol::splice::may_have_task
///
/// # Errors
/// −32601 for a method that is not one of those which both eras have, −32602 for a request that
/// names no target or whose `_meta` is not valid.
pub(crate) fn request(
    envelope: &Envelope,
    client: &ClientIdentity,
    log_level: Option<LogLevel>,
    may_have_task: bool,
) -> Result<(Method, Envelope), ProtocolError> {
    let method = both_eras(&envelope.method_name()).ok_or_else(ProtocolError::method_not_found)?;
    if method.has_name_header() && envelope.name(envelope.params.target(method)).is_none() {
        let key = if method == Method::ResourcesRead {
            "uri"
        } else {
            "name"
        };
        return Err(ProtocolError::invalid_params(format!(
            "params.{key} is missing or no string"
        )));
    }
    if let Some(request) = with_prepared_meta(envelope, method, client, log_level, may_have_task) {
        return Ok((method, request));
    }
    let own_meta = match envelope.params.meta.map(|span| envelope.slice(span)) {
        None | Some(b"null") => b"{}",
        Some(meta) if is_object(meta) => meta,
        Some(_) => {
            return Err(ProtocolError::invalid_params("params._meta is an object"));
        }
    };
    check_progress_token(envelope)?;

    let mut front = b"\"_meta\":".to_vec();
    // What a client may say to the gateway it may say in either era.
    let is_clients = |key: &str| [TIMEOUT_KEY, CONVERSATION_KEY].contains(&key);
    let is_ours = |key: &str| key.starts_with(OWN_META_PREFIX) && !is_clients(key);
    let keep = |key: &str| !(is_ours(key) || is_modern_meta(key));
    filter_object(own_meta, &client.meta(log_level), keep, &mut front);
    let drops_context = drops_context(method, client);
    let request = with_params(envelope, &front, |key| match key {
        "_meta" | "requestState" | "inputResponses" => false,
        "task" => method != Method::ToolsCall,
        "context" => !drops_context,
        _ => true,
    })?;
    Ok((method, request))
}

/// The modern request where nothing is to be dropped and there is no `_meta`, as in most calls: it
/// need not be parsed again.
fn with_prepared_meta(
    envelope: &Envelope,
    method: Method,
    client: &ClientIdentity,
    log_level: Option<LogLevel>,
    may_have_task: bool,
) -> Option<Envelope> {
    let is_changed = envelope.params.is_continuation()
        || drops_context(method, client)
        || (method == Method::ToolsCall && may_have_task);
    if is_changed {
        return None;
    }
    envelope.with_meta(client.prepared(log_level?)?)
}

/// `context` of a completion came with 2025-06-18.
fn drops_context(method: Method, client: &ClientIdentity) -> bool {
    method == Method::Complete && client.version < Version::V2025_06_18
}

/// The same request with the answers to its questions, and the state that came with them.
/// `input_responses` is a JSON object, `request_state` a JSON string as written, quotes included.
///
/// # Errors
/// −32602 if what comes of it is nested too deep.
pub(crate) fn retry(
    request: &Envelope,
    input_responses: &[u8],
    request_state: Option<&[u8]>,
) -> Result<Envelope, ProtocolError> {
    let mut front = b"\"inputResponses\":".to_vec();
    front.extend_from_slice(input_responses);
    if let Some(state) = request_state {
        front.extend_from_slice(b",\"requestState\":");
        front.extend_from_slice(state);
    }
    with_params(request, &front, |key| {
        !matches!(key, "inputResponses" | "requestState")
    })
}

/// The method of this name, if both eras have it and requests of it are translated.
fn both_eras(name: &[u8]) -> Option<Method> {
    match Method::of_name(name)? {
        method @ (Method::ToolsList
        | Method::ToolsCall
        | Method::ResourcesList
        | Method::ResourceTemplatesList
        | Method::ResourcesRead
        | Method::PromptsList
        | Method::PromptsGet
        | Method::Complete
        | Method::SkillsList
        | Method::SkillsGet
        | Method::DirectoryRead) => Some(method),
        _ => None,
    }
}

/// Whether a key of a request's `_meta` means something to modern servers only. Others of the
/// protocol's prefix may be an extension's.
fn is_modern_meta(key: &str) -> bool {
    matches!(
        key,
        "io.modelcontextprotocol/protocolVersion"
            | "io.modelcontextprotocol/clientInfo"
            | "io.modelcontextprotocol/clientCapabilities"
            | "io.modelcontextprotocol/logLevel"
            | "io.modelcontextprotocol/subscriptionId"
    )
}

fn check_progress_token(envelope: &Envelope) -> Result<(), ProtocolError> {
    let Some(token) = envelope.meta.progress_token else {
        return Ok(());
    };
    let raw = envelope.slice(token);
    let is_integer = raw
        .iter()
        .all(|byte| byte.is_ascii_digit() || *byte == b'-');
    if raw.len() > MAX_ID_BYTES || (raw[0] != b'"' && !is_integer) {
        return Err(ProtocolError::invalid_params(
            "progressToken is a string of at most 1 KiB or an integer",
        ));
    }
    Ok(())
}

/// The request with other members in front of those of its `params` that `keep` lets pass.
fn with_params(
    request: &Envelope,
    front: &[u8],
    keep: impl FnMut(&str) -> bool,
) -> Result<Envelope, ProtocolError> {
    let raw = &request.raw;
    let mut out = Vec::with_capacity(raw.len() + front.len() + b"\"params\":{},".len());
    match request.keys.params {
        Some(params) => {
            out.extend_from_slice(&raw[..params.start()]);
            filter_object(request.slice(params), front, keep, &mut out);
            out.extend_from_slice(&raw[params.end()..]);
        }
        None => {
            // A request has members, so a comma follows.
            let body = raw
                .iter()
                .position(|byte| *byte == b'{')
                .map_or(0, |at| at + 1);
            out.extend_from_slice(b"{\"params\":{");
            out.extend_from_slice(front);
            out.extend_from_slice(b"},");
            out.extend_from_slice(&raw[body..]);
        }
    }
    Envelope::parse(out.into()).map_err(|error| ProtocolError::invalid_params(error.to_string()))
}

#[cfg(test)]
mod tests;
