use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use ::http::Uri;
use parking_lot::Mutex;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::version::Version;
use switchboard_telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::*;
use switchboard_protocol::passage::MAX_HELD;

use crate::link::http::HttpBounds;
use crate::link::inbox::Inbox;
use crate::link::watch::Watch;
use crate::link::{LinkError, MayArrive, Reply};
use crate::message;

const ID: u64 = 7;
const ANSWER: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n";

/// A server that ends every event stream after what it was given to say on it.
struct Server {
    link: HttpLink,
    /// The heads of all requests.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers the first request with the first of `streams`, and so on; the last one again and
    /// again.
    async fn start(streams: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let uri = format!("http://{}/mcp", listener.local_addr().unwrap());
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((peer, _)) = listener.accept().await {
                let number = seen.lock().len().min(streams.len() - 1);
                answer(peer, streams[number], &seen).await;
            }
        });
        let metrics = Metrics::new().unwrap();
        let inbox = Inbox::new(metrics.backend("b"), TaskTracker::new());
        let uri: Uri = uri.parse().unwrap();
        Self {
            link: HttpLink::new(
                uri,
                None,
                Vec::new(),
                HttpBounds::for_test(1_000_000),
                Arc::new(inbox),
                None,
            ),
            heads,
        }
    }

    async fn call(&self, version: Version) -> Result<Response, LinkError> {
        let wire = Wire {
            version,
            session: None,
        };
        let out = message::own("tools/call", ID, "", "");
        self.link.request(&wire, out, Watch::deaf()).await
    }

    /// The value of `Last-Event-ID` in each request but the first.
    fn resumed_after(&self) -> Vec<String> {
        let heads = self.heads.lock();
        let resumed = heads.iter().skip(1).map(|head| {
            assert!(head.starts_with("get /mcp "), "{head}");
            let value = head.split_once("last-event-id: ").expect("the header").1;
            value.lines().next().unwrap_or_default().to_owned()
        });
        resumed.collect()
    }
}

/// Reads a request whose body comes with its head or is empty, and answers it.
async fn answer(mut peer: TcpStream, stream: &str, heads: &Mutex<Vec<String>>) {
    let mut read = Vec::new();
    let head = loop {
        if peer.read_buf(&mut read).await.unwrap() == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&read).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            break head.to_owned();
        }
    };
    heads.lock().push(head);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{stream}"
    );
    peer.write_all(answer.as_bytes()).await.unwrap();
    // One that is closed before all was read of it is reset.
    peer.shutdown().await.unwrap();
    while peer.read_buf(&mut read).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn the_answer_comes_on_a_stream_that_was_taken_up_again() {
    let server = Server::start(&["id: a\nretry: 80\ndata:\n\n", "id: b\n\n", ANSWER]).await;
    let begun = Instant::now();
    let response = server.call(Version::LATEST_LEGACY).await.unwrap();
    assert_eq!(response.id_number(), Some(ID));
    assert_eq!(server.resumed_after(), ["a", "b"]);
    assert!(begun.elapsed() >= Duration::from_millis(160), "too early");
}

#[tokio::test]
async fn a_stream_that_brings_nothing_is_given_up() {
    let server = Server::start(&["id: a\nretry: 0\ndata:\n\n", ""]).await;
    let error = server.call(Version::LATEST_LEGACY).await.unwrap_err();
    assert!(matches!(error, LinkError::Lost(_)), "{error:?}");
    assert_eq!(server.resumed_after(), ["a"; MAX_IN_VAIN as usize]);
}

#[tokio::test]
async fn a_stream_without_ids_or_of_a_modern_server_is_not_taken_up() {
    for (stream, version) in [
        (&["retry: 0\ndata:\n\n"], Version::LATEST_LEGACY),
        (&["id: a\nretry: 0\ndata:\n\n"], Version::LATEST),
    ] {
        let server = Server::start(stream).await;
        let error = server.call(version).await.unwrap_err();
        assert!(matches!(error, LinkError::Lost(_)), "{error:?}");
        assert_eq!(server.heads.lock().len(), 1);
    }
}

/// What stands around the text of an answer.
const AROUND_TEXT: [&str; 2] = [
    "data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"",
    "\"}]}}\n\n",
];

#[tokio::test]
async fn a_large_answer_is_handed_on_unless_its_stream_may_be_taken_up_again() {
    let text = "x".repeat(2 * MAX_HELD);
    let answer = |before: &str, length: usize| {
        let text = [before, AROUND_TEXT[0], &text[..length], AROUND_TEXT[1]].concat();
        &*text.leak()
    };
    let plain = answer("", 2 * MAX_HELD);
    let resumable = answer("id: a\nretry: 0\ndata:\n\n", 2 * MAX_HELD);
    // It breaks off in the middle.
    let broken = resumable.split_at(MAX_HELD + 9999).0;
    for (streams, version, at_once, is_handed_on) in [
        (vec![plain], Version::LATEST_LEGACY, false, true),
        (vec![resumable], Version::LATEST, false, true),
        (vec![resumable], Version::LATEST_LEGACY, true, true),
        (vec![broken, plain], Version::LATEST_LEGACY, false, false),
    ] {
        let streams = streams.leak();
        let server = Server::start(streams).await;
        let wire = Wire {
            version,
            session: None,
        };
        let arriving = MayArrive {
            method: switchboard_protocol::method::Method::ToolsCall,
            at_once,
        };
        let out = message::own("tools/call", ID, "", "");
        let reply = server.link.reply(&wire, out, Watch::deaf(), Some(arriving));
        let response = match reply.await.expect("an answer") {
            Reply::Large(large) => {
                assert!(is_handed_on);
                large.whole().await.expect("all of it")
            }
            Reply::Whole(response) => {
                assert!(!is_handed_on);
                response
            }
        };
        assert!(response.raw.len() > 2 * MAX_HELD);
        assert_eq!(server.resumed_after().len(), usize::from(!is_handed_on));
    }
}
