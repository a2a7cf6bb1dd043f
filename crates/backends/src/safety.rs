//! Which calls may be made again though they may have been executed (decision 4 of the design).

use switchboard_protocol::call::Call;
use switchboard_protocol::error::{CallError, Effect, Fault};
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::member;

use crate::config::BackendConfig;
use crate::lists::Lists;

/// What a failed attempt says of the endpoint, and of another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The endpoint did what it should: it answered, be it with an error of JSON-RPC.
    Answered,
    /// It answered something that says nothing of its health, or nothing was asked.
    Nothing,
    /// It failed: no connection, no answer, none that is one, or a 5xx.
    Failed,
}

impl Verdict {
    /// What an error says.
    pub(crate) fn of(error: &CallError) -> Self {
        match error {
            CallError::Backend { is_failure, .. } => match is_failure {
                true => Self::Failed,
                false => Self::Answered,
            },
            CallError::Protocol(_) => Self::Nothing,
            CallError::Fault(fault) => match fault.reason {
                "unavailable" | "connection_lost" | "invalid_answer" | "server_error"
                | "timeout" => Self::Failed,
                _ => Self::Nothing,
            },
        }
    }
}

/// Whether the same call may be made again after this fault, perhaps elsewhere.
pub(crate) fn may_try_again(fault: &Fault, is_safe: impl FnOnce() -> bool) -> bool {
    match (fault.effect, fault.reason) {
        // It waited for a place, or for a start, as long as it may.
        (_, "overloaded" | "starting") => false,
        (Effect::NotSent, _) => true,
        // HTTP 429: refused before anything was done.
        (Effect::Failed, "backend_limit") => true,
        (_, "unavailable" | "connection_lost" | "invalid_answer" | "server_error" | "timeout") => {
            is_safe()
        }
        _ => false,
    }
}

/// Whether making this call twice does no more than making it once: reads, and tools of which the
/// operator says so, or the server where the operator trusts it (specification: `server/tools`,
/// Tool Annotations). `tool` is the server's own name. What answers a question of the server's is
/// never safe: the question was asked once.
pub(crate) fn is_safe(
    config: &BackendConfig,
    lists: Option<&Lists>,
    call: &Call,
    tool: Option<&str>,
) -> bool {
    let params = &call.request.params;
    if params.request_state.is_some() || params.input_responses.is_some() {
        return false;
    }
    match call.method {
        Method::ResourcesRead
        | Method::PromptsGet
        | Method::Complete
        | Method::SkillsGet
        | Method::DirectoryRead
        | Method::TasksGet => true,
        Method::ToolsCall => tool.is_some_and(|tool| is_safe_tool(config, lists, tool)),
        _ => false,
    }
}

/// As [`is_safe`], of a call of this tool that answers nothing.
pub(crate) fn is_safe_tool(config: &BackendConfig, lists: Option<&Lists>, tool: &str) -> bool {
    config.is_safe_tool(tool)
        || (config.trust_annotations && lists.is_some_and(|lists| is_harmless(lists, tool)))
}

/// Whether the server says that a tool does no harm, or that twice is as once.
fn is_harmless(lists: &Lists, tool: &str) -> bool {
    let item = lists.tools.iter().find(|item| item.key == tool);
    let annotations = item.and_then(|item| member(&item.raw, "annotations"));
    annotations.is_some_and(|annotations| {
        ["readOnlyHint", "idempotentHint"]
            .iter()
            .any(|hint| member(annotations, hint) == Some(b"true"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(effect: Effect, reason: &'static str) -> Fault {
        Fault {
            effect,
            ..Fault::unknown(503, reason, "")
        }
    }

    #[test]
    fn only_what_was_not_done_or_does_no_harm_is_tried_again() {
        for (effect, reason, if_unsafe, if_safe) in [
            (Effect::NotSent, "unavailable", true, true),
            (Effect::NotSent, "overloaded", false, false),
            (Effect::NotSent, "starting", false, false),
            (Effect::Failed, "backend_limit", true, true),
            (Effect::Failed, "unavailable", false, true),
            (Effect::Failed, "needs_auth", false, false),
            (Effect::Failed, "refused", false, false),
            (Effect::Unknown, "timeout", false, true),
            (Effect::Unknown, "connection_lost", false, true),
            (Effect::Unknown, "answer_too_large", false, false),
        ] {
            let fault = fault(effect, reason);
            assert_eq!(may_try_again(&fault, || false), if_unsafe, "{reason}");
            assert_eq!(may_try_again(&fault, || true), if_safe, "{reason}");
        }
    }
}
