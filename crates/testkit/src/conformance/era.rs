//! The eras a server speaks, and what it refuses because of them.

use std::borrow::Cow;
use std::str::FromStr;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, ProtocolVersion};
use serde_json::json;

/// Which of the two eras of MCP the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Era {
    /// 2026-07-28 only: `initialize` is refused, nothing has a session.
    Modern,
    /// 2025-11-25 and older only: `server/discover` is an unknown method, and nothing it answers
    /// tells that a modern version exists.
    Legacy,
    /// Whichever the client chooses, on one address.
    #[default]
    Both,
}

/// A name that is not one of `modern`, `legacy` and `both`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown era {0:?}: expected modern, legacy or both")]
pub struct UnknownEra(pub String);

impl FromStr for Era {
    type Err = UnknownEra;

    fn from_str(name: &str) -> Result<Self, UnknownEra> {
        match name {
            "modern" => Ok(Self::Modern),
            "legacy" => Ok(Self::Legacy),
            "both" => Ok(Self::Both),
            other => Err(UnknownEra(other.to_owned())),
        }
    }
}

impl Era {
    /// The protocol versions of this era, oldest first.
    pub(super) fn versions(self) -> Cow<'static, [ProtocolVersion]> {
        const MODERN: &[ProtocolVersion] = &[ProtocolVersion::V_2026_07_28];
        Cow::Borrowed(match self {
            Self::Modern => MODERN,
            Self::Legacy => ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25),
            Self::Both => ProtocolVersion::KNOWN_VERSIONS,
        })
    }

    /// The error for a method that this era does not have, if it has not.
    ///
    /// rmcp knows both eras and would answer a legacy-only server's `server/discover` with the
    /// modern version error, which no server of that time sends.
    pub(super) fn refuses(self, method: &str) -> Option<ErrorData> {
        match (self, method) {
            (Self::Legacy, "server/discover") => Some(ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                "Method not found",
                None,
            )),
            (Self::Modern, "initialize") => Some(ErrorData::new(
                ErrorCode::METHOD_NOT_FOUND,
                "Method not found: this server speaks 2026-07-28, which has no initialize",
                // A client of the legacy era can do no more than show this to its user
                // (2026-07-28 basic/versioning).
                Some(json!({ "supported": self.versions() })),
            )),
            _ => None,
        }
    }
}

/// Whether `version` is of the modern era. Versions are dates, so they compare as text.
pub(super) fn is_modern(version: &str) -> bool {
    version >= ProtocolVersion::V_2026_07_28.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_era_refuses_the_opening_of_the_other() {
        for (era, discover, initialize) in [
            (Era::Modern, false, true),
            (Era::Legacy, true, false),
            (Era::Both, false, false),
        ] {
            assert_eq!(era.refuses("server/discover").is_some(), discover);
            assert_eq!(era.refuses("initialize").is_some(), initialize);
        }
    }

    #[test]
    fn versions_and_names_belong_to_their_era() {
        let modern = |era: Era| {
            era.versions()
                .iter()
                .any(|version| is_modern(version.as_str()))
        };
        assert!(modern(Era::Modern) && modern(Era::Both) && !modern(Era::Legacy));
        assert_eq!("legacy".parse(), Ok(Era::Legacy));
        assert!("newest".parse::<Era>().is_err());
    }
}
