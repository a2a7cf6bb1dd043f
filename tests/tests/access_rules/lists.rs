//! What lists show of what rules allow.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_testkit::client::LISTS;

use super::{Scene, rules};

/// The names in a list: those of `key` of its entries under `list`.
fn names(result: &Value, list: &str, key: &str) -> BTreeSet<String> {
    let entries = result[list].as_array().into_iter().flatten();
    entries
        .map(|entry| entry[key].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn lists_have_what_may_be_used_and_nothing_else() {
    let scene = Scene::of(rules()).await;
    let own = |list: &[&str]| {
        list.iter()
            .map(|&name| name.to_owned())
            .collect::<BTreeSet<_>>()
    };
    let of_ben = [
        own(&["c__echo"]),
        own(&["c__test_simple_prompt"]),
        own(&["test://static-text", "test://static-binary"]),
        own(&[]),
    ];
    let old_ben = scene.legacy("ben", "2025-11-25").await;
    for ((method, list, key), expected) in LISTS.into_iter().zip(of_ben) {
        let answer = scene.client("ben").request(method, json!({})).await;
        assert_eq!(names(answer.result(), list, key), expected, "{method}");
        let answer = old_ben.request(method, json!({})).await;
        assert_eq!(names(answer.result(), list, key), expected, "{method}");
        let answer = scene.client("cid").request(method, json!({})).await;
        assert_eq!(names(answer.result(), list, key), own(&[]), "{method}");
        let answer = scene.client("anna").request(method, json!({})).await;
        let all = names(answer.result(), list, key);
        assert!(
            all.is_superset(&expected) && all.len() > expected.len(),
            "{method}: {all:?}"
        );
        assert!(!all.contains("c__add_tool"), "{method}: {all:?}");
    }
    scene.front.gateway.stop().await;
}

#[tokio::test]
async fn a_backend_of_which_nothing_is_shown_is_not_named_when_it_is_missing() {
    let scene = Scene::of(rules()).await;
    let missing = async |who: &str| {
        let answer = scene.client(who).request("tools/list", json!({})).await;
        answer.result()["_meta"]["dev.switchboard/backends"].to_string()
    };
    scene.front.gateway.rewrite(json!({
        "auth": super::auth(&["anna", "ben", "cid"]),
        "access": rules(),
        "backends": {
            "c": { "url": scene.server.url() },
            "gone": { "url": "http://127.0.0.1:9/mcp" },
        },
    }));
    scene.front.gateway.hang_up();
    super::until("anna is told", async || {
        missing("anna").await.contains("gone").then_some(())
    })
    .await;
    for who in ["ben", "cid"] {
        assert!(!missing(who).await.contains("gone"), "{who}");
    }
    scene.front.gateway.stop().await;
}
