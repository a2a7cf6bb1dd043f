//! The extensions that work through the gateway (specification: `basic/index`, Capabilities;
//! SEP-2133).
//!
//! An extension brings methods, names and identifiers that somebody has to route, so one that is
//! not known here is not announced to clients, nor is a client's declaration of it passed on:
//! neither side must believe in what would fail in between.

use crate::splice::{filter_object, for_each_member, member};

/// Tasks (SEP-2663): a call that is answered later.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The key of `_meta` that names the task which a message belongs to (2025-11-25:
/// `basic/utilities/tasks`, Related Task Metadata).
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// MCP Apps (SEP-1865): tools with a user interface.
pub const UI: &str = "io.modelcontextprotocol/ui";

/// Skills (SEP-2640): instructions with their files, which are read as resources.
pub const SKILLS: &str = "io.modelcontextprotocol/skills";

/// Whether the extension of this identifier works through the gateway.
#[must_use]
pub fn is_routed(identifier: &str) -> bool {
    matches!(identifier, TASKS | UI | SKILLS)
}

/// Whether these settings of [`SKILLS`] say that `resources/directory/read` is there.
#[must_use]
pub fn reads_directories(settings: &[u8]) -> bool {
    member(settings, "directoryRead") == Some(b"true")
}

/// Whether a capabilities object declares this extension.
#[must_use]
pub fn is_declared(capabilities: &[u8], identifier: &str) -> bool {
    member(capabilities, "extensions").is_some_and(|all| member(all, identifier).is_some())
}

/// The capabilities object without the extensions that `keep` refuses; `None` if it has none of
/// those, as nearly all have.
#[must_use]
pub fn filtered(capabilities: &[u8], keep: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut refused = false;
    for_each_member(member(capabilities, "extensions")?, |identifier, _, _| {
        refused |= !keep(identifier)
    });
    if !refused {
        return None;
    }
    let mut out = vec![b'{'];
    for_each_member(capabilities, |key, member, value| {
        if out.len() > 1 {
            out.push(b',');
        }
        if key == "extensions" {
            out.extend_from_slice(b"\"extensions\":");
            filter_object(value, b"", &keep, &mut out);
        } else {
            out.extend_from_slice(member);
        }
    });
    out.push(b'}');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_is_declared_by_its_resolved_name() {
        let capabilities =
            br#"{"roots":{},"extensions":{"io.modelcontextprotocol\u002ftasks":{}}}"#;
        assert!(is_declared(capabilities, TASKS));
        assert!(!is_declared(capabilities, UI));
        assert!(!is_declared(b"{}", TASKS));
        assert!(!is_declared(br#"{"extensions":[]}"#, TASKS));
    }

    #[test]
    fn only_refused_extensions_are_taken_out() {
        let capabilities =
            br#"{"roots":{},"extensions":{"a/b":{"c":1},"io.modelcontextprotocol/ui":{}}}"#;
        assert_eq!(
            filtered(capabilities, is_routed).as_deref(),
            Some(&br#"{"roots":{},"extensions":{"io.modelcontextprotocol/ui":{}}}"#[..])
        );
        assert_eq!(filtered(capabilities, |_| true), None);
        assert_eq!(filtered(b"{}", is_routed), None);
    }
}
