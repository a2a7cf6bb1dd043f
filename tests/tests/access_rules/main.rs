//! Rules of who may do what, through the real binary: what is hidden is as if it were not there, for
//! clients of every era, whatever the method, and through substitutes.

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, encoded, message};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::keys::{digest_of, key_of};
use switchboard_tests::waiting::until;

mod aliases;
mod check;
// What lists show follows the rules from the commit on that makes lists by audience.
mod lists;

/// The `auth` section for these people, each in a group of their own name.
fn auth(names: &[&str]) -> Value {
    let keys = names.iter().map(|name| {
        let digest = digest_of(&key_of(name));
        json!({ "name": name, "key_sha256": digest, "groups": [name] })
    });
    json!({ "api_keys": keys.collect::<Vec<_>>() })
}

/// Anna may do everything, ben little.
fn rules() -> Value {
    json!({ "rules": [
        { "name": "anna", "effect": "allow", "groups": ["anna"] },
        { "name": "ben reads", "effect": "allow", "groups": ["ben"], "backends": ["c"],
          "tools": ["c__echo"], "prompts": ["*_simple_prompt"], "resources": ["test://static-*"] },
        { "name": "nobody adds", "effect": "deny", "tools": ["*__add_*"] },
    ] })
}

struct Scene {
    front: Front,
    server: HttpServer,
}

impl Scene {
    async fn of(access: Value) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
        let front = Front::start(config(&server, access)).await;
        let scene = Self { front, server };
        scene.is_there("anna").await;
        scene
    }

    fn client(&self, who: &str) -> Client {
        self.front.client.with_key(&key_of(who))
    }

    async fn legacy(&self, who: &str, version: &'static str) -> LegacyClient {
        let setup = Setup {
            version,
            key: Some(key_of(who)),
            ..Setup::default()
        };
        LegacyClient::connect(self.front.gateway.url(), setup).await
    }

    /// Waits until the backend of the scene is there, as far as this person sees it.
    async fn is_there(&self, who: &str) {
        let client = self.client(who);
        until("the backend", async || {
            let answer = client.call("c__echo", json!({})).await;
            (answer.error_code().is_none() && answer.fault().is_null()).then_some(())
        })
        .await;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
fn config(server: &HttpServer, access: Value) -> Value {
    json!({
        "auth": auth(&["anna", "ben", "cid"]),
        "access": access,
        "backends": { "c": remote(&server.url()) },
    })
}

/// That the answer to `name` is the one to `unknown`, but for the name.
fn assert_alike(answer: &Value, unknown: &Value, name: &str, other: &str) {
    let (answer, unknown) = (&answer["error"], &unknown["error"]);
    assert_eq!(answer["code"], -32602, "{answer}");
    assert_eq!(answer.to_string().replace(name, other), unknown.to_string());
}

/// Everything that names a target, with a name that is hidden from ben and one that nobody has.
fn hidden() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let completion = |reference: Value, argument: &str| json!({ "ref": reference, "argument": { "name": argument, "value": "p" } });
    let prompt = |name: &str| completion(json!({ "type": "ref/prompt", "name": name }), "arg1");
    let template = |uri: &str| completion(json!({ "type": "ref/resource", "uri": uri }), "id");
    vec![
        (
            "tools/call",
            json!({ "name": "c__slow", "arguments": {} }),
            "c__slow",
            "c__slom",
        ),
        (
            "tools/call",
            json!({ "name": "c__add_tool", "arguments": {} }),
            "c__add_tool",
            "c__add_took",
        ),
        (
            "prompts/get",
            json!({ "name": "c__test_prompt_with_arguments", "arguments": { "arg1": "a", "arg2": "b" } }),
            "c__test_prompt_with_arguments",
            "c__test_prompt_with_argumentz",
        ),
        (
            "resources/read",
            json!({ "uri": "test://watched-resource" }),
            "test://watched-resource",
            "test://watched-resourcf",
        ),
        (
            "resources/read",
            json!({ "uri": "test://template/123/data" }),
            "test://template/123/data",
            "test://template/123/date",
        ),
        (
            "completion/complete",
            prompt("c__test_prompt_with_arguments"),
            "c__test_prompt_with_arguments",
            "c__test_prompt_with_argumentz",
        ),
        (
            "completion/complete",
            template("test://template/{id}/data"),
            "test://template/{id}/data",
            "test://template/{id}/date",
        ),
    ]
}

