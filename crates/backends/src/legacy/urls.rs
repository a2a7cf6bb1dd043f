//! Error −32042: a server of 2025-11-25 that wants addresses opened before it does what it was asked
//! (2025-11-25: `client/elicitation`, URL Elicitation Required Error).
//!
//! A client of that version gets the error as it is. To others it is a question like any other, only
//! that nothing waits for its answer: the call is over, and made anew when they come back. Once: a
//! second use of the same state could do twice what was asked for once.

use switchboard_protocol::ERROR_KEY;
use switchboard_protocol::call::Call;
use switchboard_protocol::capabilities::Question;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::{CallError, ProtocolError, code};
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::method::Method;
use switchboard_protocol::splice::{for_each_item, for_each_member, member};
use switchboard_protocol::version::Version;

use super::call::gone;
use super::parked::Lot;
use super::questions::{self, Key};

/// How many addresses one error may name.
const MAX_URLS: usize = 16;
/// How often in a row a call is made anew.
const MAX_ROUNDS: u32 = 16;

/// What `requestState` of a call says that is to be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// Process and number that it was noted under.
    invitation: (u64, u64),
    /// How often it was made.
    round: u32,
    /// How many addresses were to be opened.
    urls: u32,
}

impl Again {
    /// Reads it back; `None` for anything else.
    pub(super) fn parse(state: &str) -> Option<Self> {
        let mut parts = state.strip_prefix("again.")?.splitn(4, '.');
        let again = Self {
            invitation: (
                u64::from_str_radix(parts.next()?, 16).ok()?,
                parts.next()?.parse().ok()?,
            ),
            round: parts.next()?.parse().ok()?,
            urls: parts.next()?.parse().ok()?,
        };
        // A server can write such a state itself, and what it says is counted up to.
        let is_ours = again.round <= MAX_ROUNDS && again.urls as usize <= MAX_URLS;
        is_ours.then_some(again)
    }

    /// Looks at what the client came back with: `None` if the call is to be made anew, else what it
    /// ends with. An answer that is missing leaves it to the server to ask again.
    ///
    /// # Errors
    /// −32602 for an answer of the wrong form, or if the call was made anew before; or the error
    /// that a client gave in the place of an answer.
    pub(super) fn answered(self, lot: &Lot, call: &Call) -> Result<Option<Response>, CallError> {
        let responses = call.request.params.input_responses;
        let responses = responses.map_or(&b"{}"[..], |span| call.request.slice(span));
        if let Some(error) = questions::error_among(responses) {
            return Err(error);
        }
        for key in (1..=self.urls).map(Key) {
            let Some(answer) = member(responses, &key.to_string()) else {
                continue;
            };
            if let Err(expected) = questions::check(Question::Url, answer) {
                let message = format!("params.inputResponses.{key} is {expected}");
                return Err(ProtocolError::invalid_params(message).into());
            }
            if member(answer, "action") != Some(b"\"accept\"") {
                return declined(call.method).map(Some);
            }
        }
        if lot.admit(self.invitation, &call.principal.id) {
            Ok(None)
        } else {
            Err(gone().into())
        }
    }
}

/// What a client gets that is not asked, or said no.
fn declined(method: Method) -> Result<Response, CallError> {
    const WHY: &str = "The server wants an address to be opened first, and the user declined. The call was not executed.";
    if method != Method::ToolsCall {
        return Err(ProtocolError::new(code::INTERNAL_ERROR, WHY).into());
    }
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":\"{WHY}\"}}],\"isError\":true}}}}"
    );
    Response::parse(body.into()).map_err(|_| ProtocolError::new(code::INTERNAL_ERROR, WHY).into())
}

/// Whether the client knows the error itself.
pub(crate) fn is_known_to(call: &Call) -> bool {
    call.version == Version::V2025_11_25 && call.client_capabilities().elicitation_url
}

/// What a response becomes for its client: a question, where it is the error. `state` is the one
/// that the call came with.
///
/// # Errors
/// −32021 if the client cannot be asked to open an address.
pub(super) fn translate(
    lot: &Lot,
    call: &Call,
    state: Option<Again>,
    response: Response,
) -> Result<Response, CallError> {
    if response.error_code() != Some(code::LEGACY_URL_ELICITATION_REQUIRED) || is_known_to(call) {
        return Ok(response);
    }
    if !call.client_capabilities().elicitation_url || !call.method.may_require_input() {
        return Err(Question::Url.undeclared().into());
    }
    let round = state.map_or(0, |state| state.round) + 1;
    let requests = requests(&response);
    if requests.is_empty() || round > MAX_ROUNDS {
        return Ok(response);
    }
    let Some((process, number)) = lot.invite(&call.principal.id) else {
        return Ok(response);
    };
    let again = format!("again.{process:x}.{number}.{round}.{}", requests.len());
    let entries = (1..).map(Key).zip(requests.iter().map(Vec::as_slice));
    Ok(questions::input_required(entries, &again).unwrap_or(response))
}

