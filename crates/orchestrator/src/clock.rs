//! The time as sealed tokens have it.

use std::time::{SystemTime, UNIX_EPOCH};

use switchboard_protocol::millis;

/// The time now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since.unwrap_or_default())
}
