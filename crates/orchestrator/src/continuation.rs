//! `requestState`: how the retry of a call that needed input finds its way home (specification:
//! `basic/patterns/mrtr`).
//!
//! The client gets a sealed token in the place of the backend's own state, always, also where the
//! backend sent none. It names the backend that asked, and opens only for the same principal, in
//! the same profile, and for the same request. What comes back is a continuation of the same call, not a new one.

use std::time::Duration;

use switchboard_backends::RequestState;
use switchboard_protocol::call::Call;
use switchboard_protocol::canonical::canonical;
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::millis;
use switchboard_protocol::token::{Binding, Purpose, Sealer, digest};

use crate::clock::now_ms;
use crate::home::Home;

/// How long a client may take to gather the input.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// What the token holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// Who asked.
    pub(crate) home: Home,
    /// Its own state, if it sent any.
    pub(crate) state: Option<String>,
    /// Whether it comes back for the first time, as the call that it was made for.
    pub(crate) is_first_use: bool,
}

impl Continuation {
    /// What its backend gets of it.
    pub(crate) fn upstream_state(&self) -> RequestState<'_> {
        match &self.state {
            Some(state) => RequestState::Restore(state),
            None => RequestState::Remove,
        }
    }
}

/// Seals a continuation of this call.
///
/// # Errors
/// If the backend's state is too long to be sealed.
pub(crate) fn seal(
    sealer: &Sealer,
    call: &Call,
    continuation: &Continuation,
) -> Result<String, String> {
    let Continuation { home, state, .. } = continuation;
    let payload = match state {
        Some(state) => format!("{home}\0{state}"),
        None => home.to_string(),
    };
    seal_payload(sealer, call, "", payload.as_bytes())
}

/// Seals what goes on with this call. What is sealed for one `kind` opens for no other.
///
/// # Errors
/// If it is too long.
pub(crate) fn seal_payload(
    sealer: &Sealer,
    call: &Call,
    kind: &str,
    payload: &[u8],
) -> Result<String, String> {
    let binding = binding(call, kind);
    let expires = now_ms().saturating_add(millis(LIFETIME));
    sealer
        .seal(Purpose::RequestState, &binding, expires, payload)
        .map_err(|error| error.to_string())
}

/// Opens the token that came with this call.
///
/// # Errors
/// −32602 for anything but a token that was given to this principal for this request, in this profile,
/// and has not expired.
pub(crate) fn open(
    sealer: &Sealer,
    call: &Call,
    token: &str,
) -> Result<Continuation, ProtocolError> {
    let payload = open_payload(sealer, call, "", token)?;
    Ok(match payload.split_once('\0') {
        Some((home, state)) => Continuation {
            home: Home::parse(home),
            state: Some(state.to_owned()),
            is_first_use: true,
        },
        None => Continuation {
            home: Home::parse(&payload),
            state: None,
            is_first_use: true,
        },
    })
}

/// Opens what [`seal_payload`] sealed.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_payload(
    sealer: &Sealer,
    call: &Call,
    kind: &str,
    token: &str,
) -> Result<String, ProtocolError> {
    let binding = binding(call, kind);
    let payload = sealer
        .open(Purpose::RequestState, &binding, now_ms(), token)
        .map_err(|_| invalid())?;
    String::from_utf8(payload).map_err(|_| invalid())
}

/// The error of a token that is not valid for its request.
pub(crate) fn invalid() -> ProtocolError {
    ProtocolError::invalid_params(
        "requestState is not valid for this request: it was changed, has expired or belongs to another call; make the call again without it",
    )
}

fn binding<'c>(call: &'c Call, kind: &str) -> Binding<'c> {
    let request = request_digest(call);
    Binding {
        principal: &call.principal.id,
        // That of the plain kind stays what it was, so that tokens outlive an update.
        request: match (&call.profile, kind) {
            (None, "") => request,
            (None, kind) => digest(&[kind.as_bytes(), &request]),
            (Some(profile), kind) => {
                digest(&[kind.as_bytes(), &request, b"profile", profile.as_bytes()])
            }
        },
    }
}

/// What makes a request the same one: method, target and arguments. A client may write the
/// arguments anew, so the order of keys, white space and escapes do not count; everything else
/// does, a doubled key included.
fn request_digest(call: &Call) -> [u8; 32] {
    let target = call.target().unwrap_or_default();
    let arguments = call.arguments().unwrap_or_default();
    let canonical = canonical(arguments);
    digest(&[
        call.method.as_str().as_bytes(),
        target.as_bytes(),
        &canonical,
    ])
}
