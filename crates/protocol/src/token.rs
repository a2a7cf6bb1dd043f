//! Sealed tokens: what the gateway gives to a client to bring back, unread and unchanged.
//!
//! "Multi Round-Trip Requests: Server Requirements" of 2026-07-28 asks that such state is
//! integrity-protected, bound to the principal and the request, and short-lived. A token is the
//! unpadded base64url of
//!
//! ```text
//! format (1 byte) ‖ key id (4 bytes) ‖ nonce (24 bytes)
//!     ‖ XChaCha20-Poly1305 of (expiry (8 bytes) ‖ payload)
//! ```
//!
//! under a key that HKDF-SHA256 derives from the configured material for one purpose. Principal and
//! request are not in the token but in the associated data, so whoever opens it has to know them. A
//! token may be opened any number of times until it expires: single use is for the caller to
//! enforce.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, AeadInOut as _, Generate as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// The longest token that is made or opened, in characters.
pub const MAX_TOKEN_LEN: usize = 256 * 1024;
/// The longest payload that [`Sealer::seal`] takes, in bytes.
pub const MAX_PAYLOAD_LEN: usize = MAX_TOKEN_LEN / 4 * 3 - HEADER_LEN - EXPIRY_LEN - TAG_LEN;
/// The least key material, in bytes: 128 bits even where it is written in hexadecimal.
pub const MIN_KEY_LEN: usize = 32;
/// The most keys that one sealer takes.
pub const MAX_KEYS: usize = 16;

const FORMAT: u8 = 1;
const KEY_ID_LEN: usize = 4;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;
const EXPIRY_LEN: usize = 8;
const TAG_LEN: usize = 16;

/// What a token is for. One made for one purpose does not open for another: each has keys of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `requestState` of a call that waits for input.
    RequestState,
    /// The id of a legacy client's session.
    Session,
    /// The id of a task.
    Task,
    /// The id of an OAuth client that has registered itself.
    Client,
    /// What a browser keeps while somebody logs in, and what he has agreed to.
    Login,
    /// An authorization code.
    AuthorizationCode,
    /// A refresh token.
    RefreshToken,
    /// The id of a result that is kept for its caller to read on in.
    KeptResult,
}

impl Purpose {
    /// In the order of their declaration, by which [`Key::cipher`] finds a purpose's cipher.
    const ALL: [Self; 8] = [
        Self::RequestState,
        Self::Session,
        Self::Task,
        Self::Client,
        Self::Login,
        Self::AuthorizationCode,
        Self::RefreshToken,
        Self::KeptResult,
    ];

    /// What separates the purpose's keys from the others'. A label that was in use never gets
    /// another meaning.
    const fn label(self) -> &'static str {
        match self {
            Self::RequestState => "switchboard token 1 request-state",
            Self::Session => "switchboard token 1 session",
            Self::Task => "switchboard token 1 task",
            Self::Client => "switchboard token 1 client",
            Self::Login => "switchboard token 1 login",
            Self::AuthorizationCode => "switchboard token 1 authorization-code",
            Self::RefreshToken => "switchboard token 1 refresh-token",
            Self::KeptResult => "switchboard token 1 kept-result",
        }
    }
}

/// What a token is bound to: it opens only for the same principal and the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The id of the authenticated principal.
    pub principal: &'a str,
    /// What identifies the request, made with [`digest`].
    pub request: [u8; 32],
}

impl Binding<'_> {
    /// The associated data; the digest has a fixed length, so that no two bindings share it.
    fn associated_data(&self, header: &[u8]) -> Vec<u8> {
        [header, &self.request, self.principal.as_bytes()].concat()
    }
}

/// The SHA-256 of a list of parts, each with its length before it: moving a byte from one part to
/// the next changes it.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Why key material makes no [`Sealer`]. The messages quote nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key.
    #[error("at least one sealing key is needed")]
    None,
    /// There are more than [`MAX_KEYS`].
    #[error("there are more than {MAX_KEYS} sealing keys")]
    TooMany,
    /// One is shorter than [`MIN_KEY_LEN`].
    #[error("sealing key {position} is shorter than {MIN_KEY_LEN} bytes")]
    TooShort {
        /// Which one, counted from 1.
        position: usize,
    },
}

/// Why no token could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The payload is longer than [`MAX_PAYLOAD_LEN`].
    #[error("the state is too large to be sealed")]
    TooLong,
    /// The operating system gave no random bytes.
    #[error("no random bytes are to be had")]
    NoEntropy,
}

/// Why a token was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token of this format, or longer than [`MAX_TOKEN_LEN`].
    #[error("the token is malformed")]
    Malformed,
    /// None of the keys made it.
    #[error("the token was sealed with a key that is not known")]
    UnknownKey,
    /// It was tampered with, or is for another purpose, principal or request. Which, is not told.
    #[error("the token is not valid for this request")]
    Rejected,
    /// It was valid until its time came.
    #[error("the token has expired")]
    Expired,
}

/// Seals and opens tokens. Its keys are derived once and wiped from memory when it goes.
pub struct Sealer {
    /// Never empty; the first one seals.
    keys: Vec<Key>,
}

/// What is derived from one piece of key material.
struct Key {
    id: [u8; KEY_ID_LEN],
    /// In the order of [`Purpose::ALL`].
    ciphers: [XChaCha20Poly1305; Purpose::ALL.len()],
}

