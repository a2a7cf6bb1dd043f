use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Behaviour, FakeHttp, Fault, Form, RefusedPort, Transport};
use crate::client::{Client, Exchange, call, message};

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_modern_server_answers_in_either_form() {
    let server = FakeHttp::start(Transport::Modern, "a").await;
    let client = Client::new(server.url());
    let plain = client.call("echo", json!({ "x": 1 })).await;
    assert_eq!(plain.headers["content-type"], "application/json");
    assert_eq!(
        plain.result()["structuredContent"]["arguments"],
        json!({ "x": 1 })
    );

    let meta = json!({ "progressToken": "t" });
    let params = json!({ "name": "report", "arguments": { "n": 3, "name": "me" }, "_meta": meta });
    let reported = client.request("tools/call", params).await;
    assert_eq!(reported.headers["content-type"], "text/event-stream");
    assert_eq!(reported.notifications.len(), 3);
    assert_eq!(reported.notifications[2]["params"]["progressToken"], "t");
    assert_eq!(reported.response["id"], 1);
    assert_eq!(server.requests_of("tools/call").len(), 2);
}

#[tokio::test]
async fn a_modern_server_refuses_headers_that_do_not_mirror() {
    let server = FakeHttp::start(Transport::Modern, "a").await;
    let client = Client::new(server.url());
    let located = client.call("locate", json!({ "region": "x" })).await;
    assert_eq!(located.status, StatusCode::BAD_REQUEST);
    assert_eq!(located.error_code(), Some(-32020));
    let draft = client.draft(&call("locate", &json!({ "region": "x" })));
    let draft = draft.with_header("mcp-param-region", "x");
    assert_eq!(client.send(draft).await.status, StatusCode::OK);
}

#[tokio::test]
async fn closing_an_answer_is_counted_as_cancelling() {
    let server = FakeHttp::start(Transport::Modern, "a").await;
    let client = Client::new(server.url());
    for form in [Form::Json, Form::EventStream] {
        server.behave(Behaviour {
            form,
            ..Behaviour::default()
        });
        let before = server.cancelled();
        let asking = tokio::spawn({
            let client = client.clone();
            async move { client.call("hang", json!({})).await }
        });
        until("a request in flight", || server.in_flight() == 1).await;
        asking.abort();
        until("a cancelled request", || server.cancelled() == before + 1).await;
        assert_eq!(server.in_flight(), 0);
    }
}

#[tokio::test]
async fn each_fault_shows() {
    let server = FakeHttp::start(Transport::Modern, "a").await;
    let client = Client::new(server.url());
    let ask = async |fault: Fault| {
        server.fail_calls(fault);
        client.call("echo", json!({})).await
    };
    let dropped = ask(Fault::DropMidAnswer).await;
    assert!(!dropped.raw.is_empty() && dropped.response.is_null());
    let typed = ask(Fault::WrongContentType).await;
    assert_eq!(typed.headers["content-type"], "text/html");
    assert!(ask(Fault::Garbage).await.raw.starts_with("<html>"));
    assert!(ask(Fault::Huge(100_000)).await.raw.len() > 100_000);
    assert_eq!(ask(Fault::Status(503)).await.status, 503);
    assert_ne!(ask(Fault::WrongId).await.response["id"], 1);
    // Only tool calls fail.
    assert!(client.request("tools/list", json!({})).await.result()["tools"].is_array());
}

#[tokio::test]
async fn a_legacy_server_keeps_sessions_until_they_expire() {
    let server = FakeHttp::start(Transport::Legacy, "a").await;
    let client = Client::new(server.url());
    let post = async |session: &str, message: Value| -> Exchange {
        let mut draft = client.draft(&message);
        if !session.is_empty() {
            draft = draft.with_header("mcp-session-id", session);
        }
        client.send(draft).await
    };
    let list = || message("tools/list", json!({}));
    assert_eq!(post("", list()).await.status, StatusCode::BAD_REQUEST);
    let begun = post("", message("initialize", json!({}))).await;
    let session = begun.headers["mcp-session-id"].to_str().unwrap().to_owned();
    assert_eq!(post(&session, list()).await.status, StatusCode::OK);
    assert_eq!(server.sessions(), 1);

    let hanging = tokio::spawn({
        let draft = client.draft(&call("hang", &json!({})));
        let draft = draft.with_header("mcp-session-id", &session);
        let client = client.clone();
        async move { client.send(draft).await.status }
    });
    until("a request in flight", || server.in_flight() == 1).await;
    let cancel = json!({ "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert_eq!(post(&session, cancel).await.status, StatusCode::ACCEPTED);
    until("a cancelled request", || server.cancelled() == 1).await;
    hanging.abort();

    server.expire_sessions();
    assert_eq!(post(&session, list()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_sse_server_answers_in_its_stream() {
    let server = FakeHttp::start(Transport::Sse, "a").await;
    let client = Client::new(server.url());
    let mut get = client.draft(&json!({}));
    get.verb = Method::GET;
    let mut stream = client.send(get).await;
    let path = stream.next_raw().await.unwrap();
    let mut post = client.draft(&call("echo", &json!({ "x": 2 })));
    post.uri = server.url().replace("/mcp", &path).parse().unwrap();
    assert_eq!(client.send(post).await.status, StatusCode::ACCEPTED);
    let answer = stream.next().await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["arguments"]["x"], 2);
}

#[tokio::test]
async fn a_dropped_server_breaks_its_connections() {
    let server = FakeHttp::start(Transport::Modern, "a").await;
    let client = Client::new(server.url());
    server.behave(Behaviour {
        form: Form::EventStream,
        ..Behaviour::default()
    });
    let mut hanging = client.send(client.draft(&call("hang", &json!({})))).await;
    drop(server);
    assert_eq!(hanging.next_raw().await, None);
}

#[tokio::test]
async fn a_refused_port_refuses() {
    let port = RefusedPort::take();
    let address = port
        .url()
        .trim_start_matches("http://")
        .trim_end_matches("/mcp");
    let error = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}
