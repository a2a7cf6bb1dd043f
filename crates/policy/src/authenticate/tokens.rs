//! Access tokens: verified once, then known by their digest until they expire.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use http::HeaderValue;
use switchboard_protocol::call::Principal;

use super::claims::{self, Claims, LEEWAY};
use super::facade;
use super::issuer::KeySource;
use super::jwks::{Key, KeySet};
use super::jwt::Token;
use super::refusal::Reason;
use super::resource::{Resource, profile_of};
use super::scopes::Scopes;
use super::{Verdict, now};
use crate::config::{JwtConfig, ScopesConfig};
use crate::facade::Facade;

#[cfg(test)]
mod tests;

/// How long after the end of its token a principal may come back to its session, in seconds.
pub(super) const GRACE: u64 = 15 * 60;

/// The most tokens that are known by their digest, in all shards.
const MAX_TOKENS: usize = 16 * 640;
const SHARDS: usize = 16;

/// The most subjects of one issuer whose tokens may be renewed, and the most kinds of tokens that one
/// may have at once: of a client, with these groups, for these endpoints.
const MAX_SUBJECTS: usize = 50_000;
const MAX_VARIANTS: usize = 16;

/// Whose tokens are accepted. Clones share what they know.
#[derive(Clone)]
pub(super) struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    resource: Arc<Resource>,
    scopes: Arc<Scopes>,
    known: Arc<Known>,
}

