//! `switchboard backends`: what it prints, and what it says is wrong.

use std::process::Stdio;

use serde_json::{Value, json};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::faulty;
use switchboard_tests::tunnel::tunnel_to;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::{Administered, PATIENCE};

#[tokio::test]
async fn the_command_prints_a_table_or_json_and_restarts() {
    let admin =
        Administered::of(json!({ "a": faulty(&[]), "gone": { "command": "no-such-program" } }))
            .await;
    let first = admin.another_than("a", None).await;
    let table = ended(admin.command(&[])).await;
    assert_eq!(table.code, Some(0), "{table:?}");
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("NAME "), "{table:?}");
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(cells[..4], ["a", "ready", "stdio", &first.to_string()]);
    assert!(lines[2].contains("was not found"), "{table:?}");

    let as_json = ended(admin.command(&["--format", "json"])).await;
    let value: Value = serde_json::from_str(&as_json.stdout).expect("JSON");
    assert_eq!(
        value["backends"][0]["endpoints"][0]["processes"][0]["pid"],
        first
    );

    let restarted = ended(admin.command(&["restart", "a"])).await;
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let second = admin.pid("a").await.expect("a process");
    assert_ne!(second, first);
    assert_eq!(restarted.stdout, format!("a is ready, process {second}\n"));

    // Watched by a program, it prints a line each second.
    let mut command = admin.command(&["--watch", "--format", "json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    for _ in 0..2 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time");
        let line = line.expect("a line").expect("a line");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["backends"][0]["name"], "a");
    }
    watching.kill().await.expect("it runs");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn the_command_says_what_is_wrong() {
    let admin = Administered::of(json!({})).await;
    let mut command = admin.command(&[]);
    command.env_remove("SWITCHBOARD_ADMIN_KEY");
    let no_key = ended(command).await;
    assert_eq!(no_key.code, Some(1));
    assert!(
        no_key.stderr.contains("SWITCHBOARD_ADMIN_KEY"),
        "{no_key:?}"
    );
    let wrong_key = ended(admin.command(&["--key", "wrong"])).await;
    assert_eq!(wrong_key.code, Some(1));
    assert!(wrong_key.stderr.contains("another key"), "{wrong_key:?}");
    assert!(!wrong_key.stderr.contains("wrong"), "{wrong_key:?}");
    let of_clients = admin.front.gateway.url();
    let elsewhere = ended(admin.command(&["--url", of_clients])).await;
    assert!(
        elsewhere.stderr.contains("there is no admin API"),
        "{elsewhere:?}"
    );
    let url = admin.url.clone();
    let authority = url.strip_prefix("http://").expect("plain HTTP");
    let tunnel = tunnel_to(authority.trim_end_matches('/')).await;
    let tunnelled = ended(admin.command(&["--url", &format!("http://{tunnel}")])).await;
    assert_eq!(tunnelled.code, Some(1));
    let expected = format!("`server.allowed_hosts` lacks {tunnel}");
    assert!(tunnelled.stderr.contains(&expected), "{tunnelled:?}");
    admin.front.gateway.stop().await;
    let away = ended(switchboard(&["backends", "--url", &url])).await;
    assert_eq!(away.code, Some(1));
    assert!(away.stderr.contains("switchboard serve"), "{away:?}");
}

#[tokio::test]
async fn the_command_finds_the_address_in_the_configuration_or_says_what_to_add() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("switchboard.yaml");
    let asked = async |text: &str| {
        std::fs::write(&file, text).expect("the folder is ours");
        let mut command = switchboard(&["backends"]);
        command.current_dir(folder.path());
        ended(command).await
    };
    let none = asked("backends: {}\n").await;
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("sha256sum"), "{none:?}");
    let digest = "de4275e478bbf76c6f76bf15cfde3bbadfc1f3d9b098a6ed630c05e28471968b";
    let keys = format!("admin: {{ api_keys: [{{ name: ops, key_sha256: \"{digest}\" }}] }}\n");
    let off = asked(&format!("server: {{ admin_listen: off }}\n{keys}")).await;
    assert!(off.stderr.contains("is `off`"), "{off:?}");
    // Nobody listens at port 1.
    let found = asked(&format!(
        "server: {{ admin_listen: \"127.0.0.1:1\" }}\n{keys}"
    ))
    .await;
    assert!(found.stderr.contains("http://127.0.0.1:1/"), "{found:?}");
    let without = asked("server: { admin_listen: \"127.0.0.1:1\" }\n").await;
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("admin.api_keys"), "{without:?}");
}
