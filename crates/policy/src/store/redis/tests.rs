use std::time::Instant;

use serde_json::{Value, json};
use switchboard_protocol::error::{Fault, Reason};
use switchboard_protocol::policy::{Ending, Permit};
use switchboard_testkit::redis_server::RedisServer;

use super::*;
use crate::limits::tests::{Sections, TARGET, call_in, metrics};
use crate::store::Store;

const DONE: Ending = Ending {
    did_something: true,
    bytes: 10,
};
const NOTHING: Ending = Ending {
    did_something: false,
    bytes: 0,
};
const TIMEOUT: Duration = Duration::from_millis(500);

/// What one replica knows.
async fn replica(server: &RedisServer, limits: Value, budgets: Value) -> Arc<Limits> {
    let store = json!({ "redis": server.url(), "timeout": "500ms" });
    let store: StoreConfig = serde_json::from_value(store).unwrap();
    let metrics = metrics();
    let store = Store::start(&store, &metrics).await;
    let sections = Sections::new(limits, budgets, json!({}));
    Arc::new(Limits::new(sections.config(), store, &metrics))
}

async fn admit_as(limits: &Arc<Limits>, is_continuation: bool) -> Result<Permit, Box<Fault>> {
    match limits.admit(&call_in("anna", None), &TARGET, is_continuation) {
        Admission::Decided(verdict) => verdict,
        Admission::Pending(verdict) => verdict.await,
    }
}

async fn admit(limits: &Arc<Limits>) -> Result<Permit, Box<Fault>> {
    admit_as(limits, false).await
}

async fn refused(limits: &Arc<Limits>) -> Reason {
    let verdict = admit(limits).await;
    verdict.map(drop).expect_err("it is refused").reason
}