/// The answer about a token.
pub(super) enum Checked {
    Decided(Verdict),
    /// Ask again when this has resolved.
    Pending(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Tokens {
    /// `facade` is the gateway's own authorization server, if it has one.
    pub(super) fn new(
        issuers: &[JwtConfig],
        scopes: &ScopesConfig,
        resource: &Resource,
        facade: Option<&Facade>,
    ) -> Self {
        let (resource, scopes) = (Arc::new(resource.clone()), Arc::new(Scopes::new(scopes)));
        let issuer = |config: JwtConfig, facade: Option<&str>, keys| {
            Arc::new(Issuer {
                config,
                facade: facade.map(str::to_owned),
                resource: Arc::clone(&resource),
                scopes: Arc::clone(&scopes),
                keys,
                subjects: Mutex::default(),
            })
        };
        let own = facade.and_then(|facade| {
            let provider = &facade.config().issuer;
            let provider = issuers.iter().find(|config| config.issuer == *provider)?;
            let jwks = facade.jwks().to_string();
            let keys = KeySet::parse(jwks.as_bytes(), &KeySet::default())?;
            let keys = KeySource::fixed(facade.issuer(), keys);
            Some(issuer(
                facade::as_issuer(provider),
                Some(facade.issuer()),
                keys,
            ))
        });
        let others = issuers
            .iter()
            .map(|config| issuer(config.clone(), None, KeySource::start(config)));
        Self {
            issuers: own.into_iter().chain(others).collect(),
            resource,
            scopes,
            known: Arc::default(),
        }
    }

    /// Takes over what `before` knows of issuers that have not changed, and the keys of those that
    /// publish theirs at the same place.
    pub(super) fn keep(&mut self, before: &Self) {
        for issuer in &mut self.issuers {
            let same = |old: &&Arc<Issuer>| old.keys.is_like(&issuer.keys);
            let Some(old) = before.issuers.iter().find(same) else {
                continue;
            };
            *issuer = match old.is_like(issuer) {
                true => Arc::clone(old),
                false => Arc::new(Issuer {
                    config: issuer.config.clone(),
                    facade: issuer.facade.clone(),
                    resource: Arc::clone(&issuer.resource),
                    scopes: Arc::clone(&issuer.scopes),
                    keys: Arc::clone(&old.keys),
                    subjects: Mutex::default(),
                }),
            };
        }
        let issuers = &self.issuers;
        let stays = |issuer: &Arc<Issuer>| issuers.iter().any(|kept| Arc::ptr_eq(kept, issuer));
        self.known = Arc::new(before.known.filtered(|token| stays(&token.issuer)));
    }

    /// Whether a token of this principal's is good for this endpoint, or was until `grace` seconds
    /// ago.
    pub(super) fn know(&self, principal: &Principal, profile: Option<&str>, grace: u64) -> bool {
        let mut issuers = self.issuers.iter();
        issuers.any(|issuer| issuer.knows(principal, profile, grace))
    }

    /// Whose token this is, if it is known.
    pub(super) fn principal_of(&self, digest: &[u8; 32]) -> Option<Arc<Principal>> {
        let known = self.known.get(digest)?;
        Some(Arc::clone(&known.principal))
    }

    /// Who has sent this token.
    pub(super) fn check(&self, token: &[u8], digest: &[u8; 32], profile: Option<&str>) -> Checked {
        // One whose key was withdrawn is looked at anew: its issuer may have it again.
        let known = self.known.get(digest);
        if let Some(known) = known.filter(|known| !known.key.is_withdrawn()) {
            return Checked::Decided(known.good_for(profile));
        }
        match self.verify(token, digest) {
            Ok(known) => Checked::Decided(known.good_for(profile)),
            Err((reason, issuer)) => {
                // A key that is not known may be one that was published since.
                let is_unknown = matches!(reason, Reason::TokenKey | Reason::IssuerAway);
                let refreshed = issuer.filter(|_| is_unknown);
                match refreshed.and_then(|issuer| issuer.keys.refreshed()) {
                    Some(refreshed) => Checked::Pending(Box::pin(refreshed)),
                    None => Checked::Decided(Err(reason)),
                }
            }
        }
    }

    /// The same after its issuer was asked.
    pub(super) fn check_again(
        &self,
        token: &[u8],
        digest: &[u8; 32],
        profile: Option<&str>,
    ) -> Verdict {
        let verified = self.verify(token, digest).map_err(|(reason, _)| reason);
        verified?.good_for(profile)
    }

    fn verify(
        &self,
        token: &[u8],
        digest: &[u8; 32],
    ) -> Result<Arc<KnownToken>, (Reason, Option<&Arc<Issuer>>)> {
        let token = Token::parse(token).map_err(|reason| (reason, None))?;
        let named = token.claims.get("iss").and_then(serde_json::Value::as_str);
        let mut issuers = self.issuers.iter();
        let issuer = issuers
            .find(|issuer| Some(issuer.name()) == named)
            .ok_or((Reason::TokenIssuer, None))?;
        let verified = issuer.verify(token);
        let known = Arc::new(verified.map_err(|reason| (reason, Some(issuer)))?);
        self.known.put(*digest, Arc::clone(&known));
        Ok(known)
    }

    /// The challenge of a refusal at this path.
    pub(super) fn challenge(&self, reason: Reason, path: &str) -> Option<HeaderValue> {
        if !reason.is_challenged() {
            return None;
        }
        let profile = profile_of(path);
        let mut challenge = "Bearer ".to_owned();
        if let Some(code) = reason.error_code() {
            // What it says has no quotes in it.
            challenge.push_str(&format!(
                "error=\"{code}\", error_description=\"{reason}\", "
            ));
        }
        let metadata = self.resource.metadata_url(profile);
        challenge.push_str(&format!("resource_metadata=\"{metadata}\""));
        let scopes = self.scopes.needed(profile);
        if !scopes.is_empty() {
            challenge.push_str(&format!(", scope=\"{}\"", scopes.join(" ")));
        }
        HeaderValue::try_from(challenge).ok()
    }

    /// The metadata that is found at this path.
    pub(super) fn metadata(&self, path: &str) -> Option<String> {
        let profile = self.resource.described_at(path)?;
        let own = self.issuers.iter().find(|issuer| issuer.facade.is_some());
        // Clients go to the facade, and not to the identity provider behind it.
        let is_behind = |issuer: &Issuer| {
            issuer.facade.is_none()
                && own.is_some_and(|own| own.config.issuer == issuer.config.issuer)
        };
        let issuers = self.issuers.iter().filter(|issuer| !is_behind(issuer));
        let issuers: Vec<&str> = issuers.map(|issuer| issuer.name()).collect();
        let scopes = self.scopes.needed(profile);
        Some(self.resource.metadata(profile, &issuers, &scopes))
    }
}

/// An issuer whose tokens are accepted.
struct Issuer {
    config: JwtConfig,
    /// How the gateway's own authorization server names itself, if it is that: then `config` says how
    /// to read what the identity provider behind it says.
    facade: Option<String>,
    resource: Arc<Resource>,
    scopes: Arc<Scopes>,
    keys: Arc<KeySource>,
    subjects: Mutex<HashMap<String, Vec<Variant>>>,
}

/// What tokens of one subject have in common that say the same of it.
struct Variant {
    groups: Vec<String>,
    client: Option<String>,
    reach: Arc<Reach>,
    /// The principal of the latest.
    latest: Weak<Principal>,
    /// When the last of them expires.
    expires: u64,
    /// Who has signed that one.
    key: Arc<Key>,
}

impl Issuer {
    /// Whether what was found out for that one is right for this one.
    fn is_like(&self, other: &Self) -> bool {
        self.config == other.config
            && self.facade == other.facade
            && self.resource == other.resource
            && self.scopes == other.scopes
    }

    /// Who its tokens say that they are of.
    fn name(&self) -> &str {
        self.facade
            .as_deref()
            .unwrap_or(self.config.issuer.as_str())
    }

    fn verify(self: &Arc<Self>, token: Token<'_>) -> Result<KnownToken, Reason> {
        let keys = self.keys.keys();
        let key = match token.verify(&keys, &self.config.algorithms) {
            Err(Reason::TokenKey) if keys.is_empty() => return Err(Reason::IssuerAway),
            verified => verified?,
        };
        let claims = match self.facade {
            Some(_) => facade::as_said_by_provider(token.claims, &self.config)?,
            None => token.claims,
        };
        let expires = claims::expiry(&claims, now())?;
        let audience = self.audience(&claims).ok_or(Reason::TokenAudience)?;
        let scopes = claims::scopes(&claims, &self.config).into_iter();
        let mut scopes = self.scopes.with_implied(scopes);
        self.scopes.retain_needed(&mut scopes);
        let reach = Arc::new(Reach { audience, scopes });
        let principal = claims::principal(claims, &self.config)?;
        let principal = self.share(principal, &reach, expires, &key);
        Ok(KnownToken {
            issuer: Arc::clone(self),
            key,
            expires,
            reach,
            principal,
        })
    }

    fn audience(&self, claims: &Claims) -> Option<Audience> {
        let audiences = claims::audiences(claims);
        let listed = |audience: &&str| self.config.audience.iter().any(|own| own == audience);
        if audiences.iter().any(listed) {
            return Some(Audience::Everywhere);
        }
        let named = audiences
            .iter()
            .filter_map(|text| self.resource.named_by(text));
        let endpoints: BTreeSet<_> = named.collect();
        (!endpoints.is_empty()).then_some(Audience::Endpoints(endpoints))
    }

    fn subjects(&self) -> MutexGuard<'_, HashMap<String, Vec<Variant>>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The principal that says the same, if it is known, which is good until then as well.
    fn share(
        &self,
        principal: Principal,
        reach: &Arc<Reach>,
        expires: u64,
        key: &Arc<Key>,
    ) -> Arc<Principal> {
        let mut subjects = self.subjects();
        if subjects.len() >= MAX_SUBJECTS && !subjects.contains_key(&principal.id) {
            make_room(&mut subjects);
        }
        let variants = subjects.entry(principal.id.clone()).or_default();
        let same = |known: &&mut Variant| {
            known.groups == principal.groups
                && known.client == principal.client
                && known.reach == *reach
        };
        if let Some(known) = variants.iter_mut().find(same) {
            if expires >= known.expires || known.key.is_withdrawn() {
                known.expires = expires;
                known.key = Arc::clone(key);
            }
            let latest = known
                .latest
                .upgrade()
                .filter(|latest| **latest == principal);
            return latest.unwrap_or_else(|| {
                let principal = Arc::new(principal);
                known.latest = Arc::downgrade(&principal);
                principal
            });
        }
        if variants.len() >= MAX_VARIANTS
            && let Some(at) = (0..variants.len()).min_by_key(|at| variants[*at].expires)
        {
            variants.swap_remove(at);
        }
        let principal = Arc::new(principal);
        variants.push(Variant {
            groups: principal.groups.clone(),
            client: principal.client.clone(),
            reach: Arc::clone(reach),
            latest: Arc::downgrade(&principal),
            expires,
            key: Arc::clone(key),
        });
        principal
    }

    fn knows(&self, principal: &Principal, profile: Option<&str>, grace: u64) -> bool {
        let subjects = self.subjects();
        let variants = subjects.get(&principal.id).into_iter().flatten();
        let mut same = variants.filter(|known| {
            known.groups == principal.groups
                && known.client == principal.client
                && known.reach.covers(&self.scopes, profile).is_ok()
        });
        let now = now();
        same.any(|known| now <= known.expires + LEEWAY + grace && !known.key.is_withdrawn())
    }
}

/// Forgets whose tokens have expired, or else anybody.
fn make_room(subjects: &mut HashMap<String, Vec<Variant>>) {
    let now = now();
    subjects.retain(|_, variants| {
        variants.retain(|known| now <= known.expires + LEEWAY + GRACE);
        !variants.is_empty()
    });
    if subjects.len() >= MAX_SUBJECTS
        && let Some(any) = subjects.keys().next().cloned()
    {
        subjects.remove(&any);
    }
}

/// For which endpoints a token is.
#[derive(PartialEq, Eq)]
enum Audience {
    Everywhere,
    /// These; `None` is the one without a profile.
    Endpoints(BTreeSet<Option<String>>),
}

/// What a token is good for.
#[derive(PartialEq, Eq)]
struct Reach {
    audience: Audience,
    /// Those that some endpoint needs, with all that the token's stand for.
    scopes: BTreeSet<String>,
}

impl Reach {
    /// Whether that is enough for the endpoint of this profile, or the one without.
    fn covers(&self, scopes: &Scopes, profile: Option<&str>) -> Result<(), Reason> {
        let is_for = match &self.audience {
            Audience::Everywhere => true,
            Audience::Endpoints(own) => own.iter().any(|own| own.as_deref() == profile),
        };
        if !is_for {
            return Err(Reason::TokenAudience);
        }
        match scopes.suffice(&self.scopes, profile) {
            true => Ok(()),
            false => Err(Reason::InsufficientScope),
        }
    }
}

/// A token whose signature was good.
struct KnownToken {
    issuer: Arc<Issuer>,
    key: Arc<Key>,
    expires: u64,
    reach: Arc<Reach>,
    principal: Arc<Principal>,
}

impl KnownToken {
    fn good_for(&self, profile: Option<&str>) -> Verdict {
        if now() > self.expires.saturating_add(LEEWAY) {
            return Err(Reason::TokenExpired);
        }
        if self.key.is_withdrawn() {
            return Err(Reason::TokenKey);
        }
        self.reach.covers(&self.issuer.scopes, profile)?;
        Ok(Arc::clone(&self.principal))
    }
}

/// The tokens that are known, by the SHA-256 of each.
#[derive(Default)]
struct Known([Shard; SHARDS]);

type Shard = RwLock<HashMap<[u8; 32], Arc<KnownToken>>>;

impl Known {
    fn shard(&self, digest: &[u8; 32]) -> &Shard {
        &self.0[usize::from(digest[0]) % SHARDS]
    }

    fn get(&self, digest: &[u8; 32]) -> Option<Arc<KnownToken>> {
        let shard = self.shard(digest).read();
        let shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.get(digest).cloned()
    }

    fn put(&self, digest: [u8; 32], token: Arc<KnownToken>) {
        let shard = self.shard(&digest).write();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MAX_TOKENS / SHARDS {
            let now = now();
            shard.retain(|_, known| now <= known.expires + LEEWAY);
        }
        if shard.len() >= MAX_TOKENS / SHARDS
            && let Some(first) = shard.iter().min_by_key(|(_, known)| known.expires)
        {
            let first = *first.0;
            shard.remove(&first);
        }
        shard.insert(digest, token);
    }

    /// Those of these that this is true of.
    fn filtered(&self, stays: impl Fn(&KnownToken) -> bool) -> Self {
        let filtered = Self::default();
        for (from, to) in self.0.iter().zip(&filtered.0) {
            let from = from.read().unwrap_or_else(PoisonError::into_inner);
            let mut to = to.write().unwrap_or_else(PoisonError::into_inner);
            let kept = from.iter().filter(|(_, token)| stays(token));
            to.extend(kept.map(|(digest, token)| (*digest, Arc::clone(token))));
        }
        filtered
    }
}
