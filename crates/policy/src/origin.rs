//! Where a request may come from: `Host` and `Origin` against DNS rebinding.
//!
//! A page of a stranger can let its own name point at a loopback or private address and then
//! send requests to whatever listens there. The browser names that page in `Origin` and its name
//! in `Host`, so requests are answered only if both are known. The transport's specification asks
//! for the check of `Origin` on every connection and for status 403 where it fails.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use url::{Host, Url};

const LOOPBACK_NAME: &str = "localhost";

/// What in the configuration cannot be a host or an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPolicyError {
    /// The entry of `allowed_hosts` is not a host, or a host and a port.
    #[error("`{0}` is not a host; expected one such as mcp.example.com or mcp.example.com:8080")]
    Host(String),
    /// The entry of `allowed_origins` is not an origin in its canonical form.
    #[error("`{0}` is not an origin; expected one such as https://app.example.com")]
    Origin(String),
    /// `public_url` is not an `http` or `https` URL.
    #[error("`{0}` is not a public address; expected one such as https://mcp.example.com")]
    PublicUrl(String),
}

/// Why a request is refused. Answer both with status 403.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `Host` (or `:authority`) is absent, there are several, or it names somebody else.
    #[error("the host of this request is not one that is answered here")]
    Host,
    /// `Origin` is there and names a page that may not call.
    #[error("the origin of this request may not call")]
    Origin,
}

/// Which hosts are answered and which origins may call. Never changes; checks do not allocate.
#[derive(Clone, Debug)]
pub struct HostPolicy {
    hosts: Hosts,
    origins: Origins,
}

impl HostPolicy {
    /// The policy of a listener.
    ///
    /// `listen` is the address that was really bound, so never with port 0. Beside what
    /// `allowed_hosts` and `allowed_origins` list, `public_url` is known, and the listener's own
    /// address: on a loopback address all loopback names, on an unspecified one (`0.0.0.0`,
    /// `[::]`) those and every IP address, since only names can be rebound.
    ///
    /// # Errors
    ///
    /// If an entry is not what it should be.
    pub fn new(
        listen: SocketAddr,
        public_url: Option<&Url>,
        allowed_hosts: &[String],
        allowed_origins: &[String],
    ) -> Result<Self, HostPolicyError> {
        Ok(Self {
            hosts: Hosts::new(listen, public_url, allowed_hosts)?,
            origins: Origins::new(listen, public_url, allowed_origins)?,
        })
    }

    /// Whether a request to this host is answered; without a host it is not.
    #[must_use]
    pub fn check_host(&self, host: Option<&str>) -> bool {
        host.is_some_and(|host| self.hosts.allow(host))
    }

    /// Whether a page of this origin may call. Without the header no browser asked on behalf of
    /// a page, so there is nothing to refuse.
    #[must_use]
    pub fn check_origin(&self, origin: Option<&HeaderValue>) -> bool {
        origin.is_none_or(|origin| self.origins.allow(origin.as_bytes()))
    }

    /// Checks a request: the authority of its URI (`:authority` in HTTP/2) and its `Host` header,
    /// of which at least one must be there and each must be answered, and its `Origin`. Several
    /// `Host` or `Origin` headers are refused, for who reads the other one decides differently.
    ///
    /// # Errors
    ///
    /// If the request is not to be answered.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refused> {
        let authority = uri.authority().map(|authority| authority.as_str());
        let header = single(headers, &HOST).map_err(|Several| Refused::Host)?;
        let host = match header {
            // In HTTP/1 there is only the header, and nearly every client writes it one way.
            Some(value) if authority.is_none() && self.hosts.is_usual(value.as_bytes()) => {
                return self.check_single_origin(headers);
            }
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| Refused::Host)?),
        };
        let (first, second) = (authority.or(host), host.or(authority));
        if !self.check_host(first) || (second != first && !self.check_host(second)) {
            return Err(Refused::Host);
        }
        self.check_single_origin(headers)
    }

    fn check_single_origin(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let origin = single(headers, &ORIGIN).map_err(|Several| Refused::Origin)?;
        if !self.check_origin(origin) {
            return Err(Refused::Origin);
        }
        Ok(())
    }
}

struct Several;

fn single<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> Result<Option<&'a HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Several),
    }
}

/// The hosts that are answered.
#[derive(Clone, Debug)]
struct Hosts {
    listen: SocketAddr,
    listed: Vec<Listed>,
    /// What nearly every client of this listener writes, and needs no parsing.
    usual: Vec<String>,
}

#[derive(Clone, Debug)]
struct Listed {
    host: Host<String>,
    /// `None` is any port.
    port: Option<u16>,
}

impl Hosts {
    fn new(
        listen: SocketAddr,
        public_url: Option<&Url>,
        allowed: &[String],
    ) -> Result<Self, HostPolicyError> {
        let mut listed = Vec::with_capacity(allowed.len() + 1);
        if let Some(url) = public_url {
            let host = url
                .host()
                .ok_or_else(|| HostPolicyError::PublicUrl(url.to_string()))?;
            listed.push(Listed {
                host: host.to_owned(),
                port: None,
            });
        }
        for text in allowed {
            let entry = Listed::parse(text).ok_or_else(|| HostPolicyError::Host(text.clone()))?;
            listed.push(entry);
        }
        let mut hosts = Self {
            listen,
            listed,
            usual: Vec::new(),
        };
        let written = hosts.listed.iter().map(Listed::to_string);
        hosts.usual = written
            .chain([listen.to_string()])
            .filter(|host| hosts.allow(host))
            .collect();
        Ok(hosts)
    }

