//! Who reaches the address that replicas keep for each other, and who only says that he does.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use switchboard_testkit::asking::Options;
use switchboard_testkit::client::{message, retry};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::asking::{AskingServer, Way, accepted, asking_call};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::waiting::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::*;

/// Believes whoever answers: it is the other side that is looked at.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that looks like a replica's, of an authority that looks like the cluster's.
fn forged() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Switchboard cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["replica.switchboard.internal".to_owned()]);
    let certificate = params.expect("a name").signed_by(&key, &authority);
    let certificate = certificate.expect("a certificate").der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (vec![certificate, authority.der().clone()], key.into())
}

fn client(with_certificate: bool) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    match with_certificate {
        false => builder.with_no_client_auth(),
        true => {
            let (chain, key) = forged();
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    }
}

/// What is answered over TLS to this request, or what it fails with.
async fn ask(address: &str, config: ClientConfig, request: &str) -> io::Result<String> {
    let stream = TcpStream::connect(address.trim_start_matches("https://")).await?;
    let name = ServerName::try_from("replica.switchboard.internal").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn forwarded() -> String {
    STANDARD.encode(json!({ "peer": "203.0.113.9" }).to_string())
}

fn request() -> String {
    let body = message("tools/list", json!({})).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/list\r\nswitchboard-forwarded: {}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        forwarded(),
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_who_does_not_know_the_secret() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let config = json!({ "backends": { "near": remote(near.url()) } });
    let replicas = replicas(2, config).await;
    let address = &replicas.addresses[0];
    for with_certificate in [false, true] {
        let answer = ask(address, client(with_certificate), &request()).await;
        assert!(answer.is_err(), "{with_certificate}: {answer:?}");
    }
    // Nor in the clear.
    let mut stream = TcpStream::connect(address.trim_start_matches("https://"))
        .await
        .expect("it listens");
    stream
        .write_all(request().as_bytes())
        .await
        .expect("written");
    let mut answer = Vec::new();
    // It may be reset instead.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_of_its_origin_is_ignored() {
    let server = AskingServer::start(Way::Post).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let config = json!({
        "backends": { "a": server.backend() },
        "audit": { "file": { "path": file } },
    });
    // One file for both: they only append.
    let replicas = replicas(2, config).await;
    let call = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = replicas.front(0).client.ask(&call).await;
    let again = retry(call, &asked, accepted(&asked, "x"));
    // Neither where it comes in, nor where it is passed on to.
    let other = &replicas.front(1).client;
    let draft = other.draft(&again);
    let draft = draft.with_header("switchboard-forwarded", &forwarded());
    let answer = other.send(draft).await.finish().await;
    assert_eq!(
        answer.result()["structuredContent"]["mark"],
        "m",
        "{}",
        answer.raw
    );
    assert_eq!(replicas.forwarded().await, 1.0);
    let records = until("both records", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let calls = text.lines().filter(|line| line.contains("ask_form"));
        (calls.count() >= 2).then_some(text)
    })
    .await;
    assert!(records.contains("127.0.0.1"), "{records}");
    assert!(!records.contains("203.0.113.9"), "{records}");
    // The call is in the audit of its owner alone.
    let calls = records.lines().filter(|line| line.contains("ask_form"));
    assert_eq!(calls.count(), 2, "{records}");
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_the_address_of_a_dead_replica_learns_nothing() {
    let server = AskingServer::with(Way::Post, Options::default()).await;
    let config = json!({ "backends": { "a": server.backend() } });
    let mut replicas = replicas(2, config).await;
    let call = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = replicas.front(0).client.ask(&call).await;
    replicas.kill(0).await;
    let address = replicas.addresses[0]
        .trim_start_matches("https://")
        .to_owned();
    let impostor = TcpListener::bind(&address).await.expect("the address");
    let learned = tokio::spawn(async move {
        let (mut stream, _) = impostor.accept().await.expect("a connection");
        let mut first = vec![0; 16 * 1024];
        let read = stream.read(&mut first).await.expect("a hello");
        first.truncate(read);
        first
    });
    let again = retry(call, &asked, accepted(&asked, "a word that is not for him"));
    let answer = replicas.front(1).client.ask(&again).await;
    assert_unknown(&answer);
    let learned = learned.await.expect("it ends");
    let learned = String::from_utf8_lossy(&learned);
    assert!(!learned.contains("a word that is not"), "{learned}");
    assert!(!learned.contains("POST"), "{learned}");
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_passed_on_is_not_passed_on_again() {
    let server = AskingServer::start(Way::Post).await;
    let config = json!({ "backends": { "a": server.backend() } });
    let mut replicas = replicas(3, config.clone()).await;
    let call = asking_call("a__ask_form", &json!({ "mark": "m" }));
    let asked = replicas.front(0).client.ask(&call).await;
    let again = retry(call, &asked, accepted(&asked, "x"));
    let beside = beside(&replicas, 2).await;
    replicas.kill(0).await;

    // One takes in what was for the dead one, and thinks that this is somebody else, at the very
    // address that it listens on: a request would go round for ever.
    let mut heir = replicas.config(0, config);
    let cluster = &mut heir["server"]["cluster"];
    cluster["listen"] = json!(replicas.addresses[0].trim_start_matches("https://"));
    cluster["advertise"] = json!("https://127.0.0.1:1");
    let heir = Front::start(heir).await;
    heir.gateway.wait_for_backends().await;
    let answer = replicas.front(1).client.ask(&again).await;
    assert_unknown(&answer);
    assert_eq!(beside.request("ping", json!({})).await.status, 404);
    assert_eq!(replicas.forwarded().await, 2.0);
    let passed_on = heir.metrics("switchboard_forwarded_total").await;
    assert!(
        passed_on.values().all(|count| *count == 0.0),
        "{passed_on:?}"
    );
    assert_eq!(server.count("begin", "m"), 1);
    heir.gateway.stop().await;
    replicas.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_say_nothing_keep_no_replica_out() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    // Fewer connections than strangers, at the endpoint: the listener for replicas has its own bound.
    let config = json!({
        "server": { "max_connections": 64 },
        "backends": { "near": remote(near.url()) },
    });
    let replicas = replicas(2, config).await;
    let beside = beside(&replicas, 1).await;
    let address = replicas.addresses[0].trim_start_matches("https://");
    // More than may have proved nothing at once.
    let mut strangers = Vec::new();
    for _ in 0..600 {
        strangers.push(TcpStream::connect(address).await.expect("it listens"));
    }
    let answer = beside.request("ping", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(replicas.forwarded().await, 1.0);
    // They are cut soon, long before they would be at the endpoint.
    for mut stranger in strangers {
        let mut nothing = [0];
        let ended = tokio::time::timeout(PATIENCE, stranger.read(&mut nothing)).await;
        assert!(!matches!(ended, Err(_) | Ok(Ok(1))), "{ended:?}");
    }
    replicas.stop().await;
}

/// A replica that takes connections and says nothing is not gone, until it does so for long.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_late_is_not_gone() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let config = json!({ "backends": { "near": remote(near.url()) } });
    let mut replicas = replicas(2, config).await;
    let beside = beside(&replicas, 1).await;
    replicas.kill(0).await;
    let address = replicas.addresses[0].trim_start_matches("https://");
    // The kernel takes connections for it.
    let silent = TcpListener::bind(address).await.expect("the address");
    let answer = beside.request("ping", json!({})).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let fault = &answer.response["error"]["data"];
    assert_eq!(fault["reason"], "overloaded", "{answer:?}");
    assert_eq!(fault["outcome"], "not_sent", "{answer:?}");
    until("it is gone", async || {
        let answer = beside.request("ping", json!({})).await;
        (answer.status == 404).then_some(())
    })
    .await;
    drop(silent);
    assert_eq!(beside.request("ping", json!({})).await.status, 404);
    replicas.stop().await;
}
