//! The forms of a question: how a legacy server asks it, how 2026-07-28 does, and the same of
//! answers (specification: `basic/patterns/mrtr`; 2025-11-25: `client/elicitation`,
//! `client/sampling`, `client/roots`).

use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;
use switchboard_protocol::canonical::canonical;
use switchboard_protocol::capabilities::Question;
use switchboard_protocol::envelope::{Envelope, Response};
use switchboard_protocol::error::{CallError, code};
use switchboard_protocol::extension;
use switchboard_protocol::json::{self, Scanner};
use switchboard_protocol::splice::{
    filter_object, for_each_item, for_each_member, member, without_own_meta,
};
use switchboard_protocol::token::digest;
use switchboard_protocol::version::Version;
use switchboard_protocol::{ERROR_KEY, OWN_META_PREFIX};

use super::translate;

/// The name of the question that was asked as the `number`th in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) u32);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "q{}", self.0)
    }
}

/// The question in a server's request, as an entry of `inputRequests`: its parameters as they came,
/// without what belongs to the session that it was asked in.
pub(crate) fn input_request(question: Question, request: &Envelope) -> Bytes {
    let mut out = format!("{{\"method\":\"{}\"", question.method()).into_bytes();
    if let Some(params) = request.keys.params {
        out.extend_from_slice(b",\"params\":");
        write_params(question, request.slice(params), &mut out);
    }
    out.push(b'}');
    out.into()
}

fn write_params(question: Question, params: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    let mut any = false;
    for_each_member(params, |key, raw, value| {
        let mut kept = Cow::Borrowed(raw);
        if key == "_meta" {
            let mut meta = Vec::new();
            filter_object(value, b"", |key| !belongs_to_session(key), &mut meta);
            if meta == b"{}" {
                return;
            }
            kept = Cow::Owned([b"\"_meta\":", &meta[..]].concat());
        } else if key == "elicitationId" && question == Question::Url {
            return;
        }
        if any {
            out.push(b',');
        }
        any = true;
        out.extend_from_slice(&kept);
    });
    out.push(b'}');
}

/// Whether a key of `_meta` means something only between the server and the gateway.
fn belongs_to_session(key: &str) -> bool {
    matches!(key, "progressToken" | extension::RELATED_TASK) || key.starts_with(OWN_META_PREFIX)
}

/// The response that asks for the input: `entries` are entries of `inputRequests`. `None` if that
/// is no message that the gateway could take apart again.
pub(crate) fn input_required<'a>(
    entries: impl Iterator<Item = (Key, &'a [u8])>,
    state: &str,
) -> Option<Response> {
    let mut out =
        br#"{"jsonrpc":"2.0","id":0,"result":{"resultType":"input_required","inputRequests":{"#
            .to_vec();
    for (index, (key, request)) in entries.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("\"{key}\":").as_bytes());
        out.extend_from_slice(request);
    }
    out.extend_from_slice(b"},\"requestState\":");
    json::write_str(&mut out, state);
    out.extend_from_slice(b"}}");
    Response::parse(out.into()).ok()
}

/// What is wrong with the form of an answer: what it should be.
pub(crate) type Malformed = &'static str;

/// Checks the form of an answer.
///
/// # Errors
/// Says what the answer to such a question is.
pub(crate) fn check(question: Question, answer: &[u8]) -> Result<(), Malformed> {
    if let Some(error) = member(answer, ERROR_KEY) {
        return match check_error(error) {
            true => Ok(()),
            false => Err("an error with a `code`, an integer, and a `message`, a string"),
        };
    }
    let text = |key: &str| member(answer, key).and_then(json::as_str);
    let starts = |key: &str, with: &[u8]| {
        member(answer, key)
            .and_then(<[u8]>::first)
            .is_some_and(|first| with.contains(first))
    };
    match question {
        Question::Form | Question::Url => match text("action").as_deref() {
            Some("accept") if question == Question::Form && !starts("content", b"{") => {
                Err("an object with a `content`, an object, where `action` is `accept`")
            }
            Some("accept" | "decline" | "cancel") => Ok(()),
            _ => Err("an object with an `action`: `accept`, `decline` or `cancel`"),
        },
        Question::Sampling | Question::SamplingWithTools => {
            let is_message = matches!(text("role").as_deref(), Some("assistant" | "user"))
                && starts("content", b"{[")
                && starts("model", b"\"");
            is_message
                .then_some(())
                .ok_or("an object with a `role`, a `content` and a `model`")
        }
        Question::Roots => {
            let mut all = starts("roots", b"[");
            let roots = member(answer, "roots").unwrap_or_default();
            for_each_item(roots, |root| {
                all &= member(root.of(roots), "uri").is_some_and(|uri| uri.starts_with(b"\""));
            });
            all.then_some(())
                .ok_or("an object with `roots`, an array of objects with a `uri`")
        }
    }
}

