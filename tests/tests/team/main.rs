//! `config/team.yaml` as a team runs it, in front of real servers: who sees what, who is refused what,
//! limits, budgets and what is noted of it. The commands of `docs/team.md` are run at the end.

mod github;

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::issuer::Issuer;
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::process::Server;
use switchboard_tests::waiting::until;
use switchboard_tests::{manual, servers, tools};
use tempfile::TempDir;
use tokio::process::Command;

use crate::github::GitHub;

/// The address that clients use, as the configuration has it where nobody sets another.
const PUBLIC_URL: &str = "http://localhost:8080";
const GITHUB_TOKEN: &str = "of-the-gateway-at-github-9d2c";

/// A gateway with the team's configuration, and all that stands around it.
struct Team {
    server: Server,
    issuer: Issuer,
    github: GitHub,
    tracker: FakeHttp,
    variables: Vec<(String, String)>,
    folder: TempDir,
}

impl Team {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (issuer, github) = (Issuer::start().await, GitHub::start().await);
        let tracker = FakeHttp::start(Transport::Modern, "tracker").await;
        let (work, state) = (folder.path().join("work"), folder.path().join("state"));
        for folder in [&work, &state] {
            std::fs::create_dir(folder).expect("our folder");
        }
        servers::make_repository(&work);
        let mut variables = keys().await;
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        for (name, value) in [
            ("OIDC_ISSUER", issuer.url().to_owned()),
            ("GITHUB_TOKEN", GITHUB_TOKEN.to_owned()),
            ("TRACKER_URL", tracker.url().to_owned()),
            ("TRACKER_CLIENT_SECRET", "of-the-client-51b2".to_owned()),
            ("WORKSPACE", text(&work)),
            ("SWITCHBOARD_STATE", text(&state)),
        ] {
            variables.push((name.to_owned(), value));
        }
        let here = folder.path().join("here.json");
        std::fs::write(&here, laid_over(&folder, &work, &github).to_string()).expect("our folder");
        let mut command = Command::new(tools::program("switchboard"));
        command
            .args(["serve", "-c", "config/team.yaml", "-c"])
            .arg(&here)
            .current_dir(tools::repository())
            .envs(variables.iter().cloned());
        Self {
            server: Server::start(command).await,
            issuer,
            github,
            tracker,
            variables,
            folder,
        }
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(key, _)| key == name);
        &found.unwrap_or_else(|| panic!("{name} is set")).1
    }

    /// The URL of the endpoint, or of that of a profile.
    fn url(&self, profile: &str) -> String {
        let slash = if profile.is_empty() { "" } else { "/" };
        format!("{}{slash}{profile}", self.server.url())
    }

    /// A client of a profile, or of `/mcp`, that shows this.
    fn client(&self, profile: &str, credential: &str) -> Client {
        Client::new(&self.url(profile)).with_key(credential)
    }

    /// Somebody with one of the keys.
    fn with_key(&self, profile: &str, name: &str) -> Client {
        self.client(profile, self.variable(&format!("{name}_KEY")))
    }

    /// A token of Anna's, who is an operator, for a profile or `/mcp`.
    fn token(&self, profile: &str, scope: &str) -> String {
        let slash = if profile.is_empty() { "" } else { "/" };
        let audience = format!("{PUBLIC_URL}/mcp{slash}{profile}");
        let mut claims = self.issuer.claims("anna", &audience);
        claims["scope"] = json!(scope);
        claims["groups"] = json!(["ops"]);
        self.issuer.sign(&claims)
    }

    /// Waits until everybody is there.
    async fn wait_for_backends(&self) {
        let anna = self.client("", &self.token("", "mcp"));
        until("all backends", async || {
            let answer = anna.request("tools/list", json!({})).await;
            let missing = &answer.result()["_meta"]["dev.switchboard/backends"];
            let tools = answer.result()["tools"].as_array()?;
            (missing.as_array().is_none_or(Vec::is_empty) && !tools.is_empty()).then_some(())
        })
        .await;
    }
}

/// The keys, made as the manual says.
async fn keys() -> Vec<(String, String)> {
    let page = manual::page("team.md");
    let make = manual::blocks(&page, "sh")[0];
    let ours = "^(CI|CI_NEXT|DEV|ROBOT|ADMIN|SWITCHBOARD_ADMIN)_KEY";
    let output = manual::run(&format!("{make}\nenv | grep -E '{ours}'"), &[]).await;
    let lines = output.lines().filter_map(|line| line.split_once('='));
    let keys: Vec<_> = lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(keys.len(), 11, "{output}");
    keys
}

