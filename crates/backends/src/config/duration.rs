//! Durations in the configuration: `30s`, `1m 30s`, `500ms`, or a number of seconds.

use std::fmt;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, Serializer, de};

/// The longest duration that is accepted. Deadlines are added to the clock, and a typing error
/// must not overflow it.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest duration that is accepted where nothing would work with none at all.
pub const SHORTEST_POSITIVE: Duration = Duration::from_millis(1);

/// Reads a duration with units.
///
/// # Errors
///
/// Says what is wrong with it: not a duration, or longer than [`LONGEST`].
pub fn parse(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned())?;
    check(duration)
}

/// Reads a number of seconds.
///
/// # Errors
///
/// As [`parse`].
pub fn from_secs(seconds: f64) -> Result<Duration, String> {
    let duration =
        Duration::try_from_secs_f64(seconds).map_err(|_| "is not a duration".to_owned())?;
    check(duration)
}

fn check(duration: Duration) -> Result<Duration, String> {
    if duration > LONGEST {
        return Err("is longer than a day".to_owned());
    }
    Ok(duration)
}

/// Checks that a duration is at least [`SHORTEST_POSITIVE`].
///
/// # Errors
///
/// Says that it is shorter.
pub fn check_positive(duration: Duration) -> Result<(), String> {
    if duration < SHORTEST_POSITIVE {
        return Err("is shorter than a millisecond".to_owned());
    }
    Ok(())
}

/// For `#[serde(with)]`.
///
/// # Errors
///
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as `30s`, or a number of seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            check(Duration::from_secs(seconds)).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            let seconds =
                u64::try_from(seconds).map_err(|_| E::custom("is less than no time at all"))?;
            self.visit_u64(seconds)
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            from_secs(seconds).map_err(E::custom)
        }
    }

    deserializer.deserialize_any(Visitor)
}

/// For `#[serde(deserialize_with)]` where nothing would work with no time at all.
///
/// # Errors
///
/// As [`parse`] and [`check_positive`].
pub fn deserialize_positive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let duration = deserialize(deserializer)?;
    check_positive(duration).map_err(de::Error::custom)?;
    Ok(duration)
}

/// For `#[serde(with)]`.
///
/// # Errors
///
/// Only the serializer's own.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// The schema of a duration that may be none at all.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "duration", "minimum": 0 })
}

/// The schema of a duration of at least [`SHORTEST_POSITIVE`].
pub fn positive_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "positive-duration", "minimum": 0.001 })
}
