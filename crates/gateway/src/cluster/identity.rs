//! What replicas prove to each other with: certificates under an authority whose key they all derive
//! from the cluster's secret (decision 20).

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use switchboard_protocol::token::derive_secret;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

/// The one name of every replica: who it is says the secret, and where it is the token.
pub(super) const NAME: &str = "replica.switchboard.internal";

/// What the secret is derived for. Another label is another cluster.
const LABEL: &str = "switchboard cluster 1 authority";

/// What stands before the secret of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Replicas speak HTTP/1.1 with each other (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// Why a replica cannot prove itself; it says nothing of the secret.
#[derive(Debug, thiserror::Error)]
#[error("no certificate can be made: {0}")]
pub struct IdentityError(String);

/// How a replica proves itself to others, and whom it believes.
pub(crate) struct Identity {
    pub(crate) server: ServerConfig,
    pub(super) client: ClientConfig,
}

impl Identity {
    /// That of these secrets, the first of which proves.
    ///
    /// # Errors
    /// If there is none, or the system gives no random numbers.
    pub(crate) fn new<'s>(
        secrets: impl IntoIterator<Item = &'s [u8]>,
    ) -> Result<Self, IdentityError> {
        let authorities = secrets.into_iter().map(authority);
        let authorities = authorities.collect::<Result<Vec<_>, _>>().map_err(error)?;
        let own = authorities
            .first()
            .ok_or_else(|| IdentityError("there is no secret".to_owned()))?;
        let (chain, key) = replica(own).map_err(error)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.der().clone()).map_err(error)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let clients = clients.build().map_err(error)?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(error)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(error)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(error)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(error)?;
        Ok(Self { server, client })
    }
}

pub(super) fn error(error: impl std::fmt::Display) -> IdentityError {
    IdentityError(error.to_string())
}

type Authority = CertifiedIssuer<'static, KeyPair>;

/// The authority of a secret: the same for all who know it.
fn authority(secret: &[u8]) -> Result<Authority, rcgen::Error> {
    let seed = derive_secret(secret, LABEL);
    let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], &seed[..]].concat());
    let pkcs8 = PrivatePkcs8KeyDer::from(&pkcs8[..]);
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ED25519)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("Switchboard cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, key)
}

/// The certificate of this process, with a key that nobody else ever has.
fn replica(
    authority: &Authority,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let mut params = CertificateParams::new([NAME.to_owned()])?;
    params.distinguished_name = common_name("Switchboard replica");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = params.signed_by(&key, authority)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((vec![certificate.der().clone()], key.into()))
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    fn identity(secrets: &[&str]) -> Identity {
        let secrets = secrets.iter().map(|secret| secret.as_bytes());
        Identity::new(secrets).expect("a certificate")
    }

    const ONE: &str = "o3cYPhBvyzSZ3Ypm0jvS7dNmYvXoUBHFgcnTSEAJY2E=";
    const TWO: &str = "kX9vQ2mT7pL4wR8zB1cN6yH3jF5dS0gAkX9vQ2mT7pL=";

    /// Whether a client of one comes to an answer of the other.
    async fn meet(client: ClientConfig, server: ServerConfig) -> io::Result<()> {
        let (near, far) = duplex(64 * 1024);
        let serving = async move {
            let mut stream = TlsAcceptor::from(Arc::new(server)).accept(far).await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            stream.write_all(&byte).await?;
            stream.shutdown().await
        };
        let asking = async move {
            let name = ServerName::try_from(NAME).expect("a name");
            let connector = TlsConnector::from(Arc::new(client));
            let mut stream = connector.connect(name, near).await?;
            stream.write_all(b"x").await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await.map(drop)
        };
        let (served, asked) = tokio::join!(serving, asking);
        served.and(asked)
    }

    #[tokio::test]
    async fn who_knows_the_secret_is_believed_and_nobody_else() {
        let (a, b, other) = (identity(&[ONE]), identity(&[ONE]), identity(&[TWO]));
        assert!(meet(a.client.clone(), b.server.clone()).await.is_ok());
        assert!(meet(other.client.clone(), b.server.clone()).await.is_err());
        assert!(meet(a.client.clone(), other.server).await.is_err());
        // Nor who has no certificate at all.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let authority = authority(ONE.as_bytes()).expect("an authority");
        roots.add(authority.der().clone()).expect("valid");
        let nobody = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        assert!(meet(nobody, b.server).await.is_err());
    }

    #[tokio::test]
    async fn a_secret_is_exchanged_step_by_step() {
        let steps = [
            identity(&[ONE]),
            identity(&[ONE, TWO]),
            identity(&[TWO, ONE]),
            identity(&[TWO]),
        ];
        for pair in steps.windows(2) {
            let [old, new] = pair else {
                unreachable!("two")
            };
            assert!(meet(old.client.clone(), new.server.clone()).await.is_ok());
            assert!(meet(new.client.clone(), old.server.clone()).await.is_ok());
        }
    }
}
