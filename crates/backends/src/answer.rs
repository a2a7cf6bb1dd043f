//! What a backend answered, and what to say when it did not.

use std::sync::Arc;
use std::time::Duration;
use switchboard_protocol::call::Call;
use switchboard_protocol::credentials::Blame;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::{CallError, Effect, Fault, Reason, code};
use switchboard_protocol::json::Span;
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::Splice;
use switchboard_protocol::version::Version;

use crate::legacy;
use crate::link::LinkError;
use crate::process;
use crate::status::State;

/// A result as the backend wrote it, and what a server of its version leaves out.
#[derive(Debug)]
pub struct Answer {
    /// The response.
    pub response: Response,
    /// The result in it.
    pub result: Span,
    /// Members that 2026-07-28 asks for and the server did not write, comma-separated; often empty.
    pub missing_members: &'static str,
    /// The endpoint that gave it, which is where what it began goes on; 0 where there is but one.
    pub endpoint: u64,
    /// Whether what it began goes on in this process of the gateway alone: in a local server, or in
    /// its session with a legacy one.
    pub stays: bool,
}

impl Answer {
    /// Whether the result is a complete one: no question, no task, nothing that an extension has in
    /// its place.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let keys = &self.response.keys;
        let result_type = self.response.text(keys.result_type);
        keys.result_type.is_none() || result_type.as_deref() == Some("complete")
    }
}

/// Sorts a response into result and error, in the terms of 2026-07-28.
pub(crate) fn interpret(
    backend: &Arc<str>,
    call: &Call,
    version: Version,
    response: Response,
) -> Result<Answer, CallError> {
    if let Some(error) = response.error {
        let original = response.error_code().unwrap_or(code::INTERNAL_ERROR);
        let mapped = if version.is_modern() {
            original
        } else {
            modern_code(call, original)
        };
        let mut raw = response.raw.slice(error.range());
        if let (true, Some(span)) = (mapped != original, response.error_keys.code) {
            let mut splice = Splice::new();
            splice.replace(span, mapped.to_string().into_bytes());
            let mut out = Vec::with_capacity(raw.len());
            splice.apply(&response.raw, error, &mut out);
            raw = out.into();
        }
        return Err(CallError::Backend {
            code: mapped,
            error: raw,
            is_failure: false,
        });
    }
    let Some(result) = response.result else {
        let error = LinkError::Invalid("it has neither a result nor an error".to_owned());
        return Err(fault(backend, &error).into());
    };
    let missing_members = missing_members(call.method, &response);
    Ok(Answer {
        response,
        result,
        missing_members,
        endpoint: 0,
        stays: !version.is_modern(),
    })
}

fn missing_members(method: Method, response: &Response) -> &'static str {
    let keys = &response.keys;
    let is_complete = || {
        keys.result_type.is_none() || response.text(keys.result_type).as_deref() == Some("complete")
    };
    method.missing_members(
        keys.result_type.is_some(),
        method.is_cacheable() && is_complete(),
        keys.ttl_ms.is_some(),
    )
}

/// The code that 2026-07-28 has for a legacy one (specification: `basic/index`, Error Codes: -32002
/// and -32042 are not sent any more), but for the one that a legacy client knows what to do with.
fn modern_code(call: &Call, original: i64) -> i64 {
    match (call.method, original) {
        (
            Method::ResourcesRead | Method::SkillsGet | Method::DirectoryRead,
            code::LEGACY_RESOURCE_NOT_FOUND,
        ) => code::INVALID_PARAMS,
        (_, code::LEGACY_URL_ELICITATION_REQUIRED) if !legacy::knows_url_error(call) => {
            code::INTERNAL_ERROR
        }
        _ => original,
    }
}