    fn is_usual(&self, host: &[u8]) -> bool {
        self.usual.iter().any(|usual| usual.as_bytes() == host)
    }

    fn allow(&self, text: &str) -> bool {
        if self.is_usual(text.as_bytes()) {
            return true;
        }
        let Some((host, port)) =
            split_port(text).and_then(|(host, port)| Some((read(host)?, port)))
        else {
            return false;
        };
        self.is_own(&host, port)
            || self
                .listed
                .iter()
                .any(|listed| same(&listed.host, &host) && listed.takes(port))
    }

    fn is_own(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        if port.is_some_and(|port| port != self.listen.port()) {
            return false;
        }
        let own = self.listen.ip().to_canonical();
        match address(host) {
            Some(ip) if own.is_unspecified() => !ip.is_unspecified(),
            Some(ip) => ip == own || (own.is_loopback() && is_usual_loopback(ip)),
            None => {
                let Host::Domain(name) = host else {
                    return false;
                };
                (own.is_loopback() || own.is_unspecified())
                    && name.eq_ignore_ascii_case(LOOPBACK_NAME)
            }
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => self.host.fmt(f),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

impl Listed {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        // The parser of URLs turns international names into the form that headers carry.
        let host = Host::parse(host).ok()?;
        // A wildcard or a trailing dot would be accepted here and then never match.
        if matches!(&host, Host::Domain(name) if name.ends_with('.') || read(name).is_none()) {
            return None;
        }
        Some(Self { host, port })
    }

    fn takes(&self, port: Option<u16>) -> bool {
        match (self.port, port) {
            (None, _) => true,
            // A header leaves the default port out, and which one that is only the proxy in
            // front knows.
            (Some(listed), None) => matches!(listed, 80 | 443),
            (Some(listed), Some(port)) => listed == port,
        }
    }
}

/// Cuts `host[:port]`; what is left of a port that is none is not a host.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_host = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(after_host);
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Some((host, None)),
        Some(port) if port.bytes().all(|c| c.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        _ => None,
    }
}

/// Reads a host as strictly as it is written in headers: no other spelling of an address, no
/// name that is not plain ASCII.
fn read(host: &str) -> Option<Host<&str>> {
    if let Some(inner) = host.strip_prefix('[') {
        return Some(Host::Ipv6(inner.strip_suffix(']')?.parse().ok()?));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Some(Host::Ipv4(ip));
    }
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    (!host.is_empty() && host.bytes().all(plain)).then_some(Host::Domain(host))
}

fn same(listed: &Host<String>, host: &Host<&str>) -> bool {
    match (listed, host) {
        (Host::Domain(listed), Host::Domain(name)) => listed.eq_ignore_ascii_case(name),
        (Host::Ipv4(listed), Host::Ipv4(ip)) => listed == ip,
        (Host::Ipv6(listed), Host::Ipv6(ip)) => listed == ip,
        _ => false,
    }
}

fn address(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
    }
}

fn is_usual_loopback(ip: IpAddr) -> bool {
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

/// The origins that may call, as `Origin` spells them.
#[derive(Clone, Debug)]
struct Origins(HashSet<Box<[u8]>>);

impl Origins {
    fn new(
        listen: SocketAddr,
        public_url: Option<&Url>,
        allowed: &[String],
    ) -> Result<Self, HostPolicyError> {
        let mut origins = HashSet::new();
        let mut add = |origin: String| origins.insert(origin.into_bytes().into_boxed_slice());
        if let Some(url) = public_url {
            let origin = url.origin();
            if !origin.is_tuple() {
                return Err(HostPolicyError::PublicUrl(url.to_string()));
            }
            add(origin.ascii_serialization());
        }
        for text in allowed {
            add(canonical(text).ok_or_else(|| HostPolicyError::Origin(text.clone()))?);
        }
        for origin in own_origins(listen) {
            add(origin);
        }
        Ok(Self(origins))
    }

    fn allow(&self, origin: &[u8]) -> bool {
        self.0.contains(origin)
    }
}

fn canonical(text: &str) -> Option<String> {
    let origin = Url::parse(text).ok()?.origin();
    let serialized = origin.ascii_serialization();
    (origin.is_tuple() && serialized == text).then_some(serialized)
}

fn own_origins(listen: SocketAddr) -> Vec<String> {
    let own = listen.ip().to_canonical();
    let mut hosts = Vec::with_capacity(4);
    if own.is_loopback() || own.is_unspecified() {
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        hosts.push(LOOPBACK_NAME.to_owned());
        hosts.extend(loopback.map(url_host));
    }
    if !own.is_unspecified() {
        hosts.push(url_host(own));
    }
    let port = match listen.port() {
        // Browsers leave the default port of the scheme out.
        80 => String::new(),
        port => format!(":{port}"),
    };
    hosts
        .into_iter()
        .map(|host| format!("http://{host}{port}"))
        .collect()
}

fn url_host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests;
