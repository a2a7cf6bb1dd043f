//! Many at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, all_capabilities, message, retry};
use switchboard_tests::asking::{AskingServer, Way, accepted, content, only_question, ready_for};
use switchboard_tests::front::{Census, Front};
use switchboard_tests::keys::{auth_of, key_of};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

const PEOPLE: usize = 50;
const CALLS_EACH: usize = 4;
const CALLS: usize = PEOPLE * CALLS_EACH;
/// How often each call reports while it waits.
const REPORTS: usize = 5;
/// How much more memory may be in use afterwards than before, in KiB.
const SLACK_KIB: u64 = 16 * 1024;

/// A person's call: all of them have the same arguments.
fn the_call(leg: &str) -> Value {
    let arguments = json!({ "mark": "same", "n": REPORTS });
    let meta = json!({
        "progressToken": leg,
        "io.modelcontextprotocol/logLevel": "debug",
        "io.modelcontextprotocol/clientCapabilities": all_capabilities(),
    });
    let params = json!({ "name": "a__progress_and_logs", "arguments": arguments, "_meta": meta });
    message("tools/call", params)
}

/// What a leg reported: checks that all of it is of this execution and under this token.
fn check_reports(answer: &Answer, execution: &str, leg: &str) -> (Vec<u64>, usize) {
    let (mut progress, mut logs) = (Vec::new(), 0);
    for notification in &answer.notifications {
        let params = &notification["params"];
        if notification["method"] == "notifications/progress" {
            assert_eq!(params["progressToken"], leg, "{notification}");
            let said = params["message"].as_str().unwrap_or_default();
            assert!(
                said.ends_with(&format!(" of {execution}")),
                "{notification}"
            );
            progress.push(params["progress"].as_u64().expect("a number"));
        } else {
            assert_eq!(notification["method"], "notifications/message");
            assert_eq!(params["data"]["execution"], execution, "{notification}");
            logs += 1;
        }
    }
    (progress, logs)
}

/// One call from its beginning to its end; returns its execution.
async fn run(client: Client, who: String, all_wait: Arc<Barrier>) -> String {
    let first_leg = format!("first of {who}");
    let first = the_call(&first_leg);
    let asked = client.ask(&first).await;
    let (_, question) = only_question(&asked);
    let text = question["params"]["message"].as_str().expect("a text");
    let (_, execution) = text.split_once(" of ").expect("an execution");
    all_wait.wait().await;

    let second_leg = format!("second of {who}");
    let mut again = retry(first, &asked, accepted(&asked, &who));
    again["params"]["_meta"]["progressToken"] = json!(second_leg);
    let answer = client.ask(&again).await;
    let content = content(&answer);
    assert_eq!(content["execution"], execution, "{}", answer.raw);
    let replied = &content["replies"][0]["result"]["content"]["answer"];
    assert_eq!(*replied, who, "{}", answer.raw);

    let (mut progress, before) = check_reports(&asked, execution, &first_leg);
    let (more, after) = check_reports(&answer, execution, &second_leg);
    progress.extend(more);
    assert!(progress.is_sorted_by(|a, b| a < b), "{progress:?}");
    assert_eq!(before + after, REPORTS + 2, "{asked:?} {answer:?}");
    execution.to_owned()
}

/// Two hundred calls that all wait at the same time, and then all go on.
async fn all_at_once(front: &Front) -> BTreeSet<String> {
    let all_wait = Arc::new(Barrier::new(CALLS));
    let mut calls = JoinSet::new();
    for person in 0..PEOPLE {
        for at in 0..CALLS_EACH {
            let client = Client::new(front.gateway.url()).with_key(&key_of(&name(person)));
            let who = format!("{} {at}", name(person));
            calls.spawn(run(client, who, Arc::clone(&all_wait)));
        }
    }
    let mut executions = BTreeSet::new();
    while let Some(done) = calls.join_next().await {
        executions.insert(done.expect("what each call got is its own"));
    }
    executions
}

fn name(person: usize) -> String {
    format!("person-{person}")
}

/// What the gateway owns once nothing is left of the calls.
async fn idle(front: &Front, processes: usize) -> (Census, u64) {
    loop {
        let census = front.census().await;
        if census.processes <= processes {
            return (census, memory_kib(front));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The memory of the gateway, in KiB.
fn memory_kib(front: &Front) -> u64 {
    let id = front.gateway.server().id().expect("a running gateway");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.expect("a size").trim().trim_end_matches(" kB");
    text.parse().expect("a number")
}

#[tokio::test]
async fn two_hundred_calls_of_fifty_people_wait_at_once_and_none_crosses() {
    let server = AskingServer::start(Way::Stdio).await;
    let mut backend = server.backend();
    backend["era"] = json!("legacy");
    backend["max_sessions"] = json!(CALLS);
    backend["max_sessions_per_principal"] = json!(CALLS_EACH);
    backend["session_idle_timeout"] = json!("1s");
    let names: Vec<String> = (0..PEOPLE).map(name).collect();
    let front = Front::start(json!({
        "auth": auth_of(&names),
        "backends": { "a": backend },
        "parked_calls": {
            "max": CALLS,
            "max_per_principal": CALLS_EACH,
            // Outcomes are remembered as long.
            "timeout": "15s",
        },
    }))
    .await;
    ready_for(&front.client.with_key(&key_of(&name(0)))).await;
    let at_rest = front.census().await.processes;

    // The first time fills what is kept for later.
    assert_eq!(all_at_once(&front).await.len(), CALLS);
    let (before, memory_before) = idle(&front, at_rest).await;
    assert_eq!(all_at_once(&front).await.len(), CALLS);
    let (_, _) = idle(&front, at_rest).await;
    front.wait_until_within(&before).await;
    let memory = memory_kib(&front);
    assert!(
        memory <= memory_before + SLACK_KIB,
        "{memory} KiB after {memory_before} KiB"
    );

    assert_eq!(server.count("begin", "same"), 2 * CALLS);
    assert_eq!(server.count("answered", "same"), 2 * CALLS);
    assert_eq!(server.count("end", "same"), 2 * CALLS);
    for never in ["stray", "cancelled", "cancelled_nothing"] {
        assert_eq!(server.count_all(never), 0, "{never}");
    }
    front.gateway.stop().await;
}
