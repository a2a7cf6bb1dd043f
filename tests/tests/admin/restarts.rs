//! Restarts of backends: another process, and what becomes of calls in the one before.

use serde_json::{Value, json};
use switchboard_testkit::client::{self, Client};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::commands::ended;
use switchboard_tests::front::{faulty, is_running, remote};
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Administered, PATIENCE};

#[tokio::test]
async fn a_restart_gives_another_process_and_metrics_never_go_back() {
    // A shell that works for a moment, so that there is something to count.
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; \"$0\"; true";
    let server = tools::program("faulty-server");
    let backends = json!({ "a": { "command": "sh", "args": ["-c", script, server] } });
    let admin = Administered::of(backends).await;
    let first = admin.another_than("a", None).await;
    let cpu = "switchboard_process_cpu_seconds_total{backend=\"a\"}";
    let started = "switchboard_process_start_time_seconds{backend=\"a\"}";
    // What was read lately counts for a second: the shell may have been alone then.
    let both = "switchboard_processes{backend=\"a\"}";
    let before = until("the shell and the server", async || {
        let now = admin.front.metrics("switchboard_process").await;
        (now[both] == 2.0).then_some(now)
    })
    .await;
    assert!(before[cpu] > 0.0, "{before:?}");
    assert!(before[started] > 0.0);
    let memory = "switchboard_process_resident_memory_bytes{backend=\"a\"}";
    assert!(before[memory] > 1e6, "{before:?}");
    assert_eq!(
        before["switchboard_process_write_queue{backend=\"a\"}"],
        0.0
    );

    let (status, answer) = admin.restart("a").await;
    assert_eq!(status, 202, "{answer}");
    // Calls go to the first until the second is there.
    assert_eq!(
        (&answer["state"], &answer["restarting"]),
        (&json!("ready"), &json!(true))
    );
    let mut last = before[cpu];
    let second = until("another process", async || {
        let now = admin.front.metrics("switchboard_process_cpu").await[cpu];
        assert!(now >= last, "{now} after {last}");
        last = now;
        let pid = admin.pid("a").await.filter(|pid| *pid != first)?;
        (admin.backend("a").await["state"] == "ready").then_some(pid)
    })
    .await;
    until("the first has ended", async || {
        (!is_running(first)).then_some(())
    })
    .await;
    assert!(is_running(second));
    admin.front.works("a").await;
    assert_eq!(admin.backend("a").await["restarts"], 1);
    until("what the second has used is counted too", async || {
        let now = admin.front.metrics("switchboard_process").await;
        (now[cpu] > before[cpu] && now[both] == 2.0).then_some(())
    })
    .await;
    admin.front.gateway.stop().await;
}

/// Begins a call of this tool, and waits until it is in the backend `a`.
async fn begun(
    admin: &Administered,
    tool: &'static str,
    arguments: Value,
) -> JoinHandle<client::Answer> {
    let client = Client::new(admin.front.gateway.url());
    let calling = tokio::spawn(async move { client.call(tool, arguments).await });
    until("the call is in it", async || {
        (admin.backend("a").await["in_flight"] == 1).then_some(())
    })
    .await;
    calling
}

#[tokio::test]
async fn a_call_in_a_process_that_is_restarted_is_answered_by_it() {
    for flags in [&[][..], &["--era", "legacy"]] {
        let admin = Administered::of(json!({ "a": faulty(flags) })).await;
        admin.front.wait_until("a", true).await;
        let first = admin.pid("a").await;
        let calling = begun(&admin, "a__delay", json!({ "ms": 2000 })).await;
        assert_eq!(admin.restart("a").await.0, 202);
        let client = Client::new(admin.front.gateway.url());
        // No call waits for the other, or fails.
        let mut answered = 0;
        while !calling.is_finished() {
            let answer = client.call("a__echo", json!({})).await;
            assert!(answer.result()["isError"] != true, "{}", answer.raw);
            answered += 1;
        }
        assert!(answered > 0);
        let answer = calling.await.expect("an answer");
        assert!(answer.result()["isError"] != true, "{}", answer.raw);
        admin.another_than("a", first).await;
        until("it is over", async || {
            (admin.backend("a").await["restarting"] == false).then_some(())
        })
        .await;
        admin.front.works("a").await;
        admin.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_call_in_a_process_that_is_restarted_twice_fails_and_the_next_works() {
    let admin = Administered::of(json!({ "a": faulty(&[]) })).await;
    admin.front.wait_until("a", true).await;
    let first = admin.pid("a").await;
    let calling = begun(&admin, "a__hang", json!({})).await;
    assert_eq!(admin.restart("a").await.0, 202);
    assert_eq!(admin.restart("a").await.0, 202);
    let called = timeout(PATIENCE, calling).await.expect("an answer in time");
    let answer = called.expect("an answer");
    assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
    admin.another_than("a", first).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_can_run_but_once_is_restarted_all_the_same() {
    // Another one ends while the first has the folder.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "mkdir \"$1/lock\" || exit 9; \"$0\"; rmdir \"$1/lock\"";
    let server = tools::program("faulty-server");
    let backends = json!({ "a": {
        "command": "sh",
        "args": ["-c", script, server, folder.path()],
    }});
    let admin = Administered::of(backends).await;
    let first = admin.another_than("a", None).await;
    assert_eq!(admin.restart("a").await.0, 202);
    admin.another_than("a", Some(first)).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_restart_revives_what_was_left_alone_and_ends_a_pause() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let marker = folder.path().join("mended");
    let script = "[ -e \"$1\" ] || { echo 'fatal: no mends' >&2; exit 3; }; exec \"$0\"";
    let server = tools::program("faulty-server");
    let backends = json!({ "a": {
        "command": "sh",
        "args": ["-c", script, server, &marker],
        "restarts": { "max": 1 },
    }});
    let admin = Administered::of(backends).await;
    let alone = async || {
        until("it is left alone", async || {
            let backend = admin.backend("a").await;
            (backend["state"] == "needs_attention").then_some(backend)
        })
        .await
    };
    let backend = alone().await;
    let end = backend["endpoints"][0]["last_end"]["reason"].as_str();
    let end = end.expect("its last words");
    assert!(
        end.contains("exit code 3") && end.contains("no mends"),
        "{end}"
    );
    assert_eq!(backend["endpoints"][0]["processes"], json!([]));

    // It fails once more, and says so.
    let ended = ended(admin.command(&["restart", "a"])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("exit code 3"), "{ended:?}");
    alone().await;

    std::fs::write(&marker, "").expect("the folder is ours");
    assert_eq!(admin.restart("a").await.0, 202);
    admin.another_than("a", None).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_remote_server_is_connected_again() {
    let server = FakeHttp::start(Transport::Modern, "far").await;
    let admin = Administered::of(json!({ "far": remote(server.url()) })).await;
    admin.front.wait_until("far", true).await;
    let (status, answer) = admin.restart("far").await;
    assert_eq!((status, &answer["restarting"]), (202, &json!(true)));
    until("it is connected again", async || {
        (admin.backend("far").await["restarting"] == false).then_some(())
    })
    .await;
    admin.front.works("far").await;
    admin.front.gateway.stop().await;
}
