//! What needs no owner: streams of news, counts in one store, and a new configuration for all.

use futures_util::future::join_all;
use switchboard_testkit::client::Client;
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::redis_server::RedisServer;
use switchboard_tests::front::remote;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_news_are_open_at_every_replica() {
    let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
    let config = json!({ "backends": { "srv": remote(&server.url()) } });
    let replicas = replicas(3, config).await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        let mut stream = replicas
            .client
            .listen(json!({ "toolsListChanged": true }))
            .await;
        stream.next().await.expect("an acknowledgement");
        streams.push(stream);
    }
    assert_eq!(replicas.sum("switchboard_listen_streams").await, 6.0);
    for front in replicas.fronts.iter().flatten() {
        let open = front.metrics("switchboard_listen_streams").await;
        assert_eq!(open.get("switchboard_listen_streams"), Some(&2.0));
    }
    let added = replicas
        .client
        .call("srv__add_tool", json!({ "name": "fresh" }))
        .await;
    assert_ne!(added.result()["isError"], true, "{}", added.raw);
    for stream in &mut streams {
        let news = stream.next().await.expect("news");
        assert_eq!(news["method"], "notifications/tools/list_changed", "{news}");
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_are_exact_over_replicas() {
    let redis = RedisServer::start().await;
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let config = json!({
        "backends": { "near": remote(near.url()) },
        "budgets": [{ "name": "b", "calls": 17, "window": "31d" }],
        "store": { "redis": redis.url(), "timeout": "5s" },
    });
    let replicas = replicas(3, config).await;
    let calls = (0..60).map(|_| replicas.client.call("near__echo", json!({})));
    let answers = join_all(calls).await;
    let passed = answers.iter().filter(|it| it.result()["isError"] != true);
    assert_eq!(passed.count(), 17);
    assert_eq!(near.requests_of("tools/call").len(), 17);
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_all_loses_no_call_and_no_session() {
    let (near, far) = (
        FakeHttp::start(Transport::Modern, "near").await,
        FakeHttp::start(Transport::Modern, "far").await,
    );
    let config = json!({ "backends": { "near": remote(near.url()) } });
    let more = json!({
        "backends": { "near": remote(near.url()), "far": remote(far.url()) },
    });
    let replicas = replicas(3, config).await;
    let client = LegacyClient::connect(&replicas.url(), setup("2025-11-25")).await;
    let all_new = async {
        for at in 0..3 {
            let gateway = &replicas.front(at).gateway;
            gateway.rewrite(replicas.config(at, more.clone()));
            gateway.hang_up();
            let modern = Client::new(gateway.url());
            until("the new backend", async || {
                let answer = modern.call("far__echo", json!({})).await;
                answer.result()["content"].is_array().then_some(())?;
                (answer.result()["isError"] != true).then_some(())
            })
            .await;
        }
    };
    let calling = async {
        loop {
            let modern = replicas.client.call("near__echo", json!({})).await;
            assert_ne!(modern.result()["isError"], true, "{}", modern.raw);
            assert_eq!(modern.error_code(), None, "{}", modern.raw);
            let legacy = client.call("near__echo", json!({})).await;
            assert_eq!(legacy.error_code(), None, "{legacy:?}");
            assert_ne!(legacy.result()["isError"], true, "{legacy:?}");
        }
    };
    tokio::select! {
        () = all_new => {}
        () = calling => unreachable!("the calls go on"),
    }
    let answer = client.call("far__echo", json!({})).await;
    assert_eq!(answer.error_code(), None, "{answer:?}");
    replicas.stop().await;
}
