//! The cache of results against a simple oracle: random calls of several principals at a real server
//! that numbers its answers, in memory and in Redis, and in each the same promises: nobody gets
//! what another's call got, nothing answers after its time, and what must not be kept is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::CONTENT_TYPE;
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
use switchboard_testkit::redis_server::RedisServer;
use tokio::net::TcpListener;

const TTL: Duration = Duration::from_millis(600);
const STALE: Duration = Duration::from_millis(900);
const MAX_ENTRY: usize = 8 * 1024;
/// Calls for each seed.
const STEPS: usize = 300;
const SEEDS: u64 = 3;
const KEY: &[u8] = b"a sealing key of the tests, 0f8e1c7b2d9a";

/// How the server answers, whatever it is asked.
const WELL: usize = 0;
const TOOL_ERROR: usize = 1;
const FAILS: usize = 2;
const ASKS: usize = 3;
const LARGE: usize = 4;
const RPC_ERROR: usize = 5;
const MODES: usize = 6;

/// A server that numbers its answers.
#[derive(Clone, Default)]
struct Numbered {
    answers: Arc<AtomicU64>,
    mode: Arc<AtomicUsize>,
}

impl Numbered {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/mcp", post(answer));
        let router = router.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/mcp")
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    fn result(&self, request: &Value) -> Option<Value> {
        let serial = self.answers.fetch_add(1, Ordering::SeqCst) + 1;
        let mut result = json!({ "resultType": "complete", "dev.example/serial": serial });
        let is_tool = request["method"] == "tools/call";
        if is_tool {
            result["content"] = json!([{ "type": "text", "text": serial.to_string() }]);
        } else {
            let uri = &request["params"]["uri"];
            result["contents"] = json!([{ "uri": uri, "text": serial.to_string() }]);
            let (ttl, scope) = match uri.as_str() {
                Some("test://public") => (TTL.as_millis(), "public"),
                Some("test://private") => (TTL.as_millis(), "private"),
                _ => (0, "public"),
            };
            result["ttlMs"] = json!(ttl);
            result["cacheScope"] = json!(scope);
        }
        match self.mode.load(Ordering::SeqCst) {
            TOOL_ERROR if is_tool => result["isError"] = json!(true),
            TOOL_ERROR | RPC_ERROR | FAILS => return None,
            ASKS => {
                result["resultType"] = json!("input_required");
                result["requestState"] = json!("s");
            }
            LARGE => result["dev.example/filling"] = json!("x".repeat(MAX_ENTRY)),
            _ => {}
        }
        Some(result)
    }
}

async fn answer(State(server): State<Numbered>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tool = |name: &str, annotations: Value| json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": annotations });
    let mut result = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {}, "resources": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "numbered", "version": "1" } },
        }),
        "tools/list" => json!({ "tools": [
            tool("hinted", json!({ "readOnlyHint": true })),
            tool("marked", json!({})),
            tool("set_twice", json!({ "idempotentHint": true })),
            tool("unknown", json!({})),
            tool("delete_hinted", json!({ "readOnlyHint": true })),
            tool("marked_destructive", json!({ "destructiveHint": true })),
        ]}),
        "resources/list" => json!({ "resources": [
            { "uri": "test://public", "name": "a" },
            { "uri": "test://private", "name": "b" },
            { "uri": "test://never", "name": "c" },
        ]}),
        "resources/templates/list" => json!({ "resourceTemplates": [] }),
        _ => {
            let message = match server.result(&request) {
                Some(result) => json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
                None if server.mode.load(Ordering::SeqCst) == FAILS => {
                    return StatusCode::INTERNAL_SERVER_ERROR.into_response();
                }
                None => {
                    let error = json!({ "code": -32000, "message": "no" });
                    json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })
                }
            };
            return ([(CONTENT_TYPE, "application/json")], message.to_string()).into_response();
        }
    };
    result["resultType"] = json!("complete");
    result["ttlMs"] = json!(3_600_000);
    result["cacheScope"] = json!("public");
    let message = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
    ([(CONTENT_TYPE, "application/json")], message.to_string()).into_response()
}

/// What may be kept of one key.
#[derive(Clone, Copy)]
struct Known {
    serial: u64,
    /// Between these two it was asked for.
    asked: (Instant, Instant),
}

/// The oracle: what was answered to whom.
type Oracle = HashMap<(Option<usize>, String, String), Known>;

struct Subject {
    target: &'static str,
    method: &'static str,
    is_kept: bool,
    is_public: bool,
}