fn check_error(error: &[u8]) -> bool {
    let is_integer = member(error, "code").is_some_and(|code| {
        std::str::from_utf8(code).is_ok_and(|code| code.parse::<i64>().is_ok())
    });
    is_integer && member(error, "message").is_some_and(|message| message.starts_with(b"\""))
}

/// The response with which a client's answer goes to the server of this version; the answer passed
/// [`check`]. `id` is the request's, as the server wrote it.
pub(crate) fn reply(version: Version, id: &[u8], answer: &[u8]) -> Bytes {
    if let Some(error) = member(answer, ERROR_KEY) {
        return response(id, "error", error);
    }
    let mut result = vec![b'{'];
    for_each_member(answer, |key, raw, value| {
        let mut kept = Cow::Borrowed(raw);
        match key {
            // Legacy results have none.
            "resultType" => return,
            "_meta" => {
                let meta = without_own_meta(value);
                kept = Cow::Owned([b"\"_meta\":", &meta[..]].concat());
            }
            _ if key.starts_with(OWN_META_PREFIX) => return,
            "content" => {
                let content = translate::sampled(version, value);
                if *content != *value {
                    kept = Cow::Owned([b"\"content\":", &content[..]].concat());
                }
            }
            _ => {}
        }
        if result.len() > 1 {
            result.push(b',');
        }
        result.extend_from_slice(&kept);
    });
    result.push(b'}');
    response(id, "result", &result)
}

/// The response that refuses a server's request; `id` is the request's, as the server wrote it.
pub(crate) fn refusal(id: &[u8], code: i64, message: &str) -> Bytes {
    let mut error = format!("{{\"code\":{code},\"message\":").into_bytes();
    json::write_str(&mut error, message);
    error.push(b'}');
    response(id, "error", &error)
}

/// The response to a request of the server's; `kind` is `result` or `error`.
pub(crate) fn response(id: &[u8], kind: &str, value: &[u8]) -> Bytes {
    [
        b"{\"jsonrpc\":\"2.0\",\"id\":",
        id,
        b",\"",
        kind.as_bytes(),
        b"\":",
        value,
        b"}",
    ]
    .concat()
    .into()
}

/// What two sets of answers to the same questions are compared by. Answers to other questions do
/// not count, nor does how an answer is spelled.
pub(crate) fn digest_of(keys: &[Key], responses: &[u8]) -> [u8; 32] {
    let answers: Vec<_> = keys
        .iter()
        .map(|key| member(responses, &key.to_string()).map(canonical))
        .collect();
    let parts: Vec<&[u8]> = answers
        .iter()
        // An answer that is not there is no value at all.
        .map(|answer| answer.as_deref().unwrap_or_default())
        .collect();
    digest(&parts)
}

/// The error that a client gave instead of an answer, if there is one in these `inputResponses`: what
/// a call ends with that cannot be told of it.
pub(crate) fn error_among(responses: &[u8]) -> Option<CallError> {
    let mut found = None;
    for_each_member(responses, |_, _, answer| {
        found = found.or_else(|| member(answer, ERROR_KEY).filter(|error| check_error(error)));
    });
    let error = found?;
    let code = member(error, "code").and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    Some(CallError::Backend {
        code: code.unwrap_or(code::INTERNAL_ERROR),
        error: Bytes::copy_from_slice(error),
        is_failure: false,
    })
}

