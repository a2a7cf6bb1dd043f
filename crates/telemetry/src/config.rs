//! What is logged and traced, and where it goes: the `telemetry` section of the configuration.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

/// Logs and traces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The log, written to standard error.
    pub log: LogConfig,
    /// Spans of calls, exported to a collector.
    pub traces: TracesConfig,
}

/// How the log looks and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or a filter
    /// with levels for parts of the program, as in `info,switchboard_backends=debug`.
    #[serde(deserialize_with = "deserialize_filter")]
    #[schemars(extend("format" = "log-filter"))]
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people: coloured when standard error is a terminal.
    #[default]
    Human,
    /// For machines: one JSON object a line.
    Json,
}

/// Where spans go, and how many.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TracesConfig {
    /// The address of a collector that takes OTLP, such as `http://collector:4318/v1/traces`, or
    /// `http://collector:4317` with `protocol: grpc`. Without one nothing is exported.
    #[serde(
        deserialize_with = "deserialize_endpoint",
        serialize_with = "serialize_endpoint"
    )]
    #[schemars(with = "Option<String>", extend("format" = "http-url"))]
    pub endpoint: Option<Url>,
    /// How the collector is spoken to.
    pub protocol: TracesProtocol,
    /// The share of calls that are traced when the caller has not decided: from 0.0 (none) to
    /// 1.0 (all).
    #[serde(deserialize_with = "deserialize_ratio")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample_ratio: f64,
    /// Whether a call that was not sampled is exported afterwards if it fails, as one span.
    pub failed_calls: bool,
    /// A call that was not sampled is exported afterwards, as one span, if it takes at least this
    /// long.
    #[serde(
        deserialize_with = "deserialize_duration",
        serialize_with = "serialize_duration"
    )]
    #[schemars(schema_with = "duration_schema")]
    pub slow_calls: Duration,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: TracesProtocol::default(),
            sample_ratio: 1.0,
            failed_calls: true,
            slow_calls: Duration::from_secs(5),
        }
    }
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TracesProtocol {
    /// OTLP over HTTP, in Protobuf.
    #[default]
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// Checks a log filter.
///
/// # Errors
///
/// Says what is wrong with it, without repeating it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse_filter(filter).map(drop)
}

/// Reads a log filter; as [`check_filter`].
pub(crate) fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    if filter.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    // A lone word is also the name of a part of the program, all of which would then be logged;
    // far more often it is a level with a slip of the hand.
    let mut lone = filter
        .split(',')
        .filter(|part| !part.contains(['=', '[', ']']));
    if lone.any(|part| part.trim().parse::<LevelFilter>().is_err()) {
        return Err("is not a log filter".to_owned());
    }
    EnvFilter::try_new(filter).map_err(|_| "is not a log filter".to_owned())
}

fn deserialize_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let filter = String::deserialize(deserializer)?;
    check_filter(&filter).map_err(de::Error::custom)?;
    Ok(filter)
}

fn deserialize_ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if !(0.0..=1.0).contains(&ratio) {
        return Err(de::Error::custom("the ratio is not between 0.0 and 1.0"));
    }
    Ok(ratio)
}

fn deserialize_endpoint<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Url>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Some(url)),
        _ => Err(de::Error::custom("is not an http or https URL")),
    }
}

fn serialize_endpoint<S: Serializer>(
    endpoint: &Option<Url>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    endpoint.as_ref().map(Url::as_str).serialize(serializer)
}

/// The longest duration that is accepted.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

fn duration_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "number"], "format": "duration", "minimum": 0 })
}

fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Visitor;

    impl de::Visitor<'_> for Visitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as `5s`, or a number of seconds")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            let duration = humantime::parse_duration(text);
            let duration = duration.map_err(|_| E::custom("is not a duration"))?;
            match duration <= LONGEST {
                true => Ok(duration),
                false => Err(E::custom("is longer than a day")),
            }
        }

        fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
            let duration = Duration::try_from_secs_f64(seconds).ok();
            let duration = duration.filter(|duration| *duration <= LONGEST);
            duration.ok_or_else(|| E::custom("is not a duration of at most a day"))
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            let duration = Some(Duration::from_secs(seconds));
            let duration = duration.filter(|duration| *duration <= LONGEST);
            duration.ok_or_else(|| E::custom("is longer than a day"))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
            let seconds = u64::try_from(seconds);
            self.visit_u64(seconds.map_err(|_| E::custom("is less than no time at all"))?)
        }
    }

    deserializer.deserialize_any(Visitor)
}

fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}
