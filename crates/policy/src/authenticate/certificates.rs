//! Client certificates that the TLS handshake has accepted, and whose they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use switchboard_protocol::call::Principal;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::refusal::Reason;
use super::{Verdict, now};
use crate::config::{CertificateName, MtlsConfig};

/// The most principals that are known by their certificates at once.
const MAX_KNOWN: usize = 10_000;

/// The longest name that is looked at, in bytes.
const MAX_NAME_LEN: usize = 1024;

/// What a certificate says that a certification authority has vouched for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    names: Vec<(CertificateName, String)>,
    /// In seconds since 1970.
    not_after: u64,
}

impl ClientCertificate {
    /// Reads one in DER, which the handshake has verified; `None` if it cannot be read.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = Vec::new();
        let alternatives = certificate.subject_alternative_name().ok()?;
        let alternatives = alternatives.map(|extension| &extension.value.general_names);
        for name in alternatives.into_iter().flatten() {
            let (kind, text) = match name {
                GeneralName::URI(text) => (CertificateName::Uri, text),
                GeneralName::DNSName(text) => (CertificateName::Dns, text),
                GeneralName::RFC822Name(text) => (CertificateName::Email, text),
                _ => continue,
            };
            names.push((kind, (*text).to_owned()));
        }
        let common = certificate.subject().iter_common_name();
        let common = common.filter_map(|name| name.as_str().ok());
        names.extend(common.map(|text| (CertificateName::CommonName, text.to_owned())));
        let is_name = |text: &str| {
            (1..=MAX_NAME_LEN).contains(&text.len()) && !text.contains(char::is_control)
        };
        names.retain(|(_, text)| is_name(text));
        let not_after = certificate.validity().not_after.timestamp();
        Some(Self {
            names,
            not_after: u64::try_from(not_after).unwrap_or(0),
        })
    }
}

/// Makes principals of certificates.
pub(super) struct Certificates {
    config: MtlsConfig,
    /// By the id of the principal, with the end of the latest certificate.
    known: Mutex<HashMap<String, (Arc<Principal>, u64)>>,
}

impl Certificates {
    pub(super) fn new(config: MtlsConfig) -> Self {
        Self {
            config,
            known: Mutex::default(),
        }
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.config == other.config
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (Arc<Principal>, u64)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose certificate this is.
    pub(super) fn identify(&self, certificate: &ClientCertificate) -> Verdict {
        let names = &certificate.names;
        let kinds = self.config.identity.iter();
        let mut found = kinds.filter_map(|kind| names.iter().find(|(of, _)| of == kind));
        let (kind, name) = found.next().ok_or(Reason::Certificate)?;
        if now() > certificate.not_after {
            return Err(Reason::Certificate);
        }
        // The kind is part of it: who may choose a common name must not be whom a DNS name stands for.
        let id = format!("cert:{}:{name}", kind.as_str());
        let mut known = self.known();
        if let Some((principal, end)) = known.get_mut(&id) {
            *end = certificate.not_after.max(*end);
            return Ok(Arc::clone(principal));
        }
        if known.len() >= MAX_KNOWN
            && let Some(any) = known.keys().next().cloned()
        {
            known.remove(&any);
        }
        let fitting = self.config.groups.iter();
        let fitting = fitting
            .filter(|entry| entry.kind.is_none_or(|of| of == *kind) && fits(&entry.name, name));
        let principal = Arc::new(Principal {
            groups: fitting.flat_map(|entry| entry.groups.clone()).collect(),
            ..Principal::new(id.clone())
        });
        let entry = (Arc::clone(&principal), certificate.not_after);
        known.insert(id, entry);
        Ok(principal)
    }

    pub(super) fn know(&self, principal: &Arc<Principal>) -> bool {
        let known = self.known();
        let known = known.get(&principal.id);
        known.is_some_and(|(known, end)| Arc::ptr_eq(known, principal) && now() <= *end)
    }
}

/// Whether a name looks like this; `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Certificates, ClientCertificate, fits};
    use crate::config::{CertificateGroups, CertificateName, MtlsConfig};

    #[test]
    fn the_same_name_of_another_kind_is_another_principal() {
        let certificates = Certificates::new(MtlsConfig {
            groups: vec![CertificateGroups {
                name: "ci.example.com".to_owned(),
                kind: Some(CertificateName::Dns),
                groups: vec!["ci".to_owned()],
            }],
            ..MtlsConfig::default()
        });
        let of = |kind| {
            let names = vec![(kind, "ci.example.com".to_owned())];
            let not_after = u64::MAX;
            let identified = certificates.identify(&ClientCertificate { names, not_after });
            identified.expect("it has a name")
        };
        let (dns, common) = (of(CertificateName::Dns), of(CertificateName::CommonName));
        assert_eq!(dns.id, "cert:dns:ci.example.com");
        assert_eq!(common.id, "cert:common_name:ci.example.com");
        assert_eq!(dns.groups, ["ci"]);
        assert!(common.groups.is_empty());
        assert!(certificates.know(&dns) && certificates.know(&common));
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name) in [
            ("a", "a"),
            ("*", ""),
            ("spiffe://x/ns/*", "spiffe://x/ns/ci/sa/bot"),
            ("*.example.com", "a.example.com"),
            ("a*b*c", "a-b-b-c"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a", "ab"),
            ("", "a"),
            ("*.example.com", "a.example.org"),
            ("a*a", "a"),
        ] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
