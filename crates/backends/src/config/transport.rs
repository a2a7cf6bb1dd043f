//! How a backend is reached, and the texts that say so.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{BackendConfigError, malformed};

/// How a backend is reached.
#[derive(Clone, Debug)]
pub enum TransportConfig {
    /// A local process that speaks over its standard input and output.
    Stdio {
        /// The program: a path, or a name looked up in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables of its environment, added to a short safe list.
        env: BTreeMap<String, SecretString>,
        /// The folder it starts in; by default the gateway's own.
        cwd: Option<PathBuf>,
    },
    /// A remote server.
    Http {
        /// Its endpoint: `http` or `https`, without a fragment.
        url: Url,
        /// Where to connect to, if that is not where the URL's name leads: an endpoint that was
        /// found.
        address: Option<SocketAddr>,
        /// Headers of every request; every value is marked sensitive.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// Which of the HTTP transports it speaks.
        kind: HttpKind,
    },
}

/// Which era of the protocol a backend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EraPin {
    /// Found out by asking.
    #[default]
    Auto,
    /// 2026-07-28 or newer.
    Modern,
    /// 2025-11-25 or older.
    Legacy,
}

/// Which HTTP transport a backend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpKind {
    /// Found out by asking: streamable HTTP first.
    #[default]
    Auto,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP with server-sent events, deprecated since 2025-03-26.
    Sse,
}

/// A local process.
pub(super) fn stdio(
    command: String,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, SecretString>>,
    cwd: Option<PathBuf>,
) -> Result<TransportConfig, BackendConfigError> {
    if command.is_empty() {
        return Err(malformed("command")("is empty".into()));
    }
    let env = env.unwrap_or_default();
    for name in env.keys() {
        check_variable_name(name).map_err(malformed("env"))?;
    }
    Ok(TransportConfig::Stdio {
        command,
        args: args.unwrap_or_default(),
        env,
        cwd,
    })
}

/// The headers that a remote server is sent.
pub(super) fn headers(
    texts: &BTreeMap<String, SecretString>,
) -> Result<Vec<(HeaderName, HeaderValue)>, BackendConfigError> {
    texts
        .iter()
        .map(|(name, value)| {
            Ok((
                parse_header_name(name).map_err(malformed("headers"))?,
                parse_header_value(value.expose_secret()).map_err(malformed("headers"))?,
            ))
        })
        .collect()
}

/// Reads the address of a server: `http` or `https`, with a host and without a fragment.
///
/// # Errors
///
/// Says what is wrong with it, without repeating it.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("is not an http or https URL".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a fragment (`#…`), which is never sent".to_owned());
    }
    Ok(url)
}

/// Checks the name of an environment variable.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check_variable_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("is not the name of a variable".to_owned());
    }
    Ok(())
}

/// Reads the name of a header that a backend is sent.
///
/// # Errors
///
/// Says what is wrong with it. Headers that the transport writes itself are refused.
pub fn parse_header_name(name: &str) -> Result<HeaderName, String> {
    const OWN: [HeaderName; 8] = [
        http::header::ACCEPT,
        http::header::CONNECTION,
        http::header::CONTENT_LENGTH,
        http::header::CONTENT_TYPE,
        http::header::HOST,
        http::header::TE,
        http::header::TRANSFER_ENCODING,
        http::header::UPGRADE,
    ];
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "is not the name of a header".to_owned())?;
    if OWN.contains(&name) || name.as_str().starts_with("mcp-") {
        return Err("is a header that the gateway writes itself".to_owned());
    }
    Ok(name)
}

/// Reads the value of a header that a backend is sent, and marks it sensitive.
///
/// # Errors
///
/// Says what is wrong with it, without repeating it.
pub fn parse_header_value(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "has characters that a header can't hold".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