/// Whether `raw`, which was scanned before, is an object.
pub(crate) fn is_object(raw: &[u8]) -> bool {
    Scanner::over_utf8(raw).peek() == Some(b'{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Envelope {
        Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("a request")
    }

    #[test]
    fn a_question_leaves_its_session_behind() {
        let asked = request(
            r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"https://a/","_meta":{"progressToken":1,"x/y":2,"dev.switchboard/z":3},"message":"m"}}"#,
        );
        assert_eq!(
            input_request(Question::Url, &asked),
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://a/","_meta":{"x/y":2},"message":"m"}}"#
        );
        let bare = request(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#);
        assert_eq!(
            input_request(Question::Roots, &bare),
            r#"{"method":"roots/list"}"#
        );
    }

    #[test]
    fn answers_have_the_form_of_their_question() {
        let good = [
            (Question::Form, r#"{"action":"accept","content":{}}"#),
            (Question::Form, r#"{"action":"decline"}"#),
            (Question::Url, r#"{"action":"accept"}"#),
            (
                Question::Sampling,
                r#"{"role":"assistant","content":{"type":"text","text":"x"},"model":"m"}"#,
            ),
            (Question::Roots, r#"{"roots":[{"uri":"file:///a"}]}"#),
            (Question::Roots, r#"{"roots":[]}"#),
            (
                Question::Roots,
                r#"{"dev.switchboard/error":{"code":-1,"message":"no"}}"#,
            ),
        ];
        for (question, answer) in good {
            assert_eq!(check(question, answer.as_bytes()), Ok(()), "{answer}");
        }
        let bad = [
            (Question::Form, r#"{"action":"accept"}"#),
            (Question::Form, r#"{"action":"maybe"}"#),
            (Question::Form, "17"),
            (Question::Form, "null"),
            (Question::Url, "[]"),
            (Question::Sampling, r#"{"role":"assistant","model":"m"}"#),
            (
                Question::Sampling,
                r#"{"role":"boss","content":{},"model":"m"}"#,
            ),
            (Question::Roots, r#"{"roots":[{"uri":1}]}"#),
            (Question::Roots, r#"{"roots":["file:///a"]}"#),
            (Question::Roots, r#"{"roots":{}}"#),
            (
                Question::Roots,
                r#"{"dev.switchboard/error":{"message":"no"}}"#,
            ),
        ];
        for (question, answer) in bad {
            assert!(check(question, answer.as_bytes()).is_err(), "{answer}");
        }
    }

    #[test]
    fn a_reply_is_what_a_legacy_server_expects() {
        let say = |version, answer: &str| reply(version, b"\"r\"", answer.as_bytes());
        assert_eq!(
            say(
                Version::V2025_11_25,
                r#"{"resultType":"complete","action":"decline","_meta":{"dev.switchboard/a":1}}"#
            ),
            r#"{"jsonrpc":"2.0","id":"r","result":{"action":"decline","_meta":{}}}"#
        );
        assert_eq!(
            say(
                Version::V2025_06_18,
                r#"{"role":"user","content":[{"a":1}]}"#
            ),
            r#"{"jsonrpc":"2.0","id":"r","result":{"role":"user","content":{"a":1}}}"#
        );
        assert_eq!(
            say(
                Version::V2025_11_25,
                r#"{"dev.switchboard/error":{"code":-1,"message":"no"}}"#
            ),
            r#"{"jsonrpc":"2.0","id":"r","error":{"code":-1,"message":"no"}}"#
        );
    }

    #[test]
    fn answers_are_compared_by_what_they_say() {
        let keys = [Key(1), Key(2)];
        let of = |text: &str| digest_of(&keys, text.as_bytes());
        assert_eq!(
            of(r#"{"q1":{"a":1,"b":2},"other":1}"#),
            of(r#"{ "q1" : {"b":2, "a":1} }"#)
        );
        assert_ne!(of(r#"{"q1":{}}"#), of(r#"{"q2":{}}"#));
        assert_ne!(of(r#"{"q1":{"a":1}}"#), of(r#"{"q1":{"a":2}}"#));
    }
}
