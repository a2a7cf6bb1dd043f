//! The audit: what is noted of calls of both eras however they end, that no secret and no line break
//! gets into it, and that it is found again.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_testkit::client::{call, message};
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::keys::{auth_of, key_of};
use switchboard_tests::scripted::{Scripted, Step, pieces};
use switchboard_tests::tools;
use switchboard_tests::waiting::{PATIENCE, until};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// A gateway with an audit in a folder of its own.
struct Audited {
    front: Front,
    folder: TempDir,
}

impl Audited {
    /// With these backends, and these settings of the audit beside its file and database.
    async fn start(mut config: Value, settings: Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut audit = json!({
            "file": { "path": folder.path().join("audit.jsonl") },
            "sqlite": { "path": folder.path().join("audit.db") },
        });
        for (key, value) in settings.as_object().into_iter().flatten() {
            audit[key] = value.clone();
        }
        config["audit"] = audit;
        let front = Front::start(config).await;
        Self { front, folder }
    }

    async fn of(backends: Value) -> Self {
        Self::start(
            json!({ "backends": backends }),
            json!({ "include": ["calls"] }),
        )
        .await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default()
    }

    /// Waits until the file has so many records.
    async fn records(&self, count: usize) -> Vec<Value> {
        until("the records", async || {
            let records = parsed(&self.text());
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// Waits until what the file says of the only call is there.
    async fn only(&self) -> Value {
        let records = self.records(1).await;
        assert_eq!(records.len(), 1, "{records:?}");
        records[0].clone()
    }
}

/// Every line, all of which are records.
fn parsed(text: &str) -> Vec<Value> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect()
}

/// What `switchboard audit` prints of a file or a database.
async fn searched(path: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = switchboard(&["audit", "--format", "json", "--file"]);
    command.arg(path).args(arguments);
    parsed(&ended(command).await.assert_code(0).stdout)
}

#[tokio::test]
async fn a_record_names_the_trace_of_the_http_request_where_the_message_names_none() {
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let audited = Audited::of(json!({ "a": remote(fake.url()) })).await;
    audited.front.gateway.wait_for_backends().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let client = &audited.front.client;
    let draft = client.draft(&call("a__echo", &json!({})));
    let header = format!("00-{trace}-b7ad6b7169203331-01");
    let draft = draft.with_header("traceparent", &header);
    client.send(draft).await.finish().await;
    assert_eq!(audited.only().await["trace_id"], trace);
    client.call("a__echo", json!({})).await;
    let records = audited.records(2).await;
    assert_eq!(records[1]["trace_id"], Value::Null, "{}", records[1]);
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_of_either_era_is_noted_with_who_what_where_and_how_it_ended() {
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let names = ["ann".to_owned()];
    let config = json!({ "auth": auth_of(&names), "backends": { "a": remote(fake.url()) } });
    let audited = Audited::start(config, json!({ "include": ["calls"] })).await;
    let key = key_of("ann");
    let client = audited.front.client.with_key(&key);
    until("the backend", async || {
        let answer = client.request("tools/list", json!({})).await;
        (!answer.result()["tools"].as_array()?.is_empty()).then_some(())
    })
    .await;
    let mut asked = call("a__echo", &json!({ "city": "Bern", "days": 3 }));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    asked["params"]["_meta"]["traceparent"] = json!(format!("00-{trace}-b7ad6b7169203331-00"));
    let answer = client.ask(&asked).await;
    assert!(answer.result().is_object(), "{}", answer.raw);
    let record = audited.only().await;
    for (member, expected) in [
        ("v", json!(1)),
        ("kind", json!("call")),
        ("principal", json!("key:ann")),
        ("peer", json!("127.0.0.1")),
        ("protocol", json!("2026-07-28")),
        ("session", json!("none")),
        ("method", json!("tools/call")),
        ("target", json!("a__echo")),
        (
            "arguments",
            json!({ "city": "string(4)", "days": "number" }),
        ),
        ("backend", json!("a")),
        ("outcome", json!("ok")),
        ("trace_id", json!(trace)),
        ("request_bytes", json!(asked.to_string().len())),
    ] {
        assert_eq!(record[member], expected, "{member} of {record}");
    }
    assert_eq!(record["attempts"][0]["target"], "a__echo");
    assert!(record["client"].is_string(), "{record}");
    assert!(record["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{record}");
    assert!(record["result_bytes"].as_u64() > Some(20), "{record}");

    let setup = Setup {
        key: Some(key),
        ..Setup::default()
    };
    let legacy = LegacyClient::connect(audited.front.gateway.url(), setup).await;
    legacy.call("a__echo", json!({ "city": "Bern" })).await;
    let record = audited.records(2).await[1].clone();
    assert_eq!(record["principal"], "key:ann");
    assert_eq!(record["protocol"], "2025-11-25");
    assert_eq!(record["session"], "legacy");
    assert_eq!(record["session_digest"].as_str().map(str::len), Some(16));
    let session = legacy.session().expect("a session");
    assert!(!audited.text().contains(&session));
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn every_end_of_a_call_is_noted() {
    let server = Scripted::start(|id| {
        let result = json!({ "resultType": "complete", "content": [], "isError": true });
        vec![Step::Send(
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into(),
        )]
    })
    .await;
    let port = RefusedPort::take();
    let backends = json!({ "s": remote(server.url()), "gone": remote(port.url()) });
    let audited = Audited::of(backends).await;
    let front = &audited.front;
    front.wait_until("s", true).await;
    front.client.call("s__t", json!({})).await;
    front.client.call("s__none", json!({})).await;
    server.answer_with(|id| {
        let error = json!({ "code": -31999, "message": "no" });
        vec![Step::Send(
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into(),
        )]
    });
    front.client.call("s__t", json!({})).await;
    front.client.call("gone__t", json!({})).await;
    let records = audited.records(4).await;
    let ends: Vec<_> = records
        .iter()
        .map(|record| {
            (
                &record["outcome"],
                &record["code"],
                &record["reason"],
                &record["backend"],
            )
        })
        .collect();
    let (none, s) = (json!(null), json!("s"));
    assert_eq!(ends[0], (&json!("tool_error"), &none, &none, &s));
    assert_eq!(ends[1], (&json!("invalid"), &json!(-32602), &none, &none));
    assert_eq!(
        ends[2],
        (&json!("backend_error"), &json!(-31999), &none, &s)
    );
    assert_eq!(
        (ends[3].0, ends[3].1, ends[3].3),
        (&json!("failed"), &json!(503), &json!("gone")),
        "{}",
        records[3]
    );

    // A client that goes away.
    server.answer_with(|_| vec![Step::Hang]);
    let draft = front.client.draft(&call("s__t", &json!({})));
    let exchange = tokio::spawn({
        let client = front.client.clone();
        async move { client.send(draft).await }
    });
    until("the call is there", async || {
        let in_flight = front.metrics("switchboard_calls_in_flight").await;
        (in_flight["switchboard_calls_in_flight"] >= 1.0).then_some(())
    })
    .await;
    exchange.abort();
    let cancelled = audited.records(5).await[4].clone();
    assert_eq!(cancelled["outcome"], "cancelled", "{cancelled}");
    assert_eq!(cancelled["backend"], "s", "{cancelled}");
    assert_eq!(
        cancelled["attempts"][0]["reason"], "abandoned",
        "{cancelled}"
    );
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn a_large_result_is_noted_with_its_last_byte() {
    const LEN: usize = 10 * 1024 * 1024;
    let server = Scripted::start(|id| {
        let text = "a".repeat(LEN);
        let result =
            format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{text}"}}]}}"#);
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        pieces(&answer, 256 * 1024)
    })
    .await;
    let mut backend = remote(server.url());
    backend["max_message_bytes"] = json!(LEN * 2);
    let audited = Audited::of(json!({ "s": backend })).await;
    let front = &audited.front;
    front.wait_until("s", true).await;
    let answer = front.client.call("s__t", json!({})).await;
    let text = answer.result()["content"][0]["text"].as_str();
    assert_eq!(text.map(str::len), Some(LEN));
    let record = audited.only().await;
    let sent = answer
        .raw
        .find("\"result\":")
        .map(|at| answer.raw.len() - at - "\"result\":}".len());
    let noted = record["result_bytes"].as_u64().expect("a size");
    assert_eq!(Some(noted as usize), sent, "{record}");
    assert_eq!(record["outcome"], "ok");
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn a_chain_is_noted_in_order() {
    let (port, far) = (
        RefusedPort::take(),
        FakeHttp::start(Transport::Modern, "far").await,
    );
    let config = json!({
        "backends": { "near": remote(port.url()), "far": remote(far.url()) },
        "fallbacks": [{ "tool": "near__echo", "try": ["far__echo"] }],
    });
    let audited = Audited::start(config, json!({ "include": ["calls"] })).await;
    audited.front.wait_until("far", true).await;
    until("an answer of the other", async || {
        let answer = audited.front.client.call("near__echo", json!({})).await;
        answer.result().is_object().then_some(())
    })
    .await;
    let record = audited.records(1).await.pop().expect("a record");
    assert_eq!(record["target"], "near__echo");
    assert_eq!(record["backend"], "far", "{record}");
    assert_eq!(record["outcome"], "ok");
    let attempts = record["attempts"].as_array().expect("attempts");
    let last = attempts.last().expect("an attempt");
    assert_eq!(last["target"], "far__echo");
    assert!(last["reason"].is_null(), "{record}");
    let path = audited.path("audit.db");
    assert!(!searched(&path, &["--tool", "far__*"]).await.is_empty());
    assert!(
        !searched(&path, &["--tool", "near__echo", "--backend", "far"])
            .await
            .is_empty()
    );
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn secrets_and_line_breaks_of_clients_stay_out() {
    const SECRET: &str = "hunter2-hunter2";
    let config = json!({ "backends": { "a": faulty(&[]), "b": faulty(&[]) } });
    let settings = json!({ "include": ["calls"], "values": ["b__*"] });
    let audited = Audited::start(config, settings).await;
    let front = &audited.front;
    front.wait_until("a", true).await;
    front.wait_until("b", true).await;
    let arguments = json!({ "note": SECRET, "password": SECRET, "deep": [{ "x": SECRET }] });
    front.client.call("a__echo", arguments.clone()).await;
    audited.records(1).await;
    assert!(!audited.text().contains(SECRET), "{}", audited.text());
    let database = std::fs::read(audited.path("audit.db")).expect("a database");
    let wal = std::fs::read(audited.path("audit.db-wal")).unwrap_or_default();
    for bytes in [database, wal] {
        let found = bytes
            .windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes());
        assert!(!found);
    }
    front.client.call("b__echo", arguments).await;
    let named = audited.records(2).await[1].clone();
    assert_eq!(named["values"]["note"], SECRET, "{named}");
    assert_eq!(named["values"]["password"], "(redacted)");

    let evil = "b__\r\n{\"v\":1,\"outcome\":\"ok\"}\u{1b}[2J\u{202e}";
    front.client.ask(&call(evil, &json!({}))).await;
    let records = audited.records(3).await;
    assert_eq!(records.len(), 3, "{}", audited.text());
    assert_eq!(records[2]["target"], evil);
    let is_harmless = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
    assert!(audited.text().chars().all(is_harmless));
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn lists_and_refused_credentials_are_noted_and_floods_of_them_are_not() {
    let names = ["ann".to_owned()];
    let config = json!({ "auth": auth_of(&names), "backends": {} });
    let audited = Audited::start(config, json!({})).await;
    let client = audited.front.client.with_key(&key_of("ann"));
    client.request("tools/list", json!({})).await;
    let list = audited.records(1).await[0].clone();
    assert_eq!(list["kind"], "list");
    assert_eq!(list["method"], "tools/list");
    let stranger = audited.front.client.with_key("wrong");
    let list = message("tools/list", json!({}));
    for _ in 0..200 {
        let exchange = stranger.send(stranger.draft(&list)).await;
        assert_eq!(exchange.status, 401);
    }
    let records = audited.records(2).await;
    assert_eq!(records[1]["kind"], "authentication");
    assert_eq!(records[1]["outcome"], "refused");
    assert_eq!(records[1]["listener"], "endpoint");
    assert!(!audited.text().contains("wrong"));
    // Ten a second, however long it took, and those that were left out are counted.
    let refused = || {
        let records = parsed(&audited.text());
        let of = |record: &&Value| record["kind"] == "authentication";
        let refused: Vec<Value> = records.iter().filter(of).cloned().collect();
        refused
    };
    until("one more that says how many were left out", async || {
        stranger.send(stranger.draft(&list)).await;
        let refused = refused();
        refused
            .iter()
            .any(|record| record["suppressed"].as_u64() > Some(0))
            .then_some(())
    })
    .await;
    audited.front.gateway.stop().await;
}

#[tokio::test]
async fn the_command_searches_while_the_gateway_writes() {
    let audited = Audited::of(json!({ "a": faulty(&[]) })).await;
    audited.front.wait_until("a", true).await;
    for number in 0..30 {
        audited
            .front
            .client
            .call("a__echo", json!({ "n": number }))
            .await;
    }
    audited.front.client.call("a__nothing", json!({})).await;
    audited.records(31).await;
    for name in ["audit.db", "audit.jsonl"] {
        let path = audited.path(name);
        until("all of them", async || {
            (searched(&path, &[]).await.len() == 31).then_some(())
        })
        .await;
        let newest = searched(&path, &["--limit", "2"]).await;
        assert_eq!(newest.len(), 2);
        assert_eq!(newest[1]["target"], "a__nothing");
        let invalid = searched(&path, &["--outcome", "invalid", "--since", "1h"]).await;
        assert_eq!(invalid.len(), 1);
        let who = [
            "--principal",
            "anonymous",
            "--tool",
            "*echo",
            "--backend",
            "a",
        ];
        assert_eq!(searched(&path, &who).await.len(), 30);
        assert!(searched(&path, &["--until", "1h"]).await.is_empty());
        assert!(searched(&path, &["--principal", "nobody"]).await.is_empty());
    }

    // What comes later is followed.
    let mut following = Command::new(tools::program("switchboard"))
        .args([
            "audit", "--format", "json", "--limit", "1", "--follow", "--file",
        ])
        .arg(audited.path("audit.db"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let stdout = following.stdout.take().expect("its output");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    let mut next = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time");
        let line = line.expect("text").expect("a line");
        serde_json::from_str::<Value>(&line).expect("a record")
    };
    assert_eq!(next().await["target"], "a__nothing");
    audited.front.client.call("a__later", json!({})).await;
    assert_eq!(next().await["target"], "a__later");
    following.kill().await.expect("ours");
    audited.front.gateway.stop().await;

    // Nothing that was left is lost at the end.
    assert_eq!(
        searched(&audited.folder.path().join("audit.db"), &[])
            .await
            .len(),
        32
    );
}

#[tokio::test]
async fn a_gateway_that_is_killed_leaves_what_can_be_read() {
    let audited = Audited::of(json!({ "a": faulty(&[]) })).await;
    audited.front.wait_until("a", true).await;
    for _ in 0..20 {
        audited.front.client.call("a__echo", json!({})).await;
    }
    audited.records(20).await;
    let id = audited
        .front
        .gateway
        .server()
        .id()
        .expect("a running gateway");
    let process = Pid::from_raw(i32::try_from(id).expect("an id")).expect("an id");
    let calls = tokio::spawn({
        let client = audited.front.client.clone();
        async move {
            loop {
                client.call("a__echo", json!({})).await;
            }
        }
    });
    audited.records(30).await;
    kill_process(process, Signal::KILL).expect("ours");
    let _ = timeout(PATIENCE, calls).await.expect("its client fails");
    let in_file = parsed(&audited.text()).len();
    assert!(in_file >= 30);
    for name in ["audit.db", "audit.jsonl"] {
        let found = searched(&audited.path(name), &["--limit", "100000"]).await;
        assert!(found.len() >= 20, "{name} has {}", found.len());
    }
}

#[tokio::test]
async fn a_changed_audit_waits_for_a_restart_and_a_wrong_one_is_told() {
    let audited = Audited::of(json!({})).await;
    audited.front.gateway.rewrite(json!({
        "server": { "watch_config": false },
        "audit": { "stdout": true },
        "backends": {},
    }));
    audited.front.gateway.hang_up();
    until("the reload", async || {
        let output = audited.front.gateway.server().output();
        let line = output
            .lines()
            .find(|line| line.contains("after a restart"))?;
        line.contains("audit").then_some(())
    })
    .await;
    audited.front.gateway.stop().await;

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("switchboard.json");
    for (audit, expected) in [
        (json!({}), "audit: "),
        (
            json!({ "file": { "path": "/nowhere/at/all" } }),
            "/nowhere/at/all",
        ),
        (
            json!({ "sqlite": { "path": "/nowhere/a.db" } }),
            "/nowhere/a.db",
        ),
        (
            json!({ "file": { "path": "a", "rotate": { "size": "1KiB" } } }),
            "size",
        ),
        (json!({ "sqlite": { "path": "a", "keep": "1s" } }), "keep"),
    ] {
        let listen = json!({ "listen": "127.0.0.1:0", "ops_listen": "off" });
        let config = json!({ "server": listen, "audit": audit, "backends": {} });
        std::fs::write(&file, config.to_string()).expect("ours");
        let mut command = switchboard(&["serve", "-c"]);
        command.arg(&file);
        let ended = ended(command).await;
        assert_ne!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{expected} in {ended:?}");
    }
}
