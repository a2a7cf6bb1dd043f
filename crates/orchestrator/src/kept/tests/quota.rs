use tokio::time::{advance, timeout};

use super::super::store::Usage;
use super::*;

fn text(length: usize) -> Value {
    json!({ "content": [{ "type": "text", "text": "x".repeat(length) }] })
}

fn used(scene: &Scene) -> Usage {
    scene.kept().0.accounts.total()
}

/// Waits until so much is kept.
async fn until_used(scene: &Scene, results: usize) {
    let waiting = async {
        while used(scene).results != results {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting)
        .await
        .expect("in time");
}

#[tokio::test]
async fn what_has_no_room_is_refused_and_what_is_there_stays() {
    let scene = Scene::new(|config| {
        config.max_result = 50_000;
        config.per_principal = PrincipalQuotaConfig {
            bytes: 100_000,
            results: 3,
        };
        config.total = TotalQuotaConfig {
            bytes: 150_000,
            results: 4,
        };
    })
    .await;
    let keep = async |who: &str, length: usize| scene.keep_as(who, None, &text(length)).await;
    assert_eq!(
        keep("alice", 50_001).await,
        Err(NoRoom),
        "too large for one"
    );
    assert_eq!(
        used(&scene),
        Usage::default(),
        "what was kept of it is gone"
    );
    let first = keep("alice", 50_000).await.expect("room");
    keep("alice", 49_000).await.expect("room");
    assert_eq!(keep("alice", 2_000).await, Err(NoRoom), "too much for her");
    keep("alice", 1_000).await.expect("room");
    assert_eq!(keep("alice", 1).await, Err(NoRoom), "too many for her");
    keep("bob", 50_000).await.expect("room of his own");
    assert_eq!(keep("carol", 1).await, Err(NoRoom), "too many in all");
    assert_eq!(
        used(&scene),
        Usage {
            bytes: 150_000,
            results: 4
        }
    );
    let call = call(
        "bob",
        None,
        "resources/read",
        &json!({ "uri": "db://rows" }),
    );
    let image = scene
        .kept()
        .keep_content(&call, &TARGET, "image/png", b"AAAA")
        .await;
    assert_eq!(image, Err(NoRoom));
    assert!(
        scene.read(&first.uri).await.is_ok(),
        "the first is still there"
    );
    scene.end().await;
}

#[tokio::test]
async fn a_result_that_is_given_up_gives_its_room_back() {
    let scene = Scene::new(|_| {}).await;
    let call = call(
        "alice",
        None,
        "resources/read",
        &json!({ "uri": "db://rows" }),
    );
    let mut keeping = scene.kept().begin(&call, &TARGET).expect("room");
    let piece = Bytes::from(format!(
        r#"{{"content":[{{"type":"text","text":"{}"#,
        "x".repeat(3_000_000)
    ));
    keeping.push(&piece).await.expect("room");
    assert_eq!(
        used(&scene),
        Usage {
            bytes: 3_000_000,
            results: 1
        }
    );
    drop(keeping);
    assert_eq!(used(&scene), Usage::default());
    let mut keeping = scene.kept().begin(&call, &TARGET).expect("room");
    keeping.push(&piece).await.expect("room");
    let kept = keeping.finish(false).await.expect("room");
    assert_eq!(kept.size, 3_000_000);
    assert!(
        kept.shape.ends_with("the rest is missing"),
        "{}",
        kept.shape
    );
    let page = scene
        .read(&format!("{}?offset=2999990", kept.uri))
        .await
        .expect("a page");
    assert_eq!(super::text(&page), "xxxxxxxxxx");
    scene.end().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_keeps_nothing() {
    let scene = Scene::new(|config| {
        config.in_memory = 1;
        config.dir = Some("/nowhere/at/all".into());
    })
    .await;
    let refused = scene.keep_as("alice", None, &text(1_000_000)).await;
    assert_eq!(refused, Err(NoRoom));
    assert_eq!(used(&scene), Usage::default());
    // What was never to leave memory needs no folder.
    let kept = scene
        .keep_as("alice", None, &text(1000))
        .await
        .expect("room");
    assert!(scene.read(&kept.uri).await.is_ok());
    scene.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_gone_and_gives_its_room_back() {
    let scene = Scene::new(|config| config.ttl = Duration::from_secs(60)).await;
    let first = scene.keep("first").await;
    advance(Duration::from_secs(40)).await;
    let second = scene.keep("second").await;
    assert!(scene.read(&first.uri).await.is_ok());
    advance(Duration::from_secs(20)).await;
    assert!(scene.read(&first.uri).await.is_err());
    assert!(scene.read(&second.uri).await.is_ok());
    until_used(&scene, 1).await;
    // A reload with another time concerns what is kept from then on.
    let config = KeptResultsConfig {
        ttl: Duration::from_secs(5),
        ..scene.config.clone()
    };
    scene.reload(Rules::default(), Some(config)).await;
    let third = scene.keep("third").await;
    advance(Duration::from_secs(6)).await;
    assert!(scene.read(&third.uri).await.is_err());
    assert!(scene.read(&second.uri).await.is_ok());
    advance(Duration::from_secs(60)).await;
    until_used(&scene, 0).await;
    scene.end().await;
}

#[tokio::test]
async fn nothing_is_left_behind_the_end() {
    let scene = Scene::new(|config| config.in_memory = 1).await;
    scene.keep(&"x".repeat(2_000_000)).await;
    let kept = scene.kept().clone();
    let folder = scene.folder.path().to_owned();
    assert_eq!(kept.0.accounts.total().results, 1);
    scene.orchestrator.shut_down().await;
    assert_eq!(kept.0.accounts.total(), Usage::default());
    assert_eq!(std::fs::read_dir(folder).expect("there").count(), 0);
}
