use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::delivery::{Delivery, Reply, Then};
use super::wire::take_request;
use super::{Counts, Fault, FaultServer, Schedule};
use crate::client::{Client, call};
use crate::fake::Era;

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "never came true: {what}");
}

/// What a client without an HTTP library gets for a call of `write`, until the connection ends.
async fn bytes_of(server: &FaultServer, arguments: &Value) -> (Vec<u8>, bool) {
    let body = call("write", arguments).to_string();
    let url = server.url();
    let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let ended_well = stream.read_to_end(&mut got).await.is_ok();
    (got, ended_well)
}

#[test]
fn a_cut_answer_is_cut_where_the_fault_says() {
    let reply = Reply::json(r#"{"a":1}"#);
    let whole = Delivery::of(&reply, None);
    assert_eq!(whole.then, Then::Next);
    let head = whole.bytes.len() - reply.body.len();
    let cut = |fault| {
        let delivery = Delivery::of(&reply, Some(fault));
        (delivery.bytes.len(), delivery.then)
    };
    assert_eq!(cut(Fault::ResetInHead(0)), (0, Then::Reset));
    assert_eq!(cut(Fault::ResetInHead(9)), (9, Then::Reset));
    assert_eq!(cut(Fault::ResetInHead(9999)), (head, Then::Reset));
    assert_eq!(cut(Fault::ResetInBody(3)), (head + 3, Then::Reset));
    assert_eq!(
        cut(Fault::ResetInBody(9999)),
        (whole.bytes.len() - 1, Then::Reset)
    );
    assert_eq!(cut(Fault::StallAfterHead), (head, Then::Nothing));
    assert_eq!(cut(Fault::HalfBody), (head + 3, Then::Close));
    assert_eq!(cut(Fault::Hang), (0, Then::Nothing));
}

#[test]
fn a_request_is_taken_once_it_is_whole() {
    let whole = b"POST /mcp HTTP/1.1\r\nmcp-session-id: s\r\ncontent-length: 2\r\n\r\n{}";
    for end in 0..whole.len() {
        let mut part = whole[..end].to_vec();
        assert_eq!(take_request(&mut part).unwrap(), None);
        assert_eq!(part.len(), end);
    }
    let mut two = [whole.as_slice(), whole].concat();
    for _ in 0..2 {
        let request = take_request(&mut two).unwrap().unwrap();
        assert_eq!((&*request.verb, &*request.path), ("POST", "/mcp"));
        assert_eq!(request.session.as_deref(), Some("s"));
        assert_eq!(request.body, b"{}");
    }
    assert!(two.is_empty());
    let mut endless = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(70_000)).into_bytes();
    assert!(take_request(&mut endless).is_err());
    let mut huge = b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    assert!(take_request(&mut huge).is_err());
}

#[test]
fn a_schedule_draws_the_same_for_the_same_seed() {
    let drawn = |seed| {
        let mut schedule = Schedule::new(seed, 50, false);
        assert_eq!(schedule.draw(false), None);
        (0..100).map(|_| schedule.draw(true)).collect::<Vec<_>>()
    };
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    let hit = drawn(7).iter().flatten().count();
    assert!((30..70).contains(&hit), "{hit} of 100");
}

#[tokio::test]
async fn a_call_is_answered_and_counted() {
    for era in [Era::Modern, Era::Legacy] {
        let server = FaultServer::start("a", era).await;
        let client = Client::new(&server.url());
        for events in [false, true] {
            let key = format!("{events}");
            let arguments = json!({ "key": key, "size": 3, "events": events });
            let answer = client.call("write", arguments).await;
            let content = json!({ "key": key, "server": "a", "padding": "aaa" });
            assert_eq!(
                answer.result()["structuredContent"],
                content,
                "{}",
                answer.raw
            );
            let expected = Counts {
                received: 1,
                executed: 1,
                answered: 1,
                ..Counts::default()
            };
            assert_eq!(server.journal().of(&key), expected);
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_not_executed() {
    let server = FaultServer::start("a", Era::Modern).await;
    let client = Client::new(&server.url());
    let arguments = json!({ "key": "k", "fault": { "retry_after": 2 }, "times": 1 });
    let refused = client.call("write", arguments.clone()).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["retry-after"], "2");
    assert_eq!(server.journal().of("k").executed, 0);
    // The fault befalls the first attempt alone.
    assert_eq!(client.call("write", arguments).await.status, 200);
    let counts = server.journal().of("k");
    assert_eq!((counts.received, counts.executed), (2, 1));
}

#[tokio::test]
async fn a_reset_arrives_as_one_with_all_that_was_sent_before() {
    let server = FaultServer::start("a", Era::Modern).await;
    for after in [0, 1, 20, 60] {
        let key = after.to_string();
        let arguments = json!({ "key": key, "fault": { "reset_in_head": after } });
        let (got, ended_well) = bytes_of(&server, &arguments).await;
        assert_eq!((got.len(), ended_well), (after, false));
        assert_eq!(server.journal().of(&key).executed, 1);
    }
    let arguments = json!({ "key": "k", "fault": "reset_unexecuted" });
    let (got, ended_well) = bytes_of(&server, &arguments).await;
    assert_eq!((got.len(), ended_well), (0, false));
    assert_eq!(server.journal().of("k").executed, 0);
}

#[tokio::test]
async fn half_an_answer_ends_in_good_order() {
    let server = FaultServer::start("a", Era::Modern).await;
    for fault in ["half_body", "half_chunked"] {
        let arguments = json!({ "key": fault, "fault": fault });
        let (got, ended_well) = bytes_of(&server, &arguments).await;
        assert!(ended_well, "{fault}");
        let text = String::from_utf8_lossy(&got);
        assert!(text.contains(r#"{"jsonrpc":"#), "{text}");
        assert!(
            !text.ends_with("}") && !text.ends_with("0\r\n\r\n"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_is_counted_once() {
    let server = FaultServer::start("a", Era::Modern).await;
    for fault in ["hang", "stall_after_head"] {
        let calling = bytes_of_in_task(&server, fault);
        until("the call is there", || server.in_flight() == 1).await;
        calling.abort();
        until("the client is gone", || server.in_flight() == 0).await;
        let expected = Counts {
            received: 1,
            executed: 1,
            hung_up: 1,
            ..Counts::default()
        };
        assert_eq!(server.journal().of(fault), expected);
    }
}

fn bytes_of_in_task(server: &FaultServer, fault: &str) -> tokio::task::JoinHandle<()> {
    let client = Client::new(&server.url());
    let arguments = json!({ "key": fault, "fault": fault });
    tokio::spawn(async move {
        client.call("write", arguments).await;
    })
}

#[tokio::test]
async fn a_server_comes_back_on_its_port() {
    let server = FaultServer::start("a", Era::Modern).await;
    let url = server.url();
    let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
    for round in 0..3 {
        let client = Client::new(&url);
        let arguments = json!({ "key": round.to_string() });
        assert_eq!(client.call("read", arguments).await.status, 200);
        server.go_down().await;
        assert!(TcpStream::connect(address).await.is_err());
        server.come_up().await;
    }
}

#[tokio::test]
async fn the_health_url_says_what_it_is_told_to() {
    let server = FaultServer::start("a", Era::Modern).await;
    let client = Client::new(&server.health_url());
    for (is_healthy, status) in [(true, 200), (false, 503), (true, 200)] {
        server.say_healthy(is_healthy);
        let answer = client.ask(&json!({ "method": "none" })).await;
        assert_eq!(answer.status, status);
    }
}
