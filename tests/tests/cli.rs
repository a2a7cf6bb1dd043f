//! The `switchboard` command as a person uses it: what it prints, and how it ends.

use std::path::{Path, PathBuf};

use rcgen::generate_simple_self_signed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_tests::commands::{Ended, ended, switchboard};
use switchboard_tests::front::{descendants, faulty, is_running, until};
use switchboard_tests::gateway::Gateway;
use switchboard_tests::keys::{digest_of, entry_of, key_of};
use switchboard_tests::process::Server;
use switchboard_tests::tools;
use switchboard_tests::tunnel::tunnel_to;
use tempfile::TempDir;

const OPS_OFF: (&str, &str) = ("SWITCHBOARD_SERVER__OPS_LISTEN", "off");
/// The longest name that clients are shown by default.
const MAX_NAME: usize = 46;

async fn run(arguments: &[&str]) -> Ended {
    ended(switchboard(arguments)).await
}

/// A folder with configuration files in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).expect("the folder is ours");
        file.to_str().expect("a path in UTF-8").to_owned()
    }
}

fn quickstart() -> PathBuf {
    tools::repository().join("config/quickstart.yaml")
}

/// Starts a gateway as the README says.
async fn serve(config: &Path) -> Server {
    let mut command = switchboard(&["serve", "--listen", "127.0.0.1:0", "-c"]);
    command.arg(config).envs([OPS_OFF]);
    Server::start(command).await
}

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

#[tokio::test]
async fn good_files_are_valid() {
    let examples = [
        ("quickstart.yaml", 2),
        ("team.yaml", 6),
        ("production.yaml", 2),
        ("resilient.yaml", 3),
    ];
    for (name, backends) in examples {
        let file = tools::repository().join("config").join(name);
        let file = file.to_str().expect("a path in UTF-8");
        let check = async |format: &str| {
            let mut command = switchboard(&["check", "-c", file, "--format", format]);
            // Digests of texts that nobody guesses: others are refused.
            for name in ["AGENTS", "TEAM", "CI", "CI_NEXT", "DEV", "ROBOT", "ADMIN"] {
                command.env(format!("{name}_KEY_SHA256"), digest_of(&key_of(name)));
            }
            command.env("SWITCHBOARD_STATE", std::env::temp_dir());
            command.envs([
                ("GITHUB_TOKEN", "a-token-of-a-test"),
                ("OIDC_ISSUER", "https://id.example.com/realms/team"),
                ("TRACKER_URL", "https://tracker.example.com/mcp"),
                ("TRACKER_CLIENT_SECRET", "of-the-client-51b2"),
                ("REDIS_URL", "redis://:of-a-test-7f20@127.0.0.1:6379/0"),
                (
                    "SEALING_KEY",
                    "o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E=",
                ),
            ]);
            ended(command).await
        };
        let text = check("text").await;
        text.assert_code(0);
        let expected = format!("{backends} backends");
        assert!(text.stdout.contains(&expected), "{name}: {text:#?}");
        let report = check("json").await;
        let report = report.assert_code(0).json();
        assert_eq!(report["valid"], true, "{name}: {report}");
        assert_eq!(report["files"], json!([file]), "{name}: {report}");
        assert_eq!(report["warnings"], json!([]), "{name}: {report}");
    }
}

const WRONG: &str = r"server:
  lisen: 127.0.0.1:1
  drain_timeout: soon
auth:
  api_keys:
    - { name: ci, key_sha256: abc }
backends:
  both:
    command: x
    url: http://b/
  remote:
    url: http://${NOT_SET_ANYWHERE}/mcp
  typo:
    comand: y
names: { max_length: 5 }
";

/// Where the mistakes are: line, key, and a part of what is said.
const MISTAKES: [(u64, &str, &str); 7] = [
    (2, "server.lisen", "did you mean `listen`?"),
    (3, "server.drain_timeout", "`soon` is not a duration"),
    (6, "auth.api_keys[0].key_sha256", "64 hexadecimal digits"),
    (8, "backends.both", "more than one of `command`, `url`"),
    (12, "backends.remote.url", "NOT_SET_ANYWHERE"),
    (14, "backends.typo.comand", "did you mean `command`?"),
    (15, "names.max_length", "from 24 to 128"),
];

