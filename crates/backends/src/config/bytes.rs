//! Sizes in the configuration: `512KiB`, `10MiB`, or a number of bytes, at least 1.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserializer, de};
use switchboard_protocol::byte_size;

use super::LEAST_MAX_MESSAGE_BYTES;

/// Reads a size with its unit.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn parse(text: &str) -> Result<u64, String> {
    byte_size::parse(text).ok_or_else(|| "is not a size".to_owned())
}

/// Checks the size of the largest message that is taken from a server, with its unit.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_message_size(text: &str) -> Result<(), String> {
    if parse(text)? < LEAST_MAX_MESSAGE_BYTES as u64 {
        return Err("is less than 4096 bytes".to_owned());
    }
    Ok(())
}

fn check(bytes: u64) -> Result<u64, String> {
    match bytes {
        0 => Err("is less than 1".to_owned()),
        bytes => Ok(bytes),
    }
}

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
///
/// As [`parse`].
pub fn deserialize<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a size such as `10MiB`, or a number of bytes")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
            check(bytes).map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            let bytes = u64::try_from(bytes).map_err(|_| E::custom("is less than nothing"))?;
            self.visit_u64(bytes)
        }
    }

    let size = deserializer.deserialize_any(Visitor)?;
    N::try_from(size).map_err(|_| de::Error::custom("is more than there can be"))
}

/// The schema of a size.
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "integer"], "format": "byte-size", "minimum": 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_of_at_least_one_byte() {
        assert_eq!(parse("64KiB"), Ok(64 * 1024));
        assert_eq!(parse("1B"), Ok(1));
        for wrong in ["", "0B", "1", "none", "-1KiB", "1e30GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
