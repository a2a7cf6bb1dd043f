//! Places that Consul knows: the instances of a service whose checks pass, from its health API by
//! blocking queries (<https://developer.hashicorp.com/consul/api-docs/features/blocking>).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use url::{Position, Url};

use super::dns::{MAX_LOOK, Names, Target};
use super::publisher::{Failure, Publisher};
use super::{Place, Problem};
use crate::config::{ConsulConfig, DEFAULT_CONNECT_TIMEOUT};
use crate::link::pool::Pool;
use crate::pause::Pause;

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// How many instances that are none the log tells of.
const MAX_TOLD: usize = 8;
/// How much longer than asked Consul may take: up to a sixteenth by its own jitter, and the way.
const GRACE: Duration = Duration::from_secs(10);
/// The least time from one answer to the next question: a service may change all the time.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(1);
/// The longest that Consul lets a question wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);

/// A service in Consul.
pub(super) struct Consul {
    names: Names,
    pool: Arc<Pool>,
    /// The question, without what says how long to wait for news.
    url: Url,
    headers: HeaderMap,
    wait: Duration,
    /// The state of the service that was seen last; 0 asks for what there is now.
    index: u64,
    /// What was wrong with instances that were left out of the last answer.
    left_out: Vec<String>,
}

/// An instance of a service, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    weights: Weights,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Weights {
    passing: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1 }
    }
}

impl Consul {
    pub(super) fn new(
        names: Names,
        config: &ConsulConfig,
        interval: Duration,
        tasks: &TaskTracker,
    ) -> Self {
        let mut url = config.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["v1", "health", "service", &config.service]);
        }
        url.query_pairs_mut().append_pair("passing", "true");
        if let Some(tag) = &config.tag {
            url.query_pairs_mut().append_pair("tag", tag);
        }
        let mut headers = HeaderMap::new();
        let host = &url[Position::BeforeHost..Position::AfterPort];
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
        if let Some(token) = &config.token {
            headers.insert(TOKEN, token.clone());
        }
        let authority = url[..Position::BeforePath].parse().unwrap_or_default();
        Self {
            names,
            pool: Pool::new(authority, None, DEFAULT_CONNECT_TIMEOUT, tasks.clone()),
            url,
            headers,
            wait: interval.min(LONGEST_WAIT),
            index: 0,
            left_out: Vec::new(),
        }
    }

    /// Asks and publishes for ever.
    pub(super) async fn keep_looking(mut self, publisher: Publisher) {
        let mut pause = Pause::default();
        loop {
            let next = match self.look(&publisher).await {
                Ok(places) => {
                    publisher.publish(places);
                    pause = Pause::default();
                    BETWEEN_QUESTIONS
                }
                Err(failure) => {
                    publisher.report(&failure);
                    self.index = 0;
                    self.names.start_anew();
                    pause.next()
                }
            };
            sleep(next).await;
        }
    }

    async fn look(&mut self, publisher: &Publisher) -> Result<Vec<Place>, Failure> {
        let patience = self.wait + self.wait / 16 + GRACE;
        let body = timeout(patience, self.ask())
            .await
            .map_err(|_| unanswered(&"no answer in time"))??;
        let (instances, left_out) = instances(&body)?;
        if !left_out.is_empty() && self.left_out != left_out {
            publisher.left_out(&left_out);
        }
        self.left_out = left_out;
        let targets = instances.into_iter().filter_map(Instance::into_target);
        let known = publisher.known();
        let places = timeout(MAX_LOOK, self.names.places(targets.collect(), &known));
        match places.await {
            Ok(Ok((places, _))) => Ok(places),
            Ok(Err(error)) => Err(unanswered(&error)),
            Err(_) => Err(unanswered(&"the names of instances are not found in time")),
        }
    }

    async fn ask(&mut self) -> Result<Bytes, Failure> {
        let response = self
            .pool
            .send(self.request()?)
            .await
            .map_err(|_| unanswered(&"no connection, or it broke"))?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(Failure {
                problem: Problem::Refused(head.status.as_u16()),
                detail: head.status.to_string(),
            });
        }
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| malformed(&error))?.to_bytes();
        self.index = next_index(self.index, &head.headers);
        Ok(body)
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        let mut url = self.url.clone();
        url.query_pairs_mut()
            .append_pair("index", &self.index.to_string())
            .append_pair("wait", &format!("{}ms", self.wait.as_millis()));
        let target: Uri = url[Position::BeforePath..]
            .parse()
            .map_err(|error| malformed(&error))?;
        let mut request = Request::new(Full::default());
        *request.uri_mut() = target;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// What to ask for next. An index that went back, or is none, begins anew: Consul's state was
/// restored from a snapshot, and news might be missed.
fn next_index(seen: u64, headers: &HeaderMap) -> u64 {
    let index = headers.get(INDEX).and_then(|index| index.to_str().ok());
    let index = index.and_then(|index| index.parse().ok()).unwrap_or(0);
    if index < seen { 0 } else { index }
}

/// The instances in an answer, and what is wrong with those that are none: one that registered
/// nonsense must not take the others away.
fn instances(answer: &[u8]) -> Result<(Vec<Instance>, Vec<String>), Failure> {
    let all: Vec<&RawValue> = serde_json::from_slice(answer).map_err(|error| malformed(&error))?;
    let (mut instances, mut left_out) = (Vec::new(), Vec::new());
    for one in all {
        match serde_json::from_str(one.get()) {
            Ok(instance) => instances.push(instance),
            Err(error) if left_out.len() < MAX_TOLD => left_out.push(error.to_string()),
            Err(_) => {}
        }
    }
    match left_out.first() {
        Some(error) if instances.is_empty() => Err(malformed(error)),
        _ => Ok((instances, left_out)),
    }
}

impl Instance {
    /// Where it is; `None` without an address or a port.
    fn into_target(self) -> Option<Target> {
        let address = if self.service.address.is_empty() {
            self.node.address
        } else {
            self.service.address
        };
        let is_somewhere = !address.is_empty() && self.service.port > 0;
        is_somewhere.then(|| Target {
            host: address.trim_end_matches('.').into(),
            port: self.service.port,
            weight: self.service.weights.passing.max(1),
            priority: 0,
        })
    }
}

fn unanswered(detail: &impl ToString) -> Failure {
    Failure {
        problem: Problem::Unanswered,
        detail: detail.to_string(),
    }
}

fn malformed(error: &impl ToString) -> Failure {
    Failure {
        problem: Problem::Malformed,
        detail: error.to_string(),
    }
}
