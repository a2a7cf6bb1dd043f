//! Sessions of legacy clients whose every request comes to another replica.

use switchboard_testkit::client::Client;
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake_http::{FakeHttp, Fault, Transport};
use switchboard_tests::asking::{AskingServer, Way};
use switchboard_tests::front::remote;
use switchboard_tests::keys::{auth_of, key_of};

use super::*;

const ASKS: &str = "srv__test_input_required_result_elicitation";
const ASKS_TWICE: &str = "srv__test_input_required_result_multi_round";
const WATCHED: &str = "test://watched-resource";

/// A modern server, `srv`, with everything that a client can be asked.
async fn server() -> (HttpServer, Value) {
    let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
    let config = json!({
        "names": { "max_length": 64 },
        "backends": { "srv": remote(&server.url()) },
    });
    (server, config)
}

/// A client that fills in every text of a form with "Ada".
fn named(version: &'static str) -> Setup {
    Setup {
        replies: Arc::new(|question| {
            let properties = question["params"]["requestedSchema"]["properties"].as_object();
            let Some(properties) = properties else {
                return Reply::accept(question);
            };
            let filled = properties.keys().map(|key| (key.clone(), json!("Ada")));
            let content: Value = filled.collect();
            Reply::Result(json!({ "action": "accept", "content": content }))
        }),
        ..setup(version)
    }
}

