//! The keys that an issuer publishes (RFC 7517).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// The most keys of one issuer.
const MAX_KEYS: usize = 100;

/// How many keys are tried for a token that names none.
const MAX_TRIED: usize = 8;

/// A key that signatures are verified with.
#[derive(Debug)]
pub(super) struct Key {
    jwk: Jwk,
    decoding: DecodingKey,
    is_withdrawn: AtomicBool,
}

impl Key {
    /// A key for signatures, of a kind that is known: none with a shared secret.
    fn new(jwk: Jwk) -> Option<Self> {
        let is_asymmetric = matches!(
            &jwk.algorithm,
            AlgorithmParameters::RSA(_)
                | AlgorithmParameters::EllipticCurve(_)
                | AlgorithmParameters::OctetKeyPair(_)
        );
        let common = &jwk.common;
        let signs = common
            .public_key_use
            .as_ref()
            .is_none_or(|used| *used == PublicKeyUse::Signature);
        let operations = common.key_operations.as_ref();
        let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !is_asymmetric || !signs || !verifies {
            return None;
        }
        Some(Self {
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
            jwk,
            is_withdrawn: AtomicBool::new(false),
        })
    }

    /// Whether its issuer publishes it no longer, so that nothing it has signed is good any more.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Ordering::Relaxed)
    }

    /// Whether it may have signed by this algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let of_kind = match &self.jwk.algorithm {
            AlgorithmParameters::RSA(_) => {
                matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512)
            }
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => algorithm == ES256,
                EllipticCurve::P384 => algorithm == ES384,
                _ => false,
            },
            AlgorithmParameters::OctetKeyPair(key) => {
                key.curve == EllipticCurve::Ed25519 && algorithm == EdDSA
            }
            _ => false,
        };
        let declared = self.jwk.common.key_algorithm;
        of_kind && declared.is_none_or(|declared| declared == algorithm.into())
    }

    /// Whether this is its signature of `message`.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm).unwrap_or(false)
    }
}

/// All keys of an issuer that are of use.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Reads a JWK set; keys of other kinds are left out. A key that `before` had is the same one.
    pub(super) fn parse(json: &[u8], before: &Self) -> Option<Self> {
        let set: Value = serde_json::from_slice(json).ok()?;
        let keys = set.get("keys")?.as_array()?.iter().take(MAX_KEYS);
        let keys = keys.filter_map(|key| serde_json::from_value(key.clone()).ok());
        let keys = keys.filter_map(|jwk: Jwk| {
            let known = before.0.iter().find(|known| known.jwk == jwk);
            known.cloned().or_else(|| Key::new(jwk).map(Arc::new))
        });
        Some(Self(keys.collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that those which `now` has not are of no use any more.
    pub(super) fn replaced_by(&self, now: &Self) {
        for key in &self.0 {
            if !now.0.iter().any(|kept| Arc::ptr_eq(kept, key)) {
                key.is_withdrawn.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Which keys may have signed a token that says this of its key.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Arc<Key>> {
        let named = move |key: &&Arc<Key>| id.is_none() || key.jwk.common.key_id.as_deref() == id;
        let all = self.0.iter().filter(named);
        all.filter(move |key| key.fits(algorithm)).take(MAX_TRIED)
    }
}
