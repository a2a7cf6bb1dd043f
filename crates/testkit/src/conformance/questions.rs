//! Tools and prompts that ask before they answer: for modern clients by the result `input_required`
//! (2026-07-28 basic/utilities/mrtr). [`legacy`](super::legacy) asks the others.

#![expect(
    deprecated,
    reason = "sampling and roots are deprecated, and still in use"
)]

use rmcp::ErrorData;
use rmcp::model::{
    ClientCapabilities, InputRequest, InputRequests, InputRequiredResult, InputResponses,
    RequestStateCodec, SealOptions,
};
use serde_json::Value;

use super::fixtures::{Question, fill};

/// What the client said about a question so far.
pub(super) struct Said<'a> {
    /// The name of the tool or prompt; state sealed for another name is refused.
    pub(super) name: &'a str,
    /// The request's `arguments`.
    pub(super) arguments: &'a Value,
    /// The request's `inputResponses`.
    pub(super) responses: Option<&'a InputResponses>,
    /// The request's `requestState`.
    pub(super) state: Option<&'a str>,
    /// What the client declared on this request.
    pub(super) capabilities: &'a ClientCapabilities,
}

/// What to answer.
#[derive(Debug)]
pub(super) enum Reply {
    /// Something is still missing.
    Ask(InputRequiredResult),
    /// The answer itself.
    Answer(String),
}

impl Question {
    /// Goes on where the client is. A round whose responses are missing or no objects is asked
    /// again; responses that nobody asked for are ignored.
    ///
    /// # Errors
    ///
    /// −32602 for a `requestState` that this server did not seal, −32021 where the client did not
    /// declare what the round needs.
    pub(super) fn reply(
        &self,
        codec: &RequestStateCodec,
        said: &Said<'_>,
    ) -> Result<Reply, ErrorData> {
        let asked = match said.state {
            Some(state) if self.sealed => Some(open(codec, state, said.name)?),
            _ if self.sealed => None,
            _ => Some(0),
        };
        let round = match asked {
            None => 0,
            Some(asked) => match self.requests(asked, said.arguments, said.capabilities)? {
                Some(requests) if !all_answered(&requests, said.responses) => asked,
                _ => asked + 1,
            },
        };
        let Some(requests) = self.requests(round, said.arguments, said.capabilities)? else {
            return Ok(Reply::Answer(self.answer(said.responses)));
        };
        let mut missing = requests
            .values()
            .filter_map(|request| undeclared(request, said.capabilities));
        if let Some((_, missing)) = missing.next() {
            return Err(ErrorData::missing_required_client_capability(missing));
        }
        let state = self.sealed.then(|| seal(codec, round, said.name));
        Ok(Reply::Ask(InputRequiredResult::new(Some(requests), state)))
    }

    /// What a round asks of this client; none after the last round, or where nothing is left to
    /// ask.
    ///
    /// # Errors
    ///
    /// −32603 for a wrong fixture.
    pub(super) fn requests(
        &self,
        round: usize,
        arguments: &Value,
        capabilities: &ClientCapabilities,
    ) -> Result<Option<InputRequests>, ErrorData> {
        let requests = self.round(round, arguments);
        let requests =
            requests.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let mut requests = requests.unwrap_or_default();
        if self.only_declared {
            requests.retain(|_, request| undeclared(request, capabilities).is_none());
        }
        Ok((!requests.is_empty()).then_some(requests))
    }

    /// The answer, given those of the last round.
    pub(super) fn answer(&self, responses: Option<&InputResponses>) -> String {
        let responses: serde_json::Map<String, Value> = responses
            .into_iter()
            .flatten()
            .map(|(key, response)| (key.clone(), response.clone()))
            .collect();
        fill(&self.answer, &Value::Object(responses))
    }
}

fn all_answered(requests: &InputRequests, responses: Option<&InputResponses>) -> bool {
    requests.keys().all(|key| {
        responses
            .and_then(|responses| responses.get(key))
            .is_some_and(Value::is_object)
    })
}

