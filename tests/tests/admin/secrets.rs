//! What a server said last may have secrets of the configuration in it, which operators are not shown.

use serde_json::{Value, json};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::waiting::until;

use super::{Administered, LIST, config};

/// So short that nobody takes it for a credential by what it looks like.
const SECRET: &str = "of-another-server-5d81";

/// A server that repeats the credential of another one, and ends.
fn telling() -> Value {
    let script = format!("echo 'error: cannot open with {SECRET}' >&2; exit 3");
    json!({
        "telling": { "command": "sh", "args": ["-c", script] },
        // Nobody listens at port 1.
        "other": { "url": "http://127.0.0.1:1/mcp", "headers": { "authorization": format!("Bearer {SECRET}") } },
    })
}

fn assert_redacted(shown: &str) {
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(
        shown.contains("cannot open with [redacted:secret]"),
        "{shown}"
    );
}

#[tokio::test]
async fn operators_are_told_why_a_server_is_not_there_without_secrets() {
    let admin = Administered::of(telling()).await;
    let backend = until("why it is not there", async || {
        let backend = admin.backend("telling").await;
        backend["endpoints"][0]["last_end"]
            .is_object()
            .then_some(backend)
    })
    .await;
    let endpoint = &backend["endpoints"][0];
    for reason in [
        &backend["reason"],
        &endpoint["reason"],
        &endpoint["last_end"]["reason"],
    ] {
        assert_redacted(reason.as_str().expect("a reason"));
    }
    let (_, all) = admin.ask("GET", LIST).await;
    assert_redacted(&all.to_string());
    let table = ended(admin.command(&[])).await;
    assert_redacted(&table.stdout);
    let screen = until("the first screen", async || {
        let output = admin.front.gateway.server().output();
        output.contains("claude mcp add").then_some(output)
    })
    .await;
    assert_redacted(&screen);
    // Looking at it is not what makes a server give secrets away.
    let counted = admin.front.metrics("switchboard_redactions_total").await;
    assert!(
        !counted.keys().any(|name| name.contains("place=\"\"")),
        "{counted:?}"
    );
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_check_says_why_a_server_is_not_there_without_secrets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("switchboard.json");
    std::fs::write(&file, config(&telling()).to_string()).expect("the folder is ours");
    for format in ["text", "json"] {
        let mut command = switchboard(&["check", "--connect", "--format", format, "-c"]);
        command.arg(&file);
        let checked = ended(command).await;
        assert_eq!(checked.code, Some(1), "{checked:?}");
        let reasons = checked
            .stdout
            .lines()
            .filter(|line| line.contains("cannot open with [") || line.contains("telling: "));
        assert_redacted(&reasons.collect::<String>());
    }
}
