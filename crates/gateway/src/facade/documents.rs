//! Client id metadata documents, fetched from wherever a stranger says: from the public Internet
//! alone, without redirects, in little time, and kept for a while.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use switchboard_policy::facade::address::is_public;
use switchboard_policy::facade::config::FacadeConfig;
use switchboard_policy::facade::{Client, OAuthError};
use tokio::time::Instant;
use url::Url;

use self::places::Places;

mod places;

/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest, in bytes.
const LARGEST: usize = 16 * 1024;
/// The most that are kept.
const MOST: usize = 256;
/// The most addresses from which nothing was to be had that are remembered, and for how long: they are
/// not asked again meanwhile.
const MOST_FAILED: usize = 256;
const FAILED_FOR: Duration = Duration::from_secs(30);
/// How long one is kept that does not say, and how long at most.
const KEPT: Duration = Duration::from_secs(10 * 60);
const LONGEST_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

const AWAY: OAuthError = OAuthError {
    error: "invalid_client",
    description: "the client's document cannot be fetched",
};

/// Fetches documents and keeps them.
pub(super) struct Documents {
    /// None if there is nothing to fetch with.
    http: Option<reqwest::Client>,
    places: Places,
    kept: Mutex<HashMap<String, (Client, Instant)>>,
    /// With when each is forgotten.
    failed: Mutex<HashMap<String, (OAuthError, Instant)>>,
}

impl Documents {
    pub(super) fn new(config: &FacadeConfig) -> Self {
        let resolver = PublicResolver {
            internal: config.internal_hosts.clone(),
        };
        let http = reqwest::Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            // A proxy would look names up itself, and connect to wherever they lead.
            .no_proxy()
            .dns_resolver(Arc::new(resolver))
            .build();
        Self {
            http: http.ok(),
            places: Places::default(),
            kept: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// The client whose document is at this address, for this peer.
    ///
    /// # Errors
    /// If there is none, or not of this client.
    pub(super) async fn client(&self, url: &Url, peer: IpAddr) -> Result<Client, OAuthError> {
        if let Some(client) = self.known(url) {
            return Ok(client);
        }
        if let Some(error) = self.known_failure(url) {
            return Err(error);
        }
        let busy = OAuthError {
            error: "server_error",
            description: "too many clients are looked up; try again later",
        };
        let host = url.host_str().unwrap_or_default();
        let _place = self.places.take(peer, host).ok_or(busy)?;
        let looked = self.look(url).await;
        looked.inspect_err(|error| self.remember_failure(url, *error))
    }

    async fn look(&self, url: &Url) -> Result<Client, OAuthError> {
        let (document, keep) = self.fetch(url).await.map_err(|error| {
            tracing::debug!(%url, error, "the document of a client cannot be fetched");
            AWAY
        })?;
        let client = Client::of_document(url, &document)?;
        self.keep(url, &client, keep);
        Ok(client)
    }

    async fn fetch(&self, url: &Url) -> Result<(Vec<u8>, Duration), String> {
        let http = self
            .http
            .as_ref()
            .ok_or("there is nothing to fetch it with")?;
        let request = http.get(url.clone()).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(|error| format!("{error:?}"))?;
        if response.status() != StatusCode::OK {
            return Err(format!("it is answered with {}", response.status()));
        }
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .ends_with("json")
        {
            return Err("it is no JSON".to_owned());
        }
        let keep = keep_for(response.headers());
        let mut document = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| error.to_string())? {
            if document.len() + piece.len() > LARGEST {
                return Err(format!("it is larger than {LARGEST} bytes"));
            }
            document.extend_from_slice(&piece);
        }
        Ok((document, keep))
    }

    fn known(&self, url: &Url) -> Option<Client> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, until) = kept.get(url.as_str())?;
        (Instant::now() < *until).then(|| client.clone())
    }

    fn known_failure(&self, url: &Url) -> Option<OAuthError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let (error, until) = failed.get(url.as_str())?;
        (Instant::now() < *until).then_some(*error)
    }

    fn remember_failure(&self, url: &Url, error: OAuthError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + FAILED_FOR;
        put(&mut failed, MOST_FAILED, url, error, until);
    }

    fn keep(&self, url: &Url, client: &Client, keep: Duration) {
        if keep.is_zero() {
            return;
        }
        let until = Instant::now() + keep;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut kept, MOST, url, client.clone(), until);
    }
}

/// Remembers something of an address until then, in the place of what is over, or would be first.
fn put<T>(
    known: &mut HashMap<String, (T, Instant)>,
    most: usize,
    url: &Url,
    what: T,
    until: Instant,
) {
    if known.len() >= most {
        let now = Instant::now();
        known.retain(|_, (_, until)| now < *until);
    }
    if known.len() >= most {
        let first = known.iter().min_by_key(|(_, (_, until))| *until);
        if let Some(first) = first.map(|(url, _)| url.clone()) {
            known.remove(&first);
        }
    }
    known.insert(url.to_string(), (what, until));
}

/// How long a document may be kept, as its server says (RFC 9111, section 5.2.2).
fn keep_for(headers: &HeaderMap) -> Duration {
    let texts = headers.get_all(CACHE_CONTROL).iter();
    let texts = texts.filter_map(|value| value.to_str().ok());
    let directives = texts.flat_map(|text| text.split(',')).map(str::trim);
    let mut keep = KEPT;
    for directive in directives {
        let directive = directive.to_ascii_lowercase();
        if matches!(&*directive, "no-store" | "no-cache") {
            return Duration::ZERO;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            let seconds = seconds.parse().map_or(KEPT, Duration::from_secs);
            keep = seconds.min(LONGEST_KEPT);
        }
    }
    keep
}

/// Looks names up, once, and gives only addresses that may be connected to.
struct PublicResolver {
    /// The names for which any address may be.
    internal: Vec<String>,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_internal = self.internal.iter().any(|known| known == name.as_str());
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = found.filter(|address| is_internal || is_public(address.ip()));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderValue};
    use reqwest::dns::Resolve as _;

    use tokio::time::Instant;

    use super::{PublicResolver, keep_for, put};

    #[test]
    fn a_document_is_kept_as_long_as_its_server_says() {
        let of = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(text));
            keep_for(&headers).as_secs()
        };
        assert_eq!(keep_for(&HeaderMap::new()), Duration::from_secs(600));
        assert_eq!(of("public, max-age=60"), 60);
        assert_eq!(of("max-age=99999999"), 86_400);
        assert_eq!(of("max-age=60, No-Store"), 0);
        assert_eq!(of("max-age=0"), 0);
        assert_eq!(of("max-age=x"), 600);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = HashMap::new();
        let until = Instant::now() + Duration::from_secs(60);
        for n in 0..10 {
            let url = format!("https://host/{n}").parse().unwrap();
            put(&mut known, 3, &url, n, until + Duration::from_secs(n));
        }
        assert_eq!(known.len(), 3);
        assert_eq!(known["https://host/9"].0, 9);
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_as_good_as_none() {
        let name = || "localhost".parse().unwrap();
        let resolver = PublicResolver { internal: vec![] };
        assert!(resolver.resolve(name()).await.is_err());
        let internal = vec!["localhost".to_owned()];
        let resolver = PublicResolver { internal };
        assert!(resolver.resolve(name()).await.is_ok());
    }
}
