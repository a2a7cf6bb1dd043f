//! What a tool does to the world, as far as its name and its server's hints say (specification:
//! `server/tools`, Tool Annotations).

use switchboard_protocol::splice::member;

/// What a tool says that it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Whether its server says that it only reads. Believed where the operator trusts the server.
    pub says_read_only: bool,
    /// Whether its name or its hints say that it changes something. Believed of any server.
    pub changes: bool,
}

/// Words that say it wherever they stand in a name.
const CHANGING: [&str; 83] = [
    "append",
    "apply",
    "archive",
    "assign",
    "attach",
    "cancel",
    "change",
    "charge",
    "checkout",
    "clear",
    "click",
    "close",
    "commit",
    "create",
    "deactivate",
    "decrement",
    "delete",
    "deploy",
    "deposit",
    "destroy",
    "detach",
    "disable",
    "dispatch",
    "drop",
    "edit",
    "emit",
    "enable",
    "enqueue",
    "erase",
    "execute",
    "flush",
    "grant",
    "increment",
    "insert",
    "install",
    "invite",
    "invoke",
    "kill",
    "merge",
    "mkdir",
    "modify",
    "move",
    "mutate",
    "mute",
    "notify",
    "overwrite",
    "patch",
    "pay",
    "publish",
    "purchase",
    "purge",
    "push",
    "reboot",
    "refund",
    "release",
    "remove",
    "rename",
    "replace",
    "reset",
    "restart",
    "revoke",
    "rmdir",
    "rollback",
    "rotate",
    "save",
    "send",
    "shutdown",
    "submit",
    "subscribe",
    "terminate",
    "toggle",
    "transfer",
    "truncate",
    "uninstall",
    "unlink",
    "unmute",
    "unsubscribe",
    "update",
    "upload",
    "upsert",
    "wipe",
    "withdraw",
    "write",
];

/// Words that say it where a name begins with them, and else may be nouns: `set_volume`, `data_set`.
const CHANGING_FIRST: [&str; 33] = [
    "accept", "add", "approve", "ban", "block", "book", "buy", "comment", "copy", "email", "exec",
    "fork", "import", "make", "message", "order", "pause", "post", "put", "register", "reject",
    "reply", "resume", "rm", "run", "schedule", "set", "share", "sign", "start", "stop", "store",
    "trigger",
];

impl Effects {
    /// Those of a tool of this name, by the server's own, as the server lists it.
    #[must_use]
    pub fn of_tool(name: &str, raw: &[u8]) -> Self {
        let annotations = member(raw, "annotations");
        let says = |hint: &str, value: &[u8]| {
            annotations.and_then(|annotations| member(annotations, hint)) == Some(value)
        };
        let says_read_only = says("readOnlyHint", b"true");
        // Of what only reads this hint says nothing.
        let is_destructive = !says_read_only && says("destructiveHint", b"true");
        Self {
            says_read_only,
            changes: says("readOnlyHint", b"false") || is_destructive || is_changing_name(name),
        }
    }
}

/// Whether a name says that what it names changes something.
fn is_changing_name(name: &str) -> bool {
    let mut is_first = true;
    for_each_word(name, |word| {
        let changes = CHANGING.contains(&word) || (is_first && CHANGING_FIRST.contains(&word));
        is_first = false;
        changes
    })
}

/// Calls `is_it` with each word of a name such as `getUserName`, `get-user.name` or `HTTPGet`, in
/// lower case, until it says so.
fn for_each_word(name: &str, mut is_it: impl FnMut(&str) -> bool) -> bool {
    let mut word = String::new();
    let mut characters = name.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(character) = characters.next() {
        let begins = character.is_uppercase()
            && before.is_some_and(|before| {
                let ends_capitals = before.is_uppercase()
                    && characters.peek().is_some_and(|next| next.is_lowercase());
                !before.is_uppercase() || ends_capitals
            });
        if (begins || !character.is_alphabetic()) && !word.is_empty() {
            if is_it(&word) {
                return true;
            }
            word.clear();
        }
        if character.is_alphabetic() {
            word.extend(character.to_lowercase());
        }
        before = Some(character);
    }
    !word.is_empty() && is_it(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_that_something_is_changed_are_seen() {
        for name in [
            "delete",
            "delete_file",
            "file.delete",
            "fileDelete",
            "DELETEFile",
            "send-mail",
            "bulkCreateUsers",
            "set_volume",
            "v2_update",
            "post",
        ] {
            assert!(is_changing_name(name), "{name}");
        }
        for name in [
            "read_file",
            "list_posts",
            "get_data_set",
            "search",
            "createdBy",
            "settings",
            "getOrder",
            "",
            "123",
        ] {
            assert!(!is_changing_name(name), "{name}");
        }
    }

    #[test]
    fn hints_against_a_tool_count_and_those_for_it_are_kept_apart() {
        let of = |annotations: &str| {
            Effects::of_tool(
                "t",
                format!(r#"{{"annotations":{annotations}}}"#).as_bytes(),
            )
        };
        let effects = |says_read_only, changes| Effects {
            says_read_only,
            changes,
        };
        assert_eq!(of(r#"{"readOnlyHint":true}"#), effects(true, false));
        assert_eq!(
            of(r#"{"readOnlyHint":true,"destructiveHint":true}"#),
            effects(true, false)
        );
        assert_eq!(of(r#"{"readOnlyHint":false}"#), effects(false, true));
        assert_eq!(of(r#"{"destructiveHint":true}"#), effects(false, true));
        assert_eq!(of(r#"{"idempotentHint":true}"#), effects(false, false));
        assert_eq!(Effects::of_tool("t", b"{}"), effects(false, false));
    }
}
