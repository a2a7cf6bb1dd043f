//! HTTP/2 written by hand: floods of frames that cost the sender nothing. Each connection ends, the
//! gateway's memory stays bounded, and another client is served meanwhile.

use serde_json::json;
use switchboard_testkit::client::Client;
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::waiting::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a flood may cost the gateway: far less than it sends.
const MAX_GROWTH: u64 = 64 * 1024 * 1024;

/// RFC 9113, section 6.
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `POST /mcp` as HPACK without a table (RFC 7541): indexed fields, and literals that are not
/// indexed.
fn head() -> Vec<u8> {
    head_of("/mcp")
}

fn head_of(path: &str) -> Vec<u8> {
    let mut head = vec![0x83, 0x86];
    for (name, value) in [(0x04, path), (0x01, "127.0.0.1")] {
        head.extend([name, u8::try_from(value.len()).expect("a short value")]);
        head.extend(value.as_bytes());
    }
    head
}

/// Frames that are written together, by their number.
type Flood = fn(u32) -> Vec<u8>;

/// How often the frames of a flood are written at most.
const ROUNDS: u32 = 10_000;

/// The number of the stream of a client's request.
fn stream(round: u32) -> u32 {
    2 * round + 1
}

fn rapid_reset(round: u32) -> Vec<u8> {
    let open = frame(
        kind::HEADERS,
        END_HEADERS | END_STREAM,
        stream(round),
        &head(),
    );
    let cancel = frame(kind::RST_STREAM, 0, stream(round), &8_u32.to_be_bytes());
    [open, cancel].concat()
}

fn continuations(round: u32) -> Vec<u8> {
    match round {
        0 => frame(kind::HEADERS, END_STREAM, 1, &head()),
        // A literal field that is not indexed, named by one letter.
        _ => frame(
            kind::CONTINUATION,
            0,
            1,
            &[0, 1, b'x', 1, b'y'].repeat(1000),
        ),
    }
}

fn pings(_: u32) -> Vec<u8> {
    frame(kind::PING, 0, 0, &[0; 8]).repeat(100)
}

/// A call that is never answered.
fn hanging_call() -> Vec<u8> {
    let body = concat!(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s__hang","_meta":{"#,
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
        r#""io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"#,
        r#""io.modelcontextprotocol/clientCapabilities":{}}}}"#,
    );
    let length = body.len().to_string();
    let mut head = head();
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("content-length", &length),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "s__hang"),
    ] {
        head.push(0);
        for text in [name, value] {
            head.push(u8::try_from(text.len()).expect("a short text"));
            head.extend(text.as_bytes());
        }
    }
    let head = frame(kind::HEADERS, END_HEADERS, 1, &head);
    [head, frame(kind::DATA, END_STREAM, 1, body.as_bytes())].concat()
}

/// While a call is in flight, so that there is no time in which the connection has to do better.
fn pings_beside_a_call(round: u32) -> Vec<u8> {
    match round {
        0 => hanging_call(),
        _ => pings(round),
    }
}

fn settings(_: u32) -> Vec<u8> {
    // The size of the header table, again and again.
    frame(kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]).repeat(100)
}

fn empty_data(round: u32) -> Vec<u8> {
    match round {
        0 => frame(kind::HEADERS, END_HEADERS, 1, &head()),
        _ => frame(kind::DATA, 0, 1, &[]).repeat(100),
    }
}

