//! What a profile sets for a tool that stands in for another one.
//!
//! The arguments that come with the call of a substitute are those of the tool that was called: what
//! its caller gave, what the profile set for it, and what the fallback's `map` made of both. What the
//! profile fixes for the substitute holds over all but the caller's own: an answer to something else
//! than was asked for is worse than none.

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::canonical::canonical;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::json::{Span, write_str};
use switchboard_protocol::policy::TargetKind;
use switchboard_protocol::splice::{Splice, filter_object, for_each_member};

use super::Arguments;
use super::enter::is_like;
use crate::catalogue::Snapshot;

/// Who gave an argument of a substitute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The caller, for the tool that it called.
    Caller,
    /// The profile, for the tool that was called.
    Profile,
    /// The fallback's `map`.
    Map,
}

/// Why a profile does not let a tool stand in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StandInError {
    #[error("`arguments` is no object")]
    NoObject,
    #[error("the profile sets its argument `{0}`")]
    IsSet(String),
}

/// Sets in the call of a substitute what its profile sets for `tool`. `origin` says who gave an
/// argument that is there.
///
/// # Errors
/// If the caller gave an argument that the profile fixes otherwise.
pub(crate) fn set_for_substitute(
    snapshot: &Snapshot,
    call: &mut Call,
    tool: &str,
    origin: impl Fn(&str) -> Origin,
) -> Result<(), StandInError> {
    let Some(arguments) = arguments_set_for(snapshot, call, tool) else {
        return Ok(());
    };
    let request = &call.request;
    let edited = arguments.of_substitute(call.arguments().unwrap_or(b"{}"), origin)?;
    let mut splice = Splice::new();
    match (request.params.arguments, request.keys.params) {
        (Some(span), _) => splice.replace(span, edited),
        (None, Some(params)) => {
            let member = [b"\"arguments\":", &*edited].concat();
            splice.insert_members(&request.raw, params, &member);
        }
        (None, None) => return Ok(()),
    }
    let raw = &request.raw;
    let mut out = Vec::with_capacity(raw.len() + 128);
    splice.apply(raw, Span::of_part(raw, raw), &mut out);
    // What was a request stays one: only valid values were put into it.
    call.request = Envelope::parse(Bytes::from(out)).map_err(|_| StandInError::NoObject)?;
    Ok(())
}

/// What the profile of a call sets for `tool`, if anything.
fn arguments_set_for<'s>(snapshot: &'s Snapshot, call: &Call, tool: &str) -> Option<&'s Arguments> {
    let profile = snapshot.profile(call.profile.as_ref()?)?;
    profile.arguments_of(&snapshot.spellings(TargetKind::Tool, tool))
}

/// Whether the profile of a call sets this argument of `tool`, as far as its value tells.
pub(crate) fn is_set_for(snapshot: &Snapshot, call: &Call, tool: &str, argument: &str) -> bool {
    let Some(arguments) = arguments_set_for(snapshot, call, tool) else {
        return false;
    };
    if arguments.fixed.contains_key(argument) {
        return true;
    }
    let given = call.arguments().unwrap_or(b"{}");
    arguments.defaults.get(argument).is_some_and(|default| {
        let mut is_default = true;
        for_each_member(given, |key, _, value| {
            is_default &= key != argument || canonical(value) == canonical(default.as_bytes());
        });
        is_default
    })
}

impl Arguments {
    /// The arguments of a substitute that these are the rules for.
    fn of_substitute(
        &self,
        given: &[u8],
        origin: impl Fn(&str) -> Origin,
    ) -> Result<Vec<u8>, StandInError> {
        if !given.starts_with(b"{") {
            return Err(StandInError::NoObject);
        }
        let mut refused = None;
        let mut is_default_open = vec![true; self.defaults.len()];
        for_each_member(given, |key, _, value| {
            let is_refused = if let Some(fixed) = self.fixed.get(key) {
                let is_same = canonical(value) == canonical(fixed.as_bytes());
                !is_same && origin(key) == Origin::Caller
            } else {
                // A server without an eye for case takes it for the one that is set.
                self.fixed.keys().any(|it| is_like(it, key))
            };
            if is_refused {
                refused.get_or_insert_with(|| key.to_owned());
            }
            if let Some(at) = self.defaults.keys().position(|it| it == key) {
                is_default_open[at] &= origin(key) == Origin::Profile;
            }
        });
        if let Some(argument) = refused {
            return Err(StandInError::IsSet(argument));
        }
        let defaults = self.defaults.iter().zip(&is_default_open);
        let defaults = defaults.filter_map(|(set, is_open)| is_open.then_some(set));
        let mut front = Vec::new();
        let mut is_set = Vec::with_capacity(self.fixed.len());
        for (name, value) in self.fixed.iter().chain(defaults) {
            if !front.is_empty() {
                front.push(b',');
            }
            write_str(&mut front, name);
            front.push(b':');
            front.extend_from_slice(value.as_bytes());
            is_set.push(name);
        }
        let mut out = Vec::with_capacity(given.len() + front.len() + 1);
        let stays = |key: &str| !is_set.iter().any(|it| *it == key);
        filter_object(given, &front, stays, &mut out);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(given: &str, origin: Origin) -> Result<String, StandInError> {
        let config = json!({ "fixed": { "org": "acme" }, "default": { "n": 5 } });
        let config = serde_json::from_value(config).expect("arguments");
        let arguments = Arguments::new(&config);
        let out = arguments.of_substitute(given.as_bytes(), |_| origin)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn what_is_fixed_holds_and_what_the_caller_said_is_not_changed() {
        let refused = |name: &str| Err(StandInError::IsSet(name.to_owned()));
        let whole = |text: &str| Ok(text.to_owned());
        use Origin::{Caller, Map, Profile};
        for (given, origin, expected) in [
            ("{}", Caller, whole(r#"{"org":"acme","n":5}"#)),
            (r#"{"q":1}"#, Caller, whole(r#"{"org":"acme","n":5,"q":1}"#)),
            (r#"{"n":1.0}"#, Caller, whole(r#"{"org":"acme","n":1.0}"#)),
            (r#"{"n":1}"#, Map, whole(r#"{"org":"acme","n":1}"#)),
            (r#"{"n":1}"#, Profile, whole(r#"{"org":"acme","n":5}"#)),
            (r#"{"org":"x"}"#, Caller, refused("org")),
            (
                r#"{"org":"acme","n":2}"#,
                Caller,
                whole(r#"{"org":"acme","n":2}"#),
            ),
            (r#"{"org":"x"}"#, Map, whole(r#"{"org":"acme","n":5}"#)),
            (r#"{"org":"x"}"#, Profile, whole(r#"{"org":"acme","n":5}"#)),
            (r#"{"Org":"acme"}"#, Map, refused("Org")),
            ("[]", Caller, Err(StandInError::NoObject)),
        ] {
            assert_eq!(set(given, origin), expected, "{given} of {origin:?}");
        }
    }
}
