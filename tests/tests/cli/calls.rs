//! `switchboard tools` and `call`, at a gateway that runs, or does not.

use std::path::Path;

use serde_json::json;
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::faulty;
use switchboard_tests::keys::entry_of;
use switchboard_tests::tunnel::tunnel_to;
use switchboard_tests::waiting::until;

use super::{Place, quickstart, run, serve};

#[tokio::test]
async fn the_quickstart_answers_a_tool_call() {
    let server = serve(&quickstart()).await;
    let called = run(&[
        "call",
        "toolbox__calculate",
        r#"{"expression": "2 * (3 + 4)"}"#,
        "--url",
        server.url(),
    ])
    .await;
    called.assert_code(0);
    assert!(called.stdout.contains("14"), "{called:#?}");
    assert_eq!(called.stderr, "");

    let note = json!({ "title": "Tea", "text": "is at five" }).to_string();
    let called = run(&["call", "notes__add_note", &note, "--url", server.url()]).await;
    called.assert_code(0);
    let called = run(&["call", "notes__list_notes", "--url", server.url()]).await;
    assert!(called.assert_code(0).stdout.contains("Tea"), "{called:#?}");

    // The first screen: what listens, what is behind it, and what to paste.
    until("the whole first screen", async || {
        server
            .output()
            .contains("switchboard tools --url")
            .then_some(())
    })
    .await;
    let screen = server.output();
    for part in [
        server.url(),
        "notes",
        "toolbox",
        "modern",
        "2026-07-28",
        "5 tools",
        "claude mcp add",
    ] {
        assert!(screen.contains(part), "{part} is not in:\n{screen}");
    }
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn tools_are_listed_with_what_they_do() {
    let server = serve(&quickstart()).await;
    let listed = run(&["tools", "--url", server.url()]).await;
    listed.assert_code(0);
    for line in ["toolbox__calculate", "notes__add_note"] {
        assert!(
            listed.stdout.lines().any(|found| found == line),
            "{listed:#?}"
        );
    }
    assert!(
        listed.stdout.contains("    Evaluate an arithmetic"),
        "{listed:#?}"
    );

    let mut command = switchboard(&["tools"]);
    command.env("SWITCHBOARD_URL", server.url());
    assert_eq!(ended(command).await.assert_code(0).stdout, listed.stdout);
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_call_that_fails_says_why_and_ends_with_1() {
    let server = serve(&quickstart()).await;
    let call = async |name: &str, arguments: &str| {
        run(&["call", name, arguments, "--url", server.url()]).await
    };
    let unknown = call("toolbox__calculat", "{}").await;
    unknown.assert_code(1);
    let hint = "did you mean toolbox__calculate?";
    assert!(unknown.stderr.contains(hint), "{unknown:#?}");
    let failed = call("toolbox__calculate", r#"{"expression": "2 * ("}"#).await;
    failed.assert_code(1);
    assert!(failed.stdout.contains("Expected"), "{failed:#?}");

    for wrong in ["nonsense", "{", "[]", "3", "\"text\"", "null"] {
        let refused = call("toolbox__calculate", wrong).await;
        refused.assert_code(2);
        assert_eq!(refused.stdout, "", "{wrong}: {refused:#?}");
        assert!(refused.stderr.contains("JSON"), "{wrong}: {refused:#?}");
    }
    let arguments = r#"{"expression": "1 + 1"}"#;
    let whole = run(&[
        "call",
        "toolbox__calculate",
        arguments,
        "--json",
        "--url",
        server.url(),
    ])
    .await;
    let whole = whole.assert_code(0).json();
    assert_eq!(
        whole["structuredContent"],
        json!({ "result": 2 }),
        "{whole}"
    );
    assert_eq!(whole["resultType"], "complete", "{whole}");

    let url = server.url().to_owned();
    assert!(server.stop().await.success());
    for arguments in [&["tools", "--url", &url][..], &["call", "x", "--url", &url]] {
        let nobody = run(arguments).await;
        nobody.assert_code(1);
        assert!(nobody.stderr.contains("switchboard serve"), "{nobody:#?}");
    }
}

#[tokio::test]
async fn servers_that_are_away_are_named_and_their_tools_can_be_called() {
    let place = Place::new();
    let config = json!({ "backends": {
        "f": faulty(&[]),
        "gone": { "command": "there-is-no-such-program-8c2f" },
    } });
    let server = serve(Path::new(&place.write("a.json", &config.to_string()))).await;
    let listed = run(&["tools", "--url", server.url()]).await;
    let said = &listed.assert_code(0).stdout;
    assert!(said.lines().any(|line| line == "f__echo"), "{listed:#?}");
    assert!(said.contains("gone: unavailable since 2"), "{listed:#?}");

    let called = run(&["call", "gone__x", "--url", server.url()]).await;
    called.assert_code(1);
    assert!(called.stdout.contains("\"gone\""), "{called:#?}");
    assert!(!called.stderr.contains("there is no tool"), "{called:#?}");
    let called = run(&["call", "f__ecoh", "--url", server.url()]).await;
    called.assert_code(1);
    assert!(
        called.stderr.contains("did you mean f__echo?"),
        "{called:#?}"
    );
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_key_is_taken_from_the_environment_or_the_command_line() {
    const KEY: &str = "a-key-nobody-sees-5c11";
    let place = Place::new();
    let config = json!({
        "auth": { "api_keys": [entry_of("anna", KEY)] },
        "backends": { "f": faulty(&[]) },
    });
    let server = serve(Path::new(&place.write("a.json", &config.to_string()))).await;
    let arguments = ["call", "f__echo", "{}", "--url", server.url()];

    let mut command = switchboard(&arguments);
    command.env("SWITCHBOARD_API_KEY", KEY);
    ended(command).await.assert_code(0);
    let with_key = [&arguments[..], &["--api-key", KEY]].concat();
    run(&with_key).await.assert_code(0);
    let without = run(&arguments).await;
    let advice = "401: give --api-key or SWITCHBOARD_API_KEY";
    assert!(
        without.assert_code(1).stderr.contains(advice),
        "{without:#?}"
    );
    let wrong = [&arguments[..], &["--api-key", "another-key-0aa7"]].concat();
    let refused = run(&wrong).await;
    refused.assert_code(1);
    assert!(refused.stderr.contains(advice), "{refused:#?}");
    assert!(!refused.stderr.contains("another-key-0aa7"), "{refused:#?}");

    let mut command = switchboard(&["call", "--help"]);
    command.env("SWITCHBOARD_API_KEY", KEY);
    let help = ended(command).await;
    assert!(!help.assert_code(0).stdout.contains(KEY), "{help:#?}");
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn who_comes_under_a_name_that_is_not_answered_is_told_where_to_add_it() {
    let place = Place::new();
    let config = json!({ "backends": { "f": faulty(&[]) } });
    let server = serve(Path::new(&place.write("a.json", &config.to_string()))).await;
    let authority = server.url().strip_prefix("http://").expect("plain HTTP");
    let tunnel = tunnel_to(authority.trim_end_matches("/mcp")).await;
    let refused = run(&["tools", "--url", &format!("http://{tunnel}/mcp")]).await;
    let expected = format!("`server.allowed_hosts` lacks {tunnel}");
    assert!(
        refused.assert_code(1).stderr.contains(&expected),
        "{refused:#?}"
    );
    assert!(server.stop().await.success());
}
