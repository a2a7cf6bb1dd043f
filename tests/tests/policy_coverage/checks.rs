//! What shows that a policy decides in a cell.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::cells::{Cell, Method, Policy};
use crate::scene::{ALL, BUDGETED, Caller, FEW, MEASURED, NOBODY, OPEN, RATED, Scene, WATCHED};

/// How long a record is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was seen instead of what had to be.
type Shown = Result<(), String>;

/// Tries whether the policy of a cell decides there.
pub(crate) async fn check(scene: &Scene, cell: Cell) -> Shown {
    match (cell.policy, cell.method) {
        (Policy::Authentication, _) => is_authenticated(scene, cell).await,
        (Policy::Access | Policy::Profile, Method::Subscribe) => {
            hears_of_what_is_shown(scene, cell).await
        }
        (Policy::Access | Policy::Profile, Method::Tasks) => task_is_hidden(scene, cell).await,
        (Policy::Access | Policy::Profile, _) => is_hidden(scene, cell).await,
        (Policy::Limit, _) => is_counted(scene, cell, RATED, "rate_limited").await,
        (Policy::Budget, Method::Tasks) => result_of_task_is_counted(scene, cell).await,
        (Policy::Budget, _) => is_counted(scene, cell, BUDGETED, "over_budget").await,
        (Policy::Audit, Method::Subscribe) => subscription_is_noted(scene, cell).await,
        (Policy::Audit, _) => is_noted(scene, cell).await,
    }
}

/// A person of this cell alone, so that no other has used up its limits.
fn name(cell: Cell, what: &str) -> String {
    format!(
        "{:?}-{:?}-{}-{what}",
        cell.method, cell.policy, cell.is_modern
    )
}

fn holds(what: &str, is_so: bool, seen: &impl std::fmt::Debug) -> Shown {
    match is_so {
        true => Ok(()),
        false => Err(format!("{what}: {seen:?}")),
    }
}

async fn is_authenticated(scene: &Scene, cell: Cell) -> Shown {
    let known = scene
        .caller(&name(cell, "known"), ALL, "", cell.is_modern)
        .await;
    let method = cell.method.of_era(cell.is_modern);
    let (mut params, _) = cell.method.named();
    match cell.method {
        Method::Tasks => params = json!({ "taskId": known.begin_task().await? }),
        Method::Subscribe if cell.is_modern => {
            params = json!({ "notifications": { "toolsListChanged": true } });
        }
        Method::Subscribe => params = json!({ "uri": WATCHED }),
        _ => {}
    }
    for token in [None, Some("nobody-has-this-token"), Some("e30.e30.e30")] {
        let stranger = scene.stranger(token, "", cell.is_modern);
        if let (Caller::Legacy(stranger), Caller::Legacy(known)) = (&stranger, &known) {
            // Whoever has found a session still needs a credential.
            if cell.method != Method::Discover {
                stranger.set_session(known.session());
            }
        }
        let (status, response) = stranger.ask(method, params.clone()).await;
        holds("a stranger", status == 401, &(token, status, response))?;
    }
    // A stream has no end to wait for: that it opens is shown where its changes are.
    if cell.method == Method::Subscribe {
        return Ok(());
    }
    let (status, response) = known.ask(method, params).await;
    holds(
        "who is known",
        response["result"].is_object(),
        &(status, response),
    )
}

/// Who sees everything, and who does not, as the policy of the cell has it.
async fn both(scene: &Scene, cell: Cell) -> (Caller, Caller) {
    let (group, path) = match cell.policy {
        Policy::Profile => (ALL, "/part"),
        // Instructions are those of servers of which something is shown.
        _ if cell.method == Method::Discover => (NOBODY, ""),
        _ => (FEW, ""),
    };
    let all = scene
        .caller(&name(cell, "all"), ALL, "", cell.is_modern)
        .await;
    let fewer = scene
        .caller(&name(cell, "fewer"), group, path, cell.is_modern)
        .await;
    (all, fewer)
}

async fn is_hidden(scene: &Scene, cell: Cell) -> Shown {
    let (all, fewer) = both(scene, cell).await;
    let method = cell.method.of_era(cell.is_modern);
    let (params, hidden) = cell.method.named();
    let (_, seen) = all.ask(method, params.clone()).await;
    holds("who may", seen["result"].is_object(), &seen)?;
    let (_, response) = fewer.ask(method, params.clone()).await;
    if cell.method.is_list() {
        holds("what all see", seen.to_string().contains(hidden), &seen)?;
        holds("a list", response["result"].is_object(), &response)?;
        return holds("hidden", !response.to_string().contains(hidden), &response);
    }
    let unknown: Value = serde_json::from_str(&params.to_string().replace(hidden, "c__nobody-has"))
        .map_err(|error| error.to_string())?;
    let (_, none) = fewer.ask(method, unknown).await;
    holds("an error", response["error"].is_object(), &response)?;
    let alike = response["error"]
        .to_string()
        .replace(hidden, "c__nobody-has");
    let expected = none["error"].to_string();
    holds(
        "like what is not there",
        alike == expected,
        &(response, none),
    )
}

