//! Revisions of the protocol and the two eras they fall into.
//!
//! "Basic: Versioning and Compatibility" of 2026-07-28 calls revisions *modern* when every request
//! carries its version and capabilities, and *legacy* when an `initialize` handshake opens a
//! session.

use std::fmt;

/// A revision of the Model Context Protocol, ordered by age: an older one is less than a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The first published revision; its remote transport was HTTP+SSE.
    V2024_11_05,
    /// Brought streamable HTTP, and JSON-RPC batches for this one revision.
    V2025_03_26,
    /// Brought structured results, elicitation and the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// The last revision with a handshake.
    V2025_11_25,
    /// The first revision without one.
    V2026_07_28,
}

/// How the peers of a revision learn of each other's version and capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    /// By an `initialize` handshake (2025-11-25 and older).
    Legacy,
    /// By the metadata of each request (2026-07-28 and newer).
    Modern,
}

impl Version {
    /// The newest revision of all.
    pub const LATEST: Self = Self::V2026_07_28;
    /// The newest revision with a handshake.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The modern revisions spoken here, newest first, as a server lists them to clients.
    pub const SUPPORTED_MODERN: &'static [Self] = &[Self::V2026_07_28];
    /// The legacy revisions spoken here, newest first.
    pub const SUPPORTED_LEGACY: &'static [Self] = &[
        Self::V2025_11_25,
        Self::V2025_06_18,
        Self::V2025_03_26,
        Self::V2024_11_05,
    ];

    /// Reads a revision's date as it stands on the wire; `None` for one that is not known.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "2024-11-05" => Some(Self::V2024_11_05),
            "2025-03-26" => Some(Self::V2025_03_26),
            "2025-06-18" => Some(Self::V2025_06_18),
            "2025-11-25" => Some(Self::V2025_11_25),
            "2026-07-28" => Some(Self::V2026_07_28),
            _ => None,
        }
    }

    /// The revision's date as it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The era that the revision belongs to.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => {
                Era::Legacy
            }
            Self::V2026_07_28 => Era::Modern,
        }
    }

    /// Whether each request carries its own version and capabilities.
    #[must_use]
    pub const fn is_modern(self) -> bool {
        matches!(self.era(), Era::Modern)
    }

    /// Whether HTTP requests carry `MCP-Protocol-Version` (2025-06-18 and newer).
    #[must_use]
    pub fn has_version_header(self) -> bool {
        self >= Self::V2025_06_18
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Era {
    /// The word used for the era in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Version; 5] = [
        Version::V2024_11_05,
        Version::V2025_03_26,
        Version::V2025_06_18,
        Version::V2025_11_25,
        Version::V2026_07_28,
    ];

    #[test]
    fn every_date_reads_back() {
        for version in ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
            assert_eq!(version.to_string(), version.as_str());
        }
    }

    #[test]
    fn other_texts_are_no_revision() {
        for text in [
            "",
            "2026-07-29",
            " 2026-07-28",
            "2026-07-28 ",
            "draft",
            "DRAFT-2026-v1",
        ] {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn order_follows_the_dates() {
        assert!(ALL.is_sorted());
        assert!(ALL.map(Version::as_str).is_sorted());
        assert!(ALL.map(Version::era).is_sorted());
    }

    #[test]
    fn what_is_spoken_covers_both_eras_newest_first() {
        assert_eq!(Version::SUPPORTED_MODERN.first(), Some(&Version::LATEST));
        let spoken = Version::SUPPORTED_MODERN
            .iter()
            .chain(Version::SUPPORTED_LEGACY);
        assert!(spoken.clone().rev().is_sorted());
        assert_eq!(spoken.count(), ALL.len());
        for version in ALL {
            assert_eq!(
                version.is_modern(),
                Version::SUPPORTED_MODERN.contains(&version)
            );
        }
    }

    #[test]
    fn latest_legacy_is_the_newest_with_a_handshake() {
        let legacy = ALL.into_iter().filter(|version| !version.is_modern());
        assert_eq!(legacy.max(), Some(Version::LATEST_LEGACY));
    }
}
