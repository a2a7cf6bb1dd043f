//! What one replica tells another of the client whose request it passes on: what cannot be sent again.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use switchboard_policy::authenticate::ClientCertificate;

/// Carries it. Believed by the listener for replicas alone.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("switchboard-forwarded");

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Origin {
    /// The client's address.
    pub(crate) peer: IpAddr,
    /// What the handshake with it has accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<ClientCertificate>,
}

impl Origin {
    /// As a header.
    pub(super) fn to_header(&self) -> Option<HeaderValue> {
        let text = STANDARD.encode(serde_json::to_vec(self).ok()?);
        HeaderValue::try_from(text).ok()
    }

    /// Takes it from the headers of a request; `None` if there is not exactly one, or another
    /// version's.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(FORWARDED).iter();
        let only = all.next().filter(|_| all.next().is_none()).cloned();
        headers.remove(FORWARDED);
        let json = STANDARD.decode(only?.as_bytes()).ok()?;
        serde_json::from_slice(&json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood_once() {
        let origin = Origin {
            peer: "203.0.113.9".parse().expect("an address"),
            certificate: Some(ClientCertificate::default()),
        };
        let header = origin.to_header().expect("a header");
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED, header.clone());
        assert_eq!(Origin::take(&mut headers), Some(origin));
        assert!(headers.is_empty());
        headers.append(FORWARDED, header.clone());
        headers.append(FORWARDED, header);
        assert_eq!(Origin::take(&mut headers), None);
        assert!(headers.is_empty());
        headers.append(FORWARDED, HeaderValue::from_static("by=10.0.0.1"));
        assert_eq!(Origin::take(&mut headers), None);
        assert_eq!(Origin::take(&mut headers), None);
    }
}
