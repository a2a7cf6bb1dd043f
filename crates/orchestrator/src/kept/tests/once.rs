//! The same of the same caller is kept once, and never more in memory than may be.

use tokio::time::advance;

use super::super::store::MAX_IN_MEMORY;
use super::*;

fn result(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

/// A hit of the cache, which says how old it is.
fn hit(age: u64) -> Value {
    json!({
        "content": [{ "type": "text", "text": "rows" }],
        "_meta": { "dev.switchboard/cache": { "ageMs": age, "state": "hit" }, "x/y": 1 },
        "ttlMs": 60_000 - age,
    })
}

#[tokio::test]
async fn the_same_result_of_the_same_caller_has_one_handle() {
    let scene = Scene::new(|_| {}).await;
    let keep = async |who: &str, profile: Option<&str>, result: &Value| {
        let kept = scene.keep_whole(who, profile, result).await;
        kept.expect("room").uri
    };
    let first = keep("alice", None, &result("rows")).await;
    assert_eq!(keep("alice", None, &result("rows")).await, first);
    let others = [
        keep("alice", None, &result("rows!")).await,
        keep("alice", Some("p"), &result("rows")).await,
        keep("bob", None, &result("rows")).await,
    ];
    assert!(!others.contains(&first) && others[0] != others[1] && others[1] != others[2]);
    assert_eq!(scene.kept().count(), 4);
    // However old it is.
    let young = keep("alice", None, &hit(5)).await;
    assert_eq!(keep("alice", None, &hit(2_000)).await, young);
    let mut other = hit(5);
    other["_meta"]["x/y"] = 2.into();
    assert_ne!(keep("alice", None, &other).await, young);
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_given_again_is_good_for_as_long_as_a_new_one() {
    let scene = Scene::new(|config| config.ttl = Duration::from_secs(60)).await;
    let first = scene.keep_whole("alice", None, &result("rows")).await;
    let first = first.expect("room");
    advance(Duration::from_secs(40)).await;
    let again = scene.keep_whole("alice", None, &result("rows")).await;
    assert_eq!(again, Ok(first.clone()));
    advance(Duration::from_secs(40)).await;
    assert!(scene.read(&first.uri).await.is_ok());
    advance(Duration::from_secs(30)).await;
    assert!(scene.read(&first.uri).await.is_err());
    let anew = scene.keep_whole("alice", None, &result("rows")).await;
    assert_ne!(anew.expect("room").uri, first.uri);
    scene.end().await;
}

#[tokio::test]
async fn what_is_let_go_is_gone_once_nothing_else_leads_to_it() {
    let scene = Scene::new(|_| {}).await;
    let first = scene.keep_image("AAAA").await.expect("room");
    let again = scene.keep_image("AAAA").await.expect("room");
    assert_eq!(first, again);
    scene.kept().let_go(&first);
    assert!(scene.read(&first.uri).await.is_ok());
    scene.kept().let_go(&again);
    assert!(scene.read(&first.uri).await.is_err());
    assert_eq!(scene.kept().count(), 0);
    scene.kept().let_go(&again);
    assert_ne!(scene.keep_image("AAAA").await.expect("room").uri, first.uri);
    scene.end().await;
}

#[tokio::test]
async fn where_memory_is_full_and_no_file_can_be_made_nothing_is_kept() {
    let scene = Scene::new(|config| config.dir = Some("/nowhere/at/all".into())).await;
    let accounts = &scene.kept().0.accounts;
    let image = |bytes: usize| "AAAA".repeat(bytes / 3);
    // It does not fit in what may be of one, and no file takes it.
    assert_eq!(scene.keep_image(&image(3_000_000)).await, Err(NoRoom));
    assert_eq!((scene.kept().count(), accounts.in_memory()), (0, 0));
    accounts.fill_memory(MAX_IN_MEMORY - 300_000);
    scene.keep_image(&image(270_000)).await.expect("room");
    assert_eq!(accounts.in_memory(), MAX_IN_MEMORY - 30_000);
    assert_eq!(scene.keep_image(&image(90_000)).await, Err(NoRoom));
    let text = result(&"x".repeat(90_000));
    assert_eq!(scene.keep_as("alice", None, &text).await, Err(NoRoom));
    assert_eq!(scene.keep_whole("alice", None, &text).await, Err(NoRoom));
    assert_eq!(scene.kept().count(), 1);
    assert_eq!(accounts.in_memory(), MAX_IN_MEMORY - 30_000);
    scene.keep_image(&image(9_000)).await.expect("room");
    scene.end().await;
}

#[tokio::test]
async fn where_memory_is_full_everything_goes_to_files() {
    let scene = Scene::new(|_| {}).await;
    let accounts = &scene.kept().0.accounts;
    accounts.fill_memory(MAX_IN_MEMORY);
    let image = scene
        .keep_image(&"AAAA".repeat(40_000))
        .await
        .expect("room");
    let text = scene.keep(&"x".repeat(200_000)).await;
    assert_eq!(accounts.in_memory(), MAX_IN_MEMORY);
    for (kept, size) in [(image, 120_000), (text, 200_000)] {
        assert_eq!(kept.size, size);
        assert!(scene.read(&kept.uri).await.is_ok());
    }
    scene.end().await;
}

#[tokio::test]
async fn searches_of_one_caller_hold_nobody_else_up() {
    let scene = Scene::new(|config| config.in_memory = 1).await;
    let kept = scene.keep("needle").await;
    let alice = Arc::from("alice");
    let searching = &scene.kept().0.searching;
    let hers = (
        searching.acquire(&alice).await,
        searching.acquire(&alice).await,
    );
    // She reads on, and bob searches.
    assert!(scene.read(&kept.uri).await.is_ok());
    let bobs = scene.keep_as("bob", None, &result("needle")).await;
    let uri = format!("{}?search=needle", bobs.expect("room").uri);
    let found = scene
        .ask("bob", None, "resources/read", &json!({ "uri": uri }))
        .await
        .expect("matches");
    assert_eq!(meta(&found)["matches"], json!([[0, 6, 1]]));
    drop(hers);
    scene.end().await;
}
