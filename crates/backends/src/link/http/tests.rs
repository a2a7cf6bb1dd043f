use std::net::Ipv4Addr;
use std::sync::Mutex;

use super::*;
use crate::link::next_id;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::version::Version;
use switchboard_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// A server that answers each connection's only request with the next of these answers, and keeps
/// what it was asked.
async fn server(answers: Vec<String>) -> (Uri, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a byte"));
            }
            asked.push(String::from_utf8(head).expect("text").to_lowercase());
            stream.write_all(answer.as_bytes()).await.expect("written");
            stream.shutdown().await.expect("ended");
        }
        asked
    });
    let uri = format!("http://{address}/mcp").parse().expect("a URI");
    (uri, serving)
}

fn events(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{text}")
}

fn link(uri: Uri) -> HttpLink {
    let metrics = Metrics::new().expect("metrics");
    let inbox = Inbox::new(metrics.backend("b"), TaskTracker::new());
    HttpLink::new(
        uri,
        None,
        Vec::new(),
        HttpBounds::for_test(64 * 1024),
        Arc::new(inbox),
        None,
    )
}

fn wire() -> Wire {
    Wire {
        version: Version::V2025_11_25,
        session: None,
    }
}

async fn call(link: &HttpLink, id: u64) -> Result<Response, LinkError> {
    let out = Outgoing::for_test(id);
    link.request(&wire(), out, Watch::deaf()).await
}

#[tokio::test]
async fn a_stream_that_ends_too_early_is_taken_up_where_it_ended() {
    let id = next_id();
    let (uri, serving) = server(vec![
        events("id: a-1\nretry: 1\ndata:\n\n"),
        events(": nothing new\n\n"),
        events(&format!(
            "id: a-2\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n"
        )),
    ])
    .await;
    let answer = call(&link(uri), id).await.expect("an answer");
    assert!(answer.result.is_some());
    let asked = serving.await.expect("served");
    assert!(asked[0].starts_with("post "));
    for again in &asked[1..] {
        assert!(again.starts_with("get "), "{again}");
        assert!(again.contains("last-event-id: a-1\r\n"), "{again}");
    }
}

#[tokio::test]
async fn a_stream_without_ids_or_that_nothing_comes_of_is_lost() {
    let (uri, serving) = server(vec![events("data:\n\n")]).await;
    let lost = call(&link(uri), next_id()).await;
    assert!(matches!(lost, Err(LinkError::Lost(_))), "{lost:?}");
    serving.await.expect("served once");

    let primed = events("id: a-1\nretry: 1\ndata:\n\n");
    let mut answers = vec![primed];
    answers.extend(std::iter::repeat_n(events(""), 5));
    let (uri, serving) = server(answers).await;
    let lost = call(&link(uri), next_id()).await;
    assert!(matches!(lost, Err(LinkError::Lost(_))), "{lost:?}");
    assert!(serving.await.expect("served").len() > 1);
}

#[tokio::test]
async fn the_connection_of_a_stream_that_ended_is_used_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let ids = [next_id(), next_id()];
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        for id in ids {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\"tools/call\"}") {
                asked.push(stream.read_u8().await.expect("a byte"));
            }
            let event = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n\n");
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{event}\r\n",
                event.len()
            );
            stream.write_all(answer.as_bytes()).await.expect("written");
            stream.write_all(b"0\r\n\r\n").await.expect("ended");
        }
    });
    let link = link(format!("http://{address}/mcp").parse().expect("a URI"));
    let first = call(&link, ids[0]).await.expect("an answer");
    assert!(first.result.is_some());
    // The end is read by a task of its own.
    while !link.inner.pool.close_old() {
        tokio::task::yield_now().await;
    }
    let second = call(&link, ids[1]).await.expect("an answer");
    assert!(second.result.is_some());
    serving.await.expect("served by one connection");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_time_though_nobody_calls() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let id = next_id();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\"tools/call\"}") {
            asked.push(stream.read_u8().await.expect("a byte"));
        }
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.expect("written");
        let answered = tokio::time::Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("the end");
        answered.elapsed()
    });
    let link = link(format!("http://{address}/mcp").parse().expect("a URI"));
    call(&link, id).await.expect("an answer");
    let open_for = serving.await.expect("served");
    let bounds = Duration::from_secs(20)..=Duration::from_secs(26);
    assert!(bounds.contains(&open_for), "{open_for:?}");
    let tasks = &link.inner.inbox.tasks;
    while !tasks.is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Hear for &Heard {
    fn hear(&mut self, notification: &Envelope) -> bool {
        let text = String::from_utf8_lossy(&notification.raw).into_owned();
        let mut heard = self.0.lock().expect("not poisoned");
        heard.push(text);
        true
    }
}

#[tokio::test]
async fn the_stream_of_no_request_is_taken_up_as_well() {
    let log = r#"data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let (uri, serving) = server(vec![
        events(&format!("id: g-1\nretry: 1\n{log}\n\n")),
        events(&format!("id: g-2\n{log}\n\n")),
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    ])
    .await;
    let heard = Heard::default();
    let ended = link(uri).listen(&wire(), &mut &heard).await;
    assert!(matches!(ended, Ok(true)), "{ended:?}");
    assert_eq!(heard.0.lock().expect("not poisoned").len(), 2);
    let asked = serving.await.expect("served");
    assert!(!asked[0].contains("last-event-id"));
    assert!(asked[1].contains("last-event-id: g-1\r\n"));
    assert!(asked[2].contains("last-event-id: g-2\r\n"));
}

#[test]
fn a_media_type_is_compared_whole_and_without_its_parameters() {
    let is_stream = |value: &'static str| {
        let mut answer = HttpResponse::new(());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
        has_media_type(&answer, EVENT_STREAM_TYPE)
    };
    assert!(is_stream("text/event-stream"));
    assert!(is_stream("Text/Event-Stream ; charset=utf-8"));
    assert!(!is_stream("text/event-streams"));
    assert!(!is_stream("application/json"));
    assert!(!is_stream(""));
}

#[test]
fn only_a_refused_credential_is_unauthorized() {
    for status in [401, 403] {
        let error = LinkError::of_status(status, None, None);
        assert!(matches!(error, LinkError::Unauthorized(told) if told == status));
    }
    for status in [400, 404, 429, 503] {
        let error = LinkError::of_status(status, None, None);
        assert!(matches!(error, LinkError::Status { status: told, .. } if told == status));
    }
}

#[tokio::test]
async fn the_headers_of_a_session_are_made_once_and_belong_to_no_other() {
    let link = link(Uri::from_static("http://a.example/mcp"));
    let of_session = |session: &'static str| Wire {
        session: Some(HeaderValue::from_static(session)),
        ..wire()
    };
    let (own, other) = (of_session("own"), of_session("other"));
    link.speak_legacy(&own);
    link.speak_legacy(&other);
    for wire in [&own, &other, &wire()] {
        let request = link.request_of(HttpMethod::POST, wire, Bytes::new());
        assert_eq!(*request.headers(), link.headers_of(wire));
        assert_eq!(
            request.headers().get(header::SESSION_ID),
            wire.session.as_ref()
        );
    }
}
