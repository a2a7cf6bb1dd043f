//! The gateways that are called: in this process, or processes of their own.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchboard_backends::config::BackendConfig;
use switchboard_orchestrator::{CacheParts, Orchestrator, Parts, TracedCall};
use switchboard_policy::cache::config::{CacheConfig, CacheStore};
use switchboard_policy::limits::config::StoreConfig;
use switchboard_protocol::call::{Call, Outcome, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::method::Method;
use switchboard_protocol::token::Sealer;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Metrics};
use switchboard_testkit::client::Client;
use switchboard_testkit::redis_server::RedisServer;
use switchboard_tests::front::Front;
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;

use super::{MAX_ENTRY, TTL};

const KEY: &str = "a sealing key of the tests, 0f8e1c7b2d9a";
const IN_FLIGHT: &str = "switchboard_calls_in_flight";

/// A gateway, by what it consists of.
pub(crate) enum Gateway {
    /// What answers calls in a gateway, without its sockets.
    Inside(Orchestrator),
    /// A process, and a client for each principal.
    Process(Box<(Front, [Client; 2])>),
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Null if there is none.
    pub(crate) result: Value,
    pub(crate) is_complete: bool,
}

impl Answered {
    /// How it was answered, if not by its server.
    pub(crate) fn state(&self) -> Option<&str> {
        self.cache()["state"].as_str()
    }

    pub(crate) fn cache(&self) -> &Value {
        &self.result["_meta"]["dev.switchboard/cache"]
    }

    pub(crate) fn serial(&self) -> Option<u64> {
        self.result["dev.example/serial"].as_u64()
    }
}

/// The two backends that the server is, by name.
fn backends(urls: &[String; 2]) -> Value {
    let backend = |url: &str, is_shared: bool| {
        json!({
            "url": url,
            "trust_annotations": true,
            "retry": { "max_attempts": 1 },
            "breaker": { "consecutive_failures": 1_000_000, "min_calls": 1_000_000 },
            "cache": {
                "tools": ["marked", "marked_destructive"],
                "stale_if_error": "900ms",
                "shared": is_shared,
            },
        })
    };
    json!({ "n": backend(&urls[0], false), "s": backend(&urls[1], true) })
}

impl Gateway {
    /// One in this process, with its cache in this Redis or in memory.
    pub(crate) async fn inside(urls: &[String; 2], store: Option<&RedisServer>) -> Self {
        let backends: BTreeMap<String, BackendConfig> =
            serde_json::from_value(backends(urls)).expect("backends");
        let config = CacheConfig {
            store: match store {
                Some(_) => CacheStore::Redis,
                None => CacheStore::Memory,
            },
            ..CacheConfig::default()
        };
        let redis = store.map_or(
            json!({}),
            |store| json!({ "redis": store.url(), "timeout": "5s" }),
        );
        let redis: StoreConfig = serde_json::from_value(redis).expect("a store");
        let sealer = Sealer::with_random_key().expect("random bytes");
        let metrics = Arc::new(Metrics::new().expect("a registry"));
        let key = Some(KEY.as_bytes());
        let orchestrator = Orchestrator::start(Parts {
            backends: backends.into_iter().collect(),
            cache: Some(CacheParts {
                store: switchboard_policy::cache::start(&config, &redis, key).await,
                ttl: TTL,
                max_entry: MAX_ENTRY,
            }),
            ..Parts::new(sealer, metrics)
        });
        orchestrator
            .known((Instant::now() + Duration::from_secs(60)).into())
            .await;
        Self::Inside(orchestrator)
    }

    /// A process with its cache in this Redis.
    pub(crate) async fn process(urls: &[String; 2], store: &RedisServer) -> Self {
        let key = |principal: usize| format!("the-key-of-p{principal}");
        let entry = |principal: usize| entry_of(&format!("p{principal}"), &key(principal));
        let front = Front::start(json!({
            "server": { "sealing_keys": [KEY] },
            "auth": { "api_keys": [entry(0), entry(1)] },
            "store": { "redis": store.url(), "timeout": "5s" },
            "cache": { "store": "redis", "ttl": format!("{}ms", TTL.as_millis()), "max_entry": MAX_ENTRY },
            "backends": backends(urls),
        }))
        .await;
        let clients = [0, 1].map(|principal| front.client.with_key(&key(principal)));
        until("both backends are there", async || {
            let listed = clients[0].request("tools/list", json!({})).await;
            let tools = listed.result()["tools"].as_array()?.len();
            (tools == 12).then_some(())
        })
        .await;
        Self::Process(Box::new((front, clients)))
    }

    /// Makes a call with these parameters, as they are written.
    pub(crate) async fn ask(&self, method: &str, params: &str, principal: usize) -> Answered {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        match self {
            Self::Inside(orchestrator) => {
                let call = Call::new(
                    Envelope::parse(text.into()).expect("a request"),
                    Method::parse(method).expect("a method"),
                    Arc::new(Principal::new(format!("p{principal}"))),
                    Version::LATEST,
                );
                let call = Box::new(call);
                let span = CallSpan::none();
                let outcome = orchestrator.call(TracedCall { call, span }).await;
                let Outcome::Complete(completed) = &outcome else {
                    return Answered {
                        result: Value::Null,
                        is_complete: false,
                    };
                };
                let result = completed.result.segments().concat();
                Answered {
                    result: serde_json::from_slice(&result).expect("JSON"),
                    is_complete: true,
                }
            }
            Self::Process(process) => {
                let client = &process.1[principal];
                let message = serde_json::from_str(&text).expect("JSON");
                let draft = client.draft(&message).with_body(text);
                let answer = client.send(draft).await.finish().await;
                Answered {
                    is_complete: answer.result()["resultType"] == "complete",
                    result: answer.result().clone(),
                }
            }
        }
    }

    /// Waits until all calls that are left are under way in these gateways; those in this process are as soon
    /// as they were asked.
    pub(crate) async fn are_under_way(gateways: &[Self], left: &Cell<usize>) {
        until("all calls are under way", async || {
            let mut all = 0.0;
            for gateway in gateways {
                let Self::Process(process) = gateway else {
                    return Some(());
                };
                let metrics = process.0.metrics(IN_FLIGHT).await;
                all += metrics.get(IN_FLIGHT).copied().unwrap_or_default();
            }
            (all == left.get() as f64).then_some(())
        })
        .await;
    }

    pub(crate) const fn is_process(&self) -> bool {
        matches!(self, Self::Process(..))
    }

    pub(crate) async fn stop(self) {
        match self {
            Self::Inside(orchestrator) => orchestrator.shut_down().await,
            Self::Process(process) => process.0.gateway.stop().await,
        }
    }
}
