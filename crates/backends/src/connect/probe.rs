//! Asking a server which era it speaks.

use std::time::Duration;
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::code;
use switchboard_protocol::json::as_str;
use switchboard_protocol::splice::{for_each_item, member};
use switchboard_protocol::version::Version;

use super::describe::describe;
use super::{Agreed, ConnectError, OWN_META};
use crate::link::watch::Watch;
use crate::link::{Link, LinkError, Wire, next_id};
use crate::lists::{Features, Found, Server};
use crate::message;

/// How long a server may take to answer the question which era it speaks, before it is taken for a
/// legacy one that keeps silent.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);
/// How many of the versions that a server offers are told.
const MAX_VERSIONS: usize = 16;
/// What is longer than this, in bytes, is no version.
const MAX_VERSION_LENGTH: usize = 32;

/// What a server makes of the question.
pub(super) enum Probe {
    /// It answered `server/discover`.
    Modern(Agreed),
    /// Modern, but of other versions.
    Unsupported(Vec<String>),
    /// Anything that no modern server does.
    Legacy(Found),
    /// The channel ended, after the question was read.
    Gone,
    /// There is no telling.
    Failed(LinkError),
}

/// Asks `server/discover` (specification: `basic/transports/stdio` and `streamable-http`, Backward
/// Compatibility). Only a valid answer or one of the errors that modern servers alone have proves a
/// modern server.
pub(super) async fn probe(link: &Link) -> Probe {
    match probe_once(link).await {
        // One that offers only versions with a handshake is spoken to in one of those.
        Probe::Unsupported(versions)
            if versions
                .iter()
                .filter_map(|version| Version::parse(version))
                .all(|version| !version.is_modern())
                && versions
                    .iter()
                    .any(|version| Version::parse(version).is_some()) =>
        {
            Probe::Legacy(Found::OnlyOlder)
        }
        // A server that offers the very version that was asked for is asked again, as the
        // specification has it.
        Probe::Unsupported(versions)
            if versions
                .iter()
                .any(|version| version == Version::LATEST.as_str()) =>
        {
            match probe_once(link).await {
                Probe::Unsupported(_) => Probe::Modern(assumed_modern(Found::ModernError(
                    code::UNSUPPORTED_VERSION,
                ))),
                other => other,
            }
        }
        other => other,
    }
}

async fn probe_once(link: &Link) -> Probe {
    let wire = Wire {
        version: Version::LATEST,
        session: None,
    };
    let out = message::own("server/discover", next_id(), OWN_META, "");
    let answer =
        tokio::time::timeout(PROBE_DEADLINE, link.request(&wire, out, Watch::deaf())).await;
    let response = match answer {
        Err(_) => return Probe::Legacy(Found::Silence),
        Ok(Ok(response)) => response,
        Ok(Err(LinkError::Status {
            error: Some(response),
            ..
        })) => *response,
        Ok(Err(LinkError::Status {
            status: status @ (400 | 404 | 405 | 406 | 415 | 422 | 500 | 501),
            error: None,
            ..
        })) => return Probe::Legacy(Found::Status(status)),
        Ok(Err(LinkError::Lost(reason))) => {
            return match link {
                // What ends before it reads anything would end after a fresh start as well.
                Link::Mux(mux) if mux.was_never_read() => Probe::Failed(LinkError::NotSent(reason)),
                Link::Mux(_) => Probe::Gone,
                Link::Http(_) => Probe::Failed(LinkError::Lost(reason)),
            };
        }
        Ok(Err(LinkError::Invalid(_))) => return Probe::Legacy(Found::NoAnswer),
        Ok(Err(error)) => return Probe::Failed(error),
    };
    if response.error.is_some() {
        return match response.error_code() {
            Some(code::UNSUPPORTED_VERSION) => Probe::Unsupported(supported(&response)),
            Some(code @ (code::HEADER_MISMATCH | code::MISSING_CLIENT_CAPABILITY)) => {
                Probe::Modern(assumed_modern(Found::ModernError(code)))
            }
            Some(code) => Probe::Legacy(Found::OtherError(code)),
            None => Probe::Legacy(Found::NoAnswer),
        };
    }
    match discovered(&response) {
        Some(server) => Probe::Modern(Agreed {
            wire,
            server,
            legacy: None,
        }),
        None => Probe::Legacy(Found::NoAnswer),
    }
}

/// Why nothing can be agreed with a server that offers these versions.
pub(super) fn no_common_version(versions: &[String]) -> ConnectError {
    let known = if versions.is_empty() {
        "none that it names".to_owned()
    } else {
        versions.join(", ")
    };
    ConnectError::new(format!(
        "it speaks no version of the protocol that the gateway does (it offers {known})"
    ))
}

/// A modern server that does not describe itself.
pub(super) fn assumed_modern(found: Found) -> Agreed {
    Agreed {
        wire: Wire {
            version: Version::LATEST,
            session: None,
        },
        server: Server {
            version: Version::LATEST,
            instructions: None,
            extensions: Vec::new(),
            features: Features {
                tools: true,
                prompts: true,
                resources: true,
                completions: true,
                ..Features::default()
            },
            found,
        },
        legacy: None,
    }
}

fn supported(response: &Response) -> Vec<String> {
    let data = response
        .error_keys
        .data
        .map(|span| response.slice(span))
        .unwrap_or_default();
    let list = member(data, "supported").unwrap_or_default();
    strings(list)
        .into_iter()
        .take(MAX_VERSIONS)
        .filter(|text| text.len() <= MAX_VERSION_LENGTH)
        .collect()
}

fn strings(array: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for_each_item(array, |span| {
        if let Some(text) = as_str(span.of(array)) {
            found.push(text.into_owned());
        }
    });
    found
}

/// The server behind a discover result; `None` if it does not offer our version.
fn discovered(response: &Response) -> Option<Server> {
    let result = response.slice(response.result?);
    let versions = strings(member(result, "supportedVersions")?);
    if !versions
        .iter()
        .any(|version| version == Version::LATEST.as_str())
    {
        return None;
    }
    Some(describe(result, Version::LATEST, Found::Discovered))
}
