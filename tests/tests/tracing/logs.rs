//! Log lines: to which trace they belong, and changing what is logged while the gateway runs.

use serde_json::{Value, json};
use switchboard_testkit::fake_http::{FakeHttp, Fault, Transport};
use switchboard_tests::front::Front;
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;

use super::{TRACE, call, traceparent};

const OPS: &str = "the-key-of-ops-51b2";
const LOG: &str = "/api/v1/log";
/// What `debug` says of each call that fails.
const FAILED: &str = "a call failed";

struct Logged {
    front: Front,
    near: FakeHttp,
    admin: String,
    config: Value,
}

impl Logged {
    async fn start() -> Self {
        let near = FakeHttp::start(Transport::Modern, "near").await;
        let config = json!({
            "server": { "watch_config": false },
            "admin": { "api_keys": [entry_of("ops", OPS)] },
            "telemetry": { "log": { "format": "json" } },
            "backends": { "near": {
                "url": near.url(),
                "breaker": { "consecutive_failures": 100_000, "min_calls": 100_000 },
            } },
        });
        let front = Front::start(config.clone()).await;
        front.gateway.wait_for_backends().await;
        near.fail_calls(Fault::DropMidAnswer);
        Self {
            admin: front.admin_url().await,
            front,
            near,
            config,
        }
    }

    async fn ask(&self, method: &str, body: Option<&str>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = reqwest::Client::new()
            .request(method, format!("{}{LOG}", self.admin))
            .bearer_auth(OPS);
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a whole answer");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// The lines of failed calls so far.
    fn failures(&self) -> Vec<Value> {
        let output = self.front.gateway.server().output();
        let lines = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == FAILED).collect()
    }

    /// Makes a call that fails in this trace, and waits until a line says so.
    async fn fails_with_a_line(&self, trace: &str) -> Value {
        let before = self.failures().len();
        let answer = call(&self.front, "near__echo", "00").await;
        assert!(answer.fault().is_object(), "{}", answer.raw);
        let line = until("a line of the call", async || {
            self.failures().get(before).cloned()
        })
        .await;
        assert_eq!(line["trace_id"], trace, "{line}");
        line
    }
}

#[tokio::test]
async fn what_is_logged_is_changed_by_operators_and_by_the_configuration() {
    let mut logged = Logged::start().await;
    let of = |level: &str, configured: &str| json!({ "level": level, "configured": configured });
    assert_eq!(logged.ask("GET", None).await, (200, of("info", "info")));
    call(&logged.front, "near__echo", "00").await;
    let debug = "info,switchboard_backends=debug";
    let body = json!({ "level": debug }).to_string();
    let changed = logged.ask("PUT", Some(&body)).await;
    assert_eq!(changed, (200, of(debug, "info")));
    let line = logged.fails_with_a_line(TRACE).await;
    assert_eq!(line["level"], "DEBUG");
    // The call before the change left none.
    assert_eq!(logged.failures().len(), 1);

    for (body, status) in [
        ("", 400),
        ("{}x", 400),
        (r#"{"level":"nonsense"}"#, 400),
        (r#"{"levels":"info"}"#, 400),
        (&*" ".repeat(20_000), 413),
    ] {
        let (refused, problem) = logged.ask("PUT", Some(body)).await;
        assert_eq!(refused, status, "{problem}");
    }
    assert_eq!(logged.ask("GET", None).await, (200, of(debug, "info")));
    let back = logged.ask("PUT", Some(r#"{"level":null}"#)).await;
    assert_eq!(back, (200, of("info", "info")));

    // By the configuration.
    logged.config["telemetry"]["log"]["level"] = json!("switchboard_backends=debug,info");
    logged.front.gateway.rewrite(logged.config.clone());
    logged.front.gateway.hang_up();
    until("the level of the configuration", async || {
        let (_, now) = logged.ask("GET", None).await;
        (now["level"] == "switchboard_backends=debug,info").then_some(())
    })
    .await;
    logged.fails_with_a_line(TRACE).await;
    logged.front.gateway.stop().await;
}

#[tokio::test]
async fn a_line_of_a_call_has_the_trace_of_its_message_or_of_its_http_request() {
    let logged = Logged::start().await;
    let body = json!({ "level": "debug" }).to_string();
    assert_eq!(logged.ask("PUT", Some(&body)).await.0, 200);
    logged.fails_with_a_line(TRACE).await;
    let other = "0af7651916cd43dd8448eb211c80319c";
    let before = logged.failures().len();
    let message = switchboard_testkit::client::call("near__echo", &json!({}));
    let draft = logged.front.client.draft(&message);
    let draft = draft.with_header("traceparent", &traceparent("00").replace(TRACE, other));
    let answer = logged.front.client.send(draft).await.finish().await;
    assert_eq!(answer.fault()["traceId"], other, "{}", answer.raw);
    let line = until("a line of the call", async || {
        logged.failures().get(before).cloned()
    })
    .await;
    assert_eq!(line["trace_id"], other);
    assert_eq!(logged.near.requests_of("tools/call").len(), 2);
    let output = logged.front.gateway.server().output();
    assert!(!output.contains(OPS), "the key is in the log");
    logged.front.gateway.stop().await;
}

/// Where nothing is traced, and nobody names a trace, none is made up.
#[tokio::test]
async fn a_call_in_no_trace_has_lines_without_one() {
    let logged = Logged::start().await;
    let body = json!({ "level": "debug" }).to_string();
    assert_eq!(logged.ask("PUT", Some(&body)).await.0, 200);
    logged.front.client.call("near__echo", json!({})).await;
    let line = until("a line of the call", async || logged.failures().pop()).await;
    assert_eq!(line["trace_id"], Value::Null, "{line}");
    logged.front.gateway.stop().await;
}

#[tokio::test]
async fn the_log_of_foreign_text_is_one_line_in_either_form() {
    let logged = Logged::start().await;
    let (status, _) = logged
        .ask("PUT", Some("{\"level\":\"info,\u{202e}x=debug\"}"))
        .await;
    // Whether that names a part of a program or nothing: no character of it steers a terminal.
    assert!(status == 200 || status == 400, "{status}");
    let output = logged.front.gateway.server().output();
    let steers = |character: char| character != '\n' && character.is_control();
    assert!(
        !output.contains('\u{202e}') && !output.contains(steers),
        "{output:?}"
    );
    logged.front.gateway.stop().await;
}
