//! The admin API as a client sees it.

use std::error::Error as _;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::commands::client::{authority, visible};

/// The largest answer that is taken, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A gateway's admin API.
pub(super) struct Admin {
    url: Url,
    key: Option<HeaderValue>,
    http: reqwest::Client,
}

#[derive(Debug, Deserialize)]
pub(super) struct Backends {
    pub(super) backends: Vec<Backend>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) transport: String,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    pub(super) restarts: u64,
    /// Not told by older gateways.
    #[serde(default)]
    pub(super) restarting: bool,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Endpoint {
    pub(super) label: Option<String>,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) in_flight: u64,
    pub(super) processes: Vec<Process>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) kind: String,
    pub(super) uptime_seconds: f64,
    pub(super) write_queue: u64,
    #[serde(default)]
    pub(super) resident_memory_bytes: u64,
    #[serde(default)]
    pub(super) cpu_seconds: f64,
}

impl Backend {
    pub(super) fn is_starting(&self) -> bool {
        let states = self.endpoints.iter().map(|endpoint| &endpoint.state);
        self.restarting || states.chain([&self.state]).any(|state| state == "starting")
    }

    /// The programs that run for it.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes().map(|process| process.pid)
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.processes)
    }
}

impl Admin {
    /// # Errors
    /// If the key cannot be sent.
    pub(super) fn new(url: Url, key: Option<&str>) -> Result<Self, String> {
        let key = match key {
            None => None,
            Some(key) => {
                let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                    .map_err(|_| "the key cannot be sent in a header")?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let http = reqwest::Client::builder()
            // The key is for nobody but the gateway.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| format!("there is nothing to ask with: {error}"))?;
        Ok(Self { url, key, http })
    }

    /// All backends, and the answer as it came.
    pub(super) async fn backends(&self) -> Result<(Vec<Backend>, Value), String> {
        let (all, raw): (Backends, Value) = self.ask(Method::GET, &[]).await?;
        Ok((all.backends, raw))
    }

    /// One of them.
    pub(super) async fn backend(&self, name: &str) -> Result<(Backend, Value), String> {
        self.ask(Method::GET, &[name]).await
    }

    /// Has one restarted, and says how it is doing.
    pub(super) async fn restart(&self, name: &str) -> Result<(Backend, Value), String> {
        self.ask(Method::POST, &[name, "restart"]).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
    ) -> Result<(T, Value), String> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(["api", "v1", "backends"])
                .extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key);
        }
        let mut response = request.send().await.map_err(|error| self.away(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(format!("{} answers more than an admin API does", self.url));
            }
        }
        let raw: Option<Value> = serde_json::from_slice(&body).ok();
        if !status.is_success() {
            return Err(self.refused(status, raw.as_ref()));
        }
        let parsed = raw.and_then(|raw| Some((T::deserialize(&raw).ok()?, raw)));
        parsed.ok_or_else(|| format!("{} does not answer as an admin API does", self.url))
    }

    fn away(&self, error: &reqwest::Error) -> String {
        // The last cause is the one that says what happened.
        let mut cause = error.source();
        while let Some(next) = cause.and_then(|cause| cause.source()) {
            cause = Some(next);
        }
        let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
        format!(
            "{} cannot be used: {cause}. Is `switchboard serve` running there, with keys in \
             `admin.api_keys`?",
            self.url
        )
    }

    fn refused(&self, status: StatusCode, problem: Option<&Value>) -> String {
        let url = &self.url;
        let detail = problem.and_then(|problem| problem["detail"].as_str());
        match (status, detail) {
            (StatusCode::UNAUTHORIZED, _) => {
                let other = match self.key {
                    Some(_) => " another key: this one it does not know",
                    None => " a key of its `admin.api_keys`",
                };
                format!("{url} answers with 401: give SWITCHBOARD_ADMIN_KEY or --key{other}")
            }
            // No `Origin` is sent, so what is refused is the `Host`.
            (StatusCode::FORBIDDEN, _) => format!(
                "{url} answers with 403: the gateway's `server.allowed_hosts` lacks {}",
                authority(url)
            ),
            (StatusCode::NOT_FOUND, Some(detail)) => visible(detail),
            (StatusCode::NOT_FOUND, None) => {
                format!(
                    "there is no admin API at {url}: expected the address of `server.admin_listen`"
                )
            }
            (status, detail) => {
                let detail = detail.map(|detail| format!(": {}", visible(detail)));
                format!("{url} answers with {status}{}", detail.unwrap_or_default())
            }
        }
    }
}
