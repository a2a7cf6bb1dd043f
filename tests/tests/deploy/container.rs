//! The Dockerfile, and the commands of the program that are for containers.

use std::process::{Command, Stdio};

use serde_json::json;
use switchboard_testkit::client::Client;
use switchboard_tests::front::{Front, remote};
use switchboard_tests::process::Server;
use switchboard_tests::tools;

use crate::{ended, in_repository, output_of, read, switchboard};

#[test]
fn the_dockerfile_pleases_its_linter() {
    output_of(Command::new(tools::deploy("hadolint")).arg(in_repository("Dockerfile")));
}

#[test]
fn the_image_gets_what_is_named_and_nothing_else() {
    let ignore = read(&in_repository(".dockerignore"));
    let rules: Vec<&str> = ignore
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(rules.first(), Some(&"*"));
    for secret in [".env", ".git", ".cache", "target"] {
        assert!(!rules.contains(&format!("!{secret}").as_str()), "{secret}");
    }
    let dockerfile = read(&in_repository("Dockerfile"));
    let stages = dockerfile.split("\nFROM ").skip(2);
    for stage in stages {
        for line in [
            "USER 65532:65532",
            "HEALTHCHECK",
            "CMD [\"/usr/local/bin/switchboard\", \"health\"]",
        ] {
            assert!(stage.contains(line), "{line} in {stage}");
        }
    }
}

fn health(arguments: &[&str]) -> (Option<i32>, String) {
    let output = ended(
        switchboard()
            .arg("health")
            .args(arguments)
            .stdin(Stdio::null()),
    );
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_by_its_exit_code_how_a_gateway_is() {
    let front = Front::of(json!({})).await;
    let metrics = front.metrics_url().to_owned();
    let ops = metrics
        .strip_suffix("/metrics")
        .expect("its path")
        .to_owned();
    assert_eq!(health(&["--url", &ops]), (Some(0), "ok\n".to_owned()));
    assert_eq!(
        health(&["--url", &ops, "--ready"]),
        (Some(0), "ready\n".to_owned())
    );
    front.gateway.stop().await;
    let (code, said) = health(&["--url", &ops]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing answers there"), "{said}");
    let (code, said) = health(&["--url", "https://127.0.0.1:9464"]);
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(health(&["--timeout", "0"]).0, Some(2));
}

/// Starts an example server over HTTP.
async fn example(name: &str) -> Server {
    let mut command = tokio::process::Command::new(tools::program("switchboard"));
    command.args(["example-server", name, "--listen", "127.0.0.1:0"]);
    Server::start(command).await
}

#[tokio::test]
async fn the_example_servers_stand_behind_the_gateway_over_http() {
    let (notes, toolbox) = (example("notes").await, example("toolbox").await);
    let front =
        Front::of(json!({ "notes": remote(notes.url()), "toolbox": remote(toolbox.url()) })).await;
    front.gateway.wait_for_backends().await;
    let sum = front
        .client
        .call("toolbox__calculate", json!({ "expression": "6*7" }))
        .await;
    assert_eq!(
        sum.result()["structuredContent"]["result"],
        42.0,
        "{}",
        sum.raw
    );
    let note = json!({ "title": "Tea", "text": "is at five" });
    front.client.call("notes__add_note", note).await;
    let found = front
        .client
        .call("notes__search_notes", json!({ "query": "tea" }))
        .await;
    assert!(found.raw.contains("is at five"), "{}", found.raw);
    front.gateway.stop().await;

    // A page in a browser whose name points here is refused, by its host and by its origin.
    let http = reqwest::Client::new();
    for (header, value) in [
        ("host", "evil.example.com"),
        ("origin", "http://evil.example.com"),
    ] {
        let answer = http.post(toolbox.url()).header(header, value).send().await;
        assert_eq!(answer.expect("an answer").status(), 403, "{header}");
    }
    // One that is asked directly, too.
    let answer = Client::new(notes.url()).call("list_notes", json!({})).await;
    assert!(answer.raw.contains("Tea"), "{}", answer.raw);
    assert!(notes.stop().await.success());
    assert!(toolbox.stop().await.success());
}
