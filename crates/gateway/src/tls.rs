//! TLS on the listener: certificates that are exchanged while connections are open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use crate::config::{ClientCertificateConfig, TlsConfig};

/// How often the files are looked at. Whoever renews certificates does so hours before the old ones
/// end.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The versions of HTTP that are spoken, the preferred one first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a pair of a certificate and a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of its kind.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The certificate and the key are not of one pair, or of a kind that is not known.
    #[error("cannot use {} with {}: {source}", cert.display(), key.display())]
    Pair {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The certification authority of clients cannot vouch for anybody.
    #[error("cannot use {}: {problem}", path.display())]
    Authority {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What is wrong with the files: the key of [`TlsConfig`] and what is expected of it.
pub(crate) fn problem(files: &TlsConfig) -> Option<(&'static str, String)> {
    // Each by itself, since both may be in one file.
    if let Err(error) = certificates(&files.cert) {
        return Some(("cert", wrong_file(&files.cert, &error, &CERTIFICATE)));
    }
    if let Err(error) = PrivateKeyDer::from_pem_file(&files.key) {
        return Some(("key", wrong_file(&files.key, &error, &KEY)));
    }
    if let Some(file) = &files.client_ca
        && let Err(error) = certificates(file)
    {
        return Some(("client_ca", wrong_file(file, &error, &CERTIFICATE)));
    }
    match read(files).err()? {
        TlsError::Pair {
            source: rustls::Error::InconsistentKeys(_),
            ..
        } => {
            let message = "does not fit the certificate of `server.tls.cert`; expected the private \
                           key that it was made for";
            Some(("key", message.to_owned()))
        }
        TlsError::Pair { source, .. } => {
            let message = format!("cannot be used: {source}; expected a certificate and its key");
            Some(("cert", message))
        }
        TlsError::Authority { problem, .. } => {
            let message =
                format!("cannot be used: {problem}; expected certificates of authorities");
            Some(("client_ca", message))
        }
        // It was written anew in between.
        TlsError::File { .. } => None,
    }
}

/// What one of the files holds.
struct Content {
    name: &'static str,
    /// How the line begins that PEM has before it.
    begins: &'static str,
    /// The key of the configuration for a file that holds it.
    key: &'static str,
    expected: &'static str,
}

const CERTIFICATE: Content = Content {
    name: "certificate",
    begins: "-----BEGIN CERTIFICATE",
    key: "server.tls.cert",
    expected: "a file in PEM with a `CERTIFICATE` and those that vouch for it",
};
const KEY: Content = Content {
    name: "private key",
    begins: "PRIVATE KEY-----",
    key: "server.tls.key",
    expected: "a file in PEM with a `PRIVATE KEY` that is not encrypted",
};

fn wrong_file(path: &Path, error: &pem::Error, wanted: &Content) -> String {
    let Content { name, expected, .. } = wanted;
    match error {
        pem::Error::Io(error) => {
            format!(
                "the file cannot be read: {}; expected {expected}",
                error.kind()
            )
        }
        pem::Error::NoItemsFound => {
            let text = std::fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
                return format!("the private key in the file is encrypted; expected {expected}");
            }
            let other = [CERTIFICATE, KEY].into_iter();
            let other = other.filter(|other| other.key != wanted.key);
            let hint = other
                .filter(|other| text.contains(other.begins))
                .map(|other| format!(", but a {}: is it that of `{}`?", other.name, other.key));
            let hint: String = hint.collect();
            let end = if hint.is_empty() { ";" } else { "" };
            format!("the file has no {name} in it{hint}{end} expected {expected}")
        }
        error => format!("the file is not PEM: {error}; expected {expected}"),
    }
}

/// The certificate of the listener, as of the last time that its files held a valid pair.
pub(crate) struct Certificate {
    /// `None`: it has none.
    files: Option<TlsConfig>,
    current: ArcSwap<ServerConfig>,
    /// When the files were written that were looked at last, valid or not.
    seen: Mutex<Written>,
}

/// When the files were written, as far as is known.
type Written = [Option<SystemTime>; 3];

impl Certificate {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`], if they hold no valid pair.
    pub(crate) fn load(files: TlsConfig) -> Result<Self, TlsError> {
        // Before they are read, so that a change meanwhile is seen later.
        let seen = written(&files);
        Ok(Self {
            current: ArcSwap::from_pointee(read(&files)?),
            seen: Mutex::new(seen),
            files: Some(files),
        })
    }

    /// One that is never exchanged.
    pub(crate) fn fixed(config: ServerConfig) -> Self {
        Self {
            files: None,
            current: ArcSwap::from_pointee(config),
            seen: Mutex::default(),
        }
    }

    /// What a handshake that begins now uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Looks at the files for ever, and takes what they hold when they have changed.
    pub(crate) async fn watch(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let this = Arc::clone(self);
            // Fails only if reading panics or the runtime ends.
            let _ = tokio::task::spawn_blocking(move || this.reload_if_changed()).await;
        }
    }

    /// Takes a changed pair if it is valid. A pair that is not is reported once: while the files stay
    /// as they are, they are not read again.
    fn reload_if_changed(&self) {
        let Some(files) = &self.files else { return };
        let now = written(files);
        if std::mem::replace(&mut *self.seen.lock(), now) == now {
            return;
        }
        match read(files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!("the listener's certificate was exchanged");
            }
            Err(error) => {
                tracing::warn!(%error, "the listener keeps its old certificate");
            }
        }
    }
}

fn written(files: &TlsConfig) -> Written {
    let all = [
        Some(&files.cert),
        Some(&files.key),
        files.client_ca.as_ref(),
    ];
    all.map(|file| std::fs::metadata(file?).and_then(|it| it.modified()).ok())
}

fn read(files: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.cert).map_err(file_error(&files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(file_error(&files.key))?;
    let pair_error = |source| TlsError::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        source,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = match &files.client_ca {
        Some(file) => Some(client_verifier(file, files.client_certificate, &provider)?),
        None => None,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair_error)?;
    let builder = match clients {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair_error)?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// What decides about the certificates of clients.
fn client_verifier(
    file: &Path,
    wanted: ClientCertificateConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authority_error = |problem: String| TlsError::Authority {
        path: file.to_owned(),
        problem,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).map_err(file_error(file))? {
        let added = roots.add(certificate);
        added.map_err(|error| authority_error(error.to_string()))?;
    }
    let provider = Arc::clone(provider);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match wanted {
        ClientCertificateConfig::Optional => builder.allow_unauthenticated(),
        ClientCertificateConfig::Required => builder,
    };
    builder
        .build()
        .map_err(|error| authority_error(error.to_string()))
}

/// The certificate and those that vouch for it, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let chain = CertificateDer::pem_file_iter(file)?.collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err(pem::Error::NoItemsFound);
    }
    Ok(chain)
}

fn file_error(path: &Path) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}

#[cfg(test)]
mod tests;
