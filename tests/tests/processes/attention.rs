//! A server that keeps ending: what is said of it, and when it is left alone.

use serde_json::{Value, json};
use switchboard_tests::front::Front;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;

/// A shell that runs this, with a secret in its environment.
fn shell(script: &str) -> Value {
    let server = tools::program("faulty-server");
    json!({
        "command": "sh",
        "args": ["-c", script, server],
        "env": { "KEY": "hunter2-hunter2" },
    })
}

#[tokio::test]
async fn a_server_that_keeps_ending_is_left_alone_until_the_configuration_is_loaded_again() {
    let mut a = shell("echo \"Error: no /srv/data/a.db for $KEY\" >&2; exit 3");
    a["restarts"] = json!({ "max": 1 });
    let config = json!({ "server": { "watch_config": false }, "backends": { "a": a } });
    let front = Front::start(config.clone()).await;
    let needs_attention = async || {
        until("it is left alone", async || {
            let missing = front.missing().await.remove("a")?;
            (missing["state"] == "needs_attention").then_some(missing)
        })
        .await
    };
    let missing = needs_attention().await;
    assert_eq!(
        missing["reason"],
        "it failed 2 times within 1m and is left alone for 5 minutes; the last time: \
         its process ended with exit code 3: Error: no …/a.db for [redacted]"
    );
    // The log has the whole of it, but for the secret.
    let output = front.gateway.server().output();
    assert!(output.contains("/srv/data/a.db for [redacted]"), "{output}");
    assert!(!output.contains("hunter2"), "{output}");

    front.gateway.rewrite(config);
    front.gateway.hang_up();
    until("another try", async || {
        (front.missing().await.get("a")?["state"] != "needs_attention").then_some(())
    })
    .await;
    needs_attention().await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_call_in_flight_fails_with_the_servers_last_words() {
    let script = "\"$0\" --exit-on-call 7; printf 'fatal: disk\\033[31m full\\a\\n' >&2; exit 7";
    let front = Front::of(json!({ "a": shell(script) })).await;
    front.wait_until("a", true).await;
    let answer = front.client.call("a__echo", json!({})).await;
    let text = answer.result()["content"][0]["text"].to_string();
    assert!(
        text.contains("its process ended with exit code 7"),
        "{text}"
    );
    assert!(text.contains("fatal: disk full"), "{text}");
    assert!(!text.contains("\\u001b"), "{text}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_log_has_the_levels_of_the_servers_own() {
    let script =
        "echo '[warn] careful' >&2; echo '{\"level\":\"error\",\"msg\":\"gone\"}' >&2; \"$0\"";
    let front = Front::of(json!({ "a": shell(script) })).await;
    front.wait_until("a", true).await;
    let output = until("both lines", async || {
        let output = front.gateway.server().output();
        (output.contains("careful") && output.contains("gone")).then_some(output)
    })
    .await;
    for (level, text) in [("WARN", "careful"), ("ERROR", "gone")] {
        let found = output
            .lines()
            .any(|line| line.contains(level) && line.contains(text));
        assert!(found, "{output}");
    }
    front.gateway.stop().await;
}