/// What is other than in a team's own place: ports, how servers are started, and GitHub.
fn laid_over(folder: &TempDir, work: &Path, github: &GitHub) -> Value {
    json!({
        "server": {
            "listen": "127.0.0.1:0",
            "ops_listen": "127.0.0.1:0",
            "admin_listen": "127.0.0.1:0",
            "watch_config": false,
        },
        "backends": {
            "files": servers::filesystem(work),
            "memory": servers::memory(&folder.path().join("graph.json")),
            "time": servers::time(),
            "git": servers::git(work),
            "github": { "url": github.url },
        },
    })
}

async fn listed(client: &Client) -> Vec<String> {
    let answer = client.request("tools/list", json!({})).await;
    names(answer.result())
}

fn names(result: &Value) -> Vec<String> {
    let tools = result["tools"].as_array().expect("a list of tools");
    let name = |tool: &Value| tool["name"].as_str().map(str::to_owned);
    tools.iter().filter_map(name).collect()
}

fn assert_refused(answer: &Answer, code: u64, reason: &str) {
    let fault = answer.fault();
    assert_eq!(fault["code"], code, "{}", answer.raw);
    assert_eq!(fault["reason"], reason, "{}", answer.raw);
    assert_eq!(fault["outcome"], "not_sent", "{}", answer.raw);
}

#[tokio::test]
async fn the_team_configuration_does_what_its_manual_says() {
    let team = Team::start().await;
    team.wait_for_backends().await;
    everybody_sees_what_they_may(&team).await;
    both_eras_get_what_the_profile_makes_of_tools(&team).await;
    arguments_and_groups_decide(&team).await;
    servers_are_shown_the_gateways_own_credentials(&team).await;
    readers_are_told_when_to_try_again(&team).await;
    whoever_has_searched_enough_gets_the_notes(&team).await;
    it_is_noted(&team).await;
    it_is_counted(&team).await;
    the_manual_is_right(&team).await;
    let status = team.server.stop().await;
    assert!(status.success(), "{status}");
}

async fn everybody_sees_what_they_may(team: &Team) {
    let anna = team.client("", &team.token("", "mcp"));
    for (who, client, sees, does_not) in [
        (
            "anna, an operator",
            anna,
            ["git__git_reset", "memory__delete_entities"],
            ["gh__delete_repository", "status"],
        ),
        (
            "dev, a developer",
            team.with_key("", "DEV"),
            ["files__write_file", "git__git_commit"],
            ["git__git_reset", "memory__delete_entities"],
        ),
        (
            "ci, a reader",
            team.with_key("", "CI"),
            ["files__read_text_file", "gh__search_issues"],
            ["files__write_file", "git__git_commit"],
        ),
        (
            "ci with its next key",
            team.with_key("", "CI_NEXT"),
            ["git__git_log", "memory__search_nodes"],
            ["memory__create_entities", "tracker__echo"],
        ),
        (
            "robot in its profile",
            team.with_key("reading", "ROBOT"),
            ["files__read_text_file", "time__get_current_time"],
            ["git__git_log", "files__search_files"],
        ),
        (
            "dev in the profile for coding",
            team.with_key("coding", "DEV"),
            ["status", "files__write_file"],
            ["git__git_status", "time__get_current_time"],
        ),
    ] {
        let listed = listed(&client).await;
        for tool in sees {
            assert!(
                listed.iter().any(|it| it == tool),
                "{who}: {tool} of {listed:?}"
            );
        }
        for tool in does_not {
            assert!(!listed.iter().any(|it| it == tool), "{who}: {tool}");
            let answer = client.call(tool, json!({})).await;
            assert_eq!(answer.error_code(), Some(-32602), "{who}: {}", answer.raw);
        }
    }
    let elsewhere = team.with_key("", "ROBOT");
    assert_eq!(elsewhere.request("tools/list", json!({})).await.status, 403);
    let nobody = Client::new(&team.url(""));
    assert_eq!(nobody.request("tools/list", json!({})).await.status, 401);
    for (scope, status) in [("mcp", 403), ("mcp mcp:code", 200), ("mcp:all", 200)] {
        let client = team.client("coding", &team.token("coding", scope));
        let answer = client.request("tools/list", json!({})).await;
        assert_eq!(answer.status, status, "{scope}: {}", answer.raw);
    }
}

