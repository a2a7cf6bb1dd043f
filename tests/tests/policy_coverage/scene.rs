//! One gateway with every policy, and callers of both eras.

use serde_json::{Value, json};
use switchboard_testkit::client::{Client, Exchange, declaring, message};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake;
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_testkit::issuer::Issuer;
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::waiting::until;
use tempfile::TempDir;

/// May see and call everything.
pub(crate) const ALL: &str = "all";
/// May do little, and of the server with tasks call a tool alone that makes none.
pub(crate) const FEW: &str = "few";
/// May see nothing.
pub(crate) const NOBODY: &str = "nobody";
/// May call once an hour.
pub(crate) const RATED: &str = "rated";
/// May call once a day.
pub(crate) const BUDGETED: &str = "budgeted";

/// May have as many bytes a day as a task and a small call are told of in, without its result.
pub(crate) const MEASURED: &str = "measured";

/// A resource that only [`ALL`] may see, and that no profile has.
pub(crate) const WATCHED: &str = "test://watched-resource";
/// A resource that [`FEW`] may see too, and that the profile has.
pub(crate) const OPEN: &str = "test://static-text";

/// A gateway, its servers, and whoever says who its callers are.
pub(crate) struct Scene {
    pub(crate) front: Front,
    issuer: Issuer,
    audit: TempDir,
    _server: HttpServer,
    _tasks: FakeTasks,
}

/// A status, and the whole response.
pub(crate) type Reply = (u16, Value);

impl Scene {
    pub(crate) async fn open() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
        let tasks = FakeTasks::start(fake::Era::Legacy, "t").await;
        let issuer = Issuer::start().await;
        let audit = tempfile::tempdir().expect("a folder");
        let front = Front::start(json!({
            "auth": { "jwt": [{ "issuer": issuer.url() }] },
            "access": { "rules": [
                { "name": "all", "effect": "allow", "groups": [ALL, RATED, BUDGETED, MEASURED] },
                { "name": "few", "effect": "allow", "groups": [FEW],
                  "tools": ["c__echo", "t__quick"], "prompts": ["c__test_simple_prompt"], "resources": [OPEN] },
            ] },
            "limits": [{ "name": "rated", "groups": [RATED], "per": ["principal"], "rate": "1/1h" }],
            "budgets": [{ "name": "budgeted", "groups": [BUDGETED], "per": ["principal"],
                          "calls": 1, "window": "1d" },
                        { "name": "measured", "groups": [MEASURED], "per": ["principal"],
                          "bytes": 600, "window": "1d" }],
            "profiles": { "part": {
                "tools": ["t__quick"], "prompts": [], "resources": [OPEN], "instructions": "A part of it.",
            } },
            "audit": { "file": { "path": audit.path().join("audit.jsonl") } },
            "backends": { "c": remote(&server.url()), "t": remote(tasks.url()) },
        }))
        .await;
        let scene = Self {
            front,
            issuer,
            audit,
            _server: server,
            _tasks: tasks,
        };
        let probe = scene.caller("probe", ALL, "", true).await;
        until("the servers", async || {
            let tools = probe.ask("tools/list", json!({})).await.1.to_string();
            (tools.contains("c__echo") && tools.contains("t__later")).then_some(())
        })
        .await;
        scene
    }

    /// A token of this person for the endpoint and the profile.
    pub(crate) fn token(&self, who: &str, group: &str) -> String {
        let url = self.front.gateway.url();
        let mut claims = self.issuer.claims(who, url);
        claims["aud"] = json!([url, format!("{url}/part")]);
        claims["groups"] = json!([group]);
        self.issuer.sign(&claims)
    }

    /// Somebody of this group; `path` is added to the endpoint.
    pub(crate) async fn caller(
        &self,
        who: &str,
        group: &str,
        path: &str,
        is_modern: bool,
    ) -> Caller {
        let caller = self.stranger(Some(&self.token(who, group)), path, is_modern);
        if let Caller::Legacy(client) = &caller {
            let answer = client.initialize().await;
            assert!(answer.result().is_object(), "{answer:?}");
        }
        caller
    }

    /// Whoever has this token, who has said nothing yet.
    pub(crate) fn stranger(&self, token: Option<&str>, path: &str, is_modern: bool) -> Caller {
        let url = format!("{}{path}", self.front.gateway.url());
        match (is_modern, token) {
            (true, None) => Caller::Modern(Box::new(Client::new(&url))),
            (true, Some(token)) => Caller::Modern(Box::new(Client::new(&url).with_key(token))),
            (false, token) => {
                let setup = Setup {
                    key: token.map(str::to_owned),
                    ..Setup::default()
                };
                Caller::Legacy(LegacyClient::new(&url, setup))
            }
        }
    }

    /// The records of the audit about this person and method.
    pub(crate) fn records(&self, who: &str, method: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit.path().join("audit.jsonl"));
        let text = text.unwrap_or_default();
        let lines = text.lines();
        // The last line may be only begun.
        let records = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let principal = format!("{}|{who}", self.issuer.url());
        records
            .filter(|record| record["principal"] == *principal && record["method"] == method)
            .collect()
    }
}

