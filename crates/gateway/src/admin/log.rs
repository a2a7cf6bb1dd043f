//! What is logged, and changing it.

use std::time::Duration;

use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use switchboard_protocol::call::Principal;
use switchboard_telemetry::{LogControlError, LogLevels};
use tokio::time::timeout;

use super::AdminApi;
use super::answer::{json, problem};

/// The longest body, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// How long it may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is logged.
#[derive(Serialize, JsonSchema)]
pub(super) struct LogView<'a> {
    /// What is logged now, in the form of `telemetry.log.level`.
    level: &'a str,
    /// What the configuration says.
    configured: &'a str,
}

/// What is to be logged.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogRequest {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or a filter with levels for parts of
    /// the program, as in `info,switchboard_backends=debug`; `null` for what the configuration says.
    level: Option<String>,
}

pub(super) fn view(levels: &LogLevels) -> Response {
    let view = LogView {
        level: &levels.current,
        configured: &levels.configured,
    };
    json(StatusCode::OK, &view)
}

impl AdminApi {
    /// Logs what the body says from now on.
    pub(super) async fn set_log(&self, who: &Principal, request: Request<Incoming>) -> Response {
        let body = Limited::new(request.into_body(), MAX_BODY).collect();
        let Ok(Ok(body)) = timeout(BODY_TIMEOUT, body).await else {
            let detail = format!("the body is longer than {MAX_BODY} bytes, late, or broke off");
            return *problem(StatusCode::PAYLOAD_TOO_LARGE, &detail);
        };
        let wanted: LogRequest = match serde_json::from_slice(&body.to_bytes()) {
            Ok(wanted) => wanted,
            Err(error) => {
                let detail = format!("the body is no `{{\"level\": \"info\"}}`: {error}");
                return *problem(StatusCode::BAD_REQUEST, &detail);
            }
        };
        match self.log.set(wanted.level.as_deref()) {
            Ok(levels) => {
                tracing::warn!(
                    level = levels.current,
                    by = who.id,
                    "what is logged is changed"
                );
                view(&levels)
            }
            Err(error @ LogControlError::Filter(_)) => {
                let detail = format!("`level`: {error}");
                *problem(StatusCode::BAD_REQUEST, &detail)
            }
            Err(error @ LogControlError::NoLog) => {
                *problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
            }
        }
    }
}
