//! Standard error of any volume.

use serde_json::json;
use switchboard_tests::front::Front;
use switchboard_tests::waiting::until;

use super::{GIB, assert_flat, did, front, misbehave, misbehaving, process};

/// What the log says at the end of a second in which it left something out.
const LEFT_OUT: &str = "the server writes more to its standard error than is logged";

async fn one_gib(in_one_line: bool, left_out: &str) {
    let front = front(misbehaving("modern")).await;
    let (process_before, before) = (process(&front).await, front.memory().peak);
    let evil = json!({ "evil": "stderr", "bytes": GIB, "in_one_line": in_one_line });
    did(&misbehave(&front, evil).await);
    assert_eq!(process(&front).await, process_before);
    assert_flat(&front, before, "1 GiB of standard error");
    until("how much was left out", async || {
        let output = front.gateway.server().output();
        output
            .lines()
            .any(|line| line.contains(LEFT_OUT) && line.contains(left_out))
            .then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn standard_error_of_one_gib_stalls_nobody() {
    one_gib(false, "lines_left_out").await;
}

#[tokio::test]
async fn a_line_of_one_gib_on_standard_error_stalls_nobody() {
    one_gib(true, "bytes_left_out").await;
}

#[tokio::test]
async fn a_secret_is_taken_out_wherever_a_long_line_is_cut() {
    let secret = "hunter2-hunter2-hunter2-hunter2";
    // The secret begins at each distance from where lines are cut, before it and behind it.
    let script = "i=8150; while [ $i -lt 8250 ]; do \
        printf '%*s%s%*s\\n' $i '' \"$KEY\" 500 '' | tr ' ' x >&2; i=$((i+3)); done; exit 3";
    let bad = json!({ "command": "sh", "args": ["-c", script], "env": { "KEY": secret } });
    let front = Front::of(json!({ "bad": bad })).await;
    until("its end", async || {
        let missing = front.missing().await.remove("bad")?;
        (missing["reason"].as_str()?.contains("exit code 3")).then_some(())
    })
    .await;
    let output = front.gateway.server().output();
    assert!(output.contains("xxxx"), "{output}");
    for part in ["hunter", "unter2", "ter2-h"] {
        assert!(!output.contains(part), "{output}");
    }
    front.gateway.stop().await;
}
