//! Configurations that do not start.

use serde_json::{Value, json};
use switchboard_tests::commands::{Ended, ended, switchboard};
use switchboard_tests::keys::entry_of;

async fn check(config: &Value) -> Ended {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("switchboard.json");
    std::fs::write(&file, config.to_string()).expect("the folder is ours");
    let mut command = switchboard(&["check", "-c"]);
    command.arg(&file);
    ended(command).await
}

async fn refusal(config: Value) -> String {
    let ended = check(&config).await;
    assert_eq!(ended.code, Some(2), "{config}: {ended:?}");
    ended.said()
}

#[tokio::test]
async fn secrets_that_are_none_do_not_start() {
    for text in [
        "",
        "changeme",
        "secret",
        "password",
        "test",
        "admin",
        "your-api-key",
    ] {
        for section in ["auth", "admin"] {
            let key = entry_of("a", text);
            let message = refusal(json!({ section: { "api_keys": [key] } })).await;
            assert!(message.contains("openssl rand -base64 32"), "{message}");
        }
    }
    for key in ["0".repeat(32), "changeme".repeat(8), "ab".repeat(32)] {
        let message = refusal(json!({ "server": { "sealing_keys": [key] } })).await;
        assert!(message.contains("openssl rand -base64 32"), "{message}");
        assert!(!message.contains(&key), "{message}");
    }
}

#[tokio::test]
async fn what_nobody_could_use_does_not_start() {
    let issuer = json!({ "issuer": "https://id.example.com" });
    let message = refusal(json!({
        "server": { "listen": "0.0.0.0:8080" },
        "auth": { "jwt": [issuer] },
    }))
    .await;
    assert!(message.contains("server.public_url"), "{message}");
    let message = refusal(json!({ "auth": { "mtls": {} } })).await;
    assert!(message.contains("client_ca"), "{message}");
    let message = refusal(json!({ "server": { "listen": "0.0.0.0:8080" } })).await;
    assert!(message.contains("`jwt`"), "{message}");
    let insecure = json!({ "issuer": "http://id.example.com" });
    refusal(json!({ "auth": { "jwt": [insecure] } })).await;
    let confused = json!({ "issuer": "https://id.example.com", "algorithms": ["HS256"] });
    refusal(json!({ "auth": { "jwt": [confused] } })).await;
    refusal(json!({ "auth": { "jwt": [issuer, issuer] } })).await;
    refusal(json!({ "auth": {} })).await;
}
