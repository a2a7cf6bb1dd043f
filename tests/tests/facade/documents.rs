//! Clients whose id is the address of a document.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{BACK, Place, text};

/// A server of documents, with a certificate for `localhost`.
struct Host {
    port: u16,
    /// The certificate, in a file.
    certificate: tempfile::NamedTempFile,
    asked: Arc<AtomicUsize>,
}

impl Host {
    async fn start() -> Self {
        let pair =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = tempfile::NamedTempFile::new().expect("works");
        std::fs::write(certificate.path(), pair.cert.pem()).expect("works");
        let chain = vec![CertificateDer::from(pair.cert)];
        let key = PrivateKeyDer::from_pem_slice(pair.signing_key.serialize_pem().as_bytes());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key.expect("works"))
            .expect("works");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("works");
        let port = listener.local_addr().expect("works").port();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                counted.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = stream.write_all(answer(port, &path).as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self {
            port,
            certificate,
            asked,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

fn answer(port: u16, path: &str) -> String {
    let url = format!("https://localhost:{port}{path}");
    let mut document =
        json!({ "client_id": url, "client_name": "Documented", "redirect_uris": [BACK] });
    let mut status = "200 OK";
    let mut more = String::new();
    match path {
        "/other.json" => document["client_id"] = json!("https://app.example.com/client.json"),
        "/large.json" => document["client_uri"] = json!("x".repeat(20_000)),
        "/moved.json" => {
            status = "302 Found";
            more = format!("Location: https://localhost:{port}/client.json\r\n");
        }
        "/secret.json" => document["client_secret"] = json!("x"),
        "/keys.json" => document["token_endpoint_auth_method"] = json!("private_key_jwt"),
        "/fresh.json" => more = "Cache-Control: no-store\r\n".to_owned(),
        "/empty.json" => document = Value::Null,
        _ => {}
    }
    let body = document.to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len(),
    )
}

#[tokio::test]
async fn a_document_is_fetched_checked_and_kept() {
    let host = Host::start().await;
    let file = host.certificate.path().to_str().expect("works").to_owned();
    let facade = json!({ "internal_hosts": ["localhost"] });
    let place = Place::with(facade, &[("SSL_CERT_FILE", &file)]).await;
    let ask = async |path: &str, instead: &[(&str, &str)]| {
        let url = place.authorize(&host.url(path), instead);
        place.browser().get(url).await
    };
    let page = ask("/client.json", &[]).await;
    assert_eq!(page.status(), 200);
    let html = page.text().await.expect("works");
    assert!(
        html.contains("Documented") && html.contains("belongs to localhost"),
        "{html}"
    );
    let once = host.asked.load(Ordering::SeqCst);
    assert_eq!(ask("/client.json", &[]).await.status(), 200);
    assert_eq!(host.asked.load(Ordering::SeqCst), once, "it is kept");
    assert_eq!(ask("/fresh.json", &[]).await.status(), 200);
    assert_eq!(ask("/fresh.json", &[]).await.status(), 200);
    assert_eq!(
        host.asked.load(Ordering::SeqCst),
        once + 2,
        "it says that it is not to be kept"
    );
    let evil = ("redirect_uri", "https://evil.example/");
    assert_eq!(ask("/client.json", &[evil]).await.status(), 400);
    let before = host.asked.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(ask("/other.json", &[]).await.status(), 400);
    }
    assert_eq!(
        host.asked.load(Ordering::SeqCst),
        before + 1,
        "what was no client's a moment ago is not asked again"
    );
    for path in [
        "/large.json",
        "/moved.json",
        "/secret.json",
        "/keys.json",
        "/empty.json",
    ] {
        assert_eq!(ask(path, &[]).await.status(), 400, "{path}");
    }

    let client = host.url("/client.json");
    let code = place.code(&client, &[]).await;
    let (status, tokens) = place.redeem(&client, &code, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    let said = super::claims(&text(&tokens["access_token"]));
    assert_eq!(
        said["client_id"],
        json!(client),
        "rules know the client by its address"
    );
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn nothing_inside_is_fetched_for_a_stranger() {
    let host = Host::start().await;
    let file = host.certificate.path().to_str().expect("works").to_owned();
    let place = Place::with(json!({}), &[("SSL_CERT_FILE", &file)]).await;
    let port = host.port;
    for id in [
        format!("https://localhost:{port}/client.json"),
        format!("https://127.0.0.1:{port}/client.json"),
        format!("https://0177.0.0.1:{port}/client.json"),
        format!("https://0x7f000001:{port}/client.json"),
        format!("https://2130706433:{port}/client.json"),
        format!("https://127.1:{port}/client.json"),
        format!("https://[::1]:{port}/client.json"),
        format!("https://[::ffff:127.0.0.1]:{port}/client.json"),
        format!("https://[64:ff9b::7f00:1]:{port}/client.json"),
        format!("https://[2002:7f00:1::]:{port}/client.json"),
        format!("http://localhost:{port}/client.json"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[fd00:ec2::254]/latest/meta-data".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let response = place.browser().get(place.authorize(&id, &[])).await;
        assert_eq!(response.status(), 400, "{id}");
    }
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
    place.front.gateway.stop().await;
}

#[tokio::test]
async fn a_slow_host_has_a_share_of_what_is_fetched() {
    // Takes connections, and says nothing.
    let slow = TcpListener::bind("127.0.0.1:0").await.expect("works");
    let port = slow.local_addr().expect("works").port();
    let place = Place::with(json!({ "internal_hosts": ["localhost"] }), &[]).await;
    let fetch = |n: usize| {
        let url = place.authorize(&format!("https://localhost:{port}/{n}.json"), &[]);
        let mut browser = place.browser();
        tokio::spawn(async move { browser.get(url).await.status().as_u16() })
    };
    let fetches: Vec<_> = (0..12).map(fetch).collect();
    let mut statuses = Vec::new();
    for fetch in fetches {
        statuses.push(fetch.await.expect("no panic"));
    }
    let count = |status: u16| statuses.iter().filter(|known| **known == status).count();
    // Four take their 5 s, and the others are told at once to try again.
    assert_eq!((count(400), count(503)), (4, 8), "{statuses:?}");
    place.front.gateway.stop().await;
}
