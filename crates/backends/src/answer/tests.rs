use super::*;
use crate::safety::Verdict;
use bytes::Bytes;
use switchboard_protocol::call::Principal;
use switchboard_protocol::envelope::{Envelope, Message};

fn call() -> Call {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#;
    Call::new(
        Envelope::parse(Bytes::from_static(text.as_bytes())).expect("valid"),
        Method::ResourcesRead,
        Arc::new(Principal::anonymous()),
        Version::LATEST,
    )
}

fn response(text: &'static str) -> Response {
    match Message::parse(Bytes::from_static(text.as_bytes())) {
        Ok(Message::Response(response)) => response,
        other => panic!("no response: {other:?}"),
    }
}

fn failure_of(version: Version, status: u16, body: Option<&'static str>) -> CallError {
    let error = LinkError::of_status(status, None, body.map(|body| Box::new(response(body))));
    failure(&Arc::from("one"), &call(), version, error)
}

fn reason(error: &CallError) -> Reason {
    match error {
        CallError::Fault(fault) => fault.reason,
        other => panic!("no fault: {other:?}"),
    }
}

const NOT_FOUND: &str = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"no"}}"#;
const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[]}}"#;

#[test]
fn the_error_in_a_status_is_the_backends_own() {
    for (version, expected) in [
        (Version::LATEST, code::LEGACY_RESOURCE_NOT_FOUND),
        (Version::LATEST_LEGACY, code::INVALID_PARAMS),
    ] {
        let error = failure_of(version, 400, Some(NOT_FOUND));
        assert!(matches!(error, CallError::Backend { code, .. } if code == expected));
    }
}

#[test]
fn a_status_says_whether_the_server_failed_whatever_the_error_in_it() {
    for (status, expected) in [(500, true), (502, true), (400, false), (200, false)] {
        let error = failure_of(Version::LATEST, status, Some(NOT_FOUND));
        let CallError::Backend { is_failure, .. } = error else {
            panic!("its own error, not {error:?}");
        };
        assert_eq!(is_failure, expected, "{status}");
        let verdict = match expected {
            true => Verdict::Failed,
            false => Verdict::Answered,
        };
        assert_eq!(Verdict::of(&error), verdict, "{status}");
    }
}

#[test]
fn what_was_not_taken_is_a_fault_even_with_an_error_of_json_rpc() {
    let error = failure_of(Version::LATEST, 429, Some(NOT_FOUND));
    assert_eq!(reason(&error), Reason::BackendLimit);
}

#[test]
fn a_status_without_an_error_is_a_fault() {
    assert_eq!(
        reason(&failure_of(Version::LATEST, 503, None)),
        Reason::Unavailable
    );
    for body in [None, Some(NOT_FOUND)] {
        assert_eq!(
            reason(&failure_of(Version::LATEST, 401, body)),
            Reason::NeedsAuth
        );
    }
    let odd = failure_of(Version::LATEST, 400, Some(RESULT));
    assert_eq!(reason(&odd), Reason::InvalidAnswer);
}

#[test]
fn an_answer_has_a_result() {
    let interpreted = |response| interpret(&Arc::from("one"), &call(), Version::LATEST, response);
    let answer = interpreted(response(RESULT)).expect("a result");
    assert_eq!(answer.response.slice(answer.result), br#"{"contents":[]}"#);
    let mut neither = response(RESULT);
    neither.result = None;
    assert_eq!(
        reason(&interpreted(neither).expect_err("no result")),
        Reason::InvalidAnswer
    );
}
