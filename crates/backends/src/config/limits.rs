//! What a local server may use: the `limits` of a backend.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use switchboard_protocol::byte_size;

/// The word for no limit.
const NONE: &str = "none";
/// The least size that can be a limit: a program does not even start with less.
pub const LEAST_SIZE: u64 = 1024 * 1024;
/// The fewest open files that can be a limit: loading its libraries takes a program some.
pub const LEAST_OPEN_FILES: u64 = 16;
/// The least part of a core that can be a limit: the kernel's own.
const LEAST_CORES: f64 = 0.01;
/// More than any machine has.
const MOST_CORES: f64 = 10_000.0;

/// What a local server and all that it starts may use, together but for what is said of each process.
/// Each is `none` for no limit. `switchboard check` says how each is held on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// The most memory: a size such as `512MiB` or `2GiB`, or a number of bytes, at least 1 MiB; or
    /// `none`. Beyond it the server is ended, which its callers are told.
    #[serde(deserialize_with = "deserialize_size")]
    #[schemars(schema_with = "size_schema", extend("default" = "2GiB"))]
    pub memory: Option<u64>,
    /// The most processor time, in cores: `1.5` is one and a half, from 0.01; or `none`. Beyond it
    /// the server is slowed down.
    #[serde(deserialize_with = "deserialize_cores")]
    #[schemars(schema_with = "cores_schema", extend("default" = "none"))]
    pub cpu: Option<f64>,
    /// The most processes, of which each thread counts as one, at least 1; or `none`. Beyond it
    /// nothing more is started, or the server is ended where the kernel does not count.
    #[serde(deserialize_with = "deserialize_count")]
    #[schemars(schema_with = "count_schema", extend("default" = 1024))]
    pub processes: Option<u64>,
    /// The most files, sockets and pipes that each process has open, at least 16; or `none`.
    #[serde(deserialize_with = "deserialize_open_files")]
    #[schemars(schema_with = "open_files_schema", extend("default" = 1024))]
    pub open_files: Option<u64>,
    /// The largest file that each process writes: a size, at least 1 MiB; or `none`.
    #[serde(deserialize_with = "deserialize_size")]
    #[schemars(schema_with = "size_schema", extend("default" = "none"))]
    pub file_size: Option<u64>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            memory: Some(2 * 1024 * 1024 * 1024),
            cpu: None,
            processes: Some(1024),
            open_files: Some(1024),
            file_size: None,
        }
    }
}

/// Reads a size with its unit, or `none`.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse_size(text: &str) -> Result<Option<u64>, String> {
    if text == NONE {
        return Ok(None);
    }
    match byte_size::parse(text) {
        Some(size) => check_size(size).map(Some),
        None => Err("is not a size".to_owned()),
    }
}

/// Checks a number of bytes.
///
/// # Errors
///
/// Says that it is too small.
pub fn check_size(bytes: u64) -> Result<u64, String> {
    if bytes < LEAST_SIZE {
        return Err("is less than 1 MiB".to_owned());
    }
    Ok(bytes)
}

/// Checks that a text is `none`, where anything else is a number.
///
/// # Errors
///
/// Says that it is not.
pub fn check_none(text: &str) -> Result<(), String> {
    match text {
        NONE => Ok(()),
        _ => Err("is no number and not `none`".to_owned()),
    }
}

/// What a limit may be written as.
enum Written {
    None,
    Text(String),
    Whole(u64),
    Fraction(f64),
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a limit, or `none`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                Ok(match text {
                    NONE => Written::None,
                    text => Written::Text(text.to_owned()),
                })
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Written, E> {
                Ok(Written::Whole(number))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Written, E> {
                let number = u64::try_from(number);
                number
                    .map(Written::Whole)
                    .map_err(|_| E::custom("is less than nothing"))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Written, E> {
                Ok(Written::Fraction(number))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

fn deserialize_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let size = match Written::deserialize(deserializer)? {
        Written::None => Ok(None),
        Written::Text(text) => parse_size(&text),
        Written::Whole(bytes) => check_size(bytes).map(Some),
        Written::Fraction(_) => Err("is not a size".to_owned()),
    };
    size.map_err(de::Error::custom)
}

fn count<'de, D: Deserializer<'de>>(deserializer: D, least: u64) -> Result<Option<u64>, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::None => Ok(None),
        Written::Whole(count) if count >= least => Ok(Some(count)),
        _ => Err(de::Error::custom(format!(
            "is no whole number of at least {least} and not `none`"
        ))),
    }
}

fn deserialize_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    count(deserializer, 1)
}

fn deserialize_open_files<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    count(deserializer, LEAST_OPEN_FILES)
}

fn deserialize_cores<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let cores = match Written::deserialize(deserializer)? {
        Written::None => return Ok(None),
        Written::Whole(cores) => cores as f64,
        Written::Fraction(cores) => cores,
        Written::Text(_) => f64::NAN,
    };
    if (LEAST_CORES..=MOST_CORES).contains(&cores) {
        return Ok(Some(cores));
    }
    Err(de::Error::custom(
        "is no number of cores from 0.01 and not `none`",
    ))
}

fn size_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "format": "size-or-none", "minimum": LEAST_SIZE })
}

fn count_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "format": "count-or-none", "minimum": 1 })
}

fn open_files_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "format": "open-files-or-none", "minimum": LEAST_OPEN_FILES })
}

fn cores_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "cores-or-none", "minimum": LEAST_CORES, "maximum": MOST_CORES })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_both_kinds() {
        for (text, bytes) in [
            ("1GiB", 1 << 30),
            ("1.5 GiB", 3 << 29),
            ("2MB", 2_000_000),
            ("1048576B", 1 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(Some(bytes)), "{text}");
        }
        assert_eq!(parse_size("none"), Ok(None));
        for wrong in [
            "", "GiB", "1G", "1 gib", "-1GiB", "nanGiB", "infGiB", "1e30GiB", "64KiB",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_limit_is_a_number_or_none() {
        let read = |text: &str| serde_json::from_str::<LimitsConfig>(text);
        assert_eq!(read("{}").expect("valid"), LimitsConfig::default());
        let all =
            r#"{"memory":"none","cpu":1.5,"processes":"none","open_files":16,"file_size":1048576}"#;
        let expected = LimitsConfig {
            memory: None,
            cpu: Some(1.5),
            processes: None,
            open_files: Some(16),
            file_size: Some(1 << 20),
        };
        assert_eq!(read(all).expect("valid"), expected);
        for wrong in [
            r#"{"memory":"1"}"#,
            r#"{"memory":1}"#,
            r#"{"memory":1.5}"#,
            r#"{"cpu":0}"#,
            r#"{"cpu":"1"}"#,
            r#"{"processes":0}"#,
            r#"{"processes":1.5}"#,
            r#"{"open_files":15}"#,
            r#"{"file_size":-1}"#,
            r#"{"swap":"none"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
