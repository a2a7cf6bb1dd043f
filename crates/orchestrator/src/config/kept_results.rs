//! Results that were too large to send, and are kept for their callers to read on in: the
//! `kept_results` section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_backends::config::{bytes, count, duration};

use super::ConfigProblem;
use super::bounds::{Bound, Unit};

const MIB: u64 = 1024 * 1024;

/// How long and how much is kept of results that were too large to send. Where this section is given,
/// clients have the tool `switchboard__read_result` and resources `switchboard-result://…` to read
/// on in them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeptResultsConfig {
    /// How long each is kept: a duration, from 1 ms to 1 day.
    #[serde(deserialize_with = "duration::deserialize_positive")]
    #[schemars(schema_with = "duration::positive_schema", extend("default" = "1h"))]
    pub ttl: Duration,
    /// The most that is kept of one result, as text: a size such as `10MiB`, or a number of bytes.
    /// A larger one is not kept.
    #[serde(deserialize_with = "bytes::deserialize")]
    #[schemars(schema_with = "bytes::schema", extend("default" = "128MiB"))]
    pub max_result: u64,
    /// The most of one principal. What has no room is not kept, and what is there stays.
    #[schemars(extend("default" = { "bytes": "512MiB", "results": 100 }))]
    pub per_principal: PrincipalQuotaConfig,
    /// The most of all principals together. Each result that is in a file has it open.
    #[schemars(extend("default" = { "bytes": "2GiB", "results": 1000 }))]
    pub total: TotalQuotaConfig,
    /// The most of one result that stays in memory: a size. A larger one is in a file; so is any,
    /// where 64 MiB of all are in memory.
    #[serde(deserialize_with = "bytes::deserialize")]
    #[schemars(schema_with = "bytes::schema", extend("default" = "1MiB"))]
    pub in_memory: u64,
    /// The folder of the files, which have no names: no path leads to them, and nothing is left
    /// of them whatever ends the gateway. A relative path is meant from the folder of the
    /// configuration file. By default `$TMPDIR`, or `/var/tmp`.
    #[schemars(with = "Option<String>")]
    pub dir: Option<PathBuf>,
}

/// The most of one principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrincipalQuotaConfig {
    /// Of all its results together: a size.
    #[serde(deserialize_with = "bytes::deserialize")]
    #[schemars(schema_with = "bytes::schema", extend("default" = "512MiB"))]
    pub bytes: u64,
    /// The number of its results, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub results: usize,
}

/// The most of all principals together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TotalQuotaConfig {
    /// Of all results together: a size.
    #[serde(deserialize_with = "bytes::deserialize")]
    #[schemars(schema_with = "bytes::schema", extend("default" = "2GiB"))]
    pub bytes: u64,
    /// The number of all results, at least 1.
    #[serde(deserialize_with = "count::deserialize")]
    #[schemars(range(min = 1))]
    pub results: usize,
}

impl Default for KeptResultsConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60 * 60),
            max_result: 128 * MIB,
            per_principal: PrincipalQuotaConfig::default(),
            total: TotalQuotaConfig::default(),
            in_memory: MIB,
            dir: None,
        }
    }
}

impl Default for PrincipalQuotaConfig {
    fn default() -> Self {
        Self {
            bytes: 512 * MIB,
            results: 100,
        }
    }
}

impl Default for TotalQuotaConfig {
    fn default() -> Self {
        Self {
            bytes: 2048 * MIB,
            results: 1000,
        }
    }
}

impl KeptResultsConfig {
    /// What does not fit together: a bound that another one makes impossible to reach.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let default = Self::default();
        let bound = |key, unit, of: fn(&Self) -> u64| Bound {
            key,
            value: of(self),
            default: of(&default),
            unit,
        };
        let max_result = bound(&["kept_results", "max_result"], Unit::Bytes, |it| {
            it.max_result
        });
        let of_each = bound(
            &["kept_results", "per_principal", "bytes"],
            Unit::Bytes,
            |it| it.per_principal.bytes,
        );
        let of_all = bound(&["kept_results", "total", "bytes"], Unit::Bytes, |it| {
            it.total.bytes
        });
        let count_of_each = bound(
            &["kept_results", "per_principal", "results"],
            Unit::Number,
            |it| it.per_principal.results as u64,
        );
        let count_of_all = bound(&["kept_results", "total", "results"], Unit::Number, |it| {
            it.total.results as u64
        });
        [
            max_result.within(&of_each),
            max_result.within(&of_all),
            of_each.within(&of_all),
            count_of_each.within(&count_of_all),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_sizes_have_units() {
        let read = |text: &str| serde_json::from_str::<KeptResultsConfig>(text);
        assert_eq!(read("{}").expect("valid"), KeptResultsConfig::default());
        let given = r#"{"ttl":"5m","max_result":"1MiB","per_principal":{"bytes":2048},
            "total":{"results":7},"in_memory":"64KiB","dir":"/srv/results"}"#;
        let expected = KeptResultsConfig {
            ttl: Duration::from_secs(300),
            max_result: MIB,
            per_principal: PrincipalQuotaConfig {
                bytes: 2048,
                ..PrincipalQuotaConfig::default()
            },
            total: TotalQuotaConfig {
                results: 7,
                ..TotalQuotaConfig::default()
            },
            in_memory: 64 * 1024,
            dir: Some(PathBuf::from("/srv/results")),
        };
        assert_eq!(read(given).expect("valid"), expected);
        for wrong in [
            r#"{"ttl":"0s"}"#,
            r#"{"ttl":"2d"}"#,
            r#"{"max_result":0}"#,
            r#"{"max_result":"much"}"#,
            r#"{"per_principal":{"results":0}}"#,
            r#"{"per_principal":{"count":1}}"#,
            r#"{"forever":true}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bound_that_another_makes_impossible_is_told() {
        assert_eq!(KeptResultsConfig::default().problems(), []);
        let config = KeptResultsConfig {
            per_principal: PrincipalQuotaConfig {
                bytes: 1024,
                results: 2000,
            },
            ..KeptResultsConfig::default()
        };
        let problems = config.problems();
        let told: Vec<String> = problems.iter().map(|it| it.path.join(".")).collect();
        assert_eq!(
            told,
            [
                "kept_results.per_principal.bytes",
                "kept_results.per_principal.results"
            ]
        );
    }
}
