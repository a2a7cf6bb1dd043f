//! The call of a tool that takes another's place.

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::json::{Span, quoted};
use switchboard_protocol::splice::Splice;

use super::arguments::{MapError, Mapping};

/// The same call of `tool`: other name, other arguments, and `state` in the place of its
/// `requestState`. What mirrored the arguments of the tool that the client named is left out, and
/// its result is collected, since what is said about who answered is spliced in.
///
/// # Errors
/// If the arguments cannot be mapped.
pub(super) fn substitute(
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
