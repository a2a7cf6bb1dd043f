use serde_json::json;
use switchboard_protocol::result_cache::Places;
use switchboard_testkit::redis_server::RedisServer;

use super::*;

const KEYS: [CacheKey; 2] = [CacheKey::new([1; 32]), CacheKey::new([2; 32])];
const MATERIAL: &[u8] = b"a sealing key of the tests, 0f8e1c7b2d9a";

async fn replica(server: &RedisServer, material: &[u8]) -> Arc<RedisCache> {
    let store = json!({ "redis": server.url(), "timeout": "5s" });
    let store: StoreConfig = serde_json::from_value(store).unwrap();
    RedisCache::start(&store, material).await.unwrap()
}

fn result(text: &'static str, usable_for: Duration) -> CachedResult {
    let (places, _) = Places::find(text.as_bytes(), true).unwrap();
    CachedResult {
        text: Bytes::from_static(text.as_bytes()),
        asked_at: Instant::now(),
        fresh_for: usable_for,
        usable_for,
        places,
        may_name_resources: false,
    }
}

async fn get(redis: &RedisCache, key: &CacheKey) -> Option<CachedResult> {
    match redis.get(key) {
        Lookup::Known(result) => result,
        Lookup::Pending(result) => result.await,
    }
}

#[tokio::test]
async fn replicas_of_one_key_share_what_they_keep_until_its_time_is_over() {
    let server = RedisServer::start().await;
    let (one, other) = (
        replica(&server, MATERIAL).await,
        replica(&server, MATERIAL).await,
    );
    let cached = result(r#"{"a":1}"#, Duration::from_millis(300));
    one.put(&KEYS[0], cached.clone());
    let found = get(&one, &KEYS[0]).await.unwrap();
    assert_eq!((&found.text, found.places), (&cached.text, cached.places));
    assert!(found.asked_at <= cached.asked_at + Duration::from_millis(2));
    assert!(get(&other, &KEYS[0]).await.is_some());
    assert!(get(&one, &KEYS[1]).await.is_none());
    let stranger = replica(&server, b"another sealing key of the tests, 88ad").await;
    assert!(get(&stranger, &KEYS[0]).await.is_none());
    sleep(Duration::from_millis(320)).await;
    assert!(get(&one, &KEYS[0]).await.is_none());
}

#[tokio::test]
async fn who_writes_to_the_redis_can_only_drop_what_is_cached() {
    let server = RedisServer::start().await;
    let redis = replica(&server, MATERIAL).await;
    let day = Duration::from_secs(24 * 60 * 60);
    redis.put(&KEYS[0], result(r#"{"a":"annas secret"}"#, day));
    redis.put(&KEYS[1], result(r#"{"a":"bens"}"#, day));
    assert!(get(&redis, &KEYS[0]).await.is_some());
    assert!(get(&redis, &KEYS[1]).await.is_some());
    let names = KEYS.map(|key| redis.name(&key));
    // The one in the place of the other.
    server.command(&["RENAME", &names[0], &names[1]]).await;
    assert!(get(&redis, &KEYS[1]).await.is_none());
    server
        .command(&["SET", &names[0], "{\"a\":2}", "PX", "100000"])
        .await;
    assert!(get(&redis, &KEYS[0]).await.is_none());
    server.command(&["DEL", &names[0]]).await;
    server.command(&["LPUSH", &names[0], "x"]).await;
    assert!(get(&redis, &KEYS[0]).await.is_none());
    // None of this makes it away.
    redis.put(&KEYS[0], result(r#"{"a":3}"#, day));
    assert!(get(&redis, &KEYS[0]).await.is_some());
}
