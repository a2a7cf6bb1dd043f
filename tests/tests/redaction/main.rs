//! Secrets in what comes back: of the configuration and of services, in results, whole and arriving, in
//! errors, notifications, logs, metrics and the audit. The examples of `docs/redaction.md` are run at the end.

mod places;

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::{call, message};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::example::Example;
use switchboard_tests::front::{Front, remote};
use switchboard_tests::process::Server;
use switchboard_tests::scripted::{Scripted, pieces};
use switchboard_tests::waiting::until;
use switchboard_tests::{manual, tools};
use tokio::process::Command;

/// A secret of the configuration.
const HEADER: &str = "of-the-gateway-4f1b77";

/// A token of GitLab's form, made here so that none stands in the code.
fn token() -> String {
    format!("gl{}-{}", "pat", "k3RzX9vQ2mT7pL4wB8cN")
}

fn redaction() -> Value {
    json!({ "patterns": [{ "name": "employee", "regex": r"\bEMP-[0-9]{6}\b" }] })
}

fn with_header(url: &str) -> Value {
    json!({ "url": url, "headers": { "Authorization": format!("Bearer {HEADER}") } })
}

async fn front(a: &FakeHttp, b: &FakeHttp, redaction: Value) -> Front {
    let mut config = json!({ "backends": { "a": with_header(a.url()), "b": remote(b.url()) } });
    if !redaction.is_null() {
        config["redaction"] = redaction;
    }
    let front = Front::start(config).await;
    front.wait_until("a", true).await;
    front.wait_until("b", true).await;
    front
}

async fn redactions(front: &Front) -> Vec<String> {
    let samples = front.metrics("switchboard_redactions_total").await;
    samples.into_keys().collect()
}

#[tokio::test]
async fn results_have_neither_the_gateways_secrets_nor_tokens() {
    let (a, b) = (
        FakeHttp::start(Transport::Modern, "a").await,
        FakeHttp::start(Transport::Modern, "b").await,
    );
    let front = front(&a, &b, redaction()).await;
    let arguments = json!({
        "header": HEADER, "nested": json!({ "x": HEADER }).to_string(), "token": token(),
        "who": "EMP-123456", "kept": "EMP-12",
    });
    for tool in ["a__echo", "b__echo"] {
        let answer = front.client.call(tool, arguments.clone()).await;
        let echoed = &answer.result()["structuredContent"]["arguments"];
        let expected = json!({
            "header": "[redacted:secret]", "nested": json!({ "x": "[redacted:secret]" }).to_string(),
            "token": "[redacted:gitlab_token]", "who": "[redacted:employee]", "kept": "EMP-12",
        });
        assert_eq!(*echoed, expected, "{}", answer.raw);
    }
    // What is asked for reaches the server as it was written.
    let asked = a.requests_of("tools/call");
    assert_eq!(asked[0].json()["params"]["arguments"], arguments);
    let counted = redactions(&front).await;
    for kind in ["secret", "gitlab_token", "employee"] {
        for place in ["a", "b"] {
            let labels = format!("{{place=\"{place}\",type=\"{kind}\"}}");
            assert!(
                counted.iter().any(|name| name.ends_with(&labels)),
                "{labels} in {counted:?}"
            );
        }
    }
}

#[tokio::test]
async fn without_a_section_only_the_gateways_secrets_are_taken_out() {
    let (a, b) = (
        FakeHttp::start(Transport::Modern, "a").await,
        FakeHttp::start(Transport::Modern, "b").await,
    );
    let front = front(&a, &b, Value::Null).await;
    let answer = front
        .client
        .call("b__echo", json!({ "header": HEADER, "token": token() }))
        .await;
    let echoed = &answer.result()["structuredContent"]["arguments"];
    assert_eq!(
        *echoed,
        json!({ "header": "[redacted:secret]", "token": token() })
    );

    // A reload takes other rules up, and a backend can be left alone.
    let mut trusted = remote(b.url());
    trusted["redaction"] = json!("off");
    front.gateway.rewrite(json!({
        "server": { "watch_config": false },
        "backends": { "a": with_header(a.url()), "b": trusted },
        "redaction": redaction(),
    }));
    front.gateway.hang_up();
    until("the reload", async || {
        let answer = front
            .client
            .call("a__echo", json!({ "token": token() }))
            .await;
        (answer.result()["structuredContent"]["arguments"]["token"] == "[redacted:gitlab_token]")
            .then_some(())
    })
    .await;
    let answer = front
        .client
        .call("b__echo", json!({ "header": HEADER, "token": token() }))
        .await;
    let echoed = &answer.result()["structuredContent"]["arguments"];
    assert_eq!(*echoed, json!({ "header": HEADER, "token": token() }));
}

