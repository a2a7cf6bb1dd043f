//! Profiles: parts of what there is, each as a server of its own at `/mcp/{profile}`.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use switchboard_testkit::asking::{AskingHttp, Options};
use switchboard_testkit::client::{
    Answer, Client, Exchange, accept, all_capabilities, call, declaring, retry,
};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::manual;
use switchboard_tests::waiting::until;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

const TOOLS: &str = "notifications/tools/list_changed";
const UPDATED: &str = "notifications/resources/updated";
const WATCHED: &str = "test://watched-resource";

/// Two servers, and a part of them for those who write code.
struct Office {
    files: FakeHttp,
    hr: FakeHttp,
    front: Front,
}

fn profiles() -> Value {
    json!({
        "coding": {
            "tools": ["files__*"],
            "exclude": ["*exit*", "*hang*"],
            "instructions": "Look before you write.",
            "rename": { "files__echo": "say" },
            "describe": { "files__echo": "Says it again" },
            "arguments": {
                "files__echo": { "fixed": { "org": "acme" }, "default": { "per_page": 20 } },
            },
        },
        "people": { "tools": ["hr__*"] },
    })
}

impl Office {
    async fn open(profiles: Value) -> Self {
        let files = FakeHttp::start(Transport::Modern, "files").await;
        let hr = FakeHttp::start(Transport::Modern, "hr").await;
        let front = Front::start(json!({
            "backends": { "files": remote(files.url()), "hr": remote(hr.url()) },
            "profiles": profiles,
        }))
        .await;
        front.gateway.wait_for_backends().await;
        Self { files, hr, front }
    }

    fn at(&self, profile: &str) -> Client {
        Client::new(&self.url(profile))
    }

    fn url(&self, profile: &str) -> String {
        format!("{}/{profile}", self.front.gateway.url())
    }

    async fn legacy(&self, profile: &str) -> LegacyClient {
        LegacyClient::connect(&self.url(profile), Setup::default()).await
    }
}

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["tools"].as_array().expect("tools");
    let name = |tool: &Value| tool["name"].as_str().expect("a name").to_owned();
    tools.iter().map(name).collect()
}

fn assert_unknown(answer: &Answer, name: &str) {
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    let message = &answer.response["error"]["message"];
    assert_eq!(*message, format!("Unknown tool: {name}"), "{}", answer.raw);
}

#[tokio::test]
async fn each_profile_is_a_server_of_its_own() {
    let office = Office::open(profiles()).await;
    let coding = office.at("coding");
    let listed = coding.request("tools/list", json!({})).await;
    let listed = listed.result();
    assert_eq!(
        names(listed),
        ["say", "files__delay", "files__report", "files__locate"]
    );
    assert_eq!(listed["tools"][0]["description"], "Says it again");
    let people = office.at("people").request("tools/list", json!({})).await;
    assert!(
        names(people.result())
            .iter()
            .all(|name| name.starts_with("hr__"))
    );
    assert!(names(people.result()).len() > 4);

    // What is not named comes with the tools of its server.
    let prompts = coding.request("prompts/list", json!({})).await;
    assert!(prompts.raw.contains("files__greet") && !prompts.raw.contains("hr__"));
    let discovered = coding.request("server/discover", json!({})).await;
    assert_eq!(
        discovered.result()["instructions"],
        "Look before you write."
    );
    let everything = office.front.client.request("tools/list", json!({})).await;
    let everything = names(everything.result());
    assert!(
        everything.contains(&"files__echo".to_owned()) && !everything.contains(&"say".to_owned())
    );
    office.front.gateway.stop().await;
}

