//! The protected resource that tokens are for: what its URL is, and where its metadata.

use serde_json::json;
use url::Url;

/// Where the metadata of a protected resource is found (RFC 9728, section 3.1): the path of the
/// resource follows.
pub const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The path of the endpoint without a profile.
const ENDPOINT: &str = "/mcp";

/// The longest name of a profile that is looked at.
const MAX_PROFILE_LEN: usize = 64;

/// The endpoint as clients know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Scheme, host and port.
    origin: String,
    /// What comes before the endpoint's path, empty or beginning with a slash.
    prefix: String,
}

impl Resource {
    /// That below this address.
    #[must_use]
    pub fn below(url: &Url) -> Self {
        Self {
            origin: url.origin().ascii_serialization(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        }
    }

    /// The address below which all endpoints are, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}{}", self.origin, self.prefix)
    }

    /// The URL of an endpoint: its resource identifier (RFC 8707, section 2).
    #[must_use]
    pub fn url(&self, profile: Option<&str>) -> String {
        format!("{}{}", self.origin, self.path(profile))
    }

    /// Where its metadata is.
    #[must_use]
    pub fn metadata_url(&self, profile: Option<&str>) -> String {
        format!("{}{METADATA}{}", self.origin, self.path(profile))
    }

    fn path(&self, profile: Option<&str>) -> String {
        match profile {
            None => format!("{}{ENDPOINT}", self.prefix),
            Some(profile) => format!("{}{ENDPOINT}/{profile}", self.prefix),
        }
    }

    /// Which endpoint has its metadata at this path: `Some(None)` for the one without a profile.
    pub(super) fn described_at<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        let path = path.strip_prefix(METADATA)?;
        // With what a proxy puts before our paths, and without.
        let path = path.strip_prefix(&*self.prefix).unwrap_or(path);
        if path.is_empty() || path == ENDPOINT {
            return Some(None);
        }
        profile_of(path).map(Some)
    }

    /// For which endpoint a token is that names this audience: `Some(None)` for the one without a
    /// profile, none if it is for somebody else.
    pub(crate) fn named_by(&self, audience: &str) -> Option<Option<String>> {
        // Scheme and host may be written in capitals (specification: `basic/authorization`,
        // Canonical Server URI).
        let url = Url::parse(audience).ok()?;
        let own = url.origin().ascii_serialization() == self.origin
            && url.query().is_none()
            && url.fragment().is_none();
        let path = url.path().strip_prefix(&*self.prefix).filter(|_| own)?;
        match path {
            ENDPOINT => Some(None),
            path => profile_of(path).map(|profile| Some(profile.to_owned())),
        }
    }

    /// The metadata of an endpoint.
    pub(super) fn metadata(
        &self,
        profile: Option<&str>,
        issuers: &[&str],
        scopes: &[&str],
    ) -> String {
        let mut metadata = json!({
            "resource": self.url(profile),
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
        });
        if !scopes.is_empty() {
            metadata["scopes_supported"] = json!(scopes);
        }
        metadata.to_string()
    }
}

/// The profile that a path of the endpoint names, if it does.
#[must_use]
pub fn profile_of(path: &str) -> Option<&str> {
    let profile = path.strip_prefix(ENDPOINT)?.strip_prefix('/')?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let is_name = (1..=MAX_PROFILE_LEN).contains(&profile.len()) && profile.bytes().all(allowed);
    is_name.then_some(profile)
}
