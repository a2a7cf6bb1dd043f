//! A server that does not read.

use std::time::Duration;

use serde_json::json;
use switchboard_tests::front::faulty;
use switchboard_tests::waiting::until;
use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{PROMPT, assert_flat, counted, front, process};

/// More than wait to be written to one process, and than its pipe takes.
const CALLERS: usize = 400;

#[tokio::test]
async fn a_server_that_does_not_read_blocks_only_itself() {
    let file = NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("a path in UTF-8").to_owned();
    let mut bad = faulty(&["--stop-reading", "--while-exists", &path]);
    bad["timeout"] = json!("2s");
    bad["breaker"] = json!({ "consecutive_failures": 1000, "min_calls": 1000 });
    let front = front(bad).await;
    let before = front.memory().peak;
    let filling = "x".repeat(16 * 1024);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (client, arguments) = (front.client.clone(), json!({ "text": filling }));
        callers.spawn(async move {
            let began = Instant::now();
            let answer = client.call("bad__echo", arguments).await;
            (began.elapsed(), answer)
        });
    }
    let all = async {
        while let Some(answered) = callers.join_next().await {
            let (took, answer) = answered.expect("an answer");
            assert!(took < PROMPT + Duration::from_secs(4), "{took:?}");
            let code = answer.fault()["code"].as_u64();
            assert!(matches!(code, Some(429 | 503 | 504)), "{}", answer.raw);
            let outcome = answer.fault()["outcome"].as_str();
            assert!(outcome.is_some(), "{}", answer.raw);
        }
    };
    front.beside("good", PROMPT, all).await;
    file.close().expect("the file is ours");
    let replaced = async || {
        let restarts = counted(&front, "switchboard_backend_restarts_total", "").await;
        (restarts >= 1.0).then_some(())
    };
    front
        .beside("good", PROMPT, until("it is replaced", replaced))
        .await;
    let output = front.gateway.server().output();
    assert!(output.contains("the server no longer reads"), "{output}");
    front.wait_until("bad", true).await;
    process(&front).await;
    assert_flat(&front, before, "calls that are not read");
    front.gateway.stop().await;
}