async fn both_eras_get_what_the_profile_makes_of_tools(team: &Team) {
    let modern = team.with_key("coding", "DEV");
    let answer = modern.call("status", json!({})).await;
    assert!(answer.raw.contains("notes.txt"), "{}", answer.raw);
    let other = json!({ "repo_path": "/etc" });
    let answer = modern.call("status", other.clone()).await;
    assert_refused(&answer, 422, "arguments_refused");

    let setup = Setup {
        key: Some(team.variable("DEV_KEY").to_owned()),
        ..Setup::default()
    };
    let legacy = LegacyClient::connect(&team.url("coding"), setup).await;
    let answer = legacy.request("tools/list", json!({})).await;
    assert_eq!(names(answer.result()), listed(&modern).await);
    let answer = legacy.call("status", json!({})).await;
    let text = answer.response.to_string();
    assert!(text.contains("notes.txt"), "{text}");
    let answer = legacy.call("status", other).await;
    let fault = &answer.result()["_meta"]["dev.switchboard/error"];
    assert_eq!(fault["reason"], "arguments_refused", "{answer:?}");
    let answer = legacy.call("git__git_reset", json!({})).await;
    assert_eq!(answer.error_code(), Some(-32602), "{answer:?}");
}

async fn arguments_and_groups_decide(team: &Team) {
    let dev = team.with_key("", "DEV");
    let work = team.folder.path().join("work");
    let write = async |name: &str| {
        let arguments = json!({ "path": work.join(name), "content": "x" });
        dev.call("files__write_file", arguments).await
    };
    assert_refused(&write(".env").await, 403, "denied");
    assert!(!work.join(".env").exists());
    let answer = write("more.txt").await;
    assert!(work.join("more.txt").exists(), "{}", answer.raw);
    // A rule in shadow mode denies nothing: git itself has nothing to commit.
    let commit = json!({ "repo_path": work, "message": "Nothing is staged" });
    let answer = dev.call("git__git_commit", commit).await;
    assert!(answer.fault().is_null(), "{}", answer.raw);
    let anna = team.client("", &team.token("", "mcp"));
    let answer = anna
        .call("git__git_reset", json!({ "repo_path": work }))
        .await;
    assert!(answer.result()["isError"] != true, "{}", answer.raw);
}

async fn servers_are_shown_the_gateways_own_credentials(team: &Team) {
    let key = team.variable("DEV_KEY");
    let dev = team.with_key("", "DEV");
    let answer = dev.call("tracker__echo", json!({})).await;
    assert!(answer.result()["isError"] != true, "{}", answer.raw);
    let calls = team.tracker.requests_of("tools/call");
    let shown = calls[0].headers["authorization"].to_str().expect("text");
    assert!(
        shown.starts_with("Bearer ey") && !shown.contains(key),
        "{shown}"
    );
    dev.call("gh__get_issue", json!({})).await;
    let shown = format!("Bearer {GITHUB_TOKEN}");
    assert_eq!(team.github.calls(), [("get_issue".to_owned(), shown)]);
}

/// Calls as the key `ci` until it has to wait.
async fn readers_are_told_when_to_try_again(team: &Team) {
    let ci = team.with_key("", "CI");
    let time = json!({ "timezone": "UTC" });
    let refused = until("the limit of readers", async || {
        let answer = ci.call("time__get_current_time", time.clone()).await;
        (answer.result()["isError"] == true).then_some(answer)
    })
    .await;
    assert_refused(&refused, 429, "rate_limited");
    let wait = refused.fault()["retryAfterMs"].as_u64().expect("how long");
    assert!((1..=30_000).contains(&wait), "{}", refused.raw);
}

/// Searches as the key `dev` until another tool answers.
async fn whoever_has_searched_enough_gets_the_notes(team: &Team) {
    let dev = team.with_key("", "DEV");
    let query = json!({ "query": "parser" });
    let answer = until("the fallback", async || {
        let answer = dev.call("gh__search_issues", query.clone()).await;
        let served_by = &answer.result()["_meta"]["dev.switchboard/served_by"];
        (!served_by.is_null()).then_some(answer)
    })
    .await;
    let served_by = &answer.result()["_meta"]["dev.switchboard/served_by"];
    assert_eq!(served_by["tool"], "memory__search_nodes", "{}", answer.raw);
    let attempt = &served_by["attempts"][0];
    assert_eq!(attempt["reason"], "over_budget", "{}", answer.raw);
    let searches = team.github.calls();
    let searches = searches.iter().filter(|(tool, _)| tool == "search_issues");
    // Twice as many where midnight came in between.
    let searches = searches.count();
    assert!((50..=100).contains(&searches), "{searches}");
}

