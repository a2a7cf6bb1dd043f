//! What is said about a chain: who answered, or what everybody said who did not.

use std::sync::Arc;
use std::time::Duration;

use switchboard_protocol::call::{Completed, Outcome, Payload};
use switchboard_protocol::error::{Attempt, CallError, Effect, Fault, Reason};
use switchboard_protocol::json::{self, Span, write_str};
use switchboard_protocol::millis;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::{Splice, for_each_item, for_each_member, member};

/// The most characters that are quoted of what one server said.
const MAX_QUOTED: usize = 200;

/// What has been tried so far.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// How the call of the tool that the client named ended, if that was made first.
    first: Option<Outcome>,
    attempts: Vec<Attempt>,
    /// What each server said, a sentence each.
    said: Vec<String>,
    last: Option<Fault>,
    is_uncertain: bool,
    /// Whether anything was sent to anybody.
    was_sent: bool,
    may_work_later: bool,
    /// Whether a server said that it failed; how far it came nobody knows.
    has_refused: bool,
    retry_after_ms: Option<u64>,
}

impl Tried {
    /// Takes note of how the call of the tool that the client named ended, which comes first.
    pub(super) fn first_failed(&mut self, backend: &Arc<str>, outcome: Outcome, took: Duration) {
        self.first = match &outcome {
            Outcome::Complete(completed) => Some(Outcome::Complete(completed.clone())),
            Outcome::Failed(error) => Some(Outcome::Failed(error.clone())),
            Outcome::Arriving(_) | Outcome::InputRequired(_) => None,
        };
        self.failed(backend, outcome, took);
    }

    /// Takes note of a call of a backend's that failed.
    pub(super) fn failed(&mut self, backend: &Arc<str>, outcome: Outcome, took: Duration) {
        let attempt = |reason: Reason| Attempt {
            backend: Arc::clone(backend),
            reason,
            ms: millis(took),
        };
        match outcome {
            Outcome::Failed(CallError::Fault(mut fault)) => {
                self.is_uncertain |= fault.effect == Effect::Unknown;
                self.was_sent |= fault.effect != Effect::NotSent;
                self.may_work_later |= fault.retryable;
                if let Some(ms) = fault.retry_after_ms {
                    let least = self.retry_after_ms.map_or(ms, |least| least.min(ms));
                    self.retry_after_ms = Some(least);
                }
                if fault.attempts.is_empty() {
                    fault.attempts.push(attempt(fault.reason));
                }
                self.attempts.append(&mut fault.attempts);
                self.said.push(first_sentence(&fault.message));
                self.last = Some(*fault);
            }
            Outcome::Failed(CallError::Backend { error, .. }) => {
                let message = member(&error, "message").and_then(json::as_str);
                self.refused(attempt(Reason::Error), &message.unwrap_or_default());
            }
            Outcome::Failed(CallError::Protocol(error)) => {
                self.refused(attempt(Reason::NotCallable), &error.message);
            }
            Outcome::Complete(Completed { result, .. }) => {
                let text = first_text(&result.into_contiguous());
                self.refused(attempt(Reason::Error), &text.unwrap_or_default());
            }
            Outcome::Arriving(_) | Outcome::InputRequired(_) => {}
        }
    }

    fn refused(&mut self, attempt: Attempt, message: &str) {
        self.has_refused |= attempt.reason == Reason::Error;
        self.was_sent |= attempt.reason == Reason::Error;
        let name = &attempt.backend;
        self.said.push(match quoted(message) {
            quoted if quoted.is_empty() => format!("The server \"{name}\" answered with an error."),
            quoted => format!("The server \"{name}\" answered with an error: {quoted}"),
        });
        self.attempts.push(attempt);
    }

    /// Whether nothing has failed yet.
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// What is added to a result of this tool, for its cap to leave room for.
    pub(super) fn reserved(&self, backend: &str, tool: &str) -> Size {
        Size::of_text(&self.served_by(backend, tool)) + Size::of_text(b"\"_meta\":{},")
    }