/// The name of the capability that `request` needs and the client did not declare, and how it would
/// declare it, if there is one.
pub(super) fn undeclared(
    request: &InputRequest,
    capabilities: &ClientCapabilities,
) -> Option<(&'static str, ClientCapabilities)> {
    let (name, declared, needed) = match request {
        InputRequest::CreateMessage(_) => (
            "sampling",
            capabilities.sampling.is_some(),
            ClientCapabilities::builder().enable_sampling().build(),
        ),
        InputRequest::Elicitation(_) => (
            "elicitation",
            capabilities.elicitation.is_some(),
            ClientCapabilities::builder().enable_elicitation().build(),
        ),
        InputRequest::ListRoots(_) => (
            "roots",
            capabilities.roots.is_some(),
            ClientCapabilities::builder().enable_roots().build(),
        ),
        _ => ("nothing", true, ClientCapabilities::default()),
    };
    (!declared).then_some((name, needed))
}

fn seal(codec: &RequestStateCodec, round: usize, name: &str) -> String {
    let bound = SealOptions::new().associated_data(name.as_bytes());
    codec.seal_with(round.to_string().as_bytes(), &bound)
}

fn open(codec: &RequestStateCodec, state: &str, name: &str) -> Result<usize, ErrorData> {
    codec
        .open_with(state, name.as_bytes())
        .ok()
        .and_then(|round| String::from_utf8(round).ok()?.parse().ok())
        .ok_or_else(|| ErrorData::invalid_params("requestState is not of this server", None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::fixtures::FIXTURES;
    use rmcp::model::ErrorCode;
    use serde_json::json;

    const KEY: &[u8] = b"a key of at least 32 bytes, as asked";

    fn everything() -> ClientCapabilities {
        ClientCapabilities::builder()
            .enable_elicitation()
            .enable_sampling()
            .enable_roots()
            .build()
    }

    fn reply(
        name: &str,
        responses: Value,
        state: Option<&str>,
        capabilities: &ClientCapabilities,
    ) -> Result<Reply, ErrorData> {
        let responses: Option<InputResponses> = serde_json::from_value(responses).unwrap();
        let said = Said {
            name,
            arguments: &json!({ "message": "What now?" }),
            responses: responses.as_ref(),
            state,
            capabilities,
        };
        FIXTURES.questions[name].reply(&RequestStateCodec::new_unchecked(KEY), &said)
    }

    fn asked(reply: Result<Reply, ErrorData>) -> (Vec<String>, Option<String>) {
        match reply {
            Ok(Reply::Ask(result)) => (
                result.input_requests.unwrap().into_keys().collect(),
                result.request_state,
            ),
            other => panic!("expected a question, got {other:?}"),
        }
    }

    #[test]
    fn rounds_follow_each_other_and_the_last_is_answered() {
        let name = "test_input_required_result_multi_round";
        let all = everything();
        let (keys, first) = asked(reply(name, Value::Null, None, &all));
        assert_eq!(keys, ["step1"]);
        let said = json!({"step1": {"action": "accept", "content": {"name": "Ada"}}});
        let (keys, second) = asked(reply(name, said, first.as_deref(), &all));
        assert_eq!(keys, ["step2"]);
        let (keys, _) = asked(reply(name, json!({}), second.as_deref(), &all));
        assert_eq!(
            keys,
            ["step2"],
            "a round without its responses is asked again"
        );
        let said = json!({"step2": {"action": "accept", "content": {"color": "red"}}});
        match reply(name, said, second.as_deref(), &all) {
            Ok(Reply::Answer(text)) => assert_eq!(text, "All steps done: red"),
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    #[test]
    fn a_question_contains_the_arguments() {
        match reply("test_elicitation", Value::Null, None, &everything()) {
            Ok(Reply::Ask(result)) => {
                let asked = json!(result.input_requests);
                assert_eq!(asked["user"]["params"]["message"], "What now?");
            }
            other => panic!("expected a question, got {other:?}"),
        }
    }

    #[test]
    fn state_of_another_tool_is_refused() {
        let all = everything();
        let name = "test_input_required_result_multi_round";
        let (_, state) = asked(reply(name, Value::Null, None, &all));
        let other = "test_input_required_result_request_state";
        let error = reply(other, Value::Null, state.as_deref(), &all).unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
    }

    #[test]
    fn only_what_was_declared_is_asked() {
        let sampling = ClientCapabilities::builder().enable_sampling().build();
        let name = "test_input_required_result_capabilities";
        let (keys, _) = asked(reply(name, Value::Null, None, &sampling));
        assert_eq!(keys, ["greeting"]);
        let name = "test_input_required_result_multiple_inputs";
        let error = reply(name, Value::Null, None, &sampling).unwrap_err();
        assert_eq!(error.code, ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY);
    }
}
