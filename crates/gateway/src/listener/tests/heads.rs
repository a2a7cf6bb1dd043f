//! What a request's head may be.

use super::*;

async fn first_line(server: &Server, head: &str) -> String {
    let mut stream = server.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n").await
}

fn with_headers(count: usize) -> String {
    let more: String = (1..count).map(|n| format!("x-{n}: y\r\n")).collect();
    format!("GET / HTTP/1.1\r\nhost: test\r\n{more}\r\n")
}

#[tokio::test]
async fn a_head_has_bounds() {
    let server = Server::start(patient()).await;
    let long = |bytes: usize| "x".repeat(bytes);
    let uri = |bytes: usize| {
        let query = long(bytes - "/?".len());
        format!("GET /?{query} HTTP/1.1\r\nhost: test\r\n\r\n")
    };
    let header =
        |bytes: usize| format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", long(bytes));
    for (head, expected) in [
        (with_headers(100), "HTTP/1.1 200 "),
        (with_headers(101), "HTTP/1.1 431 "),
        (uri(8 * 1024), "HTTP/1.1 200 "),
        (uri(8 * 1024 + 1), "HTTP/1.1 414 "),
        (header(60 * 1024), "HTTP/1.1 200 "),
        (header(1024 * 1024), "HTTP/1.1 431 "),
        (uri(1024 * 1024), "HTTP/1.1 431 "),
        ("GET\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
    ] {
        let line = first_line(&server, &head).await;
        assert!(
            line.starts_with(expected),
            "{line} for {} bytes",
            head.len()
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_number_of_headers_may_be_chosen() {
    let server = Server::start(Limits {
        max_headers: 3,
        ..patient()
    })
    .await;
    for (count, expected) in [(3, "HTTP/1.1 200 "), (4, "HTTP/1.1 431 ")] {
        let line = first_line(&server, &with_headers(count)).await;
        assert!(line.starts_with(expected), "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_has_the_same_bounds_over_http2() {
    let server = Server::start(patient()).await;
    let (mut sender, _connection) = h2_client::connect(&server).await;
    let with_headers = |count: usize| {
        let mut request = h2_client::request("/");
        for n in 0..count {
            let name: http::HeaderName = format!("x-{n}").parse().unwrap();
            request
                .headers_mut()
                .insert(name, http::HeaderValue::from_static("y"));
        }
        request
    };
    let mut large = h2_client::request("/");
    large.headers_mut().insert(
        "x",
        http::HeaderValue::from_str(&"y".repeat(70 * 1024)).unwrap(),
    );
    for (request, expected) in [
        (with_headers(100), StatusCode::OK),
        (
            with_headers(101),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ),
        (
            h2_client::request(&format!("/?{}", "x".repeat(9 * 1024))),
            StatusCode::URI_TOO_LONG,
        ),
        (large, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        let status = h2_client::status(&mut sender, request).await;
        assert_eq!(status, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_reaches_a_peer_that_still_sends() {
    let server = Server::start(patient()).await;
    let mut stream = server.connect().await;
    let head = b"POST /refuse HTTP/1.1\r\nhost: test\r\ncontent-length: 9999999\r\n\r\n";
    stream.write_all(head).await.unwrap();
    stream.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // A reset would make one of these fail, and a client that writes first would see only that.
    for _ in 0..10 {
        stream.write_all(&[b'x'; 1024]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Who never closes its side has a second.
    write_until_reset(&mut stream).await;
    server.stop().await;
}

async fn write_until_reset(stream: &mut TcpStream) {
    let writing = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(writing).await;
}

#[tokio::test]
async fn a_request_carries_the_address_of_its_peer() {
    let server = Server::start(patient()).await;
    let mut stream = server.connect().await;
    let own = stream.local_addr().unwrap().to_string();
    stream.write_all(&request("/peer")).await.unwrap();
    assert!(read_until(&mut stream, &own).await.ends_with(&own));
    server.stop().await;
}
