//! What a client can be asked for (specification: `client/elicitation`, `client/sampling`,
//! `client/roots`; `basic/patterns/mrtr`, Server Requirements).

use crate::error::{ProtocolError, code};
use crate::json;
use crate::splice::{for_each_member, member};

/// The capabilities of a client that decide what may be asked of it, read from the object that it
/// declared. Both eras write them alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientCapabilities {
    /// Elicitation by form: `elicitation.form`, or an `elicitation` that names no mode.
    pub elicitation_form: bool,
    /// Elicitation by URL.
    pub elicitation_url: bool,
    /// Sampling.
    pub sampling: bool,
    /// Sampling with tools.
    pub sampling_tools: bool,
    /// Sampling with context of servers.
    pub sampling_context: bool,
    /// Roots.
    pub roots: bool,
    /// Says when its roots change; legacy clients alone do.
    pub roots_list_changed: bool,
}

/// A question that a server may ask in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `elicitation/create`, by form.
    Form,
    /// `elicitation/create`, by URL.
    Url,
    /// `sampling/createMessage`.
    Sampling,
    /// `sampling/createMessage` with tools.
    SamplingWithTools,
    /// `roots/list`.
    Roots,
}

impl Question {
    /// Reads what is asked from a request's method and `params`; `None` if it is no question that
    /// the protocol knows.
    #[must_use]
    pub fn parse(method: &str, params: Option<&[u8]>) -> Option<Self> {
        let param = |key| params.and_then(|params| member(params, key));
        match method {
            "elicitation/create" => {
                let mode = param("mode").and_then(json::as_str);
                Some(if mode.as_deref() == Some("url") {
                    Self::Url
                } else {
                    Self::Form
                })
            }
            "sampling/createMessage" => {
                let with_tools = param("tools").is_some() || param("toolChoice").is_some();
                Some(if with_tools {
                    Self::SamplingWithTools
                } else {
                    Self::Sampling
                })
            }
            "roots/list" => Some(Self::Roots),
            _ => None,
        }
    }

    /// The method of the request.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Form | Self::Url => "elicitation/create",
            Self::Sampling | Self::SamplingWithTools => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// The capabilities that a client needs to be asked this, as JSON.
    #[must_use]
    pub const fn required(self) -> &'static str {
        match self {
            Self::Form => r#"{"elicitation":{}}"#,
            Self::Url => r#"{"elicitation":{"url":{}}}"#,
            Self::Sampling => r#"{"sampling":{}}"#,
            Self::SamplingWithTools => r#"{"sampling":{"tools":{}}}"#,
            Self::Roots => r#"{"roots":{}}"#,
        }
    }

    /// What a call fails with that cannot go on without this question, and whose client cannot be
    /// asked it.
    #[must_use]
    pub fn undeclared(self) -> ProtocolError {
        ProtocolError {
            code: code::MISSING_CLIENT_CAPABILITY,
            message: "This call needs input that the client did not declare it can give".into(),
            data: Some(format!("{{\"requiredCapabilities\":{}}}", self.required())),
        }
    }
}

impl ClientCapabilities {
    /// Reads a capabilities object; what is no object declares nothing.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        let mut found = Self::default();
        for_each_member(raw, |key, _, value| match key {
            "elicitation" => {
                found.elicitation_url = member(value, "url").is_some();
                found.elicitation_form = member(value, "form").is_some() || !found.elicitation_url;
            }
            "sampling" => {
                found.sampling = true;
                found.sampling_tools = member(value, "tools").is_some();
                found.sampling_context = member(value, "context").is_some();
            }
            "roots" => {
                found.roots = true;
                found.roots_list_changed = member(value, "listChanged") == Some(b"true");
            }
            _ => {}
        });
        found
    }

    /// Whether the client can be asked nothing at all.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Whether the client may be asked this.
    #[must_use]
    pub const fn allows(self, question: Question) -> bool {
        match question {
            Question::Form => self.elicitation_form,
            Question::Url => self.elicitation_url,
            Question::Sampling => self.sampling,
            Question::SamplingWithTools => self.sampling_tools,
            Question::Roots => self.roots,
        }
    }

    /// The members of a capabilities object that declares exactly these, comma-separated: one
    /// spelling for each value.
    #[must_use]
    pub fn to_members(self) -> String {
        let object = |entries: &[(bool, &str)]| {
            let declared = entries.iter().filter(|(is_declared, _)| *is_declared);
            let members: Vec<&str> = declared.map(|(_, member)| *member).collect();
            format!("{{{}}}", members.join(","))
        };
        let mut members = Vec::new();
        if self.elicitation_form || self.elicitation_url {
            let modes = [
                (self.elicitation_form, "\"form\":{}"),
                (self.elicitation_url, "\"url\":{}"),
            ];
            members.push(format!("\"elicitation\":{}", object(&modes)));
        }
        if self.sampling {
            let features = [
                (self.sampling_tools, "\"tools\":{}"),
                (self.sampling_context, "\"context\":{}"),
            ];
            members.push(format!("\"sampling\":{}", object(&features)));
        }
        if self.roots {
            let features = [(self.roots_list_changed, "\"listChanged\":true")];
            members.push(format!("\"roots\":{}", object(&features)));
        }
        members.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elicitation_without_modes_is_by_form() {
        let parse = |raw: &str| ClientCapabilities::parse(raw.as_bytes());
        assert!(parse(r#"{"elicitation":{}}"#).allows(Question::Form));
        assert!(!parse(r#"{"elicitation":{}}"#).allows(Question::Url));
        assert!(!parse(r#"{"elicitation":{"url":{}}}"#).allows(Question::Form));
        assert!(parse("{}").is_empty());
    }

    #[test]
    fn what_is_declared_is_written_and_read_back() {
        let raw = r#"{"roots":{"listChanged":true},"sampling":{"tools":{}},"elicitation":{"url":{},"form":{}},"experimental":{"x":1}}"#;
        let capabilities = ClientCapabilities::parse(raw.as_bytes());
        let members = capabilities.to_members();
        assert_eq!(
            members,
            r#""elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true}"#
        );
        let again = ClientCapabilities::parse(format!("{{{members}}}").as_bytes());
        assert_eq!(again, capabilities);
    }

    #[test]
    fn questions_are_told_apart_by_their_parameters() {
        let parse = |method, params: &str| Question::parse(method, Some(params.as_bytes()));
        assert_eq!(
            parse("elicitation/create", r#"{"mode":"url"}"#),
            Some(Question::Url)
        );
        assert_eq!(
            parse("elicitation/create", r#"{"message":"?"}"#),
            Some(Question::Form)
        );
        assert_eq!(
            parse("sampling/createMessage", r#"{"tools":[]}"#),
            Some(Question::SamplingWithTools)
        );
        assert_eq!(Question::parse("roots/list", None), Some(Question::Roots));
        assert_eq!(Question::parse("tools/call", None), None);
    }
}