async fn heard(client: &LegacyClient, what: &str, method: &str) {
    until(what, async || {
        let heard = client.heard();
        heard.iter().any(|it| it["method"] == method).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_works_whichever_replica_is_asked() {
    for count in [2, 3] {
        let (_server, config) = server().await;
        let replicas = replicas(count, config).await;
        let client = LegacyClient::connect(&replicas.url(), named("2025-11-25")).await;
        client.listen().await;
        for at in 0..2 * count {
            let answer = client.call("srv__echo", json!({ "at": at })).await;
            let echoed = &answer.result()["structuredContent"];
            assert_eq!(echoed["at"], at, "{answer:?}");
        }
        // What it is asked, it answers somewhere else.
        let answer = client.call(ASKS, json!({})).await;
        assert_eq!(text(answer.result()), "Hello, Ada!", "{answer:?}");
        let answer = client.call(ASKS_TWICE, json!({})).await;
        assert_eq!(answer.questions.len(), 2, "{answer:?}");
        assert!(client.reply_statuses().iter().all(|status| *status == 202));
        let mut progress = client.call_message("srv__test_tool_with_progress", json!({}));
        progress["params"]["_meta"] = json!({ "progressToken": "p" });
        let answer = client.ask(&progress).await;
        assert!(!answer.notifications.is_empty(), "{answer:?}");

        let uri = json!({ "uri": WATCHED });
        let subscribed = client.request("resources/subscribe", uri.clone()).await;
        assert_eq!(subscribed.result(), &json!({}), "{subscribed:?}");
        let touched = replicas.client.call("srv__touch_resource", uri).await;
        assert_ne!(touched.result()["isError"], true, "{}", touched.raw);
        heard(&client, "the update", "notifications/resources/updated").await;
        let fresh = json!({ "name": format!("fresh{count}") });
        replicas.client.call("srv__add_tool", fresh).await;
        heard(&client, "the change", "notifications/tools/list_changed").await;

        assert!(replicas.forwarded().await > 0.0);
        assert_eq!(replicas.sum("switchboard_legacy_sessions").await, 1.0);
        assert_eq!(client.delete().await, 204);
        for _ in 0..count {
            let answer = client.request("ping", json!({})).await;
            assert_eq!(answer.status, 404, "{answer:?}");
        }
        assert_eq!(replicas.sum("switchboard_legacy_sessions").await, 0.0);
        replicas.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_http_sse_too() {
    let (_server, mut config) = server().await;
    config["server"]["legacy"] = json!({ "http_sse": true });
    let replicas = replicas(3, config).await;
    let client = LegacyClient::connect(&replicas.url(), named("2025-03-26")).await;
    for _ in 0..3 {
        let messages = vec![
            client.message("ping", json!({})),
            client.call_message("srv__echo", json!({ "n": 1 })),
        ];
        let (status, answers) = client.batch(messages).await;
        assert_eq!((status.as_u16(), answers.len()), (200, 2), "{answers:?}");
    }
    let oldest = Setup {
        wire: Wire::Sse,
        ..named("2025-06-18")
    };
    let oldest = LegacyClient::connect(&replicas.beside("/sse"), oldest).await;
    for at in 0..4 {
        let answer = oldest.call("srv__echo", json!({ "at": at })).await;
        assert_eq!(answer.result()["structuredContent"]["at"], at, "{answer:?}");
    }
    let answer = oldest.call(ASKS, json!({})).await;
    assert_eq!(text(answer.result()), "Hello, Ada!", "{answer:?}");
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_sessions_asks_through_another_replica() {
    for way in [Way::Stdio, Way::Post] {
        let server = AskingServer::start(way).await;
        let config = json!({ "backends": { "a": server.backend() } });
        let replicas = replicas(2, config).await;
        let client = LegacyClient::connect(&replicas.url(), setup("2025-11-25")).await;
        for tool in ["a__ask_form", "a__sample", "a__roots", "a__ask_two"] {
            let answer = client.call(tool, json!({ "mark": tool })).await;
            assert!(!answer.questions.is_empty(), "{tool} {way:?}: {answer:?}");
            let content = &answer.result()["structuredContent"];
            assert_eq!(content["mark"], tool, "{way:?} {answer:?}");
            assert_eq!(server.count("begin", tool), 1, "{tool} {way:?}");
        }
        replicas.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_taken_up_again_at_another_replica() {
    let (_server, config) = server().await;
    let replicas = replicas(2, config).await;
    let client = LegacyClient::connect(&replicas.url(), named("2025-11-25")).await;
    let mut progress = client.call_message("srv__test_tool_with_progress", json!({}));
    progress["params"]["_meta"] = json!({ "progressToken": "p" });
    let mut exchange = client.start(&progress).await;
    let last = loop {
        let event = exchange.next_event().await.expect("an event");
        if let Some(id) = event.id {
            break id;
        }
    };
    drop(exchange);
    // Once at each.
    for _ in 0..2 {
        let again = client.get(Some(&last)).await;
        assert_eq!(again.status, 200);
        let answer = client.follow(again, &progress["id"]).await;
        assert!(answer.result()["content"].is_array(), "{answer:?}");
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_principals_and_its_profiles_at_every_replica() {
    let server = FakeHttp::start(Transport::Modern, "near").await;
    let people = ["ada".to_owned(), "eve".to_owned()];
    let config = json!({
        "auth": auth_of(&people),
        "profiles": { "p": {} },
        "backends": { "near": remote(server.url()) },
    });
    let replicas = Replicas::start(2, config).await;
    let of = |name: &str, path: &str| {
        let setup = Setup {
            key: Some(key_of(name)),
            ..setup("2025-11-25")
        };
        LegacyClient::new(&format!("{}{path}", replicas.url()), setup)
    };
    let ada = of("ada", "/p");
    ada.initialize().await;
    let others = [of("eve", "/p"), of("ada", "")];
    for _ in 0..2 {
        let answer = ada.request("ping", json!({})).await;
        assert_eq!(answer.result(), &json!({}), "{answer:?}");
        for other in &others {
            other.set_session(ada.session());
            let answer = other.request("ping", json!({})).await;
            assert_eq!(answer.status, 404, "{answer:?}");
        }
    }
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_gives_up_is_given_up_at_the_owner() {
    let server = FakeHttp::start(Transport::Legacy, "near").await;
    let config = json!({ "backends": { "near": remote(server.url()) } });
    let replicas = replicas(2, config).await;
    let beside = beside(&replicas, 1).await;
    server.fail_calls(Fault::NeverAnswers);
    let message = beside.call_message("near__echo", json!({}));
    let draft = beside.draft(&message);
    let raw = Client::new(replicas.front(1).gateway.url());
    let asking = tokio::spawn(async move { raw.send(draft).await });
    until("the call", async || (server.in_flight() == 1).then_some(())).await;
    let params = json!({ "requestId": message["id"] });
    let status = beside.notify("notifications/cancelled", Some(params)).await;
    assert_eq!(status, 202);
    until("its end", async || (server.in_flight() == 0).then_some(())).await;
    asking.abort();
    replicas.stop().await;
}
