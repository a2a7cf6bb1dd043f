//! `switchboard check --as … --can …`.

use std::process::{Command, Output};

use serde_json::{Value, json};
use switchboard_tests::tools;

use super::auth;

/// Asks with these flags about a configuration with these rules.
fn check(access: Value, flags: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.json");
    let mut config = json!({
        "auth": auth(&["anna", "ben"]),
        "profiles": { "p": {} },
        "backends": { "files": { "url": "http://127.0.0.1:9/" }, "git": { "url": "http://127.0.0.1:9/", "prefix": "g" } },
    });
    if !access.is_null() {
        config["access"] = access;
    }
    std::fs::write(&file, config.to_string()).expect("a file");
    Command::new(tools::program("switchboard"))
        .args(["check", "-c"])
        .arg(&file)
        .args(flags)
        .output()
        .expect("the command runs")
}

fn rules() -> Value {
    json!({ "rules": [
        { "name": "below srv", "effect": "allow", "groups": ["ben", "eng"], "tools": ["files__read"],
          "when": "args.path.startsWith('/srv/')" },
        { "name": "anna", "effect": "allow", "users": ["key:anna"], "profiles": ["p"] },
        { "name": "tokens", "effect": "allow", "claims": { "team": ["x"] }, "backends": ["git"] },
    ] })
}

#[test]
fn it_says_who_may_do_what_and_why() {
    for (flags, code, told) in [
        (
            vec!["--as", "ben", "--can", "files__read"],
            0,
            "depends: `key:ben` (ben) sees the tool `files__read`",
        ),
        (
            vec![
                "--as",
                "key:ben",
                "--can",
                "files__read",
                "--args",
                r#"{"path":"/srv/a"}"#,
            ],
            0,
            "the rule `below srv` decides",
        ),
        (
            vec![
                "--as",
                "ben",
                "--can",
                "files__read",
                "--args",
                r#"{"path":"/etc"}"#,
            ],
            1,
            "`when` is false",
        ),
        (
            vec!["--as", "ben", "--can", "files__read", "--args", "{}"],
            1,
            "`when` has no answer: it failed: No such key: path",
        ),
        (
            vec![
                "--as",
                "stranger",
                "--groups",
                "a,eng",
                "--can",
                "files__read",
            ],
            0,
            "depends",
        ),
        (
            vec!["--as", "anna", "--can", "g__log"],
            1,
            "`profiles` does not fit",
        ),
        (
            vec!["--as", "anna", "--can", "g__log", "--profile", "p"],
            0,
            "the backend `git`",
        ),
        (
            vec![
                "--as",
                "x",
                "--claims",
                r#"{"team":["x"]}"#,
                "--can",
                "g__log",
            ],
            0,
            "tokens",
        ),
        (
            vec![
                "--as",
                "anna",
                "--profile",
                "p",
                "--kind",
                "resource",
                "--backend",
                "git",
                "--can",
                "file:///a",
            ],
            0,
            "resource",
        ),
    ] {
        let output = check(rules(), &flags);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(told), "{flags:?}: {text}");
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text}");
    }
    for (flags, told) in [
        (
            vec!["--as", "ben", "--can", "nobody"],
            "say it with --backend",
        ),
        (
            vec!["--as", "ben", "--can", "x", "--backend", "gone"],
            "there is no backend `gone`",
        ),
        (
            vec!["--as", "ben", "--can", "files__read", "--args", "[]"],
            "--args is no JSON object",
        ),
        (
            vec!["--as", "ben", "--can", "files__read", "--claims", "x"],
            "--claims is no JSON object",
        ),
        (vec!["--as", "ben"], "--can"),
        (vec!["--can", "files__read"], "--as"),
    ] {
        let output = check(rules(), &flags);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(told), "{flags:?}: {text}");
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {text}");
    }
}

#[test]
fn programs_get_json() {
    let flags = ["--format", "json", "--as", "ben", "--can", "g__log"];
    let report: Value = serde_json::from_slice(&check(rules(), &flags).stdout).expect("JSON");
    assert_eq!(report["decision"], "denied", "{report}");
    assert_eq!(
        (&report["allowed"], &report["by"]),
        (&json!(false), &json!("default"))
    );
    assert_eq!(report["rules"].as_array().map(Vec::len), Some(3));
    let report: Value = serde_json::from_slice(&check(Value::Null, &flags).stdout).expect("JSON");
    assert_eq!(report["allowed"], true, "{report}");
}

#[test]
fn patterns_that_fit_no_backend_are_warned_of() {
    let access =
        json!({ "rules": [{ "name": "a", "effect": "allow", "backends": ["git", "gti*"] }] });
    let output = check(access, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("access.rules[0].backends[1]: `gti*` fits no backend"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(0), "{text}");
}

/// As [`check`], where ben's key is for a profile, that of anna has expired, and tokens need scopes.
fn check_credentials(flags: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.json");
    let mut auth = auth(&["anna", "ben"]);
    auth["api_keys"][0]["expires"] = json!("2020-01-31");
    auth["api_keys"][1]["profiles"] = json!(["p"]);
    auth["jwt"] = json!([{ "issuer": "https://id.example.com", "audience": ["x"] }]);
    auth["scopes"] = json!({ "required": ["mcp"], "profiles": { "p": ["code"] } });
    let config = json!({
        "auth": auth,
        "profiles": { "p": {} },
        "backends": { "files": { "url": "http://127.0.0.1:9/" } },
    });
    std::fs::write(&file, config.to_string()).expect("a file");
    let output = Command::new(tools::program("switchboard"))
        .args(["check", "-c"])
        .arg(&file)
        .args(["--can", "files__read"])
        .args(flags)
        .output()
        .expect("the command runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text + &told)
}

#[test]
fn a_credential_that_is_not_for_it_decides_before_all_rules() {
    let anna = "https://id.example.com|anna";
    for (flags, code, told) in [
        (vec!["--as", "ben"], 1, "`auth.api_keys.profiles` decides"),
        (vec!["--as", "key:ben", "--profile", "p"], 0, "allowed"),
        (vec!["--as", "anna"], 1, "`auth.api_keys.expires` decides"),
        (vec!["--as", anna], 0, "allowed"),
        (vec!["--as", anna, "--scopes", "mcp"], 0, "allowed"),
        (
            vec!["--as", anna, "--scopes", "mcp", "--profile", "p"],
            1,
            "`auth.scopes` decides: the token lacks the scope code",
        ),
        (
            vec!["--as", "ben", "--format", "json"],
            1,
            "\"by\": \"auth.api_keys.profiles\"",
        ),
    ] {
        let (status, text) = check_credentials(&flags);
        assert_eq!(status, Some(code), "{flags:?}: {text}");
        assert!(text.contains(told), "{flags:?}: {text}");
    }
}
