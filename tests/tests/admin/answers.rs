//! What the admin API says of what runs, and what an operator may do to sessions and the configuration.

use serde_json::json;
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::commands::ended;
use switchboard_tests::front::{descendants, faulty, remote};
use switchboard_tests::waiting::until;

use super::{AGENT, Administered, LIST, OPS, config, keys};

#[tokio::test]
async fn it_says_what_runs_and_what_it_uses() {
    let server = FakeHttp::start(Transport::Modern, "far").await;
    let backends = json!({ "a": faulty(&["--label", "seen"]), "far": remote(server.url()) });
    let admin = Administered::of(backends).await;
    admin.front.gateway.wait_for_backends().await;
    admin.front.works("a").await;

    let (status, all) = admin.ask("GET", LIST).await;
    assert_eq!(status, 200);
    let all = all["backends"].as_array().expect("backends").clone();
    let names: Vec<_> = all.iter().map(|backend| &backend["name"]).collect();
    assert_eq!(names, ["a", "far"]);
    assert_eq!(all[1]["transport"], "HTTP");
    assert_eq!(all[1]["endpoints"][0]["processes"], json!([]));

    let a = &all[0];
    assert_eq!(a["transport"], "stdio");
    assert_eq!(a["era"], "modern");
    assert_eq!(a["state"], "ready");
    assert_eq!(a["restarts"], 0);
    assert_eq!(a["endpoints"][0]["breaker"], "closed");
    let process = &a["endpoints"][0]["processes"][0];
    assert_eq!(process["kind"], "main");
    let pid = process["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.expect("a process id");
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(String::from_utf8_lossy(&arguments).contains("seen"));
    let gateway = admin.front.gateway.server().id().expect("it runs");
    assert!(descendants(gateway).contains(&pid));
    let resident = process["resident_memory_bytes"].as_u64().expect("memory");
    assert!((1 << 20..1 << 30).contains(&resident), "{process}");
    assert!(
        process["cpu_seconds"]
            .as_f64()
            .is_some_and(|cpu| cpu < 60.0)
    );
    assert_eq!(process["processes"], 1);
    assert_eq!(process["write_queue"], 0);
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn an_unknown_backend_is_named_with_the_nearest() {
    let admin = Administered::of(json!({ "files": faulty(&[]) })).await;
    let (status, problem) = admin.restart("fles").await;
    assert_eq!(status, 404);
    let detail = "there is no backend `fles`; did you mean `files`?";
    assert_eq!(problem["detail"], detail);
    assert_eq!(problem["status"], 404);
    let ended = ended(admin.command(&["restart", "fles"])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(detail), "{ended:?}");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn every_get_of_the_document_is_answered_and_none_may_be_cached() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&json!({ "a": faulty(&[]) }));
    config["auth"] = keys(&[("agent", AGENT)]);
    config["audit"] = json!({ "sqlite": { "path": folder.path().join("audit.db") } });
    let admin = Administered::start(config).await;
    until("the backend", async || {
        let (_, catalogue) = admin.ask("GET", "/api/v1/catalogue").await;
        let tools = catalogue["tools"].as_array()?;
        tools
            .iter()
            .any(|tool| tool["name"] == "a__echo")
            .then_some(())
    })
    .await;
    let (status, document) = admin.ask("GET", "/api/v1/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let text = document.to_string();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{name}", "a").replace("{digest}", "a");
        for method in ["get", "post", "put", "patch", "delete"] {
            let request = admin
                .request(&method.to_uppercase(), &path)
                .bearer_auth("wrong");
            assert_eq!(admin.send(request).await.0, 401, "{method} {path}");
            if operations[method].is_null() {
                let request = admin
                    .request(&method.to_uppercase(), &path)
                    .bearer_auth(OPS);
                assert_eq!(admin.send(request).await.0, 405, "{method} {path}");
            }
        }
        if operations["get"].is_null() {
            continue;
        }
        let request = admin.request("GET", &path).bearer_auth(OPS);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        let body = response.text().await.expect("a body");
        for secret in [OPS, AGENT, "key_sha256"] {
            assert!(!body.contains(secret), "{secret} in {path}");
        }
    }
    for word in ["\"command\"", "\"args\"", "\"env\""] {
        assert!(!text.contains(word), "{word}");
    }
    // What is logged is all that is said in a body.
    assert_eq!(text.matches("requestBody").count(), 1);
    assert!(document["paths"]["/api/v1/log"]["put"]["requestBody"].is_object());
    let (_, principals) = admin.ask("GET", "/api/v1/principals").await;
    assert_eq!(principals["principals"][0]["id"], "key:agent");
    let (_, limits) = admin.ask("GET", "/api/v1/limits").await;
    assert_eq!(limits, json!({ "store": "memory", "limits": [] }));
    let (_, shown) = admin.ask("GET", "/api/v1/config").await;
    assert_eq!(shown["backends"], json!(["a"]));
    assert_eq!(admin.ask("GET", "/api/v1/audit?limit=0").await.0, 400);
    // Refused credentials and changes are noted, and found.
    admin.restart("a").await;
    until("the records", async || {
        let (_, found) = admin.ask("GET", "/api/v1/audit?principal=key:ops").await;
        let restart = &found["records"][0];
        (restart["target"] == "/api/v1/backends/a/restart").then_some(())
    })
    .await;
    let (_, found) = admin.ask("GET", "/api/v1/audit?outcome=refused").await;
    assert_eq!(found["records"][0]["listener"], "admin", "{found}");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn an_operator_reloads_and_is_told_what_has_changed() {
    let admin = Administered::of(json!({ "a": faulty(&[]) })).await;
    assert_eq!(admin.ask("GET", "/api/v1/audit").await.0, 404);
    let (status, same) = admin.ask("POST", "/api/v1/reload").await;
    assert_eq!((status, &same["changed"]), (200, &json!(false)), "{same}");
    let mut changed = config(&json!({ "a": faulty(&[]), "b": faulty(&[]) }));
    changed["audit"] = json!({ "stdout": true });
    admin.front.gateway.rewrite(changed);
    let (status, reloaded) = admin.ask("POST", "/api/v1/reload").await;
    assert_eq!(status, 200, "{reloaded}");
    assert_eq!(reloaded["changed"], true);
    assert_eq!(reloaded["backends"]["added"], json!(["b"]));
    assert_eq!(reloaded["needs_restart"], json!(["audit"]));
    let (_, shown) = admin.ask("GET", "/api/v1/config").await;
    assert_eq!(shown["backends"], json!(["a", "b"]));
    admin
        .front
        .gateway
        .rewrite(json!({ "backends": { "a": { "nonsense": 1 } } }));
    let (status, refused) = admin.ask("POST", "/api/v1/reload").await;
    assert_eq!(status, 422);
    let detail = refused["detail"].as_str().expect("why");
    assert!(detail.contains("nonsense"), "{detail}");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn sessions_are_shown_without_what_opens_them_and_can_be_ended() {
    let admin = Administered::of(json!({})).await;
    let url = admin.front.gateway.url();
    let client = LegacyClient::connect(url, Setup::default()).await;
    let id = client.session().expect("a session");
    let (_, open) = admin.ask("GET", "/api/v1/sessions").await;
    assert_eq!(open["total"], 1, "{open}");
    assert!(!open.to_string().contains(&id));
    let session = &open["sessions"][0];
    assert_eq!(session["principal"], "anonymous");
    assert_eq!(session["protocol"], "2025-11-25");
    let digest = session["digest"].as_str().expect("a digest");
    let path = format!("/api/v1/sessions/{digest}");
    assert_eq!(admin.ask("DELETE", "/api/v1/sessions/ffff").await.0, 404);
    assert_eq!(admin.ask("DELETE", &path).await.0, 204);
    assert_eq!(admin.ask("DELETE", &path).await.0, 404);
    let (_, open) = admin.ask("GET", "/api/v1/sessions").await;
    assert_eq!(open, json!({ "sessions": [], "total": 0 }));
    let answer = client.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    admin.front.gateway.stop().await;
}
