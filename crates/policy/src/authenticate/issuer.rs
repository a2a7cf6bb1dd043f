//! Where the keys of an issuer come from: fetched in the background, kept while it is away, and
//! fetched again for a key that is not known, though not often.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::jwks::KeySet;
use crate::config::{JwtConfig, is_confidential, is_loopback};

/// How often keys are fetched anew though nothing is missing.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// How soon after a failure.
const RETRY: Duration = Duration::from_secs(15);
/// How often at most because a token names a key that is not known.
const COOLDOWN: Duration = Duration::from_secs(30);
/// How long keys are good whose issuer cannot be reached any more.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for keys: as long as its issuer may take for metadata and keys.
const LONGEST_WAIT: Duration = Duration::from_secs(25);

/// The largest document of an issuer that is read, in bytes.
const MAX_DOCUMENT: usize = 256 * 1024;

/// The keys of one issuer. Its task ends when it is dropped.
#[derive(Debug)]
pub(super) struct KeySource {
    /// Whose they are, and where they are if its metadata does not say.
    of: Address,
    shared: Arc<Shared>,
    /// None where the keys are known, and never change.
    task: Option<AbortHandle>,
}

type Address = (String, Option<Url>);

#[derive(Debug, Default)]
struct Shared {
    keys: ArcSwap<KeySet>,
    /// How many attempts have ended.
    attempts: watch::Sender<u64>,
    wanted: Notify,
    /// When somebody asked for a key last, and how many attempts had ended then.
    asked: Mutex<Option<(Instant, u64)>>,
}

impl Drop for KeySource {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl KeySource {
    /// Begins to fetch.
    pub(super) fn start(config: &JwtConfig) -> Arc<Self> {
        let of = address(config);
        let shared = Arc::<Shared>::default();
        let fetching = keep_fetching(of.clone(), Arc::clone(&shared));
        Arc::new(Self {
            of,
            task: Some(tokio::spawn(fetching).abort_handle()),
            shared,
        })
    }

    /// Keys that need not be fetched: those of the gateway's own authorization server.
    pub(super) fn fixed(issuer: &str, keys: KeySet) -> Arc<Self> {
        let shared = Shared {
            keys: ArcSwap::from_pointee(keys),
            ..Shared::default()
        };
        Arc::new(Self {
            of: (issuer.to_owned(), None),
            shared: Arc::new(shared),
            task: None,
        })
    }

    /// Whether this is where those keys come from as well.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.of == other.of && self.task.is_some() == other.task.is_some()
    }

    /// What is known now.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        self.shared.keys.load_full()
    }

    /// Resolves when the keys were fetched once more, well or not; `None` if that was done a
    /// moment ago.
    pub(super) fn refreshed(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.task.as_ref()?;
        let asked = self.shared.asked.lock();
        let mut asked = asked.unwrap_or_else(PoisonError::into_inner);
        let mut ended = self.shared.attempts.subscribe();
        let count = *ended.borrow_and_update();
        // The first attempt is for everybody.
        if count > 0 {
            let lately = asked.filter(|(at, _)| at.elapsed() < COOLDOWN);
            match lately {
                Some((_, then)) if then != count => return None,
                Some(_) => {}
                None => {
                    *asked = Some((Instant::now(), count));
                    self.shared.wanted.notify_one();
                }
            }
        }
        drop(asked);
        Some(async move {
            // Whoever asks again sees what came of it.
            let _ = timeout(LONGEST_WAIT, ended.changed()).await;
        })
    }
}

fn address(config: &JwtConfig) -> Address {
    (config.issuer.as_str().to_owned(), config.jwks_url.clone())
}

