//! The places where one server runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use switchboard_protocol::call::Call;
use url::Url;

use super::{BackendConfigError, MAX_ENDPOINTS, malformed, parse_url};

/// The most that an endpoint can weigh.
pub const MAX_WEIGHT: u32 = 1000;

/// One place of a remote server that runs in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Its address: `http` or `https`, without a fragment.
    pub url: Url,
    /// Its share of the calls beside the others', at most [`MAX_WEIGHT`]; 0: none.
    pub weight: u32,
    /// Whose calls go here first.
    pub canary: CanaryConfig,
}

/// Whose calls go to an endpoint before all others: a new version is tried by a few. Nobody, if
/// it names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryConfig {
    /// The principals; that of an API key is `key:` and the name of the key.
    pub principals: Vec<String>,
    /// Those who belong to one of these groups.
    pub groups: Vec<String>,
    /// Those whose requests have one of these headers, by name, with this value. Clients of
    /// 2025-11-25 or older are told by principal and group alone.
    #[schemars(extend("propertyNames" = {"format": "header-name"}))]
    pub headers: BTreeMap<String, String>,
}

impl CanaryConfig {
    /// Whether this call is somebody's whom it names.
    #[must_use]
    pub fn names(&self, call: &Call) -> bool {
        let principal = &call.principal;
        let has = |(name, value): (&String, &String)| {
            let found = call.headers.get(name.as_str());
            found.is_some_and(|found| found.as_bytes() == value.as_bytes())
        };
        self.principals.contains(&principal.id)
            || self
                .groups
                .iter()
                .any(|group| principal.groups.contains(group))
            || self.headers.iter().any(has)
    }
}

/// One place of a remote server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EndpointConfig")]
pub(super) struct EndpointFile {
    /// Its address, `http` or `https`.
    #[schemars(extend("format" = "http-url"))]
    url: String,
    /// Its share of the calls beside the others', at most 1000; 0: only those that `canary` names,
    /// and all if no other endpoint can be asked.
    #[serde(default = "default_weight")]
    #[schemars(range(max = 1000))]
    weight: u32,
    /// Whose calls go here before all others: a new version is tried by a few.
    #[serde(default)]
    canary: CanaryConfig,
}

fn default_weight() -> u32 {
    1
}

impl TryFrom<EndpointFile> for EndpointConfig {
    type Error = String;

    fn try_from(file: EndpointFile) -> Result<Self, String> {
        if file.weight > MAX_WEIGHT {
            return Err(format!("has a `weight` above {MAX_WEIGHT}"));
        }
        Ok(Self {
            url: parse_url(&file.url).map_err(|problem| format!("has a `url` that {problem}"))?,
            weight: file.weight,
            canary: file.canary,
        })
    }
}

/// Reads the section, which has none if there is none.
pub(super) fn endpoints(
    files: Option<Vec<EndpointFile>>,
) -> Result<Vec<EndpointConfig>, BackendConfigError> {
    let malformed = malformed("endpoints");
    let Some(files) = files else {
        return Ok(Vec::new());
    };
    if files.is_empty() || files.len() > MAX_ENDPOINTS {
        return Err(malformed(format!("has not 1 to {MAX_ENDPOINTS} of them")));
    }
    let mut endpoints: Vec<EndpointConfig> = Vec::with_capacity(files.len());
    for file in files {
        let endpoint = EndpointConfig::try_from(file).map_err(&malformed)?;
        if endpoints.iter().any(|other| other.url == endpoint.url) {
            return Err(malformed("has the same `url` twice".to_owned()));
        }
        endpoints.push(endpoint);
    }
    Ok(endpoints)
}