impl Key {
    fn derive(material: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, material);
        let mut id = [0; KEY_ID_LEN];
        expand(&hkdf, "switchboard token 1 key id", &mut id);
        let ciphers = Purpose::ALL.map(|purpose| {
            let mut key = Zeroizing::new([0; 32]);
            expand(&hkdf, purpose.label(), key.as_mut());
            XChaCha20Poly1305::new((&*key).into())
        });
        Self { id, ciphers }
    }

    fn cipher(&self, purpose: Purpose) -> &XChaCha20Poly1305 {
        &self.ciphers[purpose as usize]
    }
}

/// Derives a secret of 32 bytes from key material, for something else than tokens: another label gives
/// another secret, and none tells anything about the material. A label that was in use never gets
/// another meaning.
#[must_use]
pub fn derive_secret(material: &[u8], label: &str) -> Zeroizing<[u8; 32]> {
    let mut secret = Zeroizing::new([0; 32]);
    expand(&Hkdf::<Sha256>::new(None, material), label, secret.as_mut());
    secret
}

/// Fills `out`, which is far below the 8,160 bytes that HKDF-SHA256 can give.
fn expand(hkdf: &Hkdf<Sha256>, label: &str, out: &mut [u8]) {
    hkdf.expand(label.as_bytes(), out)
        .expect("a key is shorter than HKDF's limit");
}

/// A name that nobody guesses: 128 random bits as 22 characters of `[A-Za-z0-9_-]`.
///
/// # Errors
/// [`SealError::NoEntropy`].
pub fn random_id() -> Result<String, SealError> {
    let bits = <[u8; 16]>::try_generate().map_err(|_| SealError::NoEntropy)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

impl Sealer {
    /// Derives the keys. The first one seals, all open: to rotate, put a new one first and drop the
    /// last when the tokens made with it have expired.
    ///
    /// Key material is random, not a password: it is not stretched.
    ///
    /// # Errors
    /// [`KeyError`] for no key, too many, or one that is too short.
    pub fn new<K: AsRef<[u8]>>(keys: &[K]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        if keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let derive = |(index, key): (usize, &K)| match key.as_ref() {
            short if short.len() < MIN_KEY_LEN => Err(KeyError::TooShort {
                position: index + 1,
            }),
            material => Ok(Key::derive(material)),
        };
        let keys = keys.iter().enumerate().map(derive);
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// A sealer with a key that nobody else has: its tokens die with the process.
    ///
    /// # Errors
    /// [`SealError::NoEntropy`].
    pub fn with_random_key() -> Result<Self, SealError> {
        let material = <[u8; MIN_KEY_LEN]>::try_generate().map_err(|_| SealError::NoEntropy)?;
        let material = Zeroizing::new(material);
        Ok(Self {
            keys: vec![Key::derive(material.as_ref())],
        })
    }

    /// Makes a token of at most [`MAX_TOKEN_LEN`] characters of `[A-Za-z0-9_-]`. It opens before
    /// `expires_at_unix_ms`, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &self,
        purpose: Purpose,
        binding: &Binding<'_>,
        expires_at_unix_ms: u64,
        payload: &[u8],
    ) -> Result<String, SealError> {
        if payload.len() > MAX_PAYLOAD_LEN {
            return Err(SealError::TooLong);
        }
        let key = &self.keys[0];
        let nonce = XNonce::try_generate().map_err(|_| SealError::NoEntropy)?;
        let mut token = Vec::with_capacity(HEADER_LEN + EXPIRY_LEN + payload.len() + TAG_LEN);
        token.push(FORMAT);
        token.extend_from_slice(&key.id);
        token.extend_from_slice(&nonce);
        token.extend_from_slice(&expires_at_unix_ms.to_be_bytes());
        token.extend_from_slice(payload);
        let (header, body) = token.split_at_mut(HEADER_LEN);
        let tag = key
            .cipher(purpose)
            .encrypt_inout_detached(&nonce, &binding.associated_data(header), body.into())
            .map_err(|_| SealError::TooLong)?;
        token.extend_from_slice(&tag);
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Opens a token and gives its payload. `now_unix_ms` is the time now, in milliseconds since
    /// 1970.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(
        &self,
        purpose: Purpose,
        binding: &Binding<'_>,
        now_unix_ms: u64,
        token: &str,
    ) -> Result<Vec<u8>, TokenError> {
        if token.len() > MAX_TOKEN_LEN {
            return Err(TokenError::Malformed);
        }
        let token = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| TokenError::Malformed)?;
        if token.len() < HEADER_LEN + EXPIRY_LEN + TAG_LEN || token[0] != FORMAT {
            return Err(TokenError::Malformed);
        }
        let (header, sealed) = token.split_at(HEADER_LEN);
        let (key_id, nonce) = header[1..].split_at(KEY_ID_LEN);
        let nonce = XNonce::try_from(nonce).map_err(|_| TokenError::Malformed)?;
        let aad = binding.associated_data(header);
        let mut error = TokenError::UnknownKey;
        // Ids are short, so two keys may share one.
        for key in self.keys.iter().filter(|key| key.id == key_id) {
            let message = Payload {
                msg: sealed,
                aad: &aad,
            };
            match key.cipher(purpose).decrypt(&nonce, message) {
                Ok(plain) => return unexpired(plain, now_unix_ms),
                Err(_) => error = TokenError::Rejected,
            }
        }
        Err(error)
    }
}

/// Takes the expiry off an authentic plaintext, and refuses it if that has come.
fn unexpired(mut plain: Vec<u8>, now_unix_ms: u64) -> Result<Vec<u8>, TokenError> {
    let expiry = *plain
        .first_chunk::<EXPIRY_LEN>()
        .ok_or(TokenError::Malformed)?;
    if now_unix_ms >= u64::from_be_bytes(expiry) {
        return Err(TokenError::Expired);
    }
    plain.drain(..EXPIRY_LEN);
    Ok(plain)
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}