async fn it_is_noted(team: &Team) {
    let database = team.folder.path().join("state/audit.db");
    let search = async |arguments: &[&str]| -> Vec<Value> {
        let output = Command::new(tools::program("switchboard"))
            .args(["audit", "--format", "json", "--file"])
            .arg(&database)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("it starts");
        let text = String::from_utf8(output.stdout).expect("text");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect()
    };
    let last = until("the record of the last search", async || {
        let found = search(&["--tool", "gh__search_issues"]).await;
        let last = found.last()?.clone();
        (last["backend"] == "memory").then_some(last)
    })
    .await;
    assert_eq!(last["principal"], "key:dev", "{last}");
    assert_eq!(last["cost"], 1, "{last}");
    assert_eq!(last["values"]["query"], "parser", "{last}");
    assert_eq!(
        last["attempts"][0]["target"], "memory__search_nodes",
        "{last}"
    );
    let denied = json!({ "policy": "budget", "rule": "github-search", "decision": "denied" });
    let decisions = last["decisions"].as_array().expect("decisions");
    assert!(decisions.contains(&denied), "{last}");
    let before = search(&["--backend", "github", "--limit", "1"]).await;
    assert_eq!(before[0]["cost"], 5, "{before:?}");

    let refused = search(&["--outcome", "refused", "--limit", "1000"]).await;
    for (principal, reason) in [("key:dev", "denied"), ("key:ci", "rate_limited")] {
        let is_there = |it: &Value| it["principal"] == principal && it["reason"] == reason;
        assert!(refused.iter().any(is_there), "{reason}: {refused:?}");
    }
    let elsewhere = |it: &Value| it["kind"] == "authentication" && it["code"] == 403;
    assert!(refused.iter().any(elsewhere), "{refused:?}");
    let anna = format!("{}|anna", team.issuer.url());
    let anna = search(&["--principal", &anna, "--tool", "git__git_reset"]).await;
    assert_eq!(anna[0]["groups"], json!(["ops"]), "{anna:?}");
    let lines = std::fs::read_to_string(team.folder.path().join("state/audit.jsonl"));
    let lines = lines.expect("the file of the audit");
    assert!(lines.contains("would_deny"));
    for (name, secret) in &team.variables {
        let is_secret = name.ends_with("_KEY") || name.ends_with("_SECRET");
        assert!(!is_secret || !lines.contains(secret), "{name} is noted");
    }
}

async fn it_is_counted(team: &Team) {
    let metrics = team.server.address_of("ops").await;
    let text = reqwest::get(metrics).await.expect("metrics");
    let text = text.text().await.expect("metrics");
    for series in [
        r#"switchboard_limit_decisions_total{decision="refused",name="readers",policy="limit"}"#,
        r#"switchboard_limit_decisions_total{decision="refused",name="github-search",policy="budget"}"#,
        r#"switchboard_policy_decisions_total{decision="denied",policy="access"}"#,
        r#"switchboard_policy_decisions_total{decision="would_deny",policy="access"}"#,
        r#"switchboard_authentications_total{outcome="insufficient_scope"}"#,
        r#"switchboard_authentications_total{outcome="profile"}"#,
    ] {
        let count = text.lines().find_map(|line| line.strip_prefix(series));
        let count = count.and_then(|count| count.trim().parse::<f64>().ok());
        assert!(
            count.is_some_and(|count| count >= 1.0),
            "{series}: {count:?}"
        );
    }
}

/// The commands of the page print what it shows.
async fn the_manual_is_right(team: &Team) {
    let admin = team.server.address_of("admin").await;
    let mut variables = team.variables.clone();
    variables.push(("SWITCHBOARD_URL".to_owned(), team.url("")));
    variables.push(("SWITCHBOARD_ADMIN_URL".to_owned(), admin.clone()));
    variables.push(("TOKEN".to_owned(), team.token("coding", "mcp:all")));
    let page = manual::page("team.md");
    let mut ran = 0;
    for (title, section) in manual::sections(&page) {
        // Each begins where its reader is: at the limit, and over the budget.
        if title.contains("how often") {
            readers_are_told_when_to_try_again(team).await;
        }
        for step in manual::steps(section) {
            let command = step
                .command
                .replace("http://127.0.0.1:8080/mcp", &team.url(""))
                .replace("http://127.0.0.1:8081", &admin);
            let output = manual::run(&command, &variables).await;
            manual::compare(&step, &output);
            ran += 1;
        }
    }
    assert!(ran >= 15, "{ran} commands");
}
