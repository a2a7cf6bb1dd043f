//! Rates, sizes and times as an operator writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use switchboard_protocol::byte_size;

const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const LARGEST_ENTRY: u64 = 64 * 1024 * 1024;

/// So many calls in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub calls: u32,
    /// In how long, from 1 ms to 31 days, and at least 1 µs for each call.
    pub period: Duration,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not_a_rate = || "is not a rate".to_owned();
        let (calls, period) = text.split_once('/').ok_or_else(not_a_rate)?;
        let calls: u32 = calls.trim().parse().map_err(|_| not_a_rate())?;
        let period = period.trim();
        // `60/m` is what most people write.
        let period = match period.starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => humantime::parse_duration(&format!("1{period}")),
            false => humantime::parse_duration(period),
        };
        let period = period.map_err(|_| not_a_rate())?;
        if !(Duration::from_millis(1)..=LONGEST).contains(&period) {
            return Err("is a rate in less than 1 ms or more than 31 days".to_owned());
        }
        if calls == 0 {
            return Err("is a rate without any call".to_owned());
        }
        if u128::from(calls) > period.as_micros() {
            return Err("is more than a call each microsecond".to_owned());
        }
        Ok(Self { calls, period })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = humantime::format_duration(self.period);
        write!(f, "{}/{period}", self.calls)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Checks a rate.
///
/// # Errors
/// Says what is wrong with it.
pub fn check_rate(text: &str) -> Result<(), String> {
    text.parse::<Rate>().map(drop)
}

/// Reads a size with a unit, such as `10MiB`.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_size(text: &str) -> Result<u64, String> {
    byte_size::parse(text).ok_or_else(|| "is not a size".to_owned())
}

/// Reads the size of one cached result.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_entry_size(text: &str) -> Result<u64, String> {
    check_entry_size(parse_size(text)?)
}

fn check_entry_size(size: u64) -> Result<u64, String> {
    if size > LARGEST_ENTRY {
        return Err(format!(
            "is more than {}",
            byte_size::written(LARGEST_ENTRY)
        ));
    }
    Ok(size)
}

/// Reads the window of a budget.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_window(text: &str) -> Result<Duration, String> {
    let window = humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned())?;
    check_window(window)
}

fn check_window(window: Duration) -> Result<Duration, String> {
    if !(Duration::from_secs(1)..=LONGEST).contains(&window) {
        return Err("is less than 1 s or more than 31 days".to_owned());
    }
    Ok(window)
}

/// Reads how long the store may take.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned())?;
    check_timeout(timeout)
}

fn check_timeout(timeout: Duration) -> Result<Duration, String> {
    if !(Duration::from_millis(1)..=LONGEST_TIMEOUT).contains(&timeout) {
        return Err("is less than 1 ms or more than 10 s".to_owned());
    }
    Ok(timeout)
}

/// A number, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number, or text with a unit")]
enum Written {
    Whole(u64),
    Fraction(f64),
    Text(String),
}

impl Written {
    fn duration(self, parse: fn(&str) -> Result<Duration, String>) -> Result<Duration, String> {
        let seconds = match self {
            Self::Text(text) => return parse(&text),
            Self::Whole(seconds) => return Ok(Duration::from_secs(seconds)),
            Self::Fraction(seconds) => seconds,
        };
        Duration::try_from_secs_f64(seconds).map_err(|_| "is not a duration".to_owned())
    }
}

pub(crate) fn deserialize_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Whole(bytes)) if bytes > 0 => Ok(Some(bytes)),
        Some(Written::Text(text)) => parse_size(&text).map(Some).map_err(de::Error::custom),
        Some(_) => Err(de::Error::custom("is not a size")),
    }
}

/// A size that has to be there.
pub(crate) fn deserialize_whole_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u64, D::Error> {
    let size = deserialize_size(deserializer)?;
    size.ok_or_else(|| de::Error::custom("is not a size"))
}

/// The size of one cached result.
pub(crate) fn deserialize_entry_size<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u64, D::Error> {
    let size = deserialize_whole_size(deserializer)?;
    check_entry_size(size).map_err(de::Error::custom)
}

/// How long a result stays in the cache.
pub(crate) fn deserialize_ttl<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let parse =
        |text: &str| humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned());
    let ttl = Written::deserialize(deserializer)?.duration(parse);
    ttl.and_then(check_ttl).map_err(de::Error::custom)
}

fn check_ttl(ttl: Duration) -> Result<Duration, String> {
    if !(Duration::from_millis(1)..=LONGEST_TTL).contains(&ttl) {
        return Err("is less than 1 ms or more than a day".to_owned());
    }
    Ok(ttl)
}

pub(super) fn deserialize_window<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let window = Written::deserialize(deserializer)?.duration(parse_window);
    window.and_then(check_window).map_err(de::Error::custom)
}

pub(super) fn deserialize_timeout<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let timeout = Written::deserialize(deserializer)?.duration(parse_timeout);
    timeout.and_then(check_timeout).map_err(de::Error::custom)
}

pub(crate) fn size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer", "null"], "format": "byte-size", "minimum": 1 })
}

pub(crate) fn whole_size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "format": "byte-size", "minimum": 1 })
}

pub(crate) fn entry_size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "integer"], "format": "entry-size", "minimum": 1, "maximum": LARGEST_ENTRY,
    })
}

pub(crate) fn ttl_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "positive-duration", "minimum": 0.001 })
}

pub(super) fn window_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "window", "minimum": 1, "maximum": 2_678_400 })
}

pub(super) fn timeout_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "store-timeout", "minimum": 0.001, "maximum": 10 })
}
