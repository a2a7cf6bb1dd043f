//! The time as sealed tokens and people have it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use switchboard_protocol::millis;

/// The time now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(since.unwrap_or_default())
}

/// The time in UTC, to the second, within the years that the format can write.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since_1970 = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = SystemTime::UNIX_EPOCH + since_1970.min(LAST);
    humantime::format_rfc3339_seconds(time).to_string()
}