async fn keep_fetching((issuer, jwks_url): Address, shared: Arc<Shared>) {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        // The operator trusts an issuer, and not whatever that leads to.
        .redirect(Policy::none())
        .build();
    let mut fetched = Instant::now();
    let mut is_away = false;
    loop {
        let found = match &client {
            Ok(client) => fetch(client, &issuer, jwks_url.as_ref(), &shared.keys.load_full()).await,
            Err(_) => Err(FetchError::Client),
        };
        let pause = match found {
            Ok(keys) => {
                fetched = Instant::now();
                if std::mem::take(&mut is_away) {
                    tracing::info!(issuer, "the keys of the issuer are fetched again");
                }
                replace(&shared, keys);
                REFRESH
            }
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!(issuer, %error, "the keys of the issuer cannot be fetched");
                }
                if fetched.elapsed() > MAX_AGE {
                    replace(&shared, KeySet::default());
                }
                RETRY
            }
        };
        shared.attempts.send_modify(|count| *count += 1);
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.wanted.notified() => {}
        }
    }
}

fn replace(shared: &Shared, keys: KeySet) {
    let keys = Arc::new(keys);
    let before = shared.keys.swap(Arc::clone(&keys));
    before.replaced_by(&keys);
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("there is nothing to fetch them with")]
    Client,
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("it is answered with HTTP status {0}")]
    Status(reqwest::StatusCode),
    #[error("the answer is larger than {MAX_DOCUMENT} bytes")]
    TooLarge,
    #[error("the answer is not what it should be")]
    Invalid,
    #[error("the metadata is of another issuer")]
    OtherIssuer,
    #[error("the metadata names keys at a place where anybody may change them")]
    Insecure,
    #[error("there is no key of use among them")]
    NoKeys,
}

async fn fetch(
    client: &reqwest::Client,
    issuer: &str,
    jwks_url: Option<&Url>,
    before: &KeySet,
) -> Result<KeySet, FetchError> {
    let url = match jwks_url {
        Some(url) => url.clone(),
        None => discover(client, issuer).await?,
    };
    let json = get(client, url).await?;
    let keys = KeySet::parse(&json, before).ok_or(FetchError::Invalid)?;
    match keys.is_empty() {
        true => Err(FetchError::NoKeys),
        false => Ok(keys),
    }
}

/// Where the keys of an issuer are, as its metadata says (OpenID Connect Discovery, section 4; RFC
/// 8414, section 3).
async fn discover(client: &reqwest::Client, issuer: &str) -> Result<Url, FetchError> {
    let url = Url::parse(issuer).map_err(|_| FetchError::Invalid)?;
    let path = url.path().trim_end_matches('/').to_owned();
    let mut failure = FetchError::Invalid;
    for place in [
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ] {
        let mut at = url.clone();
        at.set_path(&place);
        let found = get(client, at).await;
        match found.and_then(|json| jwks_uri(&json, issuer, &url)) {
            Ok(found) => return Ok(found),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn jwks_uri(json: &[u8], issuer: &str, url: &Url) -> Result<Url, FetchError> {
    let metadata: Value = serde_json::from_slice(json).map_err(|_| FetchError::Invalid)?;
    if metadata["issuer"].as_str() != Some(issuer) {
        return Err(FetchError::OtherIssuer);
    }
    let found = metadata["jwks_uri"].as_str().ok_or(FetchError::Invalid)?;
    let found = Url::parse(found).map_err(|_| FetchError::Invalid)?;
    if !is_confidential(&found) || (is_loopback(&found) && !is_loopback(url)) {
        return Err(FetchError::Insecure);
    }
    Ok(found)
}

async fn get(client: &reqwest::Client, url: Url) -> Result<Vec<u8>, FetchError> {
    let sent = client.get(url).header("accept", "application/json").send();
    let mut response = sent.await.map_err(FetchError::Http)?;
    if !response.status().is_success() {
        return Err(FetchError::Status(response.status()));
    }
    let mut document = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(FetchError::Http)? {
        if document.len() + piece.len() > MAX_DOCUMENT {
            return Err(FetchError::TooLarge);
        }
        document.extend_from_slice(&piece);
    }
    Ok(document)
}
