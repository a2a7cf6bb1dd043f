//! Gateways under load: everything that is counted happens, and clients invent names.

use std::time::Duration;

use futures_util::future::{join_all, join3};
use serde_json::{Value, json};
use switchboard_testkit::client::{Client, Exchange, call, message};
use switchboard_testkit::fake_http::{FakeHttp, Fault, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_testkit::redis_server::RedisServer;
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;
use tempfile::TempDir;

/// A part of everything that clients name as they like.
pub(crate) const INVENTED: &str = "invented-by-a-client";
const KEY: &str = "a key of the tests, 5c07e1d2";

/// Two gateways: one with all kinds of backends, one that counts in a Redis.
pub(crate) struct Loaded {
    front: Front,
    counting: Front,
    legacy: LegacyClient,
    stranger: Client,
    _stream: Exchange,
    _servers: Vec<FakeHttp>,
    _redis: RedisServer,
    _folder: TempDir,
}

impl Loaded {
    pub(crate) async fn start() -> Self {
        let mut servers = Vec::new();
        for label in ["well", "fails", "one", "two", "slow"] {
            servers.push(FakeHttp::start(Transport::Modern, label).await);
        }
        servers[1].fail_calls(Fault::Status(503));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut front = Front::start(config(&servers, &folder)).await;
        let stranger = front.client.clone();
        front.client = front.client.with_key(KEY);
        let redis = RedisServer::start().await;
        let counting = Front::start(json!({
            "backends": { "well": remote(servers[0].url()) },
            "store": { "redis": redis.url() },
            "budgets": [{ "name": "shared", "calls": 1_000_000, "window": "1d" }],
        }))
        .await;
        for front in [&front, &counting] {
            until("nothing is missing", async || {
                front.missing().await.is_empty().then_some(())
            })
            .await;
        }
        let setup = Setup {
            key: Some(KEY.to_owned()),
            ..Setup::default()
        };
        let legacy = LegacyClient::connect(front.gateway.url(), setup).await;
        let stream = front.client.listen(json!({ "toolsListChanged": true }));
        Self {
            _stream: stream.await,
            front,
            counting,
            legacy,
            stranger,
            _servers: servers,
            _redis: redis,
            _folder: folder,
        }
    }

    pub(crate) fn metrics_urls(&self) -> [&str; 2] {
        [self.front.metrics_url(), self.counting.metrics_url()]
    }

    /// The addresses to scrape.
    pub(crate) fn targets(&self) -> Vec<String> {
        let hosts = self.metrics_urls().map(|url| {
            let host = url.trim_start_matches("http://");
            host.trim_end_matches("/metrics").to_owned()
        });
        hosts.into()
    }

    /// Calls of everything, several times.
    pub(crate) async fn round(&self) {
        for _ in 0..5 {
            join3(self.calls(), self.inventions(), self.waiting()).await;
        }
    }

    async fn calls(&self) {
        let client = &self.front.client;
        // Equal ones, the second of which is answered from the cache.
        for _ in 0..2 {
            client.call("well__echo", json!({ "n": 1 })).await;
        }
        client.call("well__delay", json!({ "ms": 1 })).await;
        client.call("fails__echo", json!({})).await;
        // Of a server without a substitute, until its breaker opens.
        client.call("fails__delay", json!({ "ms": 1 })).await;
        client.call("several__echo", json!({})).await;
        client.call("local__echo", json!({})).await;
        client
            .call("well__locate", json!({ "who": "EMP-123456" }))
            .await;
        let large = json!({ "text": "x".repeat(20_000) });
        client.call("several__echo", large).await;
        self.legacy.call("well__echo", json!({ "n": 1 })).await;
        self.counting.client.call("well__echo", json!({})).await;
    }

    /// More at once than may be in it and wait.
    async fn waiting(&self) {
        let calls = (0..4).map(|_| self.front.client.call("slow__delay", json!({ "ms": 100 })));
        // One more is given up by its caller.
        let given_up = self.front.client.call("well__hang", json!({}));
        let given_up = tokio::time::timeout(Duration::from_millis(50), given_up);
        let (_, given_up) = tokio::join!(join_all(calls), given_up);
        assert!(given_up.is_err(), "it never answers");
    }

    /// Names of tools, methods, clients, headers and keys that nobody has heard of.
    async fn inventions(&self) {
        let client = &self.front.client;
        client.call(INVENTED, json!({})).await;
        client.call(&format!("well__{INVENTED}"), json!({})).await;
        client
            .request(
                "resources/read",
                json!({ "uri": format!("x://{INVENTED}") }),
            )
            .await;
        client
            .request("prompts/get", json!({ "name": INVENTED }))
            .await;
        client.request(INVENTED, json!({})).await;
        let mut named = call("well__echo", &json!({}));
        let meta = &mut named["params"]["_meta"];
        meta["io.modelcontextprotocol/clientInfo"] =
            json!({ "name": INVENTED, "version": INVENTED });
        meta["dev.switchboard/conversation"] = json!(INVENTED);
        meta[INVENTED] = json!(INVENTED);
        let draft = client.draft(&named).and_header("x-thing", INVENTED);
        let draft = draft.and_header("user-agent", INVENTED);
        client.send(draft).await.finish().await;
        let unknown = self.stranger.with_key(INVENTED);
        unknown.ask(&message("tools/list", json!({}))).await;
        let version = client
            .draft(&named)
            .with_header("mcp-protocol-version", INVENTED);
        client.send(version).await.finish().await;
    }

    pub(crate) async fn stop(self) {
        drop(self._stream);
        self.legacy.delete().await;
        self.front.gateway.stop().await;
        self.counting.gateway.stop().await;
    }
}

fn config(servers: &[FakeHttp], folder: &TempDir) -> Value {
    let mut well = remote(servers[0].url());
    well["cache"] = json!({ "tools": ["echo"] });
    let mut fails = remote(servers[1].url());
    fails["safe_tools"] = json!(["*"]);
    fails["breaker"] =
        json!({ "consecutive_failures": 3, "open_for": "200ms", "max_open_for": "200ms" });
    let several =
        json!({ "endpoints": [{ "url": servers[2].url() }, { "url": servers[3].url() }] });
    let mut slow = remote(servers[4].url());
    slow["bulkhead"] = json!({ "max_concurrent": 1, "max_queue": 1, "queue_timeout": "5s" });
    json!({
        "auth": { "api_keys": [entry_of("team", KEY)] },
        "backends": {
            "well": well, "fails": fails, "several": several, "slow": slow, "local": faulty(&[]),
        },
        "fallbacks": [{ "tool": "fails__echo", "try": ["well__delay"] }],
        "profiles": { "small": { "tools": ["well__echo"] } },
        "limits": [{ "name": "fair", "per": ["principal"], "rate": "1000/1s", "concurrency": 100 }],
        "budgets": [
            { "name": "few", "tools": ["well__locate"], "calls": 3, "window": "1d" },
            { "name": "many", "per": ["conversation"], "bytes": "1GiB", "window": "1d" },
        ],
        "result_caps": [{ "max_bytes": "8KiB", "over": "handle" }],
        "kept_results": { "dir": folder.path() },
        "redaction": { "patterns": [{ "name": "employee", "regex": r"\bEMP-[0-9]{6}\b" }] },
        "audit": { "file": { "path": folder.path().join("audit.jsonl") } },
        "heartbeat": { "interval": "500ms" },
        "telemetry": { "log": { "level": "error" } },
    })
}
