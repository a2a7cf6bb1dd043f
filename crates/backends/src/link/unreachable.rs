//! Why no connection could be made, in a few words for whoever has to mend it. They name addresses,
//! so no caller is told them.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ::http::Uri;
use rustls::{CertificateError, Error as TlsError};

/// A name that leads to no address.
#[derive(Debug, thiserror::Error)]
#[error("the name was not found")]
pub(super) struct NameNotFound(#[source] pub(super) io::Error);

/// Where a connection was to be made.
pub(super) struct Goal<'a> {
    /// The server's address; its certificate has to name the host in it.
    pub(super) authority: &'a Uri,
    /// Where to connect to, if that is not where the authority's name leads.
    pub(super) address: Option<SocketAddr>,
}

impl Goal<'_> {
    /// Why `error` came of it.
    pub(super) fn failed(&self, error: &(dyn Error + 'static)) -> String {
        let host = self.host();
        let mut last = error;
        let mut next = Some(error);
        while let Some(error) = next {
            last = error;
            if let Some(NameNotFound(error)) = error.downcast_ref() {
                return match name_error(error) {
                    Some(why) => format!("{host}: name not found ({why})"),
                    None => format!("{host}: name not found"),
                };
            }
            if let Some(error) = error.downcast_ref::<TlsError>() {
                return tls(host, error);
            }
            next = match error.downcast_ref::<io::Error>() {
                // It does not count the error in it as its source.
                Some(error) => match error.get_ref() {
                    Some(inner) => Some(inner),
                    None => return format!("{}: {}", self.place(), error.kind()),
                },
                None => error.source(),
            };
        }
        format!("{}: {last}", self.place())
    }

    /// Why there is nothing after this time.
    pub(super) fn timed_out(&self, after: Duration) -> String {
        let after = humantime::format_duration(after);
        format!("{}: no answer within {after}", self.place())
    }

    /// Why a connection that was made took no request.
    pub(super) fn closed(&self) -> String {
        format!("{}: it closes the connection at once", self.place())
    }

    fn host(&self) -> &str {
        self.authority.host().unwrap_or_default()
    }

    /// Address and port.
    fn place(&self) -> String {
        if let Some(address) = self.address {
            return address.to_string();
        }
        let port = self.authority.port_u16();
        let port = port.unwrap_or(match self.authority.scheme_str() {
            Some("https") => 443,
            _ => 80,
        });
        format!("{}:{port}", self.host())
    }
}

/// What the system says of a name beside that it was not found.
fn name_error(error: &io::Error) -> Option<String> {
    let text = error.to_string();
    let why = text.rsplit(": ").next().unwrap_or(&text);
    (why != "Name or service not known").then(|| why.to_owned())
}

fn tls(host: &str, error: &TlsError) -> String {
    let why = match error {
        TlsError::InvalidCertificate(error) => {
            let why = match error {
                CertificateError::UnknownIssuer => "unknown issuer".to_owned(),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it has expired".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "it is not valid yet".to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "it is for another name".to_owned()
                }
                other => other.to_string(),
            };
            return format!("the certificate of {host} is not trusted: {why}");
        }
        // What answers a handshake with text in the clear.
        TlsError::InvalidMessage(_) => return format!("{host} does not speak TLS"),
        other => other.to_string(),
    };
    format!("TLS with {host} failed: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(uri: &str, error: &(dyn Error + 'static)) -> String {
        let authority = uri.parse().expect("a URI");
        let goal = Goal {
            authority: &authority,
            address: None,
        };
        goal.failed(error)
    }

    #[test]
    fn each_cause_has_its_words() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let uri = "http://127.0.0.1:18110/mcp";
        assert_eq!(failed(uri, &refused), "127.0.0.1:18110: connection refused");
        let unreachable = io::Error::from(io::ErrorKind::HostUnreachable);
        let uri = "https://one.example/mcp";
        assert_eq!(
            failed(uri, &unreachable),
            "one.example:443: host unreachable"
        );
        let lookup = |why: &str| {
            let text = format!("failed to lookup address information: {why}");
            NameNotFound(io::Error::other(text))
        };
        assert_eq!(
            failed(uri, &lookup("Name or service not known")),
            "one.example: name not found"
        );
        assert_eq!(
            failed(uri, &lookup("Temporary failure in name resolution")),
            "one.example: name not found (Temporary failure in name resolution)"
        );
        for (error, expected) in [
            (CertificateError::UnknownIssuer, "unknown issuer"),
            (CertificateError::Expired, "it has expired"),
            (CertificateError::NotValidForName, "it is for another name"),
        ] {
            let error = TlsError::InvalidCertificate(error);
            let error = io::Error::other(io::Error::other(error));
            assert_eq!(
                failed(uri, &error),
                format!("the certificate of one.example is not trusted: {expected}")
            );
        }
        assert_eq!(
            failed(
                uri,
                &io::Error::other(TlsError::InvalidMessage(
                    rustls::InvalidMessage::InvalidContentType
                ))
            ),
            "one.example does not speak TLS"
        );
    }

    #[test]
    fn an_address_that_is_known_is_named_and_so_is_the_time() {
        let authority = "http://one.example:81/".parse().expect("a URI");
        let goal = Goal {
            authority: &authority,
            address: Some(([127, 0, 0, 1], 9).into()),
        };
        let after = Duration::from_secs(10);
        assert_eq!(goal.timed_out(after), "127.0.0.1:9: no answer within 10s");
    }
}
