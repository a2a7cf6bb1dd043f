//! When processes of local servers are started, ended for want of calls, and replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use switchboard_tests::front::Front;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tempfile::TempDir;

use crate::tree::{alive, mark, marked, until_alive, until_gone};

/// How long what is to be gone may take.
const SOON: Duration = Duration::from_secs(30);

/// A `faulty-server` with a mark, and these keys in its entry.
fn server(mark: &str, flags: &[&str], keys: Value) -> Value {
    let mut server = marked(mark, flags);
    let (Some(server_keys), Value::Object(keys)) = (server.as_object_mut(), keys) else {
        panic!("two objects");
    };
    server_keys.extend(keys);
    server
}

/// A gateway that keeps what it may forget in this folder.
async fn front(cache: &TempDir, backend: &Value) -> Front {
    let server = json!({ "watch_config": false, "cache_dir": cache.path() });
    Front::start(json!({ "server": server, "backends": { "a": backend } })).await
}

fn cache() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The process that answers a call.
async fn process(client: &Client) -> u64 {
    let answer = client.call("a__echo", json!({ "a": 1 })).await;
    let structured = &answer.result()["structuredContent"];
    assert_eq!(structured["arguments"], json!({ "a": 1 }), "{}", answer.raw);
    structured["server"]["pid"].as_u64().expect("a process id")
}

/// Waits until the log says that the process is ended.
async fn until_ended(front: &Front) {
    until("it is ended", async || {
        let output = front.gateway.server().output();
        output.contains("its process is ended").then_some(())
    })
    .await;
}

/// Waits until a call is answered.
async fn until_it_works(front: &Front) {
    until("it works", async || {
        let answer = front.client.call("a__echo", json!({})).await;
        (answer.result()["isError"] != true).then_some(())
    })
    .await;
}

/// The programs with this mark, without their owners.
fn programs(mark: &str) -> usize {
    let mut programs = alive(mark);
    programs.retain(|(_, arguments)| !arguments.contains("__init"));
    programs.len()
}

/// A server that starts only while a file is there.
struct Gated {
    _folder: TempDir,
    file: std::path::PathBuf,
}

