//! A server that does to its machine what it is told, and what `check` says of its confinement.

use std::path::Path;

use serde_json::{Value, json};
use switchboard_testkit::client::Answer;
use switchboard_tests::front::Front;
use switchboard_tests::tools;
use tokio::process::Command;

/// The variable by which a machine is taken for a lesser one.
pub(crate) const WITHOUT: &str = "SWITCHBOARD_TEST_MACHINE_WITHOUT";

/// The server, with these further keys of its backend.
pub(crate) fn acting(keys: &Value) -> Value {
    let mut backend = json!({
        "command": tools::program("acting-server"),
        "era": "modern",
    });
    for (key, value) in keys.as_object().expect("keys") {
        backend[key] = value.clone();
    }
    backend
}

/// A gateway in front of one such server, `a`.
pub(crate) async fn front(keys: &Value) -> Front {
    front_without("", keys).await
}

/// The same on a machine that lacks this.
pub(crate) async fn front_without(without: &str, keys: &Value) -> Front {
    let config = json!({ "backends": { "a": acting(keys) } });
    let front = Front::start_with(config, &[(WITHOUT, without)]).await;
    front.wait_until("a", true).await;
    front
}

/// Has something done, whatever comes of it.
pub(crate) async fn call(front: &Front, act: Value) -> Answer {
    front.client.call("a__act", json!({ "do": act })).await
}

/// Has something done: what came of it, or the error.
pub(crate) async fn act(front: &Front, act: Value) -> Result<Value, String> {
    let answer = call(front, act).await;
    let content = &answer.result()["structuredContent"];
    match content["ok"].as_bool() {
        Some(true) => Ok(content["value"].clone()),
        Some(false) => Err(content["error"].as_str().unwrap_or_default().to_owned()),
        None => panic!("no answer of the server's: {}", answer.raw),
    }
}

/// Whether an error is a refusal by the kernel.
pub(crate) fn is_refusal(done: &Result<Value, String>) -> bool {
    let refusals = ["Permission denied", "Operation not permitted"];
    done.as_ref()
        .is_err_and(|error| refusals.iter().any(|refusal| error.contains(refusal)))
}

/// What `check` says of one server `a`, on a machine that lacks this; and with which code it ends.
pub(crate) async fn checked(without: &str, backend: &Value) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("switchboard.json");
    let config = json!({ "backends": { "a": backend } });
    std::fs::write(&file, config.to_string()).expect("the folder is ours");
    let output = check(&file, &["--format", "json"], without).await;
    let report = serde_json::from_slice(&output.stdout).expect("a report");
    (report, output.status.code())
}

/// Runs `check`.
pub(crate) async fn check(file: &Path, flags: &[&str], without: &str) -> std::process::Output {
    let output = Command::new(tools::program("switchboard"))
        .arg("check")
        .arg("-c")
        .arg(file)
        .args(flags)
        .env(WITHOUT, without)
        .output();
    output.await.expect("it runs")
}

/// What holds this key on this machine (`limits.memory`, `sandbox.files`); `None` if nothing does,
/// and then `check` has to say so.
pub(crate) async fn held_by(key: &str, keys: &Value) -> Option<String> {
    let (report, _) = checked("", &acting(keys)).await;
    let process = &report["processes"][0];
    let (part, name) = key.split_once('.').expect("a part and a name");
    let measures = match part {
        "limits" => &process["limits"],
        _ => &process["sandbox"]["measures"],
    };
    let mut all = measures.as_array().expect("measures").iter();
    let measure = all.find(|measure| measure["key"] == name);
    let measure = measure.unwrap_or_else(|| panic!("no {key} in {report:#}"));
    let held = measure["heldBy"].as_str().map(str::to_owned);
    if held.is_none() {
        let warned = report["warnings"].to_string();
        assert!(warned.contains(&format!("backends.a.{key}")), "{report:#}");
    }
    held
}