/// A client of one era.
pub(crate) enum Caller {
    Modern(Box<Client>),
    Legacy(LegacyClient),
}

impl Caller {
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Reply {
        match self {
            Self::Modern(client) => {
                let tasks = json!({ "extensions": { TASKS: {} } });
                let message = declaring(message(method, params), tasks);
                let exchange = client.send(client.draft(&message)).await;
                let answer = exchange.finish().await;
                (answer.status.as_u16(), answer.response)
            }
            Self::Legacy(client) if method == "initialize" => {
                let answer = client.initialize().await;
                (answer.status.as_u16(), answer.response)
            }
            Self::Legacy(client) => {
                let answer = client.request(method, params).await;
                (answer.status.as_u16(), answer.response)
            }
        }
    }

    /// Begins a task that ends when it is told to, and answers with its name.
    pub(crate) async fn begin_task(&self) -> Result<String, String> {
        self.begin_task_of(json!({ "hold": true })).await
    }

    /// Begins a task that ends as these arguments say.
    pub(crate) async fn begin_task_of(&self, arguments: Value) -> Result<String, String> {
        let mut params = json!({ "name": "t__later", "arguments": arguments });
        if matches!(self, Self::Legacy(_)) {
            params["task"] = json!({ "ttl": 60_000 });
        }
        let (_, response) = self.ask("tools/call", params).await;
        let result = &response["result"];
        let id = result["taskId"]
            .as_str()
            .or(result["task"]["taskId"].as_str());
        id.map(str::to_owned).ok_or(response.to_string())
    }

    /// Has itself told of changes of both resources.
    pub(crate) async fn watch(&self) -> Watch<'_> {
        match self {
            Self::Modern(client) => {
                let filter = json!({ "resourceSubscriptions": [WATCHED, OPEN] });
                let mut stream = client.listen(filter).await;
                stream.next().await.expect("an acknowledgement");
                Watch::Modern(stream, Vec::new())
            }
            Self::Legacy(client) => {
                client.listen().await;
                for uri in [WATCHED, OPEN] {
                    // Whether it is let is seen from what it hears.
                    client
                        .request("resources/subscribe", json!({ "uri": uri }))
                        .await;
                }
                Watch::Legacy(client)
            }
        }
    }
}

/// Who waits for changes.
pub(crate) enum Watch<'c> {
    /// With what it was told of so far.
    Modern(Exchange, Vec<String>),
    Legacy(&'c LegacyClient),
}

impl Watch<'_> {
    /// All resources of which was told until it was told of this one so many times.
    pub(crate) async fn told(&mut self, of: &str, times: usize) -> Vec<String> {
        let uri = |message: &Value| {
            let is_update = message["method"] == "notifications/resources/updated";
            let uri = message["params"]["uri"].as_str();
            uri.filter(|_| is_update).map(str::to_owned)
        };
        let is_enough = |told: &[String]| told.iter().filter(|uri| *uri == of).count() >= times;
        match self {
            Self::Modern(stream, told) => {
                while !is_enough(told) {
                    let message = stream.next().await.expect("more of the stream");
                    told.extend(uri(&message));
                }
                told.clone()
            }
            Self::Legacy(client) => {
                until("what it waits for", async || {
                    let told: Vec<String> = client.heard().iter().filter_map(uri).collect();
                    is_enough(&told).then_some(told)
                })
                .await
            }
        }
    }
}
