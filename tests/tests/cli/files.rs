//! `switchboard check` of configuration files: good ones, and every mistake in the others.

use serde_json::json;
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::faulty;
use switchboard_tests::keys::{digest_of, key_of};
use switchboard_tests::tools;

use super::{Place, run};

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
