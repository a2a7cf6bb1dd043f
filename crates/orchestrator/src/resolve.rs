//! Which backend a call goes to, and under which name.

use std::borrow::Cow;
use std::sync::Arc;

use switchboard_protocol::call::Call;
use switchboard_protocol::error::{CallError, ProtocolError, code};
use switchboard_protocol::extension;
use switchboard_protocol::method::Method;
use switchboard_protocol::param_header::ParamHeaders;

use crate::catalogue::{Entry, Route, Snapshot, Source};

/// Where a call goes.
#[derive(Debug)]
pub(crate) struct Destination<'s> {
    /// The backend's name.
    pub(crate) backend: Arc<str>,
    /// The server's own name or URI of the target.
    pub(crate) target: Cow<'s, str>,
    /// Which arguments are mirrored into headers.
    pub(crate) param_headers: Option<&'s ParamHeaders>,
}

/// The answer to where a call goes.
#[derive(Debug)]
pub(crate) enum Resolution<'s> {
    /// There.
    To(Destination<'s>),
    /// Nobody who is known has it, but this backend, not learned yet, may.
    MayBe(&'s Source),
}

/// Finds where a call goes.
///
/// # Errors
/// −32602 for a target that nobody has, is not named, or could be several backends'.
pub(crate) fn resolve<'s>(
    snapshot: &'s Snapshot,
    call: &Call,
) -> Result<Resolution<'s>, CallError> {
    match call.method {
        Method::ToolsCall => {
            let name = named(call, "name")?;
            named_entry(snapshot, snapshot.tool(&name), &name, "tool")
        }
        Method::PromptsGet => {
            let name = named(call, "name")?;
            named_entry(snapshot, snapshot.prompt(&name), &name, "prompt")
        }
        Method::ResourcesRead => {
            let uri = named(call, "uri")?;
            routed(snapshot, snapshot.resource(&uri), &uri)
        }
        Method::Complete => completed(snapshot, call),
        Method::SkillsGet if snapshot.may_have(extension::SKILLS) => {
            let uri = named(call, "uri")?;
            routed(snapshot, snapshot.skill(&uri), &uri)
        }
        Method::DirectoryRead if snapshot.may_read_directories() => {
            let uri = named(call, "uri")?;
            routed(snapshot, snapshot.directory(&uri), &uri)
        }
        Method::SkillsGet | Method::DirectoryRead => Err(ProtocolError::method_not_found().into()),
        _ => Err(ProtocolError::new(code::METHOD_NOT_FOUND, "this method names no target").into()),
    }
}

fn named<'c>(call: &'c Call, key: &str) -> Result<Cow<'c, str>, ProtocolError> {
    call.target().ok_or_else(|| {
        ProtocolError::invalid_params(format!("params.{key} is missing or no string"))
    })
}

fn named_entry<'s>(
    snapshot: &'s Snapshot,
    entry: Option<&'s Entry>,
    name: &str,
    kind: &str,
) -> Result<Resolution<'s>, CallError> {
    if let Some(entry) = entry {
        return Ok(Resolution::To(Destination {
            backend: Arc::clone(&entry.backend),
            target: Cow::Borrowed(entry.original()),
            param_headers: (!entry.item.param_headers.is_empty())
                .then_some(&*entry.item.param_headers),
        }));
    }
    match snapshot.may_own(name) {
        Some(source) => Ok(Resolution::MayBe(source)),
        None => {
            Err(ProtocolError::invalid_params(format!("Unknown {kind}: {}", shown(name))).into())
        }
    }
}

fn routed<'s>(
    snapshot: &'s Snapshot,
    route: Route<'_>,
    uri: &str,
) -> Result<Resolution<'s>, CallError> {
    match route {
        Route::One { backend, uri } => {
            let target = Cow::Owned(uri.into_owned());
            Ok(Resolution::To(Destination {
                backend,
                target,
                param_headers: None,
            }))
        }
        Route::Ambiguous(candidates) => Err(ambiguous(uri, &candidates).into()),
        Route::Unknown => match snapshot.may_own_resource(uri) {
            Some(source) => Ok(Resolution::MayBe(source)),
            None => Err(not_found(uri).into()),
        },
    }
}

fn completed<'s>(snapshot: &'s Snapshot, call: &Call) -> Result<Resolution<'s>, CallError> {
    let request = &call.request;
    let reference = request.reference.unwrap_or_default();
    match request.text(reference.kind).as_deref() {
        Some("ref/prompt") => {
            let name = request.text(reference.name);
            let name = name.ok_or_else(|| {
                ProtocolError::invalid_params("params.ref.name is missing or no string")
            })?;
            named_entry(snapshot, snapshot.prompt(&name), &name, "prompt")
        }
        Some("ref/resource") => {
            let uri = request.text(reference.uri);
            let uri = uri.ok_or_else(|| {
                ProtocolError::invalid_params("params.ref.uri is missing or no string")
            })?;
            routed(snapshot, snapshot.template(&uri), &uri)
        }
        _ => Err(ProtocolError::invalid_params(
            "params.ref.type is \"ref/prompt\" or \"ref/resource\"",
        )
        .into()),
    }
}

/// Resource not found (specification: `server/resources`, Error Handling).
fn not_found(uri: &str) -> ProtocolError {
    ProtocolError {
        code: code::INVALID_PARAMS,
        message: "Resource not found".into(),
        data: Some(serde_json::json!({ "uri": shown(uri) }).to_string()),
    }
}

fn ambiguous(uri: &str, candidates: &[String]) -> ProtocolError {
    ProtocolError {
        code: code::INVALID_PARAMS,
        message: "More than one server has a resource of this URI: use one of the candidates"
            .into(),
        data: Some(serde_json::json!({ "uri": shown(uri), "candidates": candidates }).to_string()),
    }
}

/// What a client wrote, cut to a length fit for a message.
fn shown(text: &str) -> &str {
    let mut end = text.len().min(256);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