const KEPT: &[Subject] = &[
    tool("hinted", true),
    tool("marked", true),
    resource("test://public", true, true),
    resource("test://private", true, false),
];
const SUBJECTS: [Subject; 9] = [
    tool("hinted", true),
    tool("marked", true),
    tool("set_twice", false),
    tool("unknown", false),
    tool("delete_hinted", false),
    tool("marked_destructive", false),
    resource("test://public", true, true),
    resource("test://private", true, false),
    resource("test://never", false, true),
];

const fn tool(target: &'static str, is_kept: bool) -> Subject {
    Subject {
        target,
        method: "tools/call",
        is_kept,
        is_public: false,
    }
}

const fn resource(target: &'static str, is_kept: bool, is_public: bool) -> Subject {
    Subject {
        target,
        method: "resources/read",
        is_kept,
        is_public,
    }
}

/// One of the ways to write the same parameters, and what tells them from others.
fn params(subject: &Subject, random: &mut Random) -> (String, String, bool) {
    let meta = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}"#;
    let token = random.below(1000);
    let (own, own_key) = match random.below(8) {
        0 => (r#","com.example/tenant":"x""#, "x"),
        1 => (r#","com.example/tenant":"y""#, "y"),
        _ => ("", ""),
    };
    let meta = format!(r#""_meta":{{{meta},"progressToken":{token}{own}}}"#);
    if subject.method == "resources/read" {
        let params = format!(r#"{{"uri":"{}",{meta}}}"#, subject.target);
        return (params, own_key.to_owned(), true);
    }
    let number = random.below(2);
    let arguments = match random.below(2) {
        0 => format!(r#"{{"a":{number},"b":"x"}}"#),
        _ => format!(r#"{{ "b":"\u0078", "a":{number} }}"#),
    };
    let (more, is_plain) = match random.below(12) {
        0 => (r#","inputResponses":{}"#, false),
        1 => (r#","task":{}"#, false),
        _ => ("", true),
    };
    let name = subject.target;
    let params = format!(r#"{{"name":"n__{name}","arguments":{arguments},{meta}{more}}}"#);
    (params, format!("{number} {own_key}"), is_plain)
}

/// Numbers by chance, the same for each seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % most
    }
}

async fn orchestrator(url: &str, store: Option<&RedisServer>) -> Orchestrator {
    let backend = json!({
        "url": url,
        "trust_annotations": true,
        "retry": { "max_attempts": 1 },
        "breaker": { "consecutive_failures": 1_000_000, "min_calls": 1_000_000 },
        "cache": { "tools": ["marked", "marked_destructive"], "stale_if_error": "900ms" },
    });
    let backend: BackendConfig = serde_json::from_value(backend).expect("a backend");
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
    let orchestrator = Orchestrator::start(Parts {
        backends: [("n".to_owned(), backend)].into(),
        cache: Some(CacheParts {
            store: switchboard_policy::cache::start(&config, &redis, Some(KEY)).await,
            ttl: TTL,
            max_entry: MAX_ENTRY,
        }),
        ..Parts::new(sealer, metrics)
    });
    orchestrator
        .known((Instant::now() + Duration::from_secs(60)).into())
        .await;
    orchestrator
}

async fn made(
    orchestrator: &Orchestrator,
    method: &str,
    params: &str,
    principal: usize,
) -> Outcome {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let call = Call::new(
        Envelope::parse(text.into()).expect("a request"),
        Method::parse(method).expect("a method"),
        Arc::new(Principal::new(format!("p{principal}"))),
        Version::LATEST,
    );
    let call = Box::new(call);
    let span = CallSpan::none();
    orchestrator.call(TracedCall { call, span }).await
}

/// Makes random calls and checks each answer.
async fn run(seed: u64, store: Option<&RedisServer>) -> [usize; 3] {
    let server = Numbered::default();
    let url = server.start().await;
    // Two gateways, which share what they keep if it is in a Redis.
    let gateways = match store {
        None => vec![orchestrator(&url, None).await],
        Some(_) => vec![
            orchestrator(&url, store).await,
            orchestrator(&url, store).await,
        ],
    };
    let mut random = Random(seed);
    let mut oracle = Oracle::new();
    let mut seen = [0; 3];
    let mut failing = 0;
    for step in 0..STEPS {
        // Results age, which is what is promised about: time really passes. Nothing is waited for that
        // could be late, since the oracle measures how much has passed.
        match random.below(40) {
            0 => tokio::time::sleep(TTL / 3).await,
            1 => {
                tokio::time::sleep(TTL + Duration::from_millis(5)).await;
                // Or little that is stale would be asked for.
                failing = 6 * random.below(2);
            }
            _ => {}
        }
        let mode = match random.below(4) {
            0 => random.below(MODES as u64) as usize,
            _ => WELL,
        };
        let mode = if failing > 0 { FAILS } else { mode };
        failing = failing.saturating_sub(1);
        server.mode.store(mode, Ordering::SeqCst);
        // Half of them of what is kept, or little would be asked for twice in time.
        let subjects: &[Subject] = match random.below(2) {
            0 => &SUBJECTS,
            _ => KEPT,
        };
        let subject = &subjects[random.below(subjects.len() as u64) as usize];
        let principal = random.below(2) as usize;
        let gateway = &gateways[random.below(gateways.len() as u64) as usize];
        let (params, told, is_plain) = params(subject, &mut random);
        let (before, began) = (server.answers(), Instant::now());
        let outcome = made(gateway, subject.method, &params, principal).await;
        let (is_made, ended) = (server.answers() > before, Instant::now());
        let result = match &outcome {
            Outcome::Complete(completed) => {
                serde_json::from_slice(&completed.result.segments().concat()).expect("JSON")
            }
            _ => Value::Null,
        };
        let about =
            format!("seed {seed} step {step} {params} of p{principal}, mode {mode}: {result}");
        let state = &result["_meta"]["dev.switchboard/cache"];
        let owner = (!subject.is_public).then_some(principal);
        let key = (owner, subject.target.to_owned(), told);
        let known = oracle.get(&key).copied();
        let may_be_kept = subject.is_kept && is_plain;
        if !is_made || !state.is_null() {
            assert!(may_be_kept, "what must not be kept answered: {about}");
            let known = known.unwrap_or_else(|| panic!("nobody asked for it: {about}"));
            assert_eq!(
                result["dev.example/serial"], known.serial,
                "another's: {about}"
            );
            let least = began.saturating_duration_since(known.asked.1);
            let most = ended.saturating_duration_since(known.asked.0);
            let (bound, word) = match is_made {
                false => (TTL, "hit"),
                // Redis is told how long in whole milliseconds.
                true => (TTL + STALE, "stale"),
            };
            assert_eq!(state["state"], word, "{about}");
            assert!(least < bound, "after its time, {least:?}: {about}");
            let age = Duration::from_millis(state["ageMs"].as_u64().expect("an age"));
            // Of what is in Redis, the time that it took to ask counts twice: nothing seems younger
            // than it is.
            let slack = Duration::from_millis(2);
            let most = most + (ended - began) + slack;
            assert!(age <= most && age + slack >= least, "{age:?}: {about}");
            if is_made {
                assert_eq!(mode, FAILS, "{about}");
            }
            if let Some(ttl) = result["ttlMs"].as_u64() {
                assert!(u128::from(ttl) <= TTL.as_millis(), "{about}");
                assert!(is_made || ttl > 0, "{about}");
            }
            seen[usize::from(is_made)] += 1;
        } else {
            seen[2] += 1;
            // It would have been there for as long as all clocks agree.
            let most = known.map(|known| ended.saturating_duration_since(known.asked.0));
            let is_fresh = most.is_some_and(|most| most + Duration::from_millis(20) < TTL);
            assert!(
                !(may_be_kept && is_fresh),
                "it was asked for again: {about}"
            );
            let is_well = matches!(outcome, Outcome::Complete(_)) && mode == WELL;
            if may_be_kept && is_well {
                let serial = result["dev.example/serial"].as_u64().expect("a number");
                let asked = (began, ended);
                oracle.insert(key, Known { serial, asked });
            }
        }
    }
    for gateway in gateways {
        gateway.shut_down().await;
    }
    seen
}

/// That each of the ways to answer was seen.
fn check(seen: &[[usize; 3]]) {
    for at in 0..3 {
        let total: usize = seen.iter().map(|seen| seen[at]).sum();
        assert!(total > 5, "{seen:?}");
    }
}

#[tokio::test]
async fn the_cache_in_memory_keeps_its_promises() {
    let mut seen = Vec::new();
    for seed in 0..SEEDS {
        seen.push(run(seed, None).await);
    }
    check(&seen);
}

#[tokio::test]
async fn the_cache_in_redis_keeps_its_promises_in_two_gateways() {
    let redis = RedisServer::start().await;
    let mut seen = Vec::new();
    for seed in 0..SEEDS {
        seen.push(run(100 + seed, Some(&redis)).await);
    }
    check(&seen);
}