#[tokio::test]
async fn every_mistake_is_reported_at_once_with_its_line() {
    let place = Place::new();
    let file = place.write("wrong.yaml", WRONG);
    let report = run(&["check", "-c", &file, "--format", "json"]).await;
    let report = report.assert_code(2).json();
    assert_eq!(report["valid"], false, "{report:#}");
    let errors = report["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), MISTAKES.len(), "{report:#}");
    for (error, (line, key, message)) in errors.iter().zip(MISTAKES) {
        assert_eq!(error["line"], line, "{error:#}");
        assert_eq!(error["key"], key, "{error:#}");
        assert_eq!(error["file"], file, "{error:#}");
        let said = error["message"].as_str().expect("a message");
        assert!(said.contains(message), "{message} is not in {said}");
    }

    let text = run(&["check", "-c", &file]).await;
    text.assert_code(2);
    let served = run(&["serve", "-c", &file]).await;
    served.assert_code(2);
    for (line, key, message) in MISTAKES {
        let place = format!("{file}:{line}: {key}: ");
        for said in [&text.stdout, &served.stderr] {
            let found = said.lines().find(|found| found.contains(&place));
            let found = found.unwrap_or_else(|| panic!("{place} is not in:\n{said}"));
            assert!(found.contains(message), "{message} is not in {found}");
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_are_a_mistake_too() {
    let place = Place::new();
    let broken = place.write("broken.yaml", "server:\n  listen: [\n");
    let absent = place.0.path().join("absent.yaml");
    let absent = absent.to_str().expect("a path in UTF-8");
    for file in [&broken, absent] {
        let checked = run(&["check", "-c", file]).await;
        checked.assert_code(2);
        assert!(checked.stdout.contains(file), "{checked:#?}");
    }
}

#[tokio::test]
async fn later_files_and_the_environment_win() {
    let place = Place::new();
    let backends = json!({ "f": faulty(&[]) });
    let first = json!({ "server": { "listen": "192.0.2.1:1" }, "backends": backends });
    let first = place.write("first.json", &first.to_string());
    let second = place.write("second.toml", "[server]\nlisten = \"192.0.2.1:2\"\n");
    let check = async |files: &[&str], listen: Option<&str>| {
        let mut command = switchboard(&["check"]);
        command.args(files.iter().flat_map(|file| ["-c", file]));
        if let Some(listen) = listen {
            command.env("SWITCHBOARD_SERVER__LISTEN", listen);
        }
        ended(command).await
    };
    let said = check(&[&first, &second], None).await;
    assert!(
        said.assert_code(2).stdout.contains("192.0.2.1:2"),
        "{said:#?}"
    );
    let said = check(&[&second, &first], None).await;
    assert!(
        said.assert_code(2).stdout.contains("192.0.2.1:1"),
        "{said:#?}"
    );
    check(&[&first, &second], Some("127.0.0.1:0"))
        .await
        .assert_code(0);

    // Without a file, the one in the working folder.
    let folder = Place::new();
    folder.write("switchboard.yaml", "server:\n  lisen: x\n");
    let mut command = switchboard(&["check"]);
    command.current_dir(folder.0.path());
    let said = ended(command).await;
    assert!(
        said.assert_code(2).stdout.contains("server.lisen"),
        "{said:#?}"
    );
}

/// Three servers that work, of which two offer the same under the same names, and one with a long
/// prefix.
fn crowded() -> Value {
    let plain = || {
        let mut backend = faulty(&[]);
        backend["prefix"] = json!("");
        backend
    };
    json!({
        "one": plain(),
        "two": plain(),
        "three": {
            "command": tools::program("conformance-server"),
            "args": ["--stdio", "--era", "legacy"],
            "prefix": "a-prefix-that-is-rather-long",
        },
    })
}

#[tokio::test]
async fn a_check_that_connects_reports_what_there_is() {
    let place = Place::new();
    let config = json!({ "backends": crowded() }).to_string();
    let file = place.write("a.json", &config);
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json();
    assert_eq!(report["valid"], true, "{report:#}");
    let backends = report["backends"].as_array().expect("backends");
    let named = |name: &str| {
        let found = backends.iter().find(|backend| backend["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {report:#}"))
    };
    assert_eq!(backends.len(), 3, "{report:#}");
    assert_eq!(named("one")["state"], "ready");
    assert_eq!(named("one")["era"], "modern");
    assert_eq!(named("one")["prompts"], json!(["greet"]));
    assert_eq!(named("one")["sessions"], Value::Null, "{report:#}");
    let three = named("three");
    assert_eq!(three["transport"], "stdio");
    assert_eq!(three["version"], "2025-11-25");
    let found = three["eraFound"].as_str().expect("how it was found");
    assert!(found.contains("server/discover"), "{found}");
    let offers = three["offers"].as_array().expect("what it offers");
    for offer in [
        "tools",
        "prompts",
        "resources",
        "completions",
        "logging",
        "subscribe",
    ] {
        assert!(
            offers.contains(&json!(offer)),
            "{offer} is not in {offers:?}"
        );
    }
    let sessions =
        json!({ "scope": "shared", "processes": true, "max": 64, "maxPerPrincipal": 16 });
    assert_eq!(three["sessions"], sessions);
    let tools = named("three")["tools"].as_array().expect("tools");
    assert!(tools.contains(&json!("echo")), "{tools:?}");

    let collision = json!({ "name": "echo", "backends": ["one", "two"] });
    let collisions = report["collisions"].as_array().expect("collisions");
    assert!(collisions.contains(&collision), "{collisions:#?}");
    let shortened = report["shortened"].as_array().expect("shortened names");
    let is_long = |name: &Value| name["name"] == "test_input_required_result_multiple_inputs";
    let long = shortened
        .iter()
        .find(|name| is_long(name))
        .expect("a long name");
    assert_eq!(long["backend"], "three");
    let exposed = long["exposed"].as_str().expect("a name");
    assert!(
        exposed.starts_with("a-prefix-that-is-rather-long__"),
        "{exposed}"
    );
    assert!(exposed.len() <= MAX_NAME, "{exposed}");

    let text = run(&["check", "-c", &file, "--connect"]).await;
    text.assert_code(0);
    for part in ["one: ready", "echo", "collision", exposed, "tools in all"] {
        assert!(text.stdout.contains(part), "{part} is not in {text:#?}");
    }
    let processes = "shared; callers whose client can be asked something get processes of their own, \
                     at most 16 each and 64 in all";
    for row in [
        "  transport    stdio".to_owned(),
        format!("  era          legacy 2025-11-25 ({found})"),
        format!("  sessions     {processes}"),
    ] {
        assert!(
            text.stdout.contains(&row),
            "{row} is not in {}",
            text.stdout
        );
    }
}

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

#[tokio::test]
async fn a_check_says_how_each_server_was_found_to_be_reached() {
    let place = Place::new();
    let (http, sse) = tokio::join!(
        FakeHttp::start(Transport::Modern, "a"),
        FakeHttp::start(Transport::Sse, "b"),
    );
    let backends = json!({ "http": { "url": http.url() }, "sse": { "url": sse.url() } });
    let file = place.write("a.json", &json!({ "backends": backends }).to_string());
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json();
    let ways: Vec<&Value> = report["backends"]
        .as_array()
        .expect("backends")
        .iter()
        .map(|backend| &backend["transport"])
        .collect();
    assert_eq!(ways, ["HTTP", "HTTP+SSE"], "{report:#}");
}

#[tokio::test]
async fn a_check_names_each_endpoint_and_patterns_that_fit_nothing() {
    let place = Place::new();
    let (there, refused) = (
        FakeHttp::start(Transport::Modern, "a").await,
        RefusedPort::take(),
    );
    let config = json!({
        "backends": {
            "many": { "endpoints": [{ "url": there.url() }, { "url": refused.url() }] },
            "one": {
                "url": there.url(),
                "exclude_tools": ["ecoh", "delay"],
                "safe_tools": ["echo", "nothing_*"],
            },
        },
        "fallbacks": [{ "tool": "many__echo", "try": ["one__ecoh"] }],
        "limits": [{
            "name": "all", "per": ["backend"], "rate": "9/s", "backends": ["one", "tow"],
            "tools": ["one__echo", "one__ecoh"],
        }],
        "costs": { "one__*": 2, "two__*": 3 },
    });
    let file = place.write("a.json", &format!("{config:#}"));
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(1).json();
    let endpoints = report["backends"][0]["endpoints"].as_array();
    let endpoints = endpoints.expect("endpoints");
    assert_eq!(endpoints[0]["state"], "ready", "{report:#}");
    assert_eq!(endpoints[1]["state"], "unavailable", "{report:#}");
    let reason = endpoints[1]["reason"].as_str().expect("a reason");
    assert!(reason.contains("connection refused"), "{reason}");
    let said = |findings: &Value, key: &str| {
        let findings = findings.as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["key"] == key);
        let found = found.unwrap_or_else(|| panic!("{key} is not in {report:#}"));
        assert_eq!(found["file"], file.as_str());
        assert!(found["line"].is_u64(), "{found}");
        found["message"].as_str().expect("a message").to_owned()
    };
    for key in ["exclude_tools[0]", "safe_tools[1]"] {
        let message = said(&report["warnings"], &format!("backends.one.{key}"));
        assert!(message.contains("fits no tool"), "{message}");
        assert!(message.contains("`delay`"), "{message}");
    }
    let message = said(&report["warnings"], "limits[0].backends[1]");
    assert!(message.contains("`tow` fits no backend"), "{message}");
    for key in ["limits[0].tools[1]", "costs.\"two__*\""] {
        let message = said(&report["warnings"], key);
        assert!(message.contains("fits no tool"), "{message}");
    }
    let message = said(&report["warnings"], "fallbacks[0].tool");
    assert!(message.contains("not known to be safe"), "{message}");
    let message = said(&report["chains"], "fallbacks[0].try[0]");
    assert!(message.contains("did you mean `one__echo`?"), "{message}");

    let text = run(&["check", "-c", &file, "--connect"]).await;
    for part in [": ready\n", ": unavailable (no connection", "fits no tool"] {
        assert!(text.stdout.contains(part), "{part} is not in {text:#?}");
    }
}

/// More tools than some clients take.
fn too_many() -> Value {
    let mut backends = crowded();
    backends["four"] = json!({
        "command": tools::program("conformance-server"),
        "args": ["--stdio", "--era", "legacy"],
    });
    json!({ "backends": backends })
}

#[tokio::test]
async fn a_check_warns_of_more_tools_than_a_client_takes() {
    let place = Place::new();
    let file = place.write("a.json", &too_many().to_string());
    let text = run(&["check", "-c", &file, "--connect"]).await;
    let said = &text.assert_code(0).stdout;
    assert!(said.contains("warning: Gemini CLI"), "{text:#?}");
    assert!(!said.contains("warning: Cursor"), "{text:#?}");
}

#[tokio::test]
async fn a_report_for_programs_has_the_same_warnings() {
    let place = Place::new();
    let file = place.write("a.json", &too_many().to_string());
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(0).json().to_string();
    assert!(report.contains("Gemini CLI"), "{report}");
}

#[tokio::test]
async fn a_check_fails_when_a_server_does_not_come() {
    let mut backends = crowded();
    backends["gone"] = faulty(&["--exit-at-start"]);
    backends["absent"] = json!({ "command": "there-is-no-such-program-8c2f" });
    let place = Place::new();
    let file = place.write("a.json", &json!({ "backends": backends }).to_string());
    let report = run(&["check", "-c", &file, "--connect", "--format", "json"]).await;
    let report = report.assert_code(1).json();
    let backends = report["backends"].as_array().expect("backends");
    for name in ["gone", "absent"] {
        let backend = backends.iter().find(|backend| backend["name"] == name);
        let backend = backend.expect("the backend");
        assert_eq!(backend["state"], "unavailable", "{backend:#}");
        let reason = backend["reason"].as_str();
        assert!(reason.is_some_and(|text| !text.is_empty()), "{backend:#}");
    }
    let text = run(&["check", "-c", &file, "--connect"]).await;
    text.assert_code(1);
    assert!(text.stdout.contains("gone: unavailable"), "{text:#?}");
    assert!(text.stdout.contains("one: ready"), "{text:#?}");
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
