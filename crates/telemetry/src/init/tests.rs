use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::context::{Incoming, TraceContext};
use crate::span::{Attempt, CallSpan, IncomingCall, Network};
use crate::{LogConfig, TracesConfig};

/// The span of a call, if it is sampled.
fn server(
    sampler: &Sampler,
    parent: Option<&TraceContext<'_>>,
    call: &IncomingCall<'_>,
) -> CallSpan {
    match sampler.sample(parent) {
        true => CallSpan::server(
            &Incoming {
                message: parent.copied(),
                http: None,
            },
            call,
        ),
        false => CallSpan::none(),
    }
}

const CALL: IncomingCall<'_> = IncomingCall {
    method: "ping",
    target: None,
    request_id: None,
    protocol_version: None,
    network: Network::Http,
    client_address: None,
};

fn config(endpoint: Option<&str>) -> TelemetryConfig {
    TelemetryConfig {
        log: LogConfig::default(),
        traces: TracesConfig {
            endpoint: endpoint.map(|url| url.parse().expect("a URL")),
            ..TracesConfig::default()
        },
    }
}

/// A collector that takes one request, and gives its first line and its body.
fn collector() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if line == "\r\n" {
                break;
            }
            head.push(line.to_lowercase());
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .expect("a length");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .expect("an answer");
        let _ = sender.send((head.swap_remove(0), body));
    });
    (format!("http://{address}"), receiver)
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Everything inside a runtime with one thread, where anything that waits for that runtime would
/// hang.
#[tokio::test]
async fn spans_reach_the_collector_when_the_guard_is_dropped() {
    let (endpoint, received) = collector();
    let metrics = Metrics::new().expect("consistent");
    let (subscriber, guard) =
        build(&config(Some(&endpoint)), &metrics, io::sink()).expect("set up");
    assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
    let _default = tracing::subscriber::set_default(subscriber);

    let call = server(&guard.sampler(), None, &CALL);
    let attempt = call.client(&Attempt {
        method: "ping",
        target: None,
        request_id: None,
        protocol_version: None,
        network: Network::Pipe,
        backend: "files",
        endpoint: None,
        era: None,
        server_address: None,
        server_port: None,
    });
    assert!(attempt.traceparent().is_some());
    drop((attempt, call, guard));

    let (line, body) = received
        .recv_timeout(Duration::from_secs(30))
        .expect("a batch");
    assert_eq!(line.trim_end(), "post /v1/traces http/1.1");
    assert!(contains(&body, "switchboard.backend") && contains(&body, "service.version"));
    let text = metrics.render();
    assert!(
        text.contains(r#"switchboard_telemetry_dropped_total{signal="spans"} 0"#),
        "{text}"
    );
}

/// A collector that accepts and never answers.
#[tokio::test]
async fn a_silent_collector_holds_up_nothing_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let metrics = Metrics::new().expect("consistent");
    let (subscriber, guard) =
        build(&config(Some(&endpoint)), &metrics, io::sink()).expect("set up");
    let _default = tracing::subscriber::set_default(subscriber);
    drop(server(&guard.sampler(), None, &CALL));

    let began = Instant::now();
    drop(guard);
    let bound = 2 * (FLUSH_SPANS + FLUSH_LOG);
    assert!(began.elapsed() < bound, "{:?}", began.elapsed());
}

#[test]
fn without_an_endpoint_nothing_is_sampled() {
    let metrics = Metrics::new().expect("consistent");
    let (subscriber, guard) = build(&config(None), &metrics, io::sink()).expect("set up");
    assert!(!guard.sampler().is_on());
    assert_eq!(subscriber.max_level_hint(), Some(LevelFilter::INFO));
    tracing::subscriber::with_default(subscriber, || {
        assert!(!server(&guard.sampler(), None, &CALL).is_recording());
        let unheard = server(&Sampler::new(1.0), None, &CALL);
        assert_eq!(unheard.traceparent(), None);
    });
}

#[test]
fn a_filter_that_cannot_be_read_is_an_error() {
    let metrics = Metrics::new().expect("consistent");
    let mut config = config(None);
    config.log.level = "info,=[".to_owned();
    let result = build(&config, &metrics, io::sink());
    assert!(matches!(result, Err(InitError::Filter(_))));
}

#[test]
fn logs_are_set_up_once() {
    let metrics = Metrics::new().expect("consistent");
    let first = init(&config(None), &metrics).expect("set up");
    let second = init(&config(None), &metrics);
    assert!(matches!(second, Err(InitError::Twice(_))));
    drop(first);
}