#[tokio::test]
async fn the_server_gets_its_own_name_and_what_the_profile_sets() {
    let office = Office::open(profiles()).await;
    let coding = office.at("coding");
    let answer = coding
        .call("say", json!({ "n": 12_345_678_901_234_567_u64 }))
        .await;
    assert_eq!(answer.error_code(), None, "{}", answer.raw);
    assert_eq!(
        answer.result()["structuredContent"]["server"]["label"],
        "files"
    );
    let sent = |office: &Office| {
        let sent = office.files.requests_of("tools/call");
        let sent = sent.last().expect("a call").clone();
        String::from_utf8(sent.body.to_vec()).expect("text")
    };
    let body = sent(&office);
    let expected = r#""arguments":{"org":"acme","per_page":20,"n":12345678901234567}"#;
    assert!(body.contains(expected), "{body}");
    assert!(body.contains(r#""name":"echo""#), "{body}");

    coding
        .call("say", json!({ "per_page": 5, "org": "acme" }))
        .await;
    let arguments = sent(&office);
    assert!(
        arguments.contains(r#""per_page":5"#) && !arguments.contains(r#""per_page":20"#),
        "{arguments}"
    );

    let before = office.files.requests_of("tools/call").len();
    let refused = coding.call("say", json!({ "org": "evil" })).await;
    assert_eq!(refused.fault()["code"], 422, "{}", refused.raw);
    assert_eq!(refused.fault()["reason"], "arguments_refused");
    for name in ["files__echo", "files__exit", "hr__echo", "people"] {
        assert_unknown(&coding.call(name, json!({})).await, name);
    }
    assert_eq!(office.files.requests_of("tools/call").len(), before);
    assert!(office.hr.requests_of("tools/call").is_empty());
    office.front.gateway.stop().await;
}

#[tokio::test]
async fn a_profile_that_is_not_there_is_like_any_other_path() {
    let office = Office::open(profiles()).await;
    let message = call("say", &json!({}));
    for path in ["nobody", "coding/x", "", "CODING"] {
        let client = office.at(path);
        let answer = client.send(client.draft(&message)).await.finish().await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.raw);
    }
    office.front.gateway.stop().await;
}

#[tokio::test]
async fn who_shows_no_credential_is_not_told_which_profiles_there_are() {
    let key = "a-key-that-is-long-enough-for-anybody";
    let digest = "7a3f0a4cf2a9d0b2a1b9c3d4e5f60718293a4b5c6d7e8f9010203040a0b0c0d0";
    let front = Front::start(json!({
        "backends": {},
        "profiles": profiles_without_tools(),
        "auth": { "api_keys": [{ "name": "ci", "key_sha256": digest }] },
    }))
    .await;
    for profile in ["coding", "nobody"] {
        let client = Client::new(&format!("{}/{profile}", front.gateway.url())).with_key(key);
        let message = call("x", &json!({}));
        let answer = client.send(client.draft(&message)).await.finish().await;
        assert_eq!(answer.status, 401, "{profile}: {}", answer.raw);
    }
    front.gateway.stop().await;
}

fn profiles_without_tools() -> Value {
    json!({ "coding": {} })
}

#[tokio::test]
async fn a_session_belongs_to_the_profile_that_it_was_begun_at() {
    let office = Office::open(profiles()).await;
    let coding = office.legacy("coding").await;
    let begun = LegacyClient::new(&office.url("coding"), Setup::default())
        .initialize()
        .await;
    assert_eq!(begun.result()["instructions"], "Look before you write.");
    let listed = coding.request("tools/list", json!({})).await;
    assert_eq!(names(listed.result())[0], "say");
    let answer = coding.call("say", json!({ "n": 1 })).await;
    let arguments = &answer.result()["structuredContent"]["arguments"];
    assert_eq!(*arguments, json!({ "org": "acme", "per_page": 20, "n": 1 }));
    let hidden = coding.call("hr__echo", json!({})).await;
    assert_eq!(hidden.error_code(), Some(-32602), "{:?}", hidden.response);

    for other in [office.url("people"), office.front.gateway.url().to_owned()] {
        let elsewhere = LegacyClient::new(&other, Setup::default());
        elsewhere.set_session(coding.session());
        let message = elsewhere.message("tools/list", json!({}));
        let refused = elsewhere.send(elsewhere.draft(&message)).await;
        assert_eq!(refused.status, 404, "{other}");
        assert_eq!(elsewhere.get(None).await.status, 404, "{other}");
        assert_eq!(elsewhere.delete().await, 404, "{other}");
    }
    // It goes on where it was begun.
    let listed = coding.request("tools/list", json!({})).await;
    assert_eq!(names(listed.result())[0], "say");
    office.front.gateway.stop().await;
}

/// A stream at a profile, behind its acknowledgement.
async fn listen(client: &Client, filter: Value) -> Exchange {
    let mut exchange = client.listen(filter).await;
    let first = exchange.next().await.expect("an acknowledgement");
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    exchange
}

#[tokio::test]
async fn who_listens_at_a_profile_hears_of_what_is_in_it() {
    let any = || (Ipv4Addr::LOCALHOST, 0).into();
    let own = HttpServer::bind(any(), Era::Modern).await.expect("a port");
    let other = HttpServer::bind(any(), Era::Modern).await.expect("a port");
    let front = Front::start(json!({
        "backends": { "own": remote(&own.url()), "other": remote(&other.url()) },
        "profiles": { "p": { "tools": ["own__*"] } },
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let url = format!("{}/p", front.gateway.url());
    let address = |backend: &str| format!("switchboard://{backend}/test%3A%2F%2Fwatched-resource");
    let uris = [address("own"), address("other")];
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": uris });
    let mut stream = listen(&Client::new(&url), filter).await;
    let legacy = LegacyClient::connect(&url, Setup::default()).await;
    legacy.listen().await;
    for uri in &uris {
        let subscribed = legacy
            .request("resources/subscribe", json!({ "uri": uri }))
            .await;
        assert_eq!(subscribed.error_code(), None);
    }

    for backend in ["other", "own"] {
        let tool = |name: &str| format!("{backend}__{name}");
        for (name, arguments) in [
            ("add_tool", json!({ "name": "brand_new" })),
            ("touch_resource", json!({ "uri": WATCHED })),
        ] {
            let answer = front.client.call(&tool(name), arguments).await;
            assert_eq!(answer.error_code(), None, "{}", answer.raw);
        }
        // Both are out before the other server is asked.
        until("the new tool", async || {
            let answer = front.client.request("tools/list", json!({})).await;
            names(answer.result())
                .contains(&tool("brand_new"))
                .then_some(())
        })
        .await;
    }
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let message = stream.next().await.expect("more of the stream");
        heard.push((message["method"].clone(), message["params"]["uri"].clone()));
    }
    heard.sort_by_key(|(method, _)| method.to_string());
    assert_eq!(
        heard,
        [
            (json!(UPDATED), json!(uris[0])),
            (json!(TOOLS), Value::Null)
        ]
    );
    let heard = until("the same by the session", async || {
        let heard = legacy.heard();
        (heard.len() >= 2).then_some(heard)
    })
    .await;
    assert!(
        heard
            .iter()
            .any(|message| message["params"]["uri"] == json!(uris[0]))
    );
    assert!(
        !heard
            .iter()
            .any(|message| message["params"]["uri"] == json!(uris[1])),
        "{heard:?}"
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_hidden_substitute_is_not_called_and_not_told_of() {
    let (port, hr) = (
        RefusedPort::take(),
        FakeHttp::start(Transport::Modern, "hr").await,
    );
    let front = Front::start(json!({
        "backends": { "files": remote(port.url()), "hr": remote(hr.url()) },
        "fallbacks": [{ "tool": "files__echo", "try": ["hr__echo"] }],
        "profiles": { "coding": { "tools": ["files__*"] }, "all": {} },
    }))
    .await;
    front.wait_until("hr", true).await;
    until("files is known to be away", async || {
        (front.missing().await["files"]["state"] != "starting").then_some(())
    })
    .await;
    let at = |profile: &str| Client::new(&format!("{}/{profile}", front.gateway.url()));
    let hidden = at("coding").call("files__echo", json!({})).await;
    assert_eq!(hidden.result()["isError"], true, "{}", hidden.raw);
    assert!(
        !hidden.raw.contains("\"hr\"") && !hidden.raw.contains("hr__"),
        "{}",
        hidden.raw
    );
    assert!(hr.requests_of("tools/call").is_empty());
    let listed = at("coding").request("tools/list", json!({})).await;
    assert!(!listed.raw.contains("\"hr\""), "{}", listed.raw);
    let served = at("all").call("files__echo", json!({})).await;
    assert_eq!(
        served.result()["structuredContent"]["server"]["label"],
        "hr",
        "{}",
        served.raw
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_a_profile_fixes_holds_for_what_stands_in() {
    let (port, hr, spare) = (
        RefusedPort::take(),
        FakeHttp::start(Transport::Modern, "hr").await,
        FakeHttp::start(Transport::Modern, "spare").await,
    );
    let fixed = |org: &str| json!({ "fixed": { "org": org }, "default": { "n": 5 } });
    let front = Front::start(json!({
        "backends": {
            "files": remote(port.url()), "hr": remote(hr.url()), "spare": remote(spare.url()),
        },
        "fallbacks": [{
            "tool": "files__echo", "try": ["hr__echo", "spare__echo"],
            "map": { "hr__echo": { "query": "q", "kind": { "const": "x" } } },
        }],
        "profiles": {
            "open": { "arguments": { "hr__echo": fixed("acme") } },
            "both": { "arguments": { "files__echo": fixed("files"), "hr__echo": fixed("hr") } },
            "mapped": { "arguments": { "hr__echo": { "fixed": { "kind": "y", "q": 1 } } } },
            "some": { "tools": ["files__*", "spare__*"] },
        },
    }))
    .await;
    front.wait_until("hr", true).await;
    front.wait_until("spare", true).await;
    until("files is known to be away", async || {
        (front.missing().await["files"]["state"] != "starting").then_some(())
    })
    .await;
    let sent = async |profile: &str, arguments: Value| {
        let counts = || [&hr, &spare].map(|server| server.requests_of("tools/call").len());
        let before = counts();
        let client = Client::new(&format!("{}/{profile}", front.gateway.url()));
        let answer = client.call("files__echo", arguments).await;
        assert_eq!(answer.error_code(), None, "{}", answer.raw);
        let after = counts();
        let called = (0..2).find(|at| after[*at] > before[*at]).expect("a call");
        let request = [&hr, &spare][called].requests_of("tools/call");
        let request: Value =
            serde_json::from_slice(&request.last().expect("a call").body).expect("JSON");
        let name = ["hr", "spare"][called];
        (name, request["params"]["arguments"].clone())
    };
    for (profile, given, server, expected) in [
        // As if the caller had called the substitute.
        (
            "open",
            json!({ "query": 1 }),
            "hr",
            json!({ "org": "acme", "n": 5, "q": 1, "kind": "x" }),
        ),
        (
            "open",
            json!({ "n": 1 }),
            "hr",
            json!({ "org": "acme", "n": 1, "kind": "x" }),
        ),
        // What was set for the tool that was called gives way.
        (
            "both",
            json!({}),
            "hr",
            json!({ "org": "hr", "n": 5, "kind": "x" }),
        ),
        ("mapped", json!({}), "hr", json!({ "kind": "y", "q": 1 })),
        // What the caller said does not: the next one is asked.
        (
            "open",
            json!({ "org": "other" }),
            "spare",
            json!({ "org": "other" }),
        ),
        (
            "mapped",
            json!({ "query": 2 }),
            "spare",
            json!({ "query": 2 }),
        ),
        // What is not in the profile does not stand in.
        ("some", json!({ "n": 1 }), "spare", json!({ "n": 1 })),
    ] {
        let (by, arguments) = sent(profile, given.clone()).await;
        assert_eq!((by, &arguments), (server, &expected), "{profile}: {given}");
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn what_was_asked_in_one_profile_is_not_answered_in_another() {
    let asking = AskingHttp::start(Options {
        era: switchboard_testkit::fake::Era::Modern,
        ..Options::default()
    })
    .await;
    let front = Front::start(json!({
        "backends": { "ask": remote(&asking.url()) },
        "profiles": { "one": { "rename": { "ask__ask_form": "fill_in" } }, "two": { "rename": { "ask__ask_form": "fill_in" } } },
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let at = |profile: &str| Client::new(&format!("{}{profile}", front.gateway.url()));
    let message = declaring(call("fill_in", &json!({ "mark": "m" })), all_capabilities());
    let asked = at("/one").ask(&message).await;
    assert!(asked.is_input_required(), "{}", asked.raw);
    let again = retry(message.clone(), &asked, asked.replies(accept));
    let refused = at("/two").ask(&again).await;
    assert_eq!(refused.error_code(), Some(-32602), "{}", refused.raw);
    let mut without = again.clone();
    without["params"]["name"] = json!("ask__ask_form");
    let refused = at("").ask(&without).await;
    assert_eq!(refused.error_code(), Some(-32602), "{}", refused.raw);
    let answer = at("/one").ask(&again).await;
    assert_eq!(answer.error_code(), None, "{}", answer.raw);
    assert!(!answer.is_input_required(), "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn profiles_come_change_and_go_while_the_gateway_runs() {
    let office = Office::open(profiles()).await;
    let people = office.at("people");
    let mut stream = listen(&people, json!({ "toolsListChanged": true })).await;
    let mut everything = listen(&office.front.client, json!({ "toolsListChanged": true })).await;
    let session = office.legacy("people").await;
    let rewrite = |profiles: Value| {
        office.front.gateway.rewrite(json!({
            "backends": { "files": remote(office.files.url()), "hr": remote(office.hr.url()) },
            "profiles": profiles,
            "server": { "watch_config": false },
        }));
        office.front.gateway.hang_up();
    };
    rewrite(json!({ "people": { "tools": ["hr__echo"] }, "new": { "tools": ["files__echo"] } }));
    let told = stream.next().await.expect("news");
    assert_eq!(told["method"], TOOLS, "{told}");
    let listed = people.request("tools/list", json!({})).await;
    assert_eq!(names(listed.result()), ["hr__echo"]);
    let listed = office.at("new").request("tools/list", json!({})).await;
    assert_eq!(names(listed.result()), ["files__echo"]);
    let gone = office.at("coding");
    let gone = gone.send(gone.draft(&call("say", &json!({})))).await;
    assert_eq!(gone.status, 404);

    rewrite(json!({}));
    // The stream ends with its profile, and so does the session.
    let last = stream.next().await.expect("an end");
    assert_eq!(last["result"]["resultType"], "complete", "{last}");
    assert!(stream.next().await.is_none());
    let message = session.message("tools/list", json!({}));
    let refused = session.send(session.draft(&message)).await;
    assert_eq!(refused.status, 404);
    // Who sees everything saw nothing change.
    let silence = timeout(Duration::from_millis(300), everything.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    office.front.gateway.stop().await;
}

/// A server with so many tools.
async fn many_tools(count: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    // Shared: a handler is copied for each request.
    let tools: Arc<[Value]> = (0..count)
        .map(|n| json!({ "name": format!("tool_{n}"), "inputSchema": { "type": "object", "properties": { "q": { "type": "string" } } } }))
        .collect();
    let answer = move |body: Bytes| {
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut result = match request["method"].as_str().unwrap_or_default() {
            "server/discover" => json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} },
                "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "many", "version": "1" } },
            }),
            "tools/list" => json!({ "tools": *tools }),
            _ => json!({ "content": [] }),
        };
        result["resultType"] = json!("complete");
        result["ttlMs"] = json!(3_600_000);
        result["cacheScope"] = json!("public");
        let message = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        async move { ([(CONTENT_TYPE, "application/json")], message.to_string()) }
    };
    let router = Router::new().route("/mcp", post(answer));
    tokio::spawn(async move {
        let _ = axum::serve(listener, router).await;
    });
    format!("http://{address}/mcp")
}

#[tokio::test]
async fn a_profile_of_ten_thousand_tools_is_still_quick() {
    let url = many_tools(10_000).await;
    let front = Front::start(json!({
        "backends": { "many": remote(&url) },
        "profiles": { "odd": { "exclude": ["*0", "*2", "*4", "*6", "*8"], "tool_limit": 40 } },
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let client = Client::new(&format!("{}/odd", front.gateway.url()));
    let began = Instant::now();
    let first = client.request("tools/list", json!({})).await;
    let told = &first.result()["_meta"]["dev.switchboard/tool_limit"];
    assert_eq!(*told, json!({ "limit": 40, "tools": 5_000 }));
    let (mut listed, mut cursor) = (
        names(first.result()).len(),
        first.result()["nextCursor"].clone(),
    );
    while cursor.is_string() {
        let page = client
            .request("tools/list", json!({ "cursor": cursor }))
            .await;
        listed += names(page.result()).len();
        cursor = page.result()["nextCursor"].clone();
    }
    assert_eq!(listed, 5_000);
    for n in 0..200 {
        let answer = client
            .call(&format!("many__tool_{}", n * 2 + 1), json!({}))
            .await;
        assert_eq!(answer.error_code(), None, "{}", answer.raw);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let warned = until("a warning", async || {
        let output = front.gateway.server().output();
        output
            .lines()
            .find(|line| line.contains("profiles.odd.tool_limit"))
            .map(str::to_owned)
    })
    .await;
    assert!(warned.contains("WARN"), "{warned}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn every_configuration_in_the_manual_is_valid() {
    let page = manual::page("profiles.md");
    let blocks = manual::blocks(&page, "yaml");
    assert!(blocks.len() >= 3, "{}", blocks.len());
    let folder = tempfile::tempdir().expect("a folder");
    for (index, block) in blocks.into_iter().enumerate() {
        let path = folder.path().join(format!("{index}.yaml"));
        std::fs::write(&path, block).expect("our folder");
        let mut command = switchboard(&["check", "-c"]);
        command.arg(&path);
        let ended = ended(command).await;
        assert_eq!(ended.code, Some(0), "{block}\n{ended:?}");
    }
}
