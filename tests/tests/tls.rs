//! TLS on the listener: both versions of HTTP, a certificate that is exchanged while the gateway
//! runs, and peers that do not speak it.

use std::path::Path;
use std::time::Duration;

use http::Version;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use reqwest::Certificate;
use serde_json::json;
use switchboard_testkit::client::{Client, call};
use switchboard_tests::front::faulty;
use switchboard_tests::gateway::Gateway;
use switchboard_tests::waiting::until;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn pair() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate")
}

fn write(folder: &Path, pair: &CertifiedKey<KeyPair>) {
    std::fs::write(folder.join("cert.pem"), pair.cert.pem()).expect("the folder is ours");
    std::fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).expect("ours");
}

/// A gateway with this certificate.
async fn gateway(folder: &TempDir, pair: &CertifiedKey<KeyPair>) -> Gateway {
    write(folder.path(), pair);
    Gateway::start(json!({
        "server": {
            "tls": { "cert": folder.path().join("cert.pem"), "key": folder.path().join("key.pem") },
            "header_timeout": "500ms",
        },
        "backends": { "a": faulty(&[]) },
    }))
    .await
}

/// A client that trusts this certificate alone, and speaks HTTP/2 if it may.
fn trusting(pair: &CertifiedKey<KeyPair>, may_http2: bool) -> reqwest::Client {
    let certificate = Certificate::from_der(pair.cert.der()).expect("a certificate");
    let builder = reqwest::Client::builder().tls_certs_only([certificate]);
    let builder = if may_http2 {
        builder
    } else {
        builder.http1_only()
    };
    builder.build().expect("a client")
}

/// Calls `echo`; the version of HTTP that it went over, if it was answered well.
async fn echo(client: &reqwest::Client, gateway: &Gateway) -> Result<Version, String> {
    let draft = Client::new(gateway.url()).draft(&call("a__echo", &json!({ "x": 1 })));
    let response = client
        .post(gateway.url())
        .headers(draft.headers)
        .body(draft.body)
        .send()
        .await
        .map_err(|error| format!("{error:?}"))?;
    let version = response.version();
    let text = response.text().await.map_err(|error| error.to_string())?;
    if text.contains(r#""arguments":{"x":1}"#) {
        Ok(version)
    } else {
        Err(text)
    }
}

async fn connect(gateway: &Gateway) -> TcpStream {
    let address = gateway.url().trim_start_matches("https://");
    let address = address.trim_end_matches("/mcp");
    TcpStream::connect(address).await.expect("a connection")
}

async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset closes as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said))
        .await
        .expect("the gateway closes in time");
    said
}

#[tokio::test]
async fn clients_speak_either_http_and_new_ones_see_an_exchanged_certificate() {
    let (folder, old, new) = (tempfile::tempdir().expect("a folder"), pair(), pair());
    let gateway = gateway(&folder, &old).await;
    assert!(gateway.url().starts_with("https://"), "{}", gateway.url());
    let early = trusting(&old, true);
    until("the backend answers", async || {
        echo(&early, &gateway).await.ok()
    })
    .await;
    assert_eq!(echo(&early, &gateway).await, Ok(Version::HTTP_2));
    let http1 = trusting(&old, false);
    assert_eq!(echo(&http1, &gateway).await, Ok(Version::HTTP_11));
    assert!(echo(&trusting(&new, true), &gateway).await.is_err());

    write(folder.path(), &new);
    until("the new certificate is used", async || {
        echo(&trusting(&new, true), &gateway).await.ok()
    })
    .await;
    assert!(echo(&trusting(&old, true), &gateway).await.is_err());
    gateway.stop().await;
}

#[tokio::test]
async fn who_does_not_speak_tls_is_cut() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder"), pair());
    let gateway = gateway(&folder, &pair).await;
    let silent = connect(&gateway).await;
    let mut half = connect(&gateway).await;
    // The head of a TLS record that announces more than ever comes.
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .await
        .expect("an open connection");
    let mut plain = connect(&gateway).await;
    plain
        .write_all(b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .await
        .expect("an open connection");
    let said = closed(plain).await;
    assert!(!said.starts_with(b"HTTP"), "plain HTTP was answered");
    assert!(closed(silent).await.is_empty());
    closed(half).await;

    let client = trusting(&pair, true);
    until("another client is served", async || {
        echo(&client, &gateway).await.ok()
    })
    .await;
    gateway.stop().await;
}
