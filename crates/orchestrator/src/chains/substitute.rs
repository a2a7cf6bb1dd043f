//! The call of a tool that takes another's place.

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::json::{Span, quoted};
use switchboard_protocol::splice::{Splice, for_each_member};

use super::arguments::{MapError, Mapping};
use crate::catalogue::Snapshot;
use crate::profiles::{Origin, is_set_for, set_for_substitute};

/// What goes from one tool to another.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    /// The tool that the call names.
    pub(super) called: &'a str,
    /// The one that stands in.
    pub(super) tool: &'a str,
    /// What becomes of the arguments, one after the other.
    pub(super) mappings: [&'a Mapping; 2],
}

impl Change<'_> {
    /// Who gave the substitute's argument of this name.
    fn origin(&self, snapshot: &Snapshot, call: &Call, name: &str) -> Origin {
        let [first, second] = self.mappings;
        let of_first = first
            .constants()
            .filter_map(|(name, _)| second.renamed(name));
        let mut constants = second.constants().map(|(name, _)| name).chain(of_first);
        if constants.any(|it| it == name) {
            return Origin::Map;
        }
        let mut is_profiles = false;
        for_each_member(call.arguments().unwrap_or(b"{}"), |key, _, _| {
            let comes_from = first.renamed(key).and_then(|key| second.renamed(key));
            is_profiles |= comes_from == Some(name) && is_set_for(snapshot, call, self.called, key);
        });
        match is_profiles {
            true => Origin::Profile,
            false => Origin::Caller,
        }
    }
}

/// As [`substitute`], with what the profile of the call sets for the tool that stands in.
///
/// # Errors
/// If the arguments cannot be mapped, or the profile does not leave them to callers.
pub(super) fn substitute_in_profile(
    snapshot: &Snapshot,
    call: &Call,
    change: Change<'_>,
    state: Option<&str>,
) -> Result<Call, MapError> {
    let mut attempt = substitute(call, change.tool, change.mappings, state)?;
    set_for_substitute(snapshot, &mut attempt, change.tool, |name| {
        change.origin(snapshot, call, name)
    })?;
    Ok(attempt)
}

/// The same call of `tool`: other name, other arguments, and `state` in the place of its
/// `requestState`. What mirrored the arguments of the tool that the client named is left out, and
/// its result is collected, since what is said about who answered is spliced in.
///
/// # Errors
/// If the arguments cannot be mapped.
fn substitute(
    call: &Call,
    tool: &str,
    mappings: [&Mapping; 2],
    state: Option<&str>,
) -> Result<Call, MapError> {
    let request = &call.request;
    let raw = &request.raw;
    let mut splice = Splice::new();
    if let Some(name) = request.params.name {
        splice.replace(name, quoted(tool));
    }
    if let (Some(state), Some(span)) = (state, request.params.request_state) {
        splice.replace(span, quoted(state));
    }
    if mappings.iter().any(|mapping| !mapping.is_identity()) {
        let [first, second] = mappings;
        let given = first.apply(call.arguments().unwrap_or(b"{}"))?;
        let mapped = second.apply(&given)?.into_owned();
        match (request.params.arguments, request.keys.params) {
            (Some(span), _) => splice.replace(span, mapped),
            (None, Some(params)) => {
                let member = [b"\"arguments\":", &*mapped].concat();
                splice.insert_members(raw, params, &member);
            }
            (None, None) => {}
        }
    }
    let mut out = Vec::with_capacity(raw.len() + 64);
    splice.apply(raw, Span::of_part(raw, raw), &mut out);
    // What was a request stays one: only values were replaced, by valid ones.
    let request = Envelope::parse(Bytes::from(out)).map_err(|_| MapError::NotARequest)?;
    Ok(Call {
        request,
        param_headers: None,
        takes_arriving: false,
        ..call.clone()
    })
}