/// What a call fails with that got no answer. A status that carried a JSON-RPC error is the
/// backend's own error, unless it says that the call was not taken (429): limiters often say that in
/// the form of JSON-RPC. All else is the gateway's fault to tell.
pub(crate) fn failure(
    backend: &Arc<str>,
    call: &Call,
    version: Version,
    error: LinkError,
) -> CallError {
    match error {
        LinkError::Status {
            error: Some(response),
            status,
            ..
        } if status != 429 => match interpret(backend, call, version, *response) {
            Err(CallError::Backend { code, error, .. }) => CallError::Backend {
                code,
                error,
                is_failure: status >= 500,
            },
            Err(error) => error,
            Ok(_) => {
                let error = LinkError::Invalid("a failure with a result".to_owned());
                fault(backend, &error).into()
            }
        },
        error => fault(backend, &error).into(),
    }
}

/// The fault of a result that arrives where nobody takes it before it is whole.
pub(crate) fn not_whole(backend: &Arc<str>) -> Fault {
    fault(backend, &LinkError::TooLarge)
}

/// Why a call failed that failed so on the way to a backend and back.
pub(crate) fn reason(error: &LinkError) -> Reason {
    match error {
        LinkError::NotSent(_) | LinkError::Unreachable(_) => Reason::Unavailable,
        LinkError::NoCredential(error) if error.blame == Blame::Passing => Reason::Unavailable,
        LinkError::NoCredential(_) | LinkError::Unauthorized(_) => Reason::NeedsAuth,
        LinkError::Lost(_) => Reason::ConnectionLost,
        LinkError::Silent => Reason::Timeout,
        LinkError::TooLarge => Reason::AnswerTooLarge,
        LinkError::Invalid(_) | LinkError::HandshakeRefused(_) => Reason::InvalidAnswer,
        LinkError::Full => Reason::Overloaded,
        LinkError::Status { status: 429, .. } => Reason::BackendLimit,
        LinkError::Status { status: 503, .. } => Reason::Unavailable,
        LinkError::Status {
            status: 400..=499, ..
        } => Reason::Refused,
        LinkError::Status { .. } => Reason::ServerError,
    }
}

/// The gateway's words for what went wrong on the way to a backend and back.
pub(crate) fn fault(backend: &Arc<str>, error: &LinkError) -> Fault {
    let reason = reason(error);
    let name = &**backend;
    let check = "It may or may not have done the work: check before you call again.";
    let (effect, retryable, message) = match error {
        LinkError::NotSent(_) | LinkError::Unreachable(_) => (
            Effect::NotSent,
            true,
            format!(
                "The server \"{name}\" cannot be reached. Nothing was executed: try again later, or go on without it."
            ),
        ),
        LinkError::NoCredential(error) if error.blame == Blame::Passing => (
            Effect::NotSent,
            true,
            format!(
                "The server \"{name}\" cannot be called: {error}. Nothing was executed: try again later, or go on without it."
            ),
        ),
        // Known before it was sent, and the same the next time: not to be tried again at once.
        LinkError::NoCredential(error) => (
            Effect::Failed,
            false,
            format!("The server \"{name}\" cannot be called: {error}. Nothing was executed."),
        ),
        LinkError::Lost(why) => (
            Effect::Unknown,
            false,
            match process::is_end(why) {
                // What a server says last is what helps most, and has been made fit for callers.
                true => {
                    format!("The server \"{name}\" broke off before it answered: {why}. {check}")
                }
                false => format!(
                    "The connection to the server \"{name}\" broke before it answered. {check}"
                ),
            },
        ),
        LinkError::Silent => (
            Effect::Unknown,
            false,
            format!("The server \"{name}\" kept silent for too long. {check}"),
        ),
        LinkError::TooLarge => (
            Effect::Unknown,
            false,
            format!(
                "The answer of the server \"{name}\" is larger than the gateway takes. {check} Ask for less."
            ),
        ),
        LinkError::Invalid(_) | LinkError::HandshakeRefused(_) => (
            Effect::Unknown,
            false,
            format!(
                "The server \"{name}\" answered with something that is not a valid answer. {check}"
            ),
        ),
        LinkError::Full => (
            Effect::NotSent,
            true,
            format!(
                "Too many calls wait for the server \"{name}\". Nothing was executed: try again in a moment."
            ),
        ),
        LinkError::Unauthorized(_) => (
            Effect::Failed,
            false,
            format!(
                "The server \"{name}\" refuses the gateway's credential. Nothing was executed: an operator has to renew it."
            ),
        ),
        LinkError::Status { status: 429, .. } => (
            Effect::Failed,
            true,
            format!(
                "The server \"{name}\" takes no more calls right now. Nothing was executed: try again later."
            ),
        ),
        LinkError::Status { status: 503, .. } => (
            // A proxy before the server may say so after the server has done the work.
            Effect::Unknown,
            false,
            format!("The server \"{name}\" says that it is unavailable. {check}"),
        ),
        LinkError::Status {
            status: 400..=499, ..
        } => (
            Effect::Failed,
            false,
            format!("The server \"{name}\" refused the request."),
        ),
        LinkError::Status { .. } => (
            Effect::Unknown,
            false,
            format!("The server \"{name}\" failed while it answered. {check}"),
        ),
    };
    let retry_after = match error {
        LinkError::Status { retry_after, .. } => *retry_after,
        _ => None,
    };
    let fault = Fault {
        retryable,
        effect,
        retry_after_ms: retry_after
            .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        ..Fault::unknown(reason, message)
    };
    fault.of(backend).with_detail(error.to_string())
}

