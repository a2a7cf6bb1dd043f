//! Errors of backends that are no larger than results may be.

use switchboard_protocol::delivery::Cap;
use switchboard_protocol::error::CallError;
use switchboard_protocol::json;
use switchboard_protocol::size::Size;
use switchboard_protocol::splice::member;

use super::cut::{inside, longest};

/// The error, with as much of its message as fits and without `data` where it is too large.
pub(super) fn shortened(error: CallError, cap: &Cap) -> CallError {
    let CallError::Backend {
        code,
        error,
        is_failure,
    } = error
    else {
        return error;
    };
    let most = cap.most();
    if Size::of_text(&error).is_within(most) {
        return CallError::Backend {
            code,
            error,
            is_failure,
        };
    }
    let message = member(&error, "message")
        .and_then(inside)
        .unwrap_or_default();
    let start = format!("{{\"code\":{code},\"message\":\"").into_bytes();
    let end = json::quoted(" [The gateway cut this error, which is larger than answers may be.]");
    let around = Size::of_text(&start) + Size::of_text(&end) + Size::of_text(b"}");
    let message = &message[..longest(message, most - around)];
    CallError::Backend {
        code,
        error: [&start, message, &end[1..], b"}"].concat().into(),
        is_failure,
    }
}