#[tokio::test]
async fn a_result_that_arrives_in_pieces_has_none() {
    let filler = "words and words and more of them, ".repeat(4000);
    let text = format!("{filler} {} {filler} {HEADER}", token());
    let result = json!({ "resultType": "complete", "content": [{ "type": "text", "text": text }] });
    let body = result.to_string();
    let server = Scripted::start(move |id| {
        let response = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{body}}}"#);
        pieces(&response, 997)
    })
    .await;
    let front = Front::start(json!({
        "backends": { "s": with_header(server.url()) }, "redaction": {},
    }))
    .await;
    front.wait_until("s", true).await;
    let answer = front.client.call("s__t", json!({})).await;
    let expected = format!("{filler} [redacted:gitlab_token] {filler} [redacted:secret]");
    assert_eq!(answer.result()["content"][0]["text"], expected);
}

/// What is added to a legacy server's result makes pieces of it.
#[tokio::test]
async fn a_pattern_hides_no_password_of_a_legacy_server() {
    let fake = FakeHttp::start(Transport::Legacy, "a").await;
    let front = Front::start(json!({
        "backends": { "a": remote(fake.url()) },
        "redaction": { "patterns": [{ "name": "employee", "regex": r"\bEMP-[0-9]{6}\b" }] },
    }))
    .await;
    front.wait_until("a", true).await;
    let said = json!({ "dsn": "postgres://app:k9Qx2m@db", "note": "of EMP-123456" });
    let answer = front.client.call("a__echo", said).await;
    assert!(
        answer
            .raw
            .contains("postgres://app:[redacted:url_password]@db")
            && answer.raw.contains("of [redacted:employee]")
            && !answer.raw.contains("k9Qx2m"),
        "{}",
        answer.raw
    );
}