/// The fault of a call that goes on with something in an endpoint that is there no longer. Another
/// one does not know of it, and might begin it anew.
pub(crate) fn endpoint_gone(backend: &Arc<str>) -> Fault {
    let message = format!(
        "The place of the server \"{backend}\" where this began is gone. Nothing was executed now; what was done before is not known: check before you begin again."
    );
    Fault {
        retryable: false,
        retry_after_ms: None,
        ..Fault::not_sent(Reason::Unavailable, message)
    }
    .of(backend)
}

/// The fault of a call that no breaker lets in.
pub(crate) fn breaker_open(backend: &Arc<str>, retry_after: Duration) -> Fault {
    let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    let message = format!(
        "Calls to the server \"{backend}\" keep failing, so it is left alone for a while. Nothing was executed: try again in {} s, or go on without it.",
        retry_after.as_secs().max(1)
    );
    Fault {
        retry_after_ms: Some(ms.max(1)),
        ..Fault::not_sent(Reason::BreakerOpen, message)
    }
    .of(backend)
}

/// The fault of a call whose time was over before it could be sent.
pub(crate) fn too_late(backend: &Arc<str>) -> Fault {
    let message = format!(
        "The time for this call was over before it could be sent to the server \"{backend}\". Nothing was executed: call again, with more time."
    );
    Fault {
        code: Reason::Timeout.code(),
        retry_after_ms: None,
        ..Fault::not_sent(Reason::Timeout, message)
    }
    .of(backend)
}

/// The fault of a call for which there was no place in the backend.
pub(crate) fn full(backend: &Arc<str>, retry_after: Duration) -> Fault {
    let fault = fault(backend, &LinkError::Full);
    let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
    Fault {
        retry_after_ms: Some(ms),
        ..fault
    }
}

/// The fault of a call that took longer than it may.
pub(crate) fn timed_out(backend: &Arc<str>, after: Duration) -> Fault {
    let message = format!(
        "The server \"{backend}\" did not answer within {}. It may or may not have done the work: check before you call again.",
        words(after)
    );
    Fault::unknown(Reason::Timeout, message).of(backend)
}

/// The fault of a call to a backend that is not there (yet).
pub(crate) fn not_connected(backend: &Arc<str>, state: State, why: &str) -> Fault {
    let message = if state == State::Starting {
        format!(
            "The server \"{backend}\" is still starting. Nothing was executed: try again in a moment."
        )
    } else {
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" ({why})")
        };
        format!(
            "The server \"{backend}\" is not available{why}. Nothing was executed: try again later, or go on without it."
        )
    };
    Fault::not_sent(state.reason(), message).of(backend)
}

fn words(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests;