impl Gated {
    /// The file is there.
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("works");
        let gated = Self {
            _folder: folder,
            file,
        };
        gated.set_open(true);
        gated
    }

    fn set_open(&self, is_open: bool) {
        match is_open {
            true => std::fs::write(&self.file, "").expect("a file"),
            false => std::fs::remove_file(&self.file).expect("a file"),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers write literals")]
    fn server(&self, keys: Value) -> Value {
        let script = "test -e \"$1\" || { echo 'no licence' >&2; exit 9; }; exec \"$0\"";
        let mut server = json!({
            "command": "sh",
            "args": ["-c", script, tools::program("faulty-server"), self.file],
        });
        for (key, value) in keys.as_object().expect("keys") {
            server[key] = value.clone();
        }
        server
    }
}

async fn tool_names(front: &Front) -> Vec<String> {
    let answer = front.client.request("tools/list", json!({})).await;
    let tools = answer.result()["tools"].as_array().expect("tools");
    tools.iter().map(|tool| tool["name"].to_string()).collect()
}

#[tokio::test]
async fn calls_are_spread_over_instances() {
    let mark = mark("instances");
    let cache = cache();
    let front = front(&cache, &server(&mark, &[], json!({ "instances": 3 }))).await;
    until_alive(&mark, 6).await;
    let mut seen = BTreeSet::new();
    until("all three have answered", async || {
        seen.insert(process(&front.client).await);
        (seen.len() == 3).then_some(())
    })
    .await;
    assert_eq!(programs(&mark), 3);
    front.gateway.stop().await;
    until_gone(&mark, SOON).await;
}

#[tokio::test]
async fn a_lazy_server_is_started_once_to_learn_and_then_when_it_is_called() {
    let mark = mark("lazy");
    let cache = cache();
    let backend = server(&mark, &[], json!({ "start": "lazy", "idle_stop": "200ms" }));
    let first = front(&cache, &backend).await;
    first.wait_until("a", true).await;
    let learned = tool_names(&first).await;
    assert!(learned.contains(&"\"a__echo\"".to_owned()), "{learned:?}");
    until_gone(&mark, SOON).await;
    // It is not missing: a call brings it back.
    assert_eq!(tool_names(&first).await, learned);
    assert!(first.missing().await.is_empty());
    process(&first.client).await;
    first.gateway.stop().await;
    until_gone(&mark, SOON).await;

    // The next gateway knows what the server offers.
    let second = front(&cache, &backend).await;
    assert_eq!(tool_names(&second).await, learned);
    assert_eq!(alive(&mark), []);
    process(&second.client).await;
    until_gone(&mark, SOON).await;
    let restarts = second.metrics("switchboard_backend_restarts_total").await;
    assert!(restarts.values().all(|count| *count == 0.0), "{restarts:?}");
    second.gateway.stop().await;
}

#[tokio::test]
async fn a_lazy_legacy_server_is_started_when_it_is_called() {
    let mark = mark("lazy-legacy");
    let cache = cache();
    let keys = json!({ "start": "lazy", "idle_stop": "200ms" });
    let backend = server(&mark, &["--era", "legacy"], keys);
    let front = front(&cache, &backend).await;
    front.wait_until("a", true).await;
    until_gone(&mark, SOON).await;
    for _ in 0..2 {
        process(&front.client).await;
        until_gone(&mark, SOON).await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_lazy_server_that_cannot_be_started_says_so() {
    let cache = cache();
    let gated = Gated::open();
    let backend = gated.server(json!({ "start": "lazy", "idle_stop": "200ms" }));
    let front = front(&cache, &backend).await;
    front.wait_until("a", true).await;
    gated.set_open(false);
    until_ended(&front).await;
    let answer = front.client.call("a__echo", json!({})).await;
    let text = answer.result()["content"][0]["text"].to_string();
    assert!(text.contains("no licence"), "{text}");
    gated.set_open(true);
    until_it_works(&front).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_lazy_server_that_crashes_is_not_started_until_it_is_called() {
    let mark = mark("lazy-crash");
    let cache = cache();
    let keys = json!({ "start": "lazy", "idle_stop": "1h" });
    let front = front(&cache, &server(&mark, &[], keys)).await;
    front.wait_until("a", true).await;
    process(&front.client).await;
    let [program] = alive(&mark)
        .into_iter()
        .filter(|(_, arguments)| !arguments.contains("__init"))
        .map(|(id, _)| id)
        .collect::<Vec<_>>()[..]
    else {
        panic!("one program");
    };
    crate::tree::kill(program);
    until("it is lost", async || front.missing().await.remove("a")).await;
    // Well again without a process.
    front.wait_until("a", true).await;
    assert_eq!(alive(&mark), []);
    process(&front.client).await;
    front.gateway.stop().await;
    until_gone(&mark, SOON).await;
}

#[tokio::test]
async fn a_server_with_a_call_is_not_idle() {
    let mark = mark("not-idle");
    let cache = cache();
    let backend = server(&mark, &[], json!({ "idle_stop": "50ms" }));
    let front = front(&cache, &backend).await;
    front.wait_until("a", true).await;
    let arguments = json!({ "ms": 1000 });
    let slow = front.client.call("a__delay", arguments).await;
    assert!(slow.result()["isError"] != true, "{}", slow.raw);
    until_gone(&mark, SOON).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_in_the_moment_that_a_process_is_ended_is_answered() {
    let idle = Duration::from_millis(40);
    for flags in [&[][..], &["--era", "legacy"]] {
        let mark = mark(&format!("moment-{}", flags.len()));
        let cache = cache();
        let backend = server(&mark, flags, json!({ "idle_stop": "40ms" }));
        let front = front(&cache, &backend).await;
        front.wait_until("a", true).await;
        let mut seen = BTreeSet::new();
        for number in 0..40 {
            seen.insert(process(&front.client).await);
            // Around the time after which it is ended.
            tokio::time::sleep(idle / 2 + idle * number / 20).await;
        }
        assert!(seen.len() > 1, "it was never ended");
        front.gateway.stop().await;
        until_gone(&mark, SOON).await;
    }
}

/// Calls over and over, four at a time; each is answered. Returns which processes answered.
async fn processes_of_many_calls(front: &Front, calls: usize) -> BTreeSet<u64> {
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = Client::new(front.gateway.url());
        callers.spawn(async move {
            let mut seen = BTreeSet::new();
            for _ in 0..calls / 4 {
                seen.insert(process(&client).await);
            }
            seen
        });
    }
    callers.join_all().await.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_process_that_had_its_calls_is_replaced_and_no_call_notices() {
    for flags in [&[][..], &["--era", "legacy"]] {
        let mark = mark(&format!("max-calls-{}", flags.len()));
        let cache = cache();
        let backend = server(&mark, flags, json!({ "max_calls": 20 }));
        let front = front(&cache, &backend).await;
        front.wait_until("a", true).await;
        let before = programs(&mark);
        let mut seen = BTreeSet::new();
        until("three processes in turn", async || {
            seen.extend(processes_of_many_calls(&front, 40).await);
            (seen.len() >= 3).then_some(())
        })
        .await;
        let recycled = front.metrics("switchboard_backend_recycles_total").await;
        assert!(recycled.values().sum::<f64>() >= 2.0, "{recycled:?}");
        // Those that were replaced end. A legacy server has one for its calls besides.
        let expected = before.max(1 + flags.len() / 2);
        until("as many as before", async || {
            (programs(&mark) <= expected).then_some(())
        })
        .await;
        front.gateway.stop().await;
        until_gone(&mark, SOON).await;
    }
}

#[tokio::test]
async fn a_process_that_is_old_is_replaced() {
    let mark = mark("max-age");
    let cache = cache();
    let front = front(&cache, &server(&mark, &[], json!({ "max_age": "300ms" }))).await;
    front.wait_until("a", true).await;
    let first = process(&front.client).await;
    until("another", async || {
        (process(&front.client).await != first).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_process_whose_successor_does_not_start_goes_on() {
    let cache = cache();
    let gated = Gated::open();
    let backend = gated.server(json!({ "max_calls": 5 }));
    let front = front(&cache, &backend).await;
    front.wait_until("a", true).await;
    gated.set_open(false);
    let first = process(&front.client).await;
    until("it was tried", async || {
        assert_eq!(process(&front.client).await, first);
        let output = front.gateway.server().output();
        output.contains("its process goes on").then_some(())
    })
    .await;
    assert_eq!(process(&front.client).await, first);
    gated.set_open(true);
    until("it is replaced", async || {
        (process(&front.client).await != first).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_all_there_is_started_again_after_it_was_idle() {
    let cache = cache();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let faulty = folder.path().join("faulty");
    // It answers no health check as long as the file is there.
    let keys = json!({ "idle_stop": "400ms", "health": { "interval": "50ms", "timeout": "50ms" } });
    let flags = [
        "--stop-reading",
        "--while-exists",
        faulty.to_str().expect("a path"),
    ];
    let backend = server(&mark("not-all-there"), &flags, keys);
    let front = front(&cache, &backend).await;
    front.wait_until("a", true).await;
    std::fs::write(&faulty, "").expect("a file");
    // Lost, and with it the server's will to read.
    let lost = json!({ "_meta": {}, "name": "a__echo", "arguments": {} });
    let _ = tokio::time::timeout(
        Duration::from_millis(100),
        front.client.request("tools/call", lost),
    )
    .await;
    until_ended(&front).await;
    std::fs::remove_file(&faulty).expect("a file");
    until_it_works(&front).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_process_that_ends_while_its_successor_starts_leaves_nothing() {
    let mark = mark("one-at-a-time");
    let cache = cache();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // There is one at a time: each ends the one before it.
    // What is put into the background loses its input, but for a copy.
    let script = "f=\"$1/pid\"; test -e \"$f\" && kill -9 $(cat \"$f\"); exec 3<&0; \
                  \"$0\" <&3 3<&- & echo $! > \"$f\"; wait $!";
    let backend = json!({
        "command": "sh",
        "args": ["-c", script, tools::program("faulty-server"), folder.path()],
        "env": { "MARK": mark },
        "max_calls": 3,
    });
    let front = front(&cache, &backend).await;
    front.wait_until("a", true).await;
    let mut seen = BTreeSet::new();
    until("four processes in turn", async || {
        let answer = front.client.call("a__echo", json!({})).await;
        let pid = &answer.result()["structuredContent"]["server"]["pid"];
        seen.extend(pid.as_u64());
        (seen.len() >= 4).then_some(())
    })
    .await;
    until("all but one have ended", async || {
        let servers = alive(&mark).into_iter();
        let servers = servers.filter(|(_, arguments)| arguments.starts_with('/'));
        (servers.count() <= 1).then_some(())
    })
    .await;
    front.gateway.stop().await;
    until_gone(&mark, SOON).await;
}
