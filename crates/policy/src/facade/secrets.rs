//! What the facade seals and signs with, and what it remembers. It outlives a reload.

use std::sync::PoisonError;
use std::sync::{Mutex, MutexGuard};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use switchboard_protocol::token::{Binding, KeyError, Purpose, SealError, Sealer, digest};

use super::once::Once;
use super::signing::SigningKey;
use super::{Facade, Unable};

/// The keys of the facade, which all come from the gateway's sealing keys, and its memory.
#[derive(Debug)]
pub struct Secrets {
    sealer: Sealer,
    /// The first signs, all are published. Never empty.
    pub(super) signing: Vec<SigningKey>,
    once: Mutex<Once>,
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The sealing keys are not usable.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No key could be made.
    #[error(transparent)]
    Random(#[from] SealError),
    /// No signing key could be made.
    #[error("no signing key can be made of a sealing key")]
    Signing,
}

impl Secrets {
    /// Derives them from the sealing keys. Without any they are made by chance, and what they have
    /// sealed and signed does not outlive the process.
    ///
    /// # Errors
    ///
    /// [`SecretsError`].
    pub fn new(keys: &[&[u8]]) -> Result<Self, SecretsError> {
        let by_chance;
        let keys = match keys {
            [] => {
                by_chance = random_bytes::<32>().map_err(|Unable| SealError::NoEntropy)?;
                &[by_chance.as_slice()]
            }
            keys => keys,
        };
        let signing = keys.iter().map(|key| SigningKey::derive(key));
        let signing: Option<Vec<_>> = signing.collect();
        Ok(Self {
            sealer: Sealer::new(keys)?,
            signing: signing.ok_or(SecretsError::Signing)?,
            once: Mutex::default(),
        })
    }

    pub(super) fn once(&self) -> MutexGuard<'_, Once> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facade {
    /// Seals something until a time, in seconds since 1970. It opens for this facade alone, and with
    /// the same `bound`.
    pub(super) fn seal<T: Serialize>(
        &self,
        purpose: Purpose,
        bound: &[&[u8]],
        ends_at: u64,
        value: &T,
    ) -> Result<String, Unable> {
        let payload = serde_json::to_vec(value).map_err(|_| Unable)?;
        let ends_at = ends_at.saturating_mul(1000);
        let sealer = &self.secrets.sealer;
        let sealed = sealer.seal(purpose, &self.binding(bound), ends_at, &payload);
        sealed.map_err(|_| Unable)
    }

    /// Opens what was sealed so, if it was, and its time has not come.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        bound: &[&[u8]],
        now: u64,
        token: &str,
    ) -> Option<T> {
        let now_ms = now.saturating_mul(1000);
        let sealer = &self.secrets.sealer;
        let payload = sealer.open(purpose, &self.binding(bound), now_ms, token);
        serde_json::from_slice(&payload.ok()?).ok()
    }

    fn binding(&self, bound: &[&[u8]]) -> Binding<'_> {
        Binding {
            principal: self.issuer(),
            request: digest(bound),
        }
    }
}

/// Bytes that nobody guesses.
pub(super) fn random_bytes<const N: usize>() -> Result<[u8; N], Unable> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Unable)?;
    Ok(bytes)
}

/// A text of 43 characters that nobody guesses.
///
/// # Errors
///
/// [`Unable`].
pub fn random_text() -> Result<String, Unable> {
    Ok(URL_SAFE_NO_PAD.encode(random_bytes::<32>()?))
}
