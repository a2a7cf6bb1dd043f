//! Which calls may be made again though they may have been executed (decision 4 of the design).

use switchboard_protocol::call::Call;
use switchboard_protocol::error::{CallError, Effect, Fault, Reason};
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
    /// What an attempt's end says.
    pub(crate) fn of_result<T>(result: &Result<T, CallError>) -> Self {
        match result {
            Ok(_) => Self::Answered,
            Err(error) => Self::of(error),
        }
    }

    /// What an error says.
    pub(crate) fn of(error: &CallError) -> Self {
        match error {
            CallError::Backend { is_failure, .. } => match is_failure {
                true => Self::Failed,
                false => Self::Answered,
            },
            CallError::Protocol(_) => Self::Nothing,
            CallError::Fault(fault) => match fault.reason.is_failure_of_backend() {
                true => Self::Failed,
                false => Self::Nothing,
            },
        }
    }
}

/// Whether the same call may be made again after this fault, perhaps elsewhere.
pub(crate) fn may_try_again(call: &Call, fault: &Fault, is_safe: impl FnOnce() -> bool) -> bool {
    match fault.reason {
        // It waited for a place, or for a start, as long as it may.
        Reason::Overloaded | Reason::Starting => false,
        _ if fault.effect == Effect::NotSent => true,
        // The question was asked once.
        _ if call.request.params.is_continuation() => false,
        // Refused before anything was done.
        Reason::BackendLimit => true,
        reason => reason.is_failure_of_backend() && is_safe(),
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
    if call.request.params.is_continuation() {
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
    use std::sync::Arc;

    use super::*;
    use switchboard_protocol::call::Principal;
    use switchboard_protocol::envelope::Envelope;
    use switchboard_protocol::version::Version;

    fn call(params: &str) -> Call {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t"{params}}}}}"#
        );
        let request = Envelope::parse(text.into()).expect("a request");
        let principal = Arc::new(Principal::anonymous());
        Call::new(request, Method::ToolsCall, principal, Version::LATEST)
    }

    fn fault(effect: Effect, reason: Reason) -> Fault {
        Fault {
            effect,
            ..Fault::unknown(reason, "")
        }
    }

    #[test]
    fn only_what_was_not_done_or_does_no_harm_is_tried_again() {
        for (effect, reason, if_unsafe, if_safe) in [
            (Effect::NotSent, Reason::Unavailable, true, true),
            (Effect::NotSent, Reason::Overloaded, false, false),
            (Effect::NotSent, Reason::Starting, false, false),
            (Effect::Failed, Reason::BackendLimit, true, true),
            (Effect::Failed, Reason::Unavailable, false, true),
            (Effect::Failed, Reason::NeedsAuth, false, false),
            (Effect::Failed, Reason::Refused, false, false),
            (Effect::Unknown, Reason::Timeout, false, true),
            (Effect::Unknown, Reason::ConnectionLost, false, true),
            (Effect::Unknown, Reason::AnswerTooLarge, false, false),
        ] {
            let (call, fault) = (call(""), fault(effect, reason));
            assert_eq!(
                may_try_again(&call, &fault, || false),
                if_unsafe,
                "{reason}"
            );
            assert_eq!(may_try_again(&call, &fault, || true), if_safe, "{reason}");
        }
    }

    #[test]
    fn an_answer_to_a_question_is_given_again_only_if_it_was_not_sent() {
        for params in [r#","requestState":"s""#, r#","inputResponses":{}"#] {
            let call = call(params);
            let unsent = fault(Effect::NotSent, Reason::Unavailable);
            assert!(may_try_again(&call, &unsent, || true));
            let limited = fault(Effect::Failed, Reason::BackendLimit);
            assert!(!may_try_again(&call, &limited, || true));
            let late = fault(Effect::Unknown, Reason::Timeout);
            assert!(!may_try_again(&call, &late, || true));
        }
    }
}
