//! Client certificates.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType,
    generate_simple_self_signed,
};
use reqwest::{Certificate, Identity};
use serde_json::json;
use switchboard_testkit::client::{Client, call};
use switchboard_tests::front::faulty;
use switchboard_tests::gateway::Gateway;
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;

const KEY: &str = "a-key-that-is-made-for-this-test-alone-77fe";

/// An authority that vouches for clients.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "clients");
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self(Issuer::new(params, key), pem)
    }

    /// The identity of a client with this common name.
    fn identity_by_common_name(&self, name: &str) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        self.identity_of(&params)
    }

    /// The identity of a client with this URI.
    fn identity(&self, uri: &str) -> Identity {
        let mut params = CertificateParams::default();
        let uri = uri.try_into().expect("ASCII");
        params.subject_alt_names = vec![SanType::URI(uri)];
        self.identity_of(&params)
    }

    fn identity_of(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        Identity::from_pem(pem.as_bytes()).expect("an identity")
    }
}

async fn ask(gateway: &Gateway, http: &reqwest::Client, key: Option<&str>) -> Option<u16> {
    let response = send(gateway, http, key).await?;
    Some(response.status().as_u16())
}

async fn send(
    gateway: &Gateway,
    http: &reqwest::Client,
    key: Option<&str>,
) -> Option<reqwest::Response> {
    let draft = Client::new(gateway.url()).draft(&call("a__echo", &json!({ "x": 1 })));
    let mut request = http
        .post(gateway.url())
        .headers(draft.headers)
        .body(draft.body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    request.send().await.ok()
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path
}

#[tokio::test]
async fn a_certificate_of_a_known_authority_is_a_credential() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = Gateway::start(json!({
        "server": { "tls": {
            "cert": write(folder.path(), "cert.pem", &own.cert.pem()),
            "key": write(folder.path(), "key.pem", &own.signing_key.serialize_pem()),
            "client_ca": write(folder.path(), "clients.pem", &authority.1),
        } },
        "auth": {
            "api_keys": [entry_of("ci", KEY)],
            "mtls": { "groups": [{ "name": "spiffe://team/*", "kind": "uri", "groups": ["team"] }] },
        },
        "access": { "rules": [
            { "name": "team", "effect": "allow", "groups": ["team"], "users": ["cert:uri:*"] },
            { "name": "ci", "effect": "allow", "users": ["key:ci"] },
        ] },
        "backends": { "a": faulty(&[]) },
    }))
    .await;
    let trusted = Certificate::from_der(own.cert.der()).expect("a certificate");
    let client = |identity: Option<Identity>| {
        let builder = reqwest::Client::builder().tls_certs_only([trusted.clone()]);
        let builder = match identity {
            Some(identity) => builder.identity(identity),
            None => builder,
        };
        builder.build().expect("a client")
    };
    let known = client(Some(authority.identity("spiffe://team/anna")));
    until("the backend answers", async || {
        (ask(&gateway, &known, None).await == Some(200)).then_some(())
    })
    .await;
    // The same name of another kind is somebody else, in no group, for whom there is no rule.
    let other = client(Some(
        authority.identity_by_common_name("spiffe://team/anna"),
    ));
    for (client, is_shown) in [(&known, true), (&other, false)] {
        let response = send(&gateway, client, None).await.expect("an answer");
        let body = response.text().await.expect("a body");
        assert_eq!(body.contains("-32602"), !is_shown, "{body}");
    }
    let nobody = client(None);
    assert_eq!(ask(&gateway, &nobody, None).await, Some(401));
    assert_eq!(ask(&gateway, &nobody, Some(KEY)).await, Some(200));
    // What a caller says itself counts, for better or worse.
    assert_eq!(ask(&gateway, &known, Some(KEY)).await, Some(200));
    assert_eq!(ask(&gateway, &known, Some("wrong")).await, Some(401));
    let unknown = client(Some(stranger.identity("spiffe://team/anna")));
    assert_eq!(ask(&gateway, &unknown, None).await, None);
    gateway.stop().await;
}