/// The entries of `inputRequests` for the addresses that the error names.
fn requests(response: &Response) -> Vec<Vec<u8>> {
    let data = response.error_keys.data.map(|span| response.slice(span));
    let list = data
        .and_then(|data| member(data, "elicitations"))
        .unwrap_or_default();
    let mut requests = Vec::new();
    for_each_item(list, |item: Span| {
        let item = item.of(list);
        let text = |key| member(item, key).and_then(json::as_str);
        if requests.len() < MAX_URLS && text("url").is_some() && text("message").is_some() {
            let mut request =
                b"{\"method\":\"elicitation/create\",\"params\":{\"mode\":\"url\"".to_vec();
            for_each_member(item, |key, raw, _| {
                if !matches!(key, "mode" | "elicitationId" | ERROR_KEY) {
                    request.push(b',');
                    request.extend_from_slice(raw);
                }
            });
            request.extend_from_slice(b"}}");
            requests.push(request);
        }
    });
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use switchboard_protocol::call::Principal;
    use switchboard_protocol::envelope::Envelope;

    fn lot() -> Lot {
        Lot::new(crate::config::parked::ParkedCallsConfig::default())
    }

    fn call(version: Version, capabilities: &Value, answers: &Value) -> Call {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "x",
            "inputResponses": answers,
            "_meta": {"io.modelcontextprotocol/clientCapabilities": capabilities},
        }});
        Call::new(
            Envelope::parse(request.to_string().into()).expect("a request"),
            Method::ToolsCall,
            Arc::new(Principal::anonymous()),
            version,
        )
    }

    fn response(message: &Value) -> Response {
        Response::parse(message.to_string().into()).expect("a response")
    }

    fn required() -> Response {
        let elicitations = json!([
            {"mode": "url", "elicitationId": "e1", "url": "https://a/", "message": "open"},
            {"mode": "url", "elicitationId": "e2", "message": "no address"},
            {"elicitationId": "e3", "url": "https://b/", "message": "open"},
        ]);
        response(&json!({"jsonrpc": "2.0", "id": 1, "error":
            {"code": -32042, "message": "m", "data": {"elicitations": elicitations}}}))
    }

    fn result(response: &Response) -> Value {
        let result = response.slice(response.result.expect("a result"));
        serde_json::from_slice(result).expect("JSON")
    }

    #[test]
    fn a_client_that_does_not_know_the_error_is_asked() {
        let url = json!({"elicitation": {"url": {}}});
        let modern = call(Version::LATEST, &url, &json!({}));
        let asked = translate(&lot(), &modern, None, required()).expect("a question");
        let open = |url| json!({"method": "elicitation/create", "params": {"mode": "url", "url": url, "message": "open"}});
        assert_eq!(
            result(&asked)["inputRequests"],
            json!({"q1": open("https://a/"), "q2": open("https://b/")})
        );
        let knows = call(Version::V2025_11_25, &url, &json!({}));
        let passed = translate(&lot(), &knows, None, required()).expect("as it is");
        assert_eq!(passed.error_code(), Some(-32042));
    }

    #[test]
    fn a_client_that_cannot_open_addresses_is_told_what_it_lacks() {
        for version in [Version::LATEST, Version::V2025_11_25] {
            let call = call(version, &json!({"elicitation": {"form": {}}}), &json!({}));
            let Err(CallError::Protocol(error)) = translate(&lot(), &call, None, required()) else {
                panic!("it was asked");
            };
            assert_eq!(error.code, code::MISSING_CLIENT_CAPABILITY);
        }
    }

    #[test]
    fn it_is_not_asked_forever() {
        let url = json!({"elicitation": {"url": {}}});
        let modern = call(Version::LATEST, &url, &json!({}));
        let last = Again::parse("again.1.1.16.1");
        assert!(last.is_some());
        let passed = translate(&lot(), &modern, last, required()).expect("as it is");
        assert_eq!(passed.error_code(), Some(-32042));
    }

    #[test]
    fn a_call_is_made_anew_unless_the_user_declined() {
        let lot = lot();
        let invited = || {
            let (process, number) = lot.invite("anonymous").expect("room");
            Again::parse(&format!("again.{process:x}.{number}.1.2")).expect("a state")
        };
        let come_back = |again: Again, answers: Value| {
            again.answered(&lot, &call(Version::LATEST, &json!({}), &answers))
        };
        let accept = json!({"action": "accept"});
        for answers in [json!({"q1": accept, "q2": accept}), json!({"q1": accept})] {
            let again = invited();
            let first = come_back(again, answers.clone());
            assert!(first.expect("of the right form").is_none());
            assert!(come_back(again, answers).is_err(), "it was made twice");
        }
        let answered = |answers: Value| come_back(invited(), answers);
        for action in ["decline", "cancel"] {
            let declined = answered(json!({"q1": accept, "q2": {"action": action}}));
            let declined = result(&declined.expect("a result").expect("an end"));
            assert_eq!(declined["isError"], true);
        }
        let error = json!({"code": -7, "message": "no"});
        assert!(matches!(
            answered(json!({"q1": {"dev.switchboard/error": error}})),
            Err(CallError::Backend { code: -7, .. })
        ));
        assert!(matches!(
            answered(json!({"q1": 5})),
            Err(CallError::Protocol(error)) if error.message.contains("q1")
        ));
        assert_eq!(Again::parse("12.3.1"), None);
        let elsewhere = Again::parse("again.1.1.1.1").expect("a state");
        assert!(come_back(elsewhere, json!({"q1": accept})).is_err());
    }

    #[test]
    fn a_state_that_a_server_made_up_costs_nothing() {
        for state in [
            "again.1.1.1.4294967295",
            "again.1.1.4294967295.1",
            "again.1.1.1.17",
        ] {
            assert_eq!(Again::parse(state), None, "{state}");
        }
    }
}