#[tokio::test]
async fn errors_and_notifications_have_none() {
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let failing = Scripted::start(|id| {
        let error = json!({ "code": -32000, "message": format!("no: {}", token()), "data": { "key": HEADER } });
        pieces(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#), 100_000)
    })
    .await;
    let front = Front::start(json!({
        "backends": { "a": with_header(fake.url()), "s": remote(failing.url()) }, "redaction": {},
    }))
    .await;
    front.wait_until("a", true).await;
    front.wait_until("s", true).await;
    let answer = front.client.call("s__t", json!({})).await;
    assert!(
        !answer.raw.contains(HEADER) && !answer.raw.contains(&token()),
        "{}",
        answer.raw
    );
    assert!(
        answer.raw.contains("no: [redacted:gitlab_token]"),
        "{}",
        answer.raw
    );

    let mut asked = call(
        "a__report",
        &json!({ "n": 2, "name": format!("at {}", token()) }),
    );
    asked["params"]["_meta"]["progressToken"] = json!("p");
    asked["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
    let answer = front.client.ask(&asked).await;
    let told = serde_json::to_string(&answer.notifications).expect("JSON");
    assert!(
        told.contains("at [redacted:gitlab_token]") && !told.contains(&token()),
        "{told}"
    );
}

#[tokio::test]
async fn the_log_and_the_audit_have_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let audit = folder.path().join("audit.jsonl");
    let program = tools::program("faulty-server");
    let script = format!(
        "echo \"starts with $KEY_OF_ANOTHER\" >&2; exec {}",
        program.display()
    );
    let front = Front::start(json!({
        "backends": {
            "a": with_header(fake.url()),
            "local": { "command": "sh", "args": ["-c", script], "env": { "KEY_OF_ANOTHER": token() } },
        },
        "audit": { "file": { "path": audit }, "values": ["a__echo"] },
        "redaction": { "secrets": ["of-nobody-else-93"] },
    }))
    .await;
    front.wait_until("a", true).await;
    front.wait_until("local", true).await;
    let arguments = json!({ "note": format!("{HEADER}, of-nobody-else-93") });
    let asked = message(
        "tools/call",
        json!({ "name": "a__echo", "arguments": arguments }),
    );
    front.client.ask(&asked).await;
    let noted = until("the record", async || {
        let text = std::fs::read_to_string(&audit).unwrap_or_default();
        text.contains("a__echo").then_some(text)
    })
    .await;
    assert!(
        noted.contains("[redacted:secret], [redacted:secret]"),
        "{noted}"
    );
    let log = until("the line of the server", async || {
        let log = front.gateway.server().output();
        log.contains("starts with").then_some(log)
    })
    .await;
    assert!(!log.contains(&token()), "{log}");
    assert!(!noted.contains(HEADER), "{noted}");
}

/// The configuration with which the page begins does what stands in it.
#[tokio::test]
async fn the_first_configuration_of_the_manual_does_what_it_says() {
    let page = manual::page("redaction.md");
    let server = FakeHttp::start(Transport::Modern, "a").await;
    let over = json!({ "backends": { "a": remote(server.url()) } });
    let variables = [("DEPLOY_TOKEN", "of-the-deployment-77e0")];
    let gateway = Example::start(manual::blocks(&page, "yaml")[0], over, &variables).await;
    gateway.wait_for(&gateway.client, &["a__echo"]).await;
    let header = jsonwebtoken::Header::default();
    let key = jsonwebtoken::EncodingKey::from_secret(b"of nobody");
    let jwt = jsonwebtoken::encode(&header, &json!({ "sub": "anna" }), &key).expect("a token");
    let said = json!([token(), jwt, "EMP-123456", "EMP-1234567", variables[0].1]);
    let answer = gateway.client.call("a__echo", json!({ "said": said }));
    let answer = answer.await;
    let expected = json!([
        "[redacted:gitlab_token]",
        jwt,
        "[redacted:employee]",
        "EMP-1234567",
        "[redacted:secret]",
    ]);
    let echoed = &answer.result()["structuredContent"]["arguments"];
    assert_eq!(echoed["said"], expected, "{}", answer.raw);
    gateway.server.stop().await;
}

/// Runs the commands of the page in front of the server of the example.
#[tokio::test]
async fn the_example_of_the_manual_works() {
    let page = manual::page("redaction.md");
    let (_, section) = manual::sections(&page)
        .into_iter()
        .find(|(title, _)| *title == "An example")
        .expect("the example");
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("redaction.yaml");
    std::fs::write(&config, manual::blocks(section, "yaml")[0]).expect("our folder");
    let deploy_token = token();
    let variables = [
        ("DEPLOY_TOKEN", &*deploy_token),
        ("NOTES_KEY", "8c1f0d52-notes"),
    ];
    let mut command = Command::new(tools::program("switchboard"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "-c"])
        .arg(&config)
        .env("SWITCHBOARD_SERVER__OPS_LISTEN", "127.0.0.1:0")
        .envs(variables);
    let server = Server::start(command).await;
    let metrics = server.address_of("ops").await;
    let mut environment: Vec<_> = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    environment.push(("SWITCHBOARD_URL".to_owned(), server.url().to_owned()));
    environment.push(("METRICS_URL".to_owned(), metrics));
    let steps = manual::steps(section);
    assert!(steps.len() >= 3, "{steps:?}");
    for step in &steps {
        let output = tokio::time::timeout(
            Duration::from_secs(120),
            manual::run(&step.command, &environment),
        );
        let output = output.await.expect("an end");
        assert!(!output.contains(&deploy_token), "{output}");
        manual::compare(step, &output);
    }
    server.stop().await;
}
