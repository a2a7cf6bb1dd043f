//! How a call comes into a profile: under the names that there are without one, and with the
//! arguments that the profile sets.

use std::borrow::Cow;

use bytes::Bytes;
use switchboard_protocol::call::Call;
use switchboard_protocol::canonical::canonical;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason, code};
use switchboard_protocol::json::{Span, fold_case, quoted, write_str};
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::TargetKind;
use switchboard_protocol::splice::{Splice, for_each_member};

use super::{Arguments, Profile};
use crate::catalogue::Snapshot;
use crate::resolve::{resolve, unknown};

/// Gives a call of a profile the name that its tool has without one, and the arguments that the
/// profile sets. Others stay as they are.
///
/// # Errors
/// −32602 for a name that the profile does not have, and for arguments that are no object;
/// `arguments_refused` for an argument that the profile does not leave to its clients.
pub(crate) fn enter(snapshot: &Snapshot, call: &mut Call) -> Result<(), CallError> {
    let (Some(profile), Method::ToolsCall) = (&call.profile, call.method) else {
        return Ok(());
    };
    let profile = snapshot.profile(profile).map(|it| it.as_ref());
    let Some(name) = call.target().map(Cow::into_owned) else {
        return Ok(());
    };
    let base = profile.and_then(|profile| Some((profile, snapshot.base_in(profile, &name)?)));
    let Some((profile, base)) = base else {
        return Err(unknown(TargetKind::Tool, &name).into());
    };
    let names = snapshot.spellings(TargetKind::Tool, &base);
    let arguments = profile.arguments_of(&names);
    let is_renamed = base != name;
    if !is_renamed && arguments.is_none() {
        return Ok(());
    }
    let request = &call.request;
    let mut splice = Splice::new();
    if let (true, Some(span)) = (is_renamed, request.params.name) {
        splice.replace(span, quoted(&base));
    }
    let mut sets_arguments = false;
    if let Some(arguments) = arguments {
        let asked = Asked {
            profile,
            tool: &name,
            request,
        };
        sets_arguments = arguments.set(&asked, &mut splice)?;
    }
    if sets_arguments {
        check_headers(snapshot, &base, call)?;
    }
    let mut out = Vec::with_capacity(request.raw.len() + 128);
    splice.apply(
        &request.raw,
        Span::of_part(&request.raw, &request.raw),
        &mut out,
    );
    // What was a request stays one: only valid values were put into it.
    let entered = Envelope::parse(Bytes::from(out))
        .map_err(|error| ProtocolError::invalid_params(error.to_string()))?;
    call.request = entered;
    if sets_arguments {
        // They were checked against what the client gave; those that go on are made of all.
        call.param_headers = None;
    }
    if is_renamed && resolve(snapshot, call).is_err() {
        return Err(unknown(TargetKind::Tool, &name).into());
    }
    Ok(())
}

/// Checks the `Mcp-Param-*` headers against the arguments that the client gave itself.
fn check_headers(snapshot: &Snapshot, base: &str, call: &Call) -> Result<(), CallError> {
    let (Some(received), Some(entry)) = (&call.param_headers, snapshot.tool(base)) else {
        return Ok(());
    };
    let known = &entry.item.param_headers;
    known
        .validate(received, call.arguments())
        .map_err(|error| ProtocolError::new(code::HEADER_MISMATCH, error.to_string()).into())
}

/// What a client asked for.
struct Asked<'a> {
    profile: &'a Profile,
    /// As the client calls it.
    tool: &'a str,
    request: &'a Envelope,
}

impl Arguments {
    /// Sets what is not there. Answers whether anything was set.
    fn set(&self, asked: &Asked<'_>, splice: &mut Splice<'_>) -> Result<bool, CallError> {
        let request = asked.request;
        let given = request.params.arguments;
        let mut is_given = vec![false; self.fixed.len() + self.defaults.len()];
        if let Some(span) = given {
            let given = request.slice(span);
            if !given.starts_with(b"{") {
                return Err(ProtocolError::invalid_params("params.arguments is an object").into());
            }
            let mut refused = None;
            for_each_member(given, |key, _, value| {
                if let Some(at) = self.fixed.keys().position(|it| it == key) {
                    is_given[at] = true;
                    let is_same = canonical(value) == canonical(self.fixed[key].as_bytes());
                    if !is_same && refused.is_none() {
                        refused = Some(key.to_owned());
                    }
                } else if let Some(at) = self.defaults.keys().position(|it| it == key) {
                    is_given[self.fixed.len() + at] = true;
                } else if refused.is_none() && self.fixed.keys().any(|it| is_like(it, key)) {
                    // A server without an eye for case takes it for the one that is set.
                    refused = Some(key.to_owned());
                }
            });
            if let Some(argument) = refused {
                return Err(asked.refused(&argument));
            }
        }
        let mut members = Vec::new();
        let set = self.fixed.iter().chain(&self.defaults).zip(&is_given);
        for ((name, value), _) in set.filter(|(_, is_given)| !**is_given) {
            if !members.is_empty() {
                members.push(b',');
            }
            write_str(&mut members, name);
            members.push(b':');
            members.extend_from_slice(value.as_bytes());
        }
        if members.is_empty() {
            return Ok(false);
        }
        match (given, request.keys.params) {
            (Some(span), _) => splice.insert_members(&request.raw, span, &members),
            (None, Some(params)) => {
                let arguments = [b"\"arguments\":{", &*members, b"}"].concat();
                splice.insert_members(&request.raw, params, &arguments);
            }
            (None, None) => return Ok(false),
        }
        Ok(true)
    }
}

/// Whether two keys are one to a reader without an eye for case.
pub(super) fn is_like(key: &str, other: &str) -> bool {
    fold_case(key) == fold_case(other)
}

impl Asked<'_> {
    fn refused(&self, argument: &str) -> CallError {
        let message = format!(
            "The argument `{argument}` of `{}` is set by the profile `{}`: leave it out. Nothing \
             was executed.",
            self.tool, self.profile.name
        );
        Fault::refused(Reason::ArgumentsRefused, message).into()
    }
}
