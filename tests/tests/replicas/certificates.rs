//! A client whose certificate only the replica sees that it is connected to.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    generate_simple_self_signed,
};
use reqwest::{Certificate, Identity};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::remote;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

fn identity(authority: &Authority, name: &str) -> Identity {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let pem = key.serialize_pem() + &certificate.pem();
    Identity::from_pem(pem.as_bytes()).expect("an identity")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_at_the_owner_too() {
    let near = FakeHttp::start(Transport::Modern, "near").await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path
    };
    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let authority = authority();
    let config = json!({
        "server": { "tls": {
            "cert": write("cert.pem", &own.cert.pem()),
            "key": write("key.pem", &own.signing_key.serialize_pem()),
            "client_ca": write("clients.pem", &authority.pem()),
        } },
        "auth": { "mtls": { "identity": ["common_name"] } },
        "backends": { "near": remote(near.url()) },
    });
    let replicas = Replicas::start(2, config).await;
    let trusted = Certificate::from_der(own.cert.der()).expect("a certificate");
    let client = |name: &str| {
        let builder = reqwest::Client::builder().tls_certs_only([trusted.clone()]);
        let builder = builder.identity(identity(&authority, name));
        builder.build().expect("a client")
    };
    let post =
        async |client: &reqwest::Client, at: usize, session: Option<&str>, message: Value| {
            let mut request = client
                .post(replicas.front(at).gateway.url())
                .header("accept", "application/json, text/event-stream")
                .json(&message);
            if let Some(session) = session {
                request = request.header("mcp-session-id", session);
            }
            request.send().await.expect("an answer")
        };
    let (ada, eve) = (client("ada"), client("eve"));
    let begin = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "testkit", "version": "1" },
        },
    });
    let began = post(&ada, 0, None, begin).await;
    assert_eq!(began.status(), 200);
    let session = began.headers().get("mcp-session-id").expect("a session");
    let session = session.to_str().expect("text").to_owned();
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    for at in [1, 0] {
        let answer = post(&ada, at, Some(&session), ping.clone()).await;
        assert_eq!(answer.status(), 200);
        let answer = post(&eve, at, Some(&session), ping.clone()).await;
        assert_eq!(answer.status(), 404);
    }
    // Only the one of the two that it opens for was passed on.
    assert_eq!(replicas.forwarded().await, 1.0);
    replicas.stop().await;
}
