//! Caps, shutdown, and peers that leave.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_cap_wait_for_a_place() {
    let server = Server::start(Limits {
        max_connections: 1,
        ..patient()
    })
    .await;
    let mut first = server.connect().await;
    ask(&mut first).await;
    let mut second = server.connect().await;
    second.write_all(&request("/wait")).await.unwrap();
    ask(&mut first).await;
    assert_eq!(server.probe.running.load(Ordering::SeqCst), 0);
    drop(first);
    server.until_running(1).await;
    server.probe.go_on.notify_waiters();
    assert!(read_until(&mut second, "done").await.ends_with("done"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_ends_when_its_peer_leaves() {
    let server = Server::start(patient()).await;
    let mut plain = server.connect().await;
    plain.write_all(&request("/stuck")).await.unwrap();
    let (mut sender, connection) = h2_client::connect(&server).await;
    let stuck =
        tokio::spawn(async move { sender.send_request(h2_client::request("/stuck")).await });
    server.until_running(2).await;
    drop(plain);
    server.until_running(1).await;
    // The stream is reset, the connection stays.
    stuck.abort();
    server.until_running(0).await;
    connection.abort();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_requests_finish_and_closes_what_is_idle() {
    let server = Server::start(patient()).await;
    let mut idle = server.connect().await;
    ask(&mut idle).await;
    let mut silent = server.connect().await;
    let mut plain = server.connect().await;
    plain.write_all(&request("/wait")).await.unwrap();
    let (mut sender, connection) = h2_client::connect(&server).await;
    let answer = tokio::spawn(async move {
        let answer = sender.send_request(h2_client::request("/wait"));
        within(answer).await.unwrap().status()
    });
    server.until_running(2).await;

    server.drain.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(refused).await;
    assert!(!server.task.is_finished());

    server.probe.go_on.notify_waiters();
    let text = read_to_end(&mut plain).await;
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    assert!(text.contains("connection: close"), "{text}");
    assert!(text.ends_with("done"), "{text}");
    assert_eq!(within(answer).await.unwrap(), StatusCode::OK);
    within(connection).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_cuts_what_is_stuck_at_the_drain_timeout() {
    let drain_timeout = Duration::from_millis(300);
    let server = Server::start(Limits {
        drain_timeout,
        ..patient()
    })
    .await;
    let mut plain = server.connect().await;
    plain.write_all(&request("/stuck")).await.unwrap();
    let (mut sender, connection) = h2_client::connect(&server).await;
    let stuck =
        tokio::spawn(async move { sender.send_request(h2_client::request("/stuck")).await });
    server.until_running(2).await;
    let probe = Arc::clone(&server.probe);
    assert!(server.stop().await >= drain_timeout);
    assert_eq!(probe.running.load(Ordering::SeqCst), 0);
    assert_eq!(read_to_end(&mut plain).await, "");
    assert!(within(stuck).await.unwrap().is_err());
    // However it ends, it ends.
    let _ = within(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_without_connections_ends_at_once() {
    let server = Server::start(patient()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_dropped_takes_everything_along() {
    let server = Server::start(patient()).await;
    let mut plain = server.connect().await;
    plain.write_all(&request("/stuck")).await.unwrap();
    let (mut sender, _connection) = h2_client::connect(&server).await;
    let stuck =
        tokio::spawn(async move { sender.send_request(h2_client::request("/stuck")).await });
    server.until_running(2).await;
    server.task.abort();
    server.until_running(0).await;
    assert_eq!(read_to_end(&mut plain).await, "");
    assert!(within(stuck).await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_resets_ends_its_connection_alone() {
    let server = Server::start(patient()).await;
    let mut other = server.connect().await;
    ask(&mut other).await;
    let mut flood = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for id in (1_u32..20_000).step_by(2) {
        // GET http /, complete; then RST_STREAM with CANCEL.
        flood.extend([0, 0, 3, 1, 5]);
        flood.extend(id.to_be_bytes());
        flood.extend([0x82, 0x84, 0x86]);
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(id.to_be_bytes());
        flood.extend([0, 0, 0, 8]);
    }
    let (mut read, mut write) = server.connect().await.into_split();
    let sending = tokio::spawn(async move {
        // It fails once the server has had enough.
        let _ = write.write_all(&flood).await;
        write
    });
    let mut answer = Vec::new();
    let _ = within(read.read_to_end(&mut answer)).await;
    // GOAWAY with ENHANCE_YOUR_CALM.
    assert!(answer.windows(4).any(|code| code == [0, 0, 0, 0x0b]));
    drop(within(sending).await.unwrap());
    ask(&mut other).await;
    server.stop().await;
}