/// Waits until calls are answered like this.
async fn until(limits: &Arc<Limits>, wanted: Result<(), Reason>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let verdict = admit(limits).await;
        let verdict = verdict
            .map(|permit| permit.settle(NOTHING))
            .map_err(|fault| fault.reason);
        if verdict == wanted {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{verdict:?} instead of {wanted:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_calls_for_the_last_one_exactly_one_passes_on_two_replicas() {
    let server = RedisServer::start().await;
    for (limits, budgets) in [
        (
            json!([{ "name": "r", "per": ["principal"], "rate": "1/1h" }]),
            json!([]),
        ),
        (json!([{ "name": "c", "concurrency": 1 }]), json!([])),
        (
            json!([]),
            json!([{ "name": "b", "calls": 1, "window": "31d" }]),
        ),
        (
            json!([]),
            json!([{ "name": "x", "cost": 1, "window": "31d" }]),
        ),
    ] {
        let replicas = [
            replica(&server, limits.clone(), budgets.clone()).await,
            replica(&server, limits, budgets).await,
        ];
        let calls = (0..50).map(|n| {
            let limits = Arc::clone(&replicas[n % 2]);
            tokio::spawn(async move { admit(&limits).await })
        });
        let calls: Vec<_> = calls.collect();
        let mut permits = Vec::new();
        for call in calls {
            permits.extend(call.await.unwrap().ok());
        }
        assert_eq!(permits.len(), 1);
    }
}

#[tokio::test]
async fn a_call_takes_from_all_or_none_and_gives_back_what_did_nothing() {
    let server = RedisServer::start().await;
    let limits = replica(
        &server,
        json!([{ "name": "r", "rate": "2/1h", "concurrency": 1 }]),
        json!([{ "name": "b", "per": ["principal"], "calls": 2, "bytes": 100, "window": "31d" }]),
    )
    .await;
    for _ in 0..50 {
        admit(&limits).await.unwrap().settle(NOTHING);
    }
    let held = admit(&limits).await.unwrap();
    for _ in 0..10 {
        assert_eq!(refused(&limits).await, Reason::RateLimited);
    }
    held.settle(DONE);
    admit(&limits).await.unwrap().settle(DONE);
    assert_eq!(refused(&limits).await, Reason::RateLimited);
    // What goes on after a question is not refused, and takes nothing but bytes.
    admit_as(&limits, true).await.unwrap().settle(DONE);
    let key = "switchboard:budget:b:anna::::";
    for (field, value) in [("calls", "$1"), ("bytes", "$2")] {
        assert_eq!(
            server.command(&["HGET", key, field]).await,
            value,
            "{field}"
        );
    }
}

#[tokio::test]
async fn a_permit_comes_back_from_whoever_dropped_it_a_thousand_times() {
    let server = RedisServer::start().await;
    let limits = json!([{ "name": "c", "concurrency": 1 }]);
    let limits = replica(&server, limits, json!([])).await;
    for round in 0..1_000 {
        let asking = admit(&limits);
        if round % 2 == 0 {
            drop(asking.await.unwrap());
        } else {
            // Given up between the question and the answer.
            let mut asking = Box::pin(asking);
            let mut context = Context::from_waker(Waker::noop());
            assert!(asking.as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
    }
    until(&limits, Ok(())).await;
}

#[tokio::test]
async fn while_it_is_away_each_limit_says_what_becomes_of_calls() {
    let mut server = RedisServer::start().await;
    let open = json!([{ "name": "r", "rate": "1/1h" }]);
    let closed = json!([{ "name": "b", "calls": 1000, "window": "31d" }]);
    let open = replica(&server, open, json!([])).await;
    let closed = replica(&server, json!([]), closed).await;
    admit(&open).await.unwrap().settle(DONE);
    assert_eq!(refused(&open).await, Reason::RateLimited);

    // It stands still: one call waits for as long as an answer may take, the others do not.
    server.pause();
    let began = Instant::now();
    for _ in 0..100 {
        admit(&open).await.unwrap().settle(DONE);
        assert_eq!(refused(&closed).await, Reason::PolicyUnavailable);
    }
    assert!(began.elapsed() < TIMEOUT * 6, "{:?}", began.elapsed());
    server.resume();
    until(&open, Err(Reason::RateLimited)).await;
    until(&closed, Ok(())).await;

    // It takes no writes.
    server
        .command(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    until(&open, Ok(())).await;
    until(&closed, Err(Reason::PolicyUnavailable)).await;
    server
        .command(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    until(&open, Err(Reason::RateLimited)).await;
    until(&closed, Ok(())).await;

    // It has forgotten everything, the scripts too: counts begin anew.
    server.command(&["FLUSHALL"]).await;
    server.command(&["SCRIPT", "FLUSH"]).await;
    admit(&open).await.unwrap().settle(DONE);
    assert_eq!(refused(&open).await, Reason::RateLimited);
    admit(&closed).await.unwrap().settle(DONE);

    // Somebody else wrote under its key: this call cannot be decided about, all others can.
    let key = "switchboard:budget:b:::::";
    server.command(&["SET", key, "garbage"]).await;
    assert_eq!(refused(&closed).await, Reason::PolicyUnavailable);
    assert_eq!(refused(&open).await, Reason::RateLimited);
    server.command(&["DEL", key]).await;
    server
        .command(&["HSET", key, "window", "x", "calls", "-nan"])
        .await;
    admit(&closed).await.unwrap().settle(DONE);

    server.kill().await;
    until(&open, Ok(())).await;
    until(&closed, Err(Reason::PolicyUnavailable)).await;
    server.replace().await;
    until(&closed, Ok(())).await;
}

#[tokio::test]
async fn a_read_only_replica_counts_as_away() {
    let (server, primary) = (RedisServer::start().await, RedisServer::start().await);
    let budget = json!([{ "name": "b", "calls": 1000, "window": "31d" }]);
    let limits = replica(&server, json!([]), budget).await;
    admit(&limits).await.unwrap().settle(DONE);
    let port = primary.port().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &port]).await;
    until(&limits, Err(Reason::PolicyUnavailable)).await;
    server.command(&["REPLICAOF", "NO", "ONE"]).await;
    until(&limits, Ok(())).await;
}

#[tokio::test]
async fn a_redis_that_lets_nobody_run_scripts_is_not_taken_for_away() {
    let server = RedisServer::start().await;
    let limits = replica(
        &server,
        json!([{ "name": "open", "rate": "1/1h" }]),
        json!([]),
    )
    .await;
    let client = Client::open(server.url()).unwrap();
    let mut operator = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("default")
        .arg("-evalsha")
        .exec_async(&mut operator)
        .await
        .unwrap();
    let Store::Redis(store) = limits.store.clone() else {
        panic!("the store is a Redis");
    };
    let before = store.link.up().expect("it answers");
    for _ in 0..10 {
        assert!(admit(&limits).await.is_ok(), "its limit is open");
    }
    let after = store.link.up().expect("it still answers");
    assert!(Arc::ptr_eq(&before, &after), "by the same connection");
}

#[tokio::test]
async fn what_keeps_it_away_is_told_and_nothing_of_the_password() {
    let server = RedisServer::start().await;
    let port = server.port();
    let metrics = metrics();
    let cause = async |url: String| {
        let store: StoreConfig = serde_json::from_value(json!({ "redis": url })).unwrap();
        let redis = Redis::start(&store, &metrics).await.expect("an address");
        let address = redis.link.address().to_string();
        assert_eq!(address, format!("127.0.0.1:{port}"));
        redis.connect().await.map_err(Failure::cause)
    };
    assert_eq!(cause(server.url()).await, Ok(()));
    let database = cause(format!("redis://127.0.0.1:{port}/99")).await;
    assert!(database.unwrap_err().contains("DB index is out of range"));
    let user = cause(format!("redis://nobody:hunter2@127.0.0.1:{port}")).await;
    assert!(user.unwrap_err().contains("WRONGPASS"));
    server
        .command(&["CONFIG", "SET", "requirepass", "o3cYPhBvyzSZ3Ypm"])
        .await;
    for database in ["", "/1"] {
        let none = cause(format!("redis://127.0.0.1:{port}{database}")).await;
        assert!(none.unwrap_err().contains("NOAUTH"));
    }
}