async fn hears_of_what_is_shown(scene: &Scene, cell: Cell) -> Shown {
    let (all, fewer) = both(scene, cell).await;
    let (mut one, mut other) = (all.watch().await, fewer.watch().await);
    let toucher = scene.caller(&name(cell, "toucher"), ALL, "", true).await;
    let touch = async |uri: &str| {
        let arguments = json!({ "uri": uri });
        let params = json!({ "name": "c__touch_resource", "arguments": arguments });
        toucher.ask("tools/call", params).await;
    };
    touch(WATCHED).await;
    one.told(WATCHED, 1).await;
    // Several changes may be told in another order: after the second nothing is left of the first.
    for times in 1..=2 {
        touch(OPEN).await;
        let told = other.told(OPEN, times).await;
        holds("who may not", told.iter().all(|uri| uri == OPEN), &told)?;
    }
    Ok(())
}

async fn task_is_hidden(scene: &Scene, cell: Cell) -> Shown {
    let who = name(cell, "same");
    let all = scene.caller(&who, ALL, "", cell.is_modern).await;
    let task = json!({ "taskId": all.begin_task().await? });
    let (_, seen) = all.ask("tasks/get", task.clone()).await;
    holds("whose it is", seen["result"]["status"] == "working", &seen)?;
    // The same person, who may less by now, or comes through the profile.
    let fewer = match cell.policy {
        Policy::Profile => scene.caller(&who, ALL, "/part", cell.is_modern).await,
        _ => scene.caller(&who, FEW, "", cell.is_modern).await,
    };
    let (_, response) = fewer.ask("tasks/get", task).await;
    holds("unknown", response["error"]["code"] == -32602, &response)
}

/// What a task brings counts in bytes.
async fn result_of_task_is_counted(scene: &Scene, cell: Cell) -> Shown {
    let who = name(cell, "counted");
    let caller = scene.caller(&who, MEASURED, "", cell.is_modern).await;
    let task = json!({ "taskId": caller.begin_task_of(json!({ "ms": 300 })).await? });
    let quick = json!({ "name": "t__quick", "arguments": {} });
    let (_, before) = caller.ask("tools/call", quick.clone()).await;
    let is_made = before["result"].is_object() && before["result"]["isError"] != true;
    holds("before the result", is_made, &before)?;
    let began = Instant::now();
    loop {
        let (_, seen) = caller.ask("tasks/get", task.clone()).await;
        if seen["result"]["status"] == "completed" {
            break;
        }
        holds("an end", began.elapsed() < PATIENCE, &seen)?;
        sleep(Duration::from_millis(20)).await;
    }
    let (_, after) = caller.ask("tools/call", quick).await;
    holds(
        "after it",
        after.to_string().contains("over_budget"),
        &after,
    )
}

async fn is_counted(scene: &Scene, cell: Cell, group: &str, reason: &str) -> Shown {
    let who = scene
        .caller(&name(cell, "counted"), group, "", cell.is_modern)
        .await;
    let method = cell.method.of_era(cell.is_modern);
    let (params, _) = cell.method.named();
    let (_, first) = who.ask(method, params.clone()).await;
    let is_made = first["result"].is_object() && first["result"]["isError"] != true;
    holds("the first", is_made, &first)?;
    let (_, second) = who.ask(method, params).await;
    holds("the second", second.to_string().contains(reason), &second)
}

async fn is_noted(scene: &Scene, cell: Cell) -> Shown {
    let who = name(cell, "noted");
    let caller = scene.caller(&who, ALL, "", cell.is_modern).await;
    let method = cell.method.of_era(cell.is_modern);
    let (mut params, target) = cell.method.named();
    let mut target = (!cell.method.is_list()).then(|| target.to_owned());
    if cell.method == Method::Tasks {
        params = json!({ "taskId": caller.begin_task().await? });
        target = None;
    }
    caller.ask(method, params).await;
    let records = recorded(scene, &who, method, 1).await?;
    let record = &records[0];
    holds("an outcome", record["outcome"] == "ok", record)?;
    holds(
        "its kind",
        record["kind"]
            == if cell.method.is_list() {
                "list"
            } else {
                "call"
            },
        record,
    )?;
    let is_named = target.is_none_or(|target| record["target"] == *target);
    holds("its target", is_named, record)
}

/// So many records about this person and method, once they are there.
async fn recorded(
    scene: &Scene,
    who: &str,
    method: &str,
    count: usize,
) -> Result<Vec<Value>, String> {
    let began = Instant::now();
    loop {
        let records = scene.records(who, method);
        if records.len() >= count {
            return Ok(records);
        }
        holds("a record", began.elapsed() < PATIENCE, &who)?;
        sleep(Duration::from_millis(20)).await;
    }
}

/// What is told of is in the record, and what is not told of since it is hidden.
async fn subscription_is_noted(scene: &Scene, cell: Cell) -> Shown {
    let who = name(cell, "noted");
    let caller = scene.caller(&who, FEW, "", cell.is_modern).await;
    let _watch = caller.watch().await;
    let method = cell.method.of_era(cell.is_modern);
    let count = if cell.is_modern { 1 } else { 2 };
    let records = recorded(scene, &who, method, count).await?;
    let is_call = |record: &Value| record["kind"] == "call";
    holds("their kind", records.iter().all(is_call), &records)?;
    let told = |record: &Value| record["watches"] == json!([OPEN]) && record["outcome"] == "ok";
    holds("what is told", records.iter().any(told), &records)?;
    let refused = |record: &Value| {
        let is_refused = record["outcome"] == "refused" && record["reason"] == "denied";
        record["hidden"] == json!([WATCHED]) && (cell.is_modern || is_refused)
    };
    holds("what is hidden", records.iter().any(refused), &records)
}
