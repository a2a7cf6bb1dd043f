//! One backend that never answers, one that crashes in a loop, one that is not there: the others
//! work as usual, and everybody is told what is missing.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::fake_http::{FakeHttp, RefusedPort, Transport};
use switchboard_tests::front::{Front, assert_fault, faulty, remote};
use switchboard_tests::waiting::until;
use tempfile::TempDir;
use tokio::time::Instant;

/// Far more than a good backend needs, and less than any deadline that a bad one could impose.
const USUAL: Duration = Duration::from_secs(8);

struct Partial {
    front: Front,
    _server: FakeHttp,
    _port: RefusedPort,
}

/// Two good backends and three bad ones.
async fn partial() -> Partial {
    let server = FakeHttp::start(Transport::Modern, "far").await;
    let port = RefusedPort::take();
    let mut silent = faulty(&["--never-answers"]);
    silent["timeout"] = json!("1s");
    let front = Front::of(json!({
        "near": faulty(&["--label", "near"]),
        "far": remote(server.url()),
        "silent": silent,
        "looping": faulty(&["--crash-loop", "100"]),
        "refused": remote(port.url()),
    }))
    .await;
    Partial {
        front,
        _server: server,
        _port: port,
    }
}

async fn tool_names(front: &Front) -> Vec<String> {
    let answer = front.client.request("tools/list", json!({})).await;
    let tools = answer.result()["tools"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let name = |tool: &Value| tool["name"].as_str().expect("a name").to_owned();
    tools.iter().map(name).collect()
}

#[tokio::test]
async fn the_others_lists_and_calls_work_as_usual() {
    let Partial {
        front,
        _server,
        _port,
    } = partial().await;
    for round in 0..10 {
        let began = Instant::now();
        let (tools, prompts, resources) = tokio::join!(
            front.client.request("tools/list", json!({})),
            front.client.request("prompts/list", json!({})),
            front.client.request("resources/list", json!({})),
        );
        assert!(
            began.elapsed() < USUAL,
            "lists took {:?} in round {round}",
            began.elapsed()
        );
        for tool in ["near__echo", "far__echo", "near__report", "far__delay"] {
            assert!(
                tools.raw.contains(&format!("\"{tool}\"")),
                "no {tool} in {}",
                tools.raw
            );
        }
        assert!(prompts.raw.contains("near__greet") && prompts.raw.contains("far__greet"));
        let resources = resources.result()["resources"].as_array().cloned();
        assert!(resources.is_some_and(|resources| resources.len() >= 2));
        // What is missing may come back any moment.
        assert_eq!(tools.result()["ttlMs"], 0, "{}", tools.raw);

        let began = Instant::now();
        tokio::join!(front.works("near"), front.works("far"));
        assert!(
            began.elapsed() < USUAL,
            "calls took {:?} in round {round}",
            began.elapsed()
        );
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn every_list_names_what_is_missing_and_why() {
    let Partial {
        front,
        _server,
        _port,
    } = partial().await;
    let missing = until("all three are missing at once", async || {
        let missing = front.missing().await;
        let all = ["silent", "looping", "refused"]
            .iter()
            .all(|name| missing.contains_key(*name));
        all.then_some(missing)
    })
    .await;
    assert!(
        !missing.contains_key("near") && !missing.contains_key("far"),
        "{missing:?}"
    );
    for (name, entry) in &missing {
        assert!(
            entry["reason"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}: {entry}"
        );
        assert!(
            entry["action"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}: {entry}"
        );
        let since = entry["since"].as_str().unwrap_or_default();
        assert!(
            since.starts_with("20") && since.contains('T'),
            "{name}: {entry}"
        );
    }
    let state = |name: &str| {
        missing[name]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(state("refused"), "unavailable");
    assert_eq!(state("looping"), "unavailable");
    assert!(matches!(&*state("silent"), "starting" | "unavailable"));

    for list in ["prompts/list", "resources/list", "resources/templates/list"] {
        let answer = front.client.request(list, json!({})).await;
        let entries = answer.result()["_meta"]["dev.switchboard/backends"].clone();
        let names: Vec<&str> = entries
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["name"].as_str())
            .collect();
        assert!(
            names.contains(&"silent") && names.contains(&"refused"),
            "{list}: {entries}"
        );
        assert!(
            !names.contains(&"near") && !names.contains(&"far"),
            "{list}: {entries}"
        );
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn calls_to_what_is_missing_fail_honestly() {
    let Partial {
        front,
        _server,
        _port,
    } = partial().await;
    front.wait_until("near", true).await;
    until("the refused backend was tried", async || {
        let missing = front.missing().await.remove("refused")?;
        (missing["state"] == "unavailable").then_some(())
    })
    .await;

    let began = Instant::now();
    let refused = front.client.call("refused__echo", json!({})).await;
    assert!(began.elapsed() < USUAL);
    assert_fault(&refused, 503, "refused");
    assert_eq!(refused.fault()["outcome"], "not_sent");
    assert_eq!(refused.fault()["retryable"], true);

    // Nobody knows yet whether it has such a tool: never −32602.
    let began = Instant::now();
    let silent = front.client.call("silent__echo", json!({})).await;
    assert!(began.elapsed() < USUAL, "took {:?}", began.elapsed());
    assert_fault(&silent, 503, "silent");
    assert_eq!(silent.fault()["reason"], "starting", "{}", silent.raw);
    assert_eq!(silent.fault()["outcome"], "not_sent");

    for _ in 0..20 {
        let looping = front
            .client
            .call("looping__delay", json!({ "ms": 20 }))
            .await;
        if looping.result()["structuredContent"].is_object() {
            continue;
        }
        let code = looping.fault()["code"].as_u64();
        assert!(matches!(code, Some(502 | 503)), "{}", looping.raw);
        assert_fault(&looping, code.unwrap_or_default(), "looping");
    }

    // Other methods get a JSON-RPC error with the same story.
    let prompt = json!({ "name": "refused__greet" });
    let prompt = front.client.request("prompts/get", prompt).await;
    assert_eq!(prompt.status, 200, "{}", prompt.raw);
    assert_eq!(prompt.error_code(), Some(503), "{}", prompt.raw);
    assert_eq!(prompt.fault()["backend"], "refused", "{}", prompt.raw);

    // What exists nowhere is still told as such.
    let unknown = front.client.call("near__nothing", json!({})).await;
    assert_eq!(unknown.error_code(), Some(-32602), "{}", unknown.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn names_do_not_depend_on_who_is_up() {
    let folder = TempDir::new().expect("a folder");
    let down = folder.path().join("down");
    let path = down.to_str().expect("a path in UTF-8");
    let flags = ["--exit-at-start", "--while-exists", path];
    let mut plain = faulty(&flags);
    plain["prefix"] = json!("");
    let mut second = faulty(&["--label", "second"]);
    second["prefix"] = json!("");
    let front = Front::of(json!({
        "first": plain,
        "other": faulty(&flags),
        "second": second,
    }))
    .await;
    for backend in ["first", "other", "second"] {
        front.wait_until(backend, true).await;
    }
    let names = tool_names(&front).await;
    for name in ["echo", "other__echo", "second__echo"] {
        assert!(
            names.iter().any(|known| known == name),
            "no {name} in {names:?}"
        );
    }

    // Both go down, and stay down.
    std::fs::write(&down, "").expect("the folder is ours");
    for tool in ["exit", "other__exit"] {
        front.client.call(tool, json!({})).await;
    }
    front.wait_until("first", false).await;
    front.wait_until("other", false).await;
    assert_eq!(tool_names(&front).await, names);
    for (tool, backend) in [("echo", "first"), ("other__echo", "other")] {
        let answer = front.client.call(tool, json!({})).await;
        assert_fault(&answer, 503, backend);
        assert_eq!(answer.fault()["outcome"], "not_sent", "{}", answer.raw);
    }
    front.works("second").await;

    std::fs::remove_file(&down).expect("the file is ours");
    front.wait_until("first", true).await;
    front.wait_until("other", true).await;
    assert_eq!(tool_names(&front).await, names);
    front.works("other").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn nothing_but_broken_backends_is_still_a_server() {
    let port = RefusedPort::take();
    let front = Front::of(json!({ "refused": remote(port.url()) })).await;
    let discover = front.client.request("server/discover", json!({})).await;
    let capabilities = &discover.result()["capabilities"];
    for capability in ["tools", "prompts", "resources", "completions"] {
        assert!(capabilities[capability].is_object(), "{}", discover.raw);
    }
    assert_eq!(tool_names(&front).await, Vec::<String>::new());
    assert!(front.missing().await.contains_key("refused"));
    front.gateway.stop().await;
}