    /// The member of `_meta` that says who answered.
    fn served_by(&self, backend: &str, tool: &str) -> Vec<u8> {
        let mut out = b"\"dev.switchboard/served_by\":{\"backend\":".to_vec();
        write_str(&mut out, backend);
        out.extend_from_slice(b",\"tool\":");
        write_str(&mut out, tool);
        out.extend_from_slice(b",\"attempts\":[");
        for (index, attempt) in self.attempts.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            attempt.write_json(&mut out);
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// A result with who gave it, and with `state` in the place of its `requestState`.
    pub(super) fn spliced(
        &self,
        result: &Payload,
        backend: &str,
        tool: &str,
        state: Option<&str>,
    ) -> Payload {
        let raw = result.clone().into_contiguous();
        let all = Span::of_part(&raw, &raw);
        let served_by = self.served_by(backend, tool);
        let mut splice = Splice::new();
        let mut meta = None;
        for_each_member(&raw, |key, _, value| match key {
            "_meta" => meta = Some(Span::of_part(&raw, value)),
            "requestState" => {
                if let Some(state) = state {
                    splice.replace(Span::of_part(&raw, value), json::quoted(state));
                }
            }
            _ => {}
        });
        match meta {
            Some(meta) => splice.insert_members(&raw, meta, &served_by),
            None => {
                let member = [b"\"_meta\":{", &*served_by, b"}"].concat();
                splice.insert_members(&raw, all, &member);
            }
        }
        splice.apply_shared(&raw, all)
    }

    /// How a call ended that nobody could answer. If none but the tool that it named was called, as it
    /// would have without others: the caller may be one who is not to know that there are any.
    pub(super) fn ended(mut self) -> Outcome {
        match self.first.take() {
            Some(first) if self.said.len() == 1 => first,
            _ => Outcome::Failed(self.all_failed().into()),
        }
    }

    /// The fault of a call that nobody could answer: what was tried, what each said, what to do.
    fn all_failed(self) -> Fault {
        let last = self.last;
        let may_have_begun = self.is_uncertain || self.has_refused;
        let advice = if self.is_uncertain || (may_have_begun && self.may_work_later) {
            "One of them may or may not have done the work: check before you call again."
        } else if self.may_work_later {
            "Try again later, or go on without it."
        } else {
            "Calling again will not help: go on without it."
        };
        let done = match self.was_sent {
            true => "",
            false => "Nothing was executed. ",
        };
        let message = format!(
            "None of the {} servers that were tried could answer. {} {done}{advice}",
            self.said.len(),
            self.said.join(" ")
        );
        Fault {
            code: last.as_ref().map_or(502, |fault| fault.code),
            reason: Reason::AllFailed,
            backend: last.as_ref().and_then(|fault| fault.backend.clone()),
            message,
            detail: last.and_then(|fault| fault.detail),
            retryable: !may_have_begun && self.may_work_later,
            retry_after_ms: self.retry_after_ms.filter(|_| !may_have_begun),
            effect: match self.was_sent {
                false => Effect::NotSent,
                true if self.is_uncertain => Effect::Unknown,
                true => Effect::Failed,
            },
            attempts: self.attempts,
            trace_id: None,
        }
    }
}

/// The first text in a tool's result.
fn first_text(result: &[u8]) -> Option<String> {
    let content = member(result, "content")?;
    let mut text = None;
    for_each_item(content, |block| {
        let found = member(block.of(content), "text").and_then(json::as_str);
        if text.is_none() {
            text = found.map(|found| found.into_owned());
        }
    });
    text
}

/// Messages of the gateway's say in their first sentence what happened.
fn first_sentence(message: &str) -> String {
    let end = message.find(". ").map_or(message.len(), |at| at + 1);
    message[..end].to_owned()
}

/// What a server said, on one line and not too long, as a sentence.
fn quoted(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut quoted: String = line.chars().take(MAX_QUOTED).collect();
    if quoted.len() < line.len() {
        quoted.push('…');
    } else if !quoted.is_empty() && !quoted.ends_with(['.', '!', '?']) {
        quoted.push('.');
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn text(payload: &Payload) -> String {
        String::from_utf8(payload.segments().concat()).expect("text")
    }

    fn tool_error(text: &str) -> Outcome {
        let result = format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"isError":true}}"#);
        Outcome::Complete(Completed {
            result: result.into_bytes().into(),
            is_error: true,
        })
    }

    fn unavailable(name: &str) -> Outcome {
        let message = format!(
            "The server \"{name}\" is not available. Nothing was executed: try again later, or go on without it."
        );
        Outcome::Failed(
            Fault::not_sent(Reason::Unavailable, message)
                .of(&named(name))
                .into(),
        )
    }

