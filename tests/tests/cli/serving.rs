//! `switchboard serve`: what it says of its servers, and how it ends.

use std::path::{Path, PathBuf};

use rcgen::generate_simple_self_signed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use switchboard_testkit::client::Client;
use switchboard_testkit::fake_http::RefusedPort;
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::{descendants, faulty, is_running};
use switchboard_tests::gateway::Gateway;
use switchboard_tests::waiting::until;

use super::{OPS_OFF, Place, crowded, quickstart, run, serve};

#[tokio::test]
async fn the_log_says_what_each_server_is_and_how_that_was_found_out() {
    let place = Place::new();
    let config = json!({ "backends": crowded() }).to_string();
    let server = serve(place.write("a.json", &config).as_ref()).await;
    for (backend, parts) in [
        ("one", ["era=\"modern\"", "version=\"2026-07-28\""]),
        ("three", ["era=\"legacy\"", "version=\"2025-11-25\""]),
    ] {
        let line = until("the line of the server", async || {
            let is_meant = |line: &&str| {
                line.contains(" ready ") && line.contains(&format!("backend={backend} "))
            };
            server.output().lines().find(is_meant).map(str::to_owned)
        })
        .await;
        for part in parts
            .into_iter()
            .chain(["server/discover", "offers=\"tools"])
        {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
    assert!(server.stop().await.success());
}

/// A server whose certificate nobody has vouched for.
async fn untrusted(folder: &Place) -> Gateway {
    let pair = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let cert = folder.write("cert.pem", &pair.cert.pem());
    let key = folder.write("key.pem", &pair.signing_key.serialize_pem());
    Gateway::start(json!({ "server": { "tls": { "cert": cert, "key": key } } })).await
}

#[tokio::test]
async fn why_a_server_cannot_be_reached_is_said_to_operators_and_to_nobody_else() {
    let place = Place::new();
    let refused = RefusedPort::take();
    let untrusted = untrusted(&place).await;
    // The system accepts for it, and nobody ever answers.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let silent = silent.expect("a free port");
    let silent_at = silent.local_addr().expect("a bound address").to_string();
    let refused_at = refused.url().trim_start_matches("http://").to_owned();
    let refused_at = refused_at.trim_end_matches("/mcp");
    let causes = [
        ("refused", format!("{refused_at}: connection refused")),
        ("unknown", "nosuch.invalid: name not found".to_owned()),
        (
            "untrusted",
            "the certificate of 127.0.0.1 is not trusted: ".to_owned(),
        ),
        ("silent", format!("{silent_at}: no answer within 500ms")),
    ];
    let config = json!({ "backends": {
        "refused": { "url": refused.url() },
        "unknown": { "url": "http://nosuch.invalid/mcp" },
        "untrusted": { "url": untrusted.url() },
        "silent": { "url": format!("https://{silent_at}/mcp"), "connect_timeout": "500ms" },
    } });
    let file = place.write("a.json", &config.to_string());

    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(1).json();
    for backend in report["backends"].as_array().expect("backends") {
        let (_, cause) = causes
            .iter()
            .find(|(name, _)| backend["name"] == *name)
            .expect("a known backend");
        let reason = backend["reason"].as_str().expect("a reason");
        assert!(reason.contains(cause), "{cause} is not in {backend:#}");
    }
    let text = run(&["check", "-c", &file, "--connect"]).await;
    assert!(!text.assert_code(1).stdout.contains("log"), "{text:#?}");

    let server = serve(Path::new(&file)).await;
    for (name, cause) in &causes {
        let is_said =
            |line: &str, beginning: &str| line.contains(beginning) && line.contains(cause);
        until("the cause is in the log and on the screen", async || {
            let said = server.output();
            let logged =
                |line: &str| is_said(line, " WARN ") && line.contains(&format!("backend={name} "));
            let shown = |line: &str| is_said(line, &format!("    {name}"));
            (said.lines().any(logged) && said.lines().any(shown)).then_some(())
        })
        .await;
    }
    let client = Client::new(server.url());
    for (name, cause) in &causes {
        let listed = client.request("tools/list", json!({})).await;
        let called = client
            .request(
                "tools/call",
                json!({ "name": format!("{name}__x"), "arguments": {} }),
            )
            .await;
        for told in [&listed.raw, &called.raw] {
            assert!(told.contains("no connection to the server"), "{told}");
            assert!(!told.contains(cause), "{told}");
        }
    }
    assert!(server.stop().await.success());
    untrusted.stop().await;
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    let unknown = run(&["example-server", "nope"]).await;
    unknown.assert_code(2);
    for known in ["nope", "notes", "toolbox"] {
        assert!(unknown.stderr.contains(known), "{unknown:#?}");
    }
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["call"],
        &["example-server"],
        &["check", "--format", "xml"],
        &["tools", "--url", "not a url"],
        &["serve", "--listen", "nowhere"],
    ] {
        let refused = run(arguments).await;
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:#?}");
        assert!(!refused.stderr.is_empty(), "{arguments:?}: {refused:#?}");
    }
    for arguments in [["--help"], ["--version"]] {
        let answered = run(&arguments).await;
        assert!(answered.assert_code(0).stdout.contains("switchboard"));
    }
}

#[tokio::test]
async fn an_address_that_is_taken_ends_with_1() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("a bound address").to_string();
    let quickstart = quickstart();
    let file = quickstart.to_str().expect("a path in UTF-8");
    let mut command = switchboard(&["serve", "-c", file, "--listen", &address]);
    command.envs([OPS_OFF]);
    let failed = ended(command).await;
    failed.assert_code(1);
    let said = format!("server.listen: cannot listen on {address}: ");
    assert!(failed.stderr.contains(&said), "{failed:#?}");
    assert!(failed.stderr.contains("choose another port"), "{failed:#?}");
}

#[tokio::test]
async fn a_signal_ends_it_with_0_and_leaves_no_children() {
    let place = Place::new();
    let config = json!({ "backends": {
        "good": faulty(&[]),
        "family": faulty(&["--grandchild"]),
        "stubborn": faulty(&["--grandchild", "--ignore-stdin-close", "--ignore-sigterm"]),
    } });
    let stubborn = place.write("stubborn.json", &config.to_string());
    // Each server has an owner.
    for (config, children, signal) in [
        (quickstart(), 4, Signal::TERM),
        (quickstart(), 4, Signal::INT),
        (PathBuf::from(stubborn), 8, Signal::TERM),
    ] {
        let server = serve(&config).await;
        let id = server.id().expect("a running gateway");
        let below = until("all children", async || {
            let below = descendants(id);
            (below.len() == children).then_some(below)
        })
        .await;
        let process = i32::try_from(id).ok().and_then(Pid::from_raw);
        kill_process(process.expect("a process id"), signal).expect("it runs");
        // Asked twice: the second signal must change nothing.
        let status = server.stop().await;
        assert_eq!(status.code(), Some(0), "{}: {status}", config.display());
        let left: Vec<u32> = below.into_iter().filter(|id| is_running(*id)).collect();
        assert!(left.is_empty(), "{}: {left:?}", config.display());
    }
}
