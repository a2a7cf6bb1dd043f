//! `requestState` of a question that a substitute asked: the client knows only the tool that it
//! called, so the token says which other one has to go on, and holds that one's own token.

use switchboard_protocol::call::Call;
use switchboard_protocol::error::ProtocolError;
use switchboard_protocol::token::Sealer;

use crate::continuation;

/// What such a token begins with; no other can, for it is no letter of base64url.
const MARK: &str = "chain.";

/// Whether a call goes on with what a substitute asked.
pub(super) fn is_of_substitute(call: &Call) -> bool {
    let token = call.request.text(call.request.params.request_state);
    token.is_some_and(|token| token.starts_with(MARK))
}

/// The token for the client of `call`; `token` is that of the call of `tool`.
///
/// # Errors
/// If it is too long.
pub(super) fn seal(
    sealer: &Sealer,
    call: &Call,
    tool: &str,
    token: &str,
) -> Result<String, String> {
    let payload = format!("{tool}\0{token}");
    let sealed = continuation::seal_payload(sealer, call, MARK, payload.as_bytes())?;
    Ok(format!("{MARK}{sealed}"))
}

/// The tool that goes on with this call, and its own token.
///
/// # Errors
/// As [`continuation::open`].
pub(super) fn open(sealer: &Sealer, call: &Call) -> Result<(String, String), ProtocolError> {
    let token = call.request.text(call.request.params.request_state);
    let token = token.unwrap_or_default();
    let sealed = token.strip_prefix(MARK).unwrap_or_default();
    let payload = continuation::open_payload(sealer, call, MARK, sealed)?;
    let parted = payload.split_once('\0');
    let (tool, token) = parted.ok_or_else(continuation::invalid)?;
    Ok((tool.to_owned(), token.to_owned()))
}
