//! A server that uses more than it may: by control groups where there are some, and as without.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::acting::{act, call, front, front_without, held_by};
use switchboard_tests::waiting::until;

/// What the machine is taken for: as it is, and without control groups.
const BOTH_WAYS: [&str; 2] = ["", "cgroups"];
/// The control groups of version 1, and the one tree of version 2.
const CGROUPS: &str = "/sys/fs/cgroup";

#[tokio::test]
async fn a_server_that_takes_more_memory_than_its_limit_is_ended_and_its_caller_told_so() {
    for without in BOTH_WAYS {
        let keys = json!({ "limits": { "memory": "96MiB" } });
        let front = front_without(without, &keys).await;
        assert_eq!(act(&front, json!({ "allocate": 8 })).await, Ok(json!(8)));
        // What is only looked at may be answered before.
        let answer = call(&front, json!({ "allocate": 1024 })).await;
        let mut told = answer.result()["content"][0]["text"].to_string();
        if !told.contains("its process") {
            told = until("the end of the server", async || {
                let told = front.missing().await.remove("a")?["reason"].to_string();
                told.contains("its process").then_some(told)
            })
            .await;
        }
        let expected = "was ended because it used more memory than its limit of 96 MiB";
        assert!(told.contains(expected), "without {without:?}: {told}");
        until("another process", async || {
            let answer = call(&front, json!({ "allocate": 8 })).await;
            (answer.result()["structuredContent"]["value"] == 8).then_some(())
        })
        .await;
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_child_that_is_ended_for_its_memory_is_told_while_the_server_goes_on() {
    let keys = json!({ "limits": { "memory": "96MiB" } });
    // Version 2 ends the group as a whole.
    if held_by("limits.memory", &keys).await.as_deref() != Some("cgroup v1") {
        return;
    }
    let front = front(&keys).await;
    let greedy = json!({ "run": ["sh", "-c", "head -c 512M /dev/zero | tail; true"] });
    act(&front, greedy).await.expect("the shell goes on");
    until("it is told", async || {
        let output = front.gateway.server().output();
        let told = "a process of it was ended because it used more memory than its limit of 96 MiB";
        output.contains(told).then_some(())
    })
    .await;
    assert_eq!(act(&front, json!({ "allocate": 1 })).await, Ok(json!(1)));
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_forks_without_end_is_stopped_at_its_limit() {
    let keys = json!({ "limits": { "processes": 20 } });
    let is_grouped = held_by("limits.processes", &keys).await;
    let is_grouped = is_grouped.is_some_and(|held| held.starts_with("cgroup"));
    for without in BOTH_WAYS {
        let front = front_without(without, &keys).await;
        if is_grouped && without.is_empty() {
            let error = act(&front, json!({ "fork": 200 }))
                .await
                .expect_err("a limit");
            let started = error.split_once(" started").map(|(count, _)| count.parse());
            assert!(matches!(started, Some(Ok(1..20))), "{error}");
        } else {
            let _ = call(&front, json!({ "fork": 200 })).await;
            let told = until("the end of the server", async || {
                let output = front.gateway.server().output();
                let told = output.lines().find(|line| line.contains("started more"))?;
                Some(told.to_owned())
            })
            .await;
            let expected = "was ended because it started more processes than its limit of 20";
            assert!(told.contains(expected), "{told}");
            front.wait_until("a", true).await;
        }
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn descriptors_and_files_end_at_their_limits() {
    let keys = json!({ "limits": { "open_files": 64, "file_size": "1MiB" } });
    let front = front(&keys).await;
    let error = act(&front, json!({ "open": 10_000 }))
        .await
        .expect_err("a limit");
    assert!(error.contains("Too many open files"), "{error}");
    // The descriptors are still taken, so another server writes.
    front.gateway.stop().await;
    let front = self::front(&keys).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    assert!(
        act(&front, json!({ "write": [file, 1 << 20] }))
            .await
            .is_ok()
    );
    let answer = call(&front, json!({ "write": [file, (1 << 20) + 1] })).await;
    // The signal that comes with it ends a program that does not ignore it.
    assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
    assert!(
        answer.raw.contains("its process was ended by signal"),
        "{}",
        answer.raw
    );
    let written = fs::metadata(&file).expect("written").len();
    assert!(written <= 1 << 20, "{written}");
    front.gateway.stop().await;
}

/// The folder of a server's own control group of a kind.
fn group_of(groups: &str, kind: &str) -> Option<std::path::PathBuf> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (kinds, path) = (fields.next()?, fields.next()?);
        let tree = match kinds {
            "" => CGROUPS.to_owned(),
            kinds if kinds.split(',').any(|of| of == kind) => format!("{CGROUPS}/{kinds}"),
            _ => return None,
        };
        let folder = Path::new(&tree).join(path.trim_start_matches('/'));
        path.contains("/switchboard-").then_some(folder)
    })
}

#[tokio::test]
async fn processor_time_is_a_limit_of_the_servers_group_which_goes_with_it() {
    let keys = json!({ "limits": { "cpu": 0.5 } });
    let Some(held) = held_by("limits.cpu", &keys).await else {
        return;
    };
    let front = front(&keys).await;
    let groups = act(&front, json!({ "read": "/proc/self/cgroup" })).await;
    let groups = groups.expect("read");
    let folder = group_of(groups.as_str().expect("text"), "cpu").expect("a group");
    let read = |file: &str| fs::read_to_string(folder.join(file)).expect("a limit");
    if held == "cgroup v1" {
        assert_eq!(read("cpu.cfs_quota_us").trim(), "50000");
        assert_eq!(read("cpu.cfs_period_us").trim(), "100000");
    } else {
        assert_eq!(read("cpu.max").trim(), "50000 100000");
    }
    front.gateway.stop().await;
    assert!(!folder.exists(), "{}", folder.display());
}

#[tokio::test]
async fn no_server_leaves_a_dump_of_its_memory() {
    let front = front(&json!({})).await;
    let limits = act(&front, json!({ "read": "/proc/self/limits" })).await;
    let limits = limits.expect("read").to_string();
    let core = limits
        .split("\\n")
        .find(|line| line.starts_with("Max core"));
    let core: Vec<&str> = core.expect("a limit").split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{core:?}");
    let files = limits
        .split("\\n")
        .find(|line| line.starts_with("Max open files"));
    assert!(files.expect("a limit").contains("1024"), "{limits}");
    front.gateway.stop().await;
}
