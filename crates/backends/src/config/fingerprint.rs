//! What tells one configuration of a backend from another, also in another process.

use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};

use super::oauth::{ClientProof, KeySource};
use super::{BackendConfig, TransportConfig};

impl BackendConfig {
    /// A digest of everything that is configured of this backend, secrets included: another server,
    /// another account or another bound gives another.
    #[must_use]
    pub fn fingerprint(&self, name: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(name.as_bytes());
        // All but the secrets, which show themselves to nobody.
        add(format!("{self:?}").as_bytes());
        match &self.transport {
            TransportConfig::Stdio { env, .. } => {
                for value in env.values() {
                    add(value.expose_secret().as_bytes());
                }
            }
            TransportConfig::Http { headers, .. } => {
                for (_, value) in headers {
                    add(value.as_bytes());
                }
            }
        }
        match self.oauth.as_ref().map(|oauth| &oauth.proof) {
            Some(ClientProof::Secret { secret, .. }) => add(secret.expose_secret().as_bytes()),
            Some(ClientProof::PrivateKey(key)) => {
                if let KeySource::Pem(pem) = &key.source {
                    add(pem.expose_secret().as_bytes());
                }
            }
            None => {}
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::BackendConfig;

    #[test]
    fn another_secret_is_another_backend() {
        let of = |text: &str| {
            let config: BackendConfig = serde_json::from_str(text).expect("valid");
            config.fingerprint("b")
        };
        let all = [
            r#"{"command": "server"}"#,
            r#"{"command": "server", "env": {"KEY": "one"}}"#,
            r#"{"command": "server", "env": {"KEY": "two"}}"#,
            r#"{"url": "http://127.0.0.1/mcp"}"#,
            r#"{"url": "http://127.0.0.1/mcp", "headers": {"Authorization": "one"}}"#,
            r#"{"url": "http://127.0.0.1/mcp", "headers": {"Authorization": "two"}}"#,
            r#"{"url": "http://127.0.0.1/mcp", "cache": {}}"#,
        ];
        let prints: std::collections::BTreeSet<_> = all.iter().map(|text| of(text)).collect();
        assert_eq!(prints.len(), all.len());
        assert_eq!(of(all[1]), of(all[1]));
    }
}