    #[test]
    fn the_answer_says_who_gave_it_beside_what_its_meta_says() {
        let mut tried = Tried::default();
        tried.failed(&named("a"), unavailable("a"), Duration::from_millis(7));
        let said = r#""dev.switchboard/served_by":{"backend":"b","tool":"b__t","attempts":[{"backend":"a","reason":"unavailable","ms":7}]}"#;
        for (result, expected) in [
            (
                r#"{"content":[]}"#,
                format!(r#"{{"_meta":{{{said}}},"content":[]}}"#),
            ),
            (r#"{}"#, format!(r#"{{"_meta":{{{said}}}}}"#)),
            (
                r#"{"_meta":{"x/y":1},"content":[]}"#,
                format!(r#"{{"_meta":{{{said},"x/y":1}},"content":[]}}"#),
            ),
        ] {
            let before = Size::of_text(result.as_bytes());
            let result = Payload::from(result.as_bytes().to_vec());
            assert_eq!(text(&tried.spliced(&result, "b", "b__t", None)), expected);
            // There is room for it.
            let after = Size::of_text(expected.as_bytes());
            assert!(after.is_within(before + tried.reserved("b", "b__t")));
        }
        let asked = Payload::from(br#"{"requestState":"old","_meta":{}}"#.to_vec());
        assert_eq!(
            text(&tried.spliced(&asked, "b", "b__t", Some("new"))),
            format!(r#"{{"requestState":"new","_meta":{{{said}}}}}"#)
        );
    }

    #[test]
    fn when_all_fail_one_text_says_what_each_said_and_what_to_do() {
        let mut tried = Tried::default();
        tried.failed(&named("a"), unavailable("a"), Duration::from_millis(7));
        tried.failed(&named("b"), tool_error("no  such\\nthing"), Duration::ZERO);
        let fault = tried.all_failed();
        assert_eq!(
            fault.message,
            "None of the 2 servers that were tried could answer. The server \"a\" is not available. \
             The server \"b\" answered with an error: no such thing. One of them may or may not have \
             done the work: check before you call again."
        );
        let reasons: Vec<_> = fault.attempts.iter().map(|tried| tried.reason).collect();
        assert_eq!(reasons, [Reason::Unavailable, Reason::Error]);
        // How far the second came is not known.
        assert!(!fault.retryable);
        assert_eq!(fault.effect, Effect::Failed);
    }

    #[test]
    fn an_uncertain_attempt_makes_the_whole_uncertain() {
        let mut tried = Tried::default();
        let timeout = Fault::unknown(Reason::Timeout, "The server \"a\" did not answer.");
        let outcome = Outcome::Failed(timeout.of(&named("a")).into());
        tried.failed(&named("a"), outcome, Duration::ZERO);
        tried.failed(&named("b"), unavailable("b"), Duration::ZERO);
        let fault = tried.all_failed();
        assert_eq!(fault.effect, Effect::Unknown);
        assert!(!fault.retryable && fault.retry_after_ms.is_none());
        assert!(fault.message.ends_with("check before you call again."));
    }

    #[test]
    fn a_call_of_which_only_the_first_was_tried_ends_as_without_others() {
        let over = || {
            let fault = Fault::not_sent(Reason::OverBudget, "Used up. Nothing was executed.");
            Outcome::Failed(fault.of(&named("a")).into())
        };
        let mut tried = Tried::default();
        tried.first_failed(&named("a"), over(), Duration::ZERO);
        let Outcome::Failed(CallError::Fault(fault)) = tried.ended() else {
            panic!("no fault");
        };
        assert_eq!(
            (fault.reason, fault.effect),
            (Reason::OverBudget, Effect::NotSent)
        );
        assert_eq!(fault.message, "Used up. Nothing was executed.");
        assert!(fault.attempts.is_empty());

        let mut tried = Tried::default();
        tried.first_failed(&named("a"), tool_error("no"), Duration::ZERO);
        assert!(matches!(tried.ended(), Outcome::Complete(it) if it.is_error));
    }

    #[test]
    fn what_was_sent_to_nobody_was_not_executed() {
        let mut tried = Tried::default();
        tried.first_failed(&named("a"), unavailable("a"), Duration::ZERO);
        tried.failed(&named("b"), unavailable("b"), Duration::ZERO);
        let Outcome::Failed(CallError::Fault(fault)) = tried.ended() else {
            panic!("no fault");
        };
        assert_eq!(
            (fault.reason, fault.effect),
            (Reason::AllFailed, Effect::NotSent)
        );
        assert!(fault.message.contains("None of the 2 servers"));
        assert!(fault.message.contains(" Nothing was executed. "));
    }

    #[test]
    fn what_a_server_said_is_cut_to_a_bound() {
        let long = "word ".repeat(1_000);
        assert_eq!(quoted(&long).chars().count(), MAX_QUOTED + 1);
        assert_eq!(quoted(""), "");
    }
}
