//! What a peer may keep waiting, and how long.

use super::*;

const SHORT: Duration = Duration::from_millis(500);

/// A server with these limits and no other that a test reaches.
async fn short_server(header_timeout: Duration, idle_timeout: Duration) -> Server {
    Server::start(Limits {
        header_timeout,
        idle_timeout,
        ..patient()
    })
    .await
}

/// Sends `bytes` and waits for the end of the connection; tells how long the server allowed.
async fn time_to_end(server: &Server, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await;
    start.elapsed()
}

#[tokio::test]
async fn a_connection_without_a_complete_head_ends_at_the_header_timeout() {
    let server = short_server(SHORT, NEVER).await;
    // An empty SETTINGS frame, with which a client's side of HTTP/2 is set up, and then the first
    // half of a HEADERS frame.
    let settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let half_headers = [&settings[..], &[0, 0, 40, 1, 5, 0, 0, 0, 1, 0x82, 0x84]].concat();
    let openings: [&[u8]; 8] = [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nhost: te",
        b"GET / HTTP/1.1\r\nhost: test\r\n",
        b"PRI * HTTP/2.0\r\n",
        PREFACE,
        &settings,
        &half_headers,
    ];
    let ends = openings.map(|opening| time_to_end(&server, opening));
    for (end, opening) in futures_util::future::join_all(ends)
        .await
        .iter()
        .zip(openings)
    {
        let opening = String::from_utf8_lossy(opening);
        assert!(*end >= SHORT, "{opening:?} after {end:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn dripping_bytes_do_not_prolong_a_head() {
    let server = short_server(SHORT, NEVER).await;
    let mut stream = server.connect().await;
    let drip = async {
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(drip).await;
    server.stop().await;
}

#[tokio::test]
async fn a_later_head_has_the_header_timeout_from_its_first_byte() {
    let server = short_server(SHORT, NEVER).await;
    let mut stream = server.connect().await;
    ask(&mut stream).await;
    // Idle for longer than a head may take, which is nothing wrong.
    tokio::time::sleep(SHORT * 2).await;
    ask(&mut stream).await;
    let start = Instant::now();
    stream.write_all(b"GET / HT").await.unwrap();
    read_to_end(&mut stream).await;
    assert!(start.elapsed() >= SHORT);
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_ends_after_the_idle_timeout_and_not_before() {
    let idle_timeout = Duration::from_millis(1000);
    let server = short_server(SHORT, idle_timeout).await;
    let mut stream = server.connect().await;
    ask(&mut stream).await;
    // The next request gives all of the time anew, not what is left of it.
    tokio::time::sleep(idle_timeout / 10).await;
    let start = Instant::now();
    ask(&mut stream).await;
    assert_eq!(read_to_end(&mut stream).await, "");
    assert!(start.elapsed() >= idle_timeout);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_http2_connection_is_told_to_finish() {
    let idle_timeout = Duration::from_millis(1000);
    let server = short_server(SHORT, idle_timeout).await;
    let (mut sender, connection) = h2_client::connect(&server).await;
    let start = Instant::now();
    let status = h2_client::status(&mut sender, h2_client::request("/")).await;
    assert_eq!(status, StatusCode::OK);
    within(connection)
        .await
        .unwrap()
        .expect("ends in good order");
    assert!(start.elapsed() >= idle_timeout);
    server.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_is_not_idle() {
    let server = short_server(SHORT, SHORT).await;
    let mut plain = server.connect().await;
    plain.write_all(&request("/wait")).await.unwrap();
    server.until_running(1).await;
    let (mut sender, _connection) = h2_client::connect(&server).await;
    let answer =
        tokio::spawn(
            async move { h2_client::status(&mut sender, h2_client::request("/wait")).await },
        );
    server.until_running(2).await;
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(server.probe.running.load(Ordering::SeqCst), 2);
    server.probe.go_on.notify_waiters();
    assert!(read_until(&mut plain, "done").await.ends_with("done"));
    assert_eq!(within(answer).await.unwrap(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_still_sent_is_not_idle() {
    let server = short_server(SHORT, SHORT).await;
    let mut stream = server.connect().await;
    stream.write_all(&request("/drip")).await.unwrap();
    server.until_running(1).await;
    for _ in 0..2 {
        tokio::time::sleep(SHORT * 2).await;
        server.probe.go_on.notify_one();
        assert!(read_until(&mut stream, ".\r\n").await.ends_with(".\r\n"));
    }
    server.drain.cancel();
    drop(stream);
    server.until_running(0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut() {
    let server = short_server(NEVER, SHORT).await;
    let mut stream = server.connect().await;
    stream.write_all(&request("/flood")).await.unwrap();
    within(server.probe.started.notified()).await;
    server.until_running(0).await;
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_opens_no_window_is_cut_though_it_answers_pings() {
    let server = short_server(NEVER, SHORT).await;
    let (mut sender, connection) = h2_client::connect(&server).await;
    let flood = within(sender.send_request(h2_client::request("/flood"))).await;
    // Keeps the answer without reading it; the connection goes on in its task.
    let unread = flood.unwrap();
    let _ = within(connection).await;
    server.until_running(0).await;
    drop(unread);
    server.stop().await;
}

#[tokio::test]
async fn an_http2_answer_that_says_nothing_for_long_is_not_cut() {
    let server = short_server(SHORT, SHORT).await;
    let (mut sender, _connection) = h2_client::connect(&server).await;
    let drip = within(sender.send_request(h2_client::request("/drip"))).await;
    let mut body = drip.unwrap().into_body();
    for _ in 0..2 {
        tokio::time::sleep(SHORT * 3).await;
        server.probe.go_on.notify_one();
        let frame = within(http_body_util::BodyExt::frame(&mut body)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), ".");
    }
    drop((body, sender));
    server.stop().await;
}
