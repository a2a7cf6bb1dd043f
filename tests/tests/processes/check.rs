//! What `check` says of local servers without starting them, and that a command is nothing but what
//! is configured.

use serde_json::json;
use switchboard_tests::front::Front;
use switchboard_tests::waiting::until;

use crate::acting::{act, acting, check, checked, front};

/// Arguments that a shell would make something of.
const NOT_FOR_A_SHELL: [&str; 7] = [
    "; touch /tmp/switchboard-was-a-shell",
    "$(touch /tmp/switchboard-was-a-shell)",
    "`id`",
    "a\nb",
    "*",
    "$HOME",
    "\"' && exit 1 # ",
];

#[tokio::test]
async fn arguments_arrive_as_they_are_configured_since_there_is_no_shell() {
    let front = front(&json!({ "args": NOT_FOR_A_SHELL.map(|arg| arg.replace('$', "$$")) })).await;
    let arguments = act(&front, json!("arguments")).await.expect("arguments");
    assert_eq!(arguments, json!(NOT_FOR_A_SHELL));
    front.gateway.stop().await;
    // A command with blanks is one name, of a program that is not there.
    let front = Front::of(json!({ "a": { "command": "sh -c true" } })).await;
    until("a reason", async || {
        let reason = front.missing().await.remove("a")?["reason"].to_string();
        reason.contains("was not found").then_some(())
    })
    .await;
    front.gateway.stop().await;
    assert!(!std::path::Path::new("/tmp/switchboard-was-a-shell").exists());
}

#[tokio::test]
async fn the_exact_command_is_shown_and_nothing_that_may_be_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("switchboard.yaml");
    let text = "backends:\n  a:\n    command: a-server\n    args: [--port, '8080', \"--token=${SECRET_TOKEN:-hunter2hunter2}\"]\n    env: { KEY: hunter3hunter3 }\n    cwd: .\n    sandbox: { read: [data], network: { tcp_ports: [443] } }\n";
    std::fs::write(&file, text).expect("the folder is ours");
    let output = check(&file, &[], "").await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        r#"["a-server","--port","8080","[from a variable]"]"#,
        "KEY",
        "PATH",
        "memory 2 GiB (",
        "processes 1024 (",
        "open files 1024 (rlimit)",
        "network TCP ports [443]",
        "backends.a.sandbox.read[0]",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let output = check(&file, &["--format", "json"], "").await;
    let json = String::from_utf8_lossy(&output.stdout).into_owned();
    for said in [&text, &json] {
        assert!(!said.contains("hunter"), "{said}");
    }
    let report: serde_json::Value = serde_json::from_str(&json).expect("a report");
    let process = &report["processes"][0];
    let data = folder.path().join("data");
    let read = process["sandbox"]["read"].as_array().expect("paths");
    assert!(read.contains(&json!(data)), "{process:#}");
    assert!(read.contains(&json!("/usr")), "{process:#}");
}

#[tokio::test]
async fn what_this_machine_cannot_hold_is_a_warning_or_an_error_where_it_is_required() {
    let limits = acting(&json!({ "limits": { "cpu": 1.5 } }));
    let (report, code) = checked("cgroups", &limits).await;
    assert_eq!(code, Some(0), "{report:#}");
    let warned = report["warnings"].to_string();
    assert!(warned.contains("backends.a.limits.cpu"), "{report:#}");
    let memory = &report["processes"][0]["limits"][0];
    assert_eq!(memory["heldBy"], "looked at each second", "{report:#}");

    for (sandbox, code) in [
        (json!({ "network": "all" }), 0),
        (json!({ "network": "all", "require": true }), 1),
    ] {
        let (report, ended) = checked("landlock", &acting(&json!({ "sandbox": sandbox }))).await;
        assert_eq!(ended, Some(code), "{report:#}");
        let (said, list) = match code {
            0 => ("sandbox.files", &report["warnings"]),
            _ => ("sandbox.require", &report["refused"]),
        };
        assert!(list.to_string().contains(said), "{report:#}");
    }
}