/// The same parameters for another name.
fn renamed(params: &Value, name: &str, other: &str) -> Value {
    serde_json::from_str(&params.to_string().replace(name, other)).expect("JSON")
}

#[tokio::test]
async fn what_is_hidden_is_answered_like_what_is_not_there() {
    let scene = Scene::of(rules()).await;
    let (anna, ben) = (scene.client("anna"), scene.client("ben"));
    let old_ben = scene.legacy("ben", "2025-06-18").await;
    let old_anna = scene.legacy("anna", "2025-11-25").await;
    for (method, params, name, other) in hidden() {
        let unknown = renamed(&params, name, other);
        let answer = ben.request(method, params.clone()).await;
        let none = ben.request(method, unknown.clone()).await;
        assert_alike(&answer.response, &none.response, name, other);
        let answer = old_ben.request(method, params.clone()).await;
        let none = old_ben.request(method, unknown).await;
        let (answer, none) = (&answer.response["error"], &none.response["error"]);
        assert!(answer.is_object(), "{method} {params}");
        assert_eq!(answer.to_string().replace(name, other), none.to_string());
        if name != "c__add_tool" {
            let answer = anna.request(method, params.clone()).await;
            assert!(answer.result().is_object(), "{method}: {}", answer.raw);
            let answer = old_anna.request(method, params).await;
            assert!(answer.result().is_object(), "{method}: {answer:?}");
        }
    }
    // What a rule denies no other allows.
    let answer = anna.call("c__add_tool", json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    for (method, params) in [
        (
            "tools/call",
            json!({ "name": "c__echo", "arguments": { "a": 1 } }),
        ),
        ("prompts/get", json!({ "name": "c__test_simple_prompt" })),
        ("resources/read", json!({ "uri": "test://static-text" })),
    ] {
        let answer = ben.request(method, params.clone()).await;
        assert!(answer.result().is_object(), "{method}: {}", answer.raw);
        let answer = old_ben.request(method, params).await;
        assert!(answer.result().is_object(), "{method}: {answer:?}");
    }
    // Whom no rule knows nothing is there for.
    let answer = scene.client("cid").call("c__echo", json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    let counted = scene
        .front
        .metrics("switchboard_policy_decisions_total")
        .await;
    let denied = r#"switchboard_policy_decisions_total{decision="denied",policy="access"}"#;
    assert!(counted[denied] >= 8.0, "{counted:?}");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_substitute_that_is_denied_is_passed_over_and_not_named() {
    let (port, secret, far) = (
        RefusedPort::take(),
        FakeHttp::start(Transport::Modern, "secret").await,
        FakeHttp::start(Transport::Modern, "far").await,
    );
    let front = Front::start(json!({
        "auth": auth(&["anna", "ben"]),
        "access": { "default": "allow", "rules": [
            { "name": "secret", "effect": "deny", "groups": ["ben"], "backends": ["secret"] },
        ] },
        "backends": {
            "near": remote(port.url()), "secret": remote(secret.url()), "far": remote(far.url()),
        },
        "fallbacks": [
            { "tool": "near__echo", "try": ["secret__echo", "far__echo"] },
            { "tool": "near__other", "try": ["secret__echo"] },
        ],
        "equivalents": [{ "tools": ["secret__delay", "far__delay"] }],
    }))
    .await;
    let (anna, ben) = (
        front.client.with_key(&key_of("anna")),
        front.client.with_key(&key_of("ben")),
    );
    for (who, tool) in [(&anna, "secret__echo"), (&anna, "far__echo")] {
        until(tool, async || {
            who.call(tool, json!({}))
                .await
                .result()
                .is_object()
                .then_some(())
        })
        .await;
    }
    let served_by = async |who: &Client, may_know: bool| {
        until("an answer", async || {
            let answer = who.call("near__echo", json!({})).await;
            let by = &answer.result()["_meta"]["dev.switchboard/served_by"];
            assert!(may_know || !answer.raw.contains("secret"), "{}", answer.raw);
            by["backend"].as_str().map(str::to_owned)
        })
        .await
    };
    assert_eq!(served_by(&anna, true).await, "secret");
    let before = secret.requests_of("tools/call").len();
    assert_eq!(served_by(&ben, false).await, "far");
    let answer = ben.call("near__other", json!({})).await;
    assert!(!answer.raw.contains("secret"), "{}", answer.raw);
    // Of equivalents the one that is hidden is not there either, though the other could answer.
    let answer = ben.call("secret__delay", json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    let answer = ben.call("far__delay", json!({})).await;
    assert!(
        answer.result().is_object() && !answer.raw.contains("secret"),
        "{}",
        answer.raw
    );
    assert_eq!(secret.requests_of("tools/call").len(), before);
    front.gateway.stop().await;
}

fn on_arguments(mode: &str) -> Value {
    json!({ "mode": mode, "rules": [
        { "name": "srv only", "effect": "allow", "tools": ["c__echo"],
          "when": "!has(args.path) || args.path.startsWith('/srv/')" },
        { "name": "anna", "effect": "allow", "groups": ["anna"], "tools": ["c__slow"] },
    ] })
}

/// A call of `c__echo` with exactly these arguments.
async fn call_raw(client: &Client, arguments: &str) -> Answer {
    let params = json!({ "name": "c__echo", "arguments": { "mark": 1 } });
    let request = message("tools/call", params);
    let body = request.to_string().replace(r#"{"mark":1}"#, arguments);
    let draft = client.draft(&request).with_body(body);
    client.send(draft).await.finish().await
}

fn reason(answer: &Answer) -> Option<String> {
    let reason = answer.fault()["reason"].as_str();
    reason.map(str::to_owned)
}

#[tokio::test]
async fn what_a_rule_saw_of_arguments_is_what_is_sent() {
    let scene = Scene::of(on_arguments("enforce")).await;
    let ben = scene.client("ben");
    for (arguments, told) in [
        (r#"{"path":"/srv/a"}"#, None),
        (r#"{}"#, None),
        (r#"{"path":"/etc/a"}"#, Some("denied")),
        (r#"{"path":1}"#, Some("denied")),
        (
            r#"{"path":"/srv/a","path":"/etc/a"}"#,
            Some("arguments_refused"),
        ),
        (
            r#"{"path":"/srv/a","p\u0061th":"/etc/a"}"#,
            Some("arguments_refused"),
        ),
        (
            r#"{"path":"/srv/a","Path":"/etc/a"}"#,
            Some("arguments_refused"),
        ),
        (
            r#"{"path":"/srv/a","more":[{"x":1,"x":2}]}"#,
            Some("arguments_refused"),
        ),
        (r#"{"path":"/srv/\ud800"}"#, Some("arguments_refused")),
        (r#"{"path":"/srv/a","n":1e999}"#, Some("arguments_refused")),
    ] {
        let answer = call_raw(&ben, arguments).await;
        assert_eq!(
            reason(&answer).as_deref(),
            told,
            "{arguments}: {}",
            answer.raw
        );
        if told.is_some() {
            let text = answer.result()["content"][0]["text"]
                .as_str()
                .unwrap_or_default();
            assert!(!text.contains("srv") && text.contains("gain"), "{text}");
            assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
        }
    }
    let old = scene.legacy("ben", "2025-11-25").await;
    let denied = old.call("c__echo", json!({ "path": "/etc/a" })).await;
    assert_eq!(denied.result()["isError"], true, "{denied:?}");
    assert!(
        old.call("c__echo", json!({ "path": "/srv/a" }))
            .await
            .result()["isError"]
            != true
    );
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn in_shadow_mode_nothing_is_denied_and_all_is_counted() {
    let scene = Scene::of(on_arguments("shadow")).await;
    let ben = scene.client("ben");
    for arguments in [
        r#"{"path":"/etc/a"}"#,
        r#"{"path":"/srv/a","path":"/etc/a"}"#,
    ] {
        let answer = call_raw(&ben, arguments).await;
        assert_eq!(reason(&answer), None, "{}", answer.raw);
        assert!(answer.result().is_object(), "{}", answer.raw);
    }
    let answer = ben
        .request("resources/read", json!({ "uri": "test://static-text" }))
        .await;
    assert!(answer.result().is_object(), "{}", answer.raw);
    let counted = scene
        .front
        .metrics("switchboard_policy_decisions_total")
        .await;
    let of = |decision: &str| {
        counted[&format!(
            r#"switchboard_policy_decisions_total{{decision="{decision}",policy="access"}}"#
        )]
    };
    assert_eq!((of("denied"), of("would_deny")), (0.0, 3.0), "{counted:?}");
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_changes_rules_at_once_and_a_bad_one_keeps_them() {
    let scene = Scene::of(rules()).await;
    let old_ben = scene.legacy("ben", "2025-11-25").await;
    let can = async |tool: &str| {
        let answer = scene.client("ben").call(tool, json!({})).await;
        let old = old_ben.call(tool, json!({})).await;
        assert_eq!(answer.error_code(), old.error_code(), "{}", answer.raw);
        answer.error_code().is_none()
    };
    let reload = async |access: Value, result: &str| {
        let name = format!("switchboard_config_reloads_total{{result=\"{result}\"}}");
        let counted = async || scene.front.metrics("switchboard_config_reloads").await[&name];
        let before = counted().await;
        scene.front.gateway.rewrite(config(&scene.server, access));
        scene.front.gateway.hang_up();
        until("the reload", async || {
            (counted().await > before).then_some(())
        })
        .await;
    };
    assert!(can("c__echo").await && !can("c__counters").await);
    let more = json!({ "rules": [
        { "name": "anna", "effect": "allow", "groups": ["anna"] },
        { "name": "ben", "effect": "allow", "groups": ["ben"], "tools": ["c__counters"] },
    ] });
    reload(more.clone(), "ok").await;
    assert!(!can("c__echo").await && can("c__counters").await);
    for wrong in [
        json!({ "rules": [{ "name": "a", "effect": "allow", "when": "args.(" }] }),
        json!({ "rules": [{ "name": "a", "effect": "allow", "tools": ["!x"] }] }),
        json!({ "rules": [{ "name": "a", "effect": "allow", "users": [] }] }),
        json!({ "rules": [{ "name": "a", "effect": "allow", "user": ["x"] }] }),
    ] {
        reload(wrong, "failed").await;
        assert!(!can("c__echo").await && can("c__counters").await);
    }
    reload(json!({ "default": "allow" }), "ok").await;
    assert!(can("c__echo").await && can("c__counters").await);
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_name_in_a_header_is_decided_about_as_well() {
    let scene = Scene::of(rules()).await;
    let ben = scene.client("ben");
    let request = message("tools/call", json!({ "name": "c__slow", "arguments": {} }));
    let draft = ben
        .draft(&request)
        .with_header("mcp-name", &encoded("c__echo"));
    let answer = ben.send(draft).await.finish().await;
    assert_eq!(
        (answer.status, answer.error_code()),
        (http::StatusCode::BAD_REQUEST, Some(-32020)),
        "{}",
        answer.raw
    );
    scene.front.gateway.stop().await;
}