/// Floods until the gateway has closed the connection or said GOAWAY; whether it reads what the
/// gateway says meanwhile decides who has to hold it.
async fn flood(address: &str, what: &str, frames: Flood) {
    let connection = TcpStream::connect(address).await.expect("a connection");
    let (mut reading, mut writing) = connection.into_split();
    let writes = async {
        writing.write_all(PREFACE).await?;
        writing.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await?;
        for round in 0..ROUNDS {
            writing.write_all(&frames(round)).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let refused = async {
        let mut header = [0; 9];
        // A reset closes as well.
        while reading.read_exact(&mut header).await.is_ok() && header[3] != kind::GOAWAY {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; length as usize];
            if reading.read_exact(&mut payload).await.is_err() {
                break;
            }
        }
    };
    let both = async { tokio::join!(writes, refused) };
    // Whether all could be written does not matter.
    let _ = timeout(PATIENCE, both)
        .await
        .unwrap_or_else(|_| panic!("{what} went on and on"));
}

/// The resident memory of the gateway, in bytes.
fn memory(front: &Front) -> u64 {
    let id = front.gateway.server().id().expect("a running gateway");
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}

#[tokio::test]
async fn floods_of_http2_frames_end_and_cost_little() {
    let hanging = FakeHttp::start(Transport::Modern, "hanging").await;
    let mut front = Front::start(json!({
        "server": { "header_timeout": "2s", "body_timeout": "2s", "idle_timeout": "2s" },
        "backends": { "a": faulty(&[]), "s": remote(hanging.url()) },
    }))
    .await;
    front.wait_until("a", true).await;
    front.wait_until("s", true).await;
    let url = front.gateway.url().to_owned();
    let address = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let floods: [(&str, Flood); 6] = [
        ("rapid reset", rapid_reset),
        ("CONTINUATION", continuations),
        ("PING", pings),
        ("PING beside a call", pings_beside_a_call),
        ("SETTINGS", settings),
        ("empty DATA", empty_data),
    ];
    for (what, frames) in floods {
        let before = memory(&front);
        let works = async {
            for _ in 0..10 {
                front.works("a").await;
            }
        };
        tokio::join!(flood(address, what, frames), works);
        let growth = memory(&front).saturating_sub(before);
        assert!(growth < MAX_GROWTH, "{what} cost {growth} bytes");
        // A connection kept from before may be closed as idle at the very moment it is used again.
        front.client = Client::new(&url);
        front.works("a").await;
    }
    assert_eq!(hanging.requests_of("tools/call").len(), 1);
    front.gateway.stop().await;
}

/// The kinds of all frames up to the answer to this ping, beside those of pings.
async fn kinds_until_pong(connection: &mut TcpStream) -> Vec<u8> {
    let ping = frame(kind::PING, 0, 0, b"distinct");
    connection.write_all(&ping).await.expect("a ping");
    let mut kinds = Vec::new();
    loop {
        let mut header = [0; 9];
        let read = timeout(PATIENCE, connection.read_exact(&mut header)).await;
        read.expect("an answer in time").expect("a frame");
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        let read = connection.read_exact(&mut payload).await;
        read.expect("the rest of a frame");
        match (header[3], &payload[..]) {
            (kind::PING, b"distinct") => return kinds,
            (kind, _) => kinds.push(kind),
        }
    }
}

/// A stream that is reset behind an early answer takes the answer with it in some clients.
#[tokio::test]
async fn an_early_answer_waits_for_a_short_body_and_resets_nothing() {
    let front = Front::start(json!({
        "auth": { "api_keys": [{ "name": "a", "key_sha256": "0a1b".repeat(16) }] },
        "backends": { "a": faulty(&[]) },
    }))
    .await;
    let open = crate::front().await;
    // Without a credential; no JSON; no such path.
    for (front, path) in [(&front, "/mcp"), (&open, "/mcp"), (&open, "/nowhere")] {
        let address = front.gateway.url().trim_start_matches("http://");
        let address = address.trim_end_matches("/mcp");
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        let beginning = [
            PREFACE.to_vec(),
            frame(kind::SETTINGS, 0, 0, &[]),
            frame(kind::HEADERS, END_HEADERS, 1, &head_of(path)),
            frame(kind::DATA, 0, 1, b"a part"),
        ];
        connection
            .write_all(&beginning.concat())
            .await
            .expect("a request");
        // Twice, so that there was time to answer in between.
        for _ in 0..2 {
            let kinds = kinds_until_pong(&mut connection).await;
            assert!(!kinds.contains(&kind::HEADERS), "{path}: {kinds:?}");
        }
        let end = frame(kind::DATA, END_STREAM, 1, b"the rest");
        connection.write_all(&end).await.expect("the rest");
        let mut kinds = Vec::new();
        while !kinds.contains(&kind::HEADERS) {
            kinds.extend(kinds_until_pong(&mut connection).await);
        }
        kinds.extend(kinds_until_pong(&mut connection).await);
        assert!(!kinds.contains(&kind::RST_STREAM), "{path}: {kinds:?}");
    }
    front.gateway.stop().await;
    open.gateway.stop().await;
}
