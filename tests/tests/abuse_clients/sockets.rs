//! Connections that are slow, endless, or mean two things at once.

use std::time::Duration;

use serde_json::json;
use switchboard_testkit::client::Client;
use switchboard_tests::front::{Front, faulty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::{front, good};

/// How long a deadline of the tests' gateway is, and how long they wait for it.
const DEADLINE: &str = "500ms";
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that says what it likes.
struct Socket {
    stream: TcpStream,
}

impl Socket {
    async fn open(front: &Front) -> Self {
        let url = front.gateway.url();
        let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self { stream }
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream
            .write_all(text.as_ref())
            .await
            .expect("an open connection");
    }

    /// Reads the status line of an answer.
    async fn status_line(mut self, what: &str) -> String {
        let mut said = Vec::new();
        while !said.contains(&b'\n') {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut said)).await;
            match read.unwrap_or_else(|_| panic!("{what} was never answered")) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Reads until the gateway closes the connection; returns what it said.
    async fn closed(mut self, what: &str) -> String {
        let mut said = Vec::new();
        let reading = self.stream.read_to_end(&mut said);
        let read = timeout(PATIENCE, reading).await;
        // A reset closes as well.
        let _ = read.unwrap_or_else(|_| panic!("{what} was never closed"));
        String::from_utf8_lossy(&said).into_owned()
    }
}

fn head(front: &Front, length: usize) -> String {
    let draft = front.client.draft(&good());
    let authority = draft.uri.authority().expect("an authority");
    let headers: String = draft
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("text")))
        .collect();
    format!("POST /mcp HTTP/1.1\r\nhost: {authority}\r\n{headers}content-length: {length}\r\n\r\n")
}

#[tokio::test]
async fn slow_clients_are_cut_at_the_deadline() {
    let server = json!({
        "header_timeout": DEADLINE,
        "body_timeout": DEADLINE,
        "idle_timeout": DEADLINE,
    });
    let backends = json!({ "a": faulty(&[]) });
    let mut front = Front::start(json!({ "server": server, "backends": backends })).await;
    front.wait_until("a", true).await;

    let silent = Socket::open(&front).await;
    let mut half_head = Socket::open(&front).await;
    half_head.say("POST /mcp HTTP/1.1\r\nhost: 127").await;
    let mut half_preface = Socket::open(&front).await;
    half_preface.say("PRI * HTTP/2.0\r\n\r\nSM").await;
    let mut whole_preface = Socket::open(&front).await;
    whole_preface.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let mut half_body = Socket::open(&front).await;
    half_body.say(head(&front, 100)).await;
    half_body.say("{\"jsonrpc\"").await;
    let mut idle = Socket::open(&front).await;
    let body = good().to_string();
    idle.say(head(&front, body.len())).await;
    idle.say(&body).await;
    // A connection kept from before may be closed as idle at the very moment it is used again.
    front.client = Client::new(front.gateway.url());
    front.works("a").await;

    silent.closed("a silent connection").await;
    half_head.closed("half a head").await;
    half_preface.closed("half a preface").await;
    whole_preface.closed("a preface alone").await;
    let said = half_body.closed("half a body").await;
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408"),
        "{said}"
    );
    let said = idle.closed("an idle connection").await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    front.client = Client::new(front.gateway.url());
    front.works("a").await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_drips_is_cut_all_the_same() {
    let server = json!({ "header_timeout": DEADLINE, "body_timeout": DEADLINE });
    let backends = json!({ "a": faulty(&[]) });
    let front = Front::start(json!({ "server": server, "backends": backends })).await;
    front.wait_until("a", true).await;
    let whole_head = head(&front, 10_000);
    for (what, start) in [
        ("a dripping head", "POST /mcp HTTP/1.1\r\n"),
        ("a dripping body", &whole_head),
    ] {
        let mut socket = Socket::open(&front).await;
        socket.say(start).await;
        let dripping = async {
            // Ends when the gateway no longer takes it.
            while socket.stream.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let cut = timeout(PATIENCE, dripping).await;
        cut.unwrap_or_else(|_| panic!("{what} was never cut"));
        front.works("a").await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let front = front().await;
    let many: String = (0..10_000).map(|at| format!("x-{at}: 1\r\n")).collect();
    let long = "x".repeat(1 << 20);
    let heads = [
        (
            "10,000 headers",
            format!("POST /mcp HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
            "431",
        ),
        (
            "a header of 1 MiB",
            format!("POST /mcp HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
            "431",
        ),
        // Its length is not known before the head is too long as a whole.
        (
            "a URI of 1 MiB",
            format!("POST /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
            "431",
        ),
        (
            "a URI of 16 KiB",
            format!("POST /{} HTTP/1.1\r\nhost: a\r\n\r\n", &long[..16384]),
            "414",
        ),
        ("no HTTP", "HELLO\r\n\r\n".to_owned(), "400"),
    ];
    for (what, head, status) in heads {
        let mut socket = Socket::open(&front).await;
        // The gateway may close before it has taken all of it.
        let _ = socket.stream.write_all(head.as_bytes()).await;
        let said = socket.status_line(what).await;
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")),
            "{what}: {said}"
        );
        front.works("a").await;
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_not_read_twice() {
    let front = front().await;
    let hidden = good().to_string();
    let smuggled = format!("0\r\n\r\n{}{hidden}", head(&front, hidden.len()));
    let both =
        head(&front, smuggled.len()).replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n");
    let twice = head(&front, 0).replace(
        "\r\n\r\n",
        &format!("\r\ncontent-length: {}\r\n\r\n", smuggled.len()),
    );
    for (what, head) in [("a length and chunks", both), ("two lengths", twice)] {
        let mut socket = Socket::open(&front).await;
        let _ = socket
            .stream
            .write_all(format!("{head}{smuggled}").as_bytes())
            .await;
        let _ = socket.stream.shutdown().await;
        let said = socket.closed(what).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{what}: {said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{what}: {said}");
        front.works("a").await;
    }
    front.gateway.stop().await;
}
