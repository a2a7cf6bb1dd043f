//! What becomes of a result between its backend and its client, as data and as seams: how large it
//! may be, what is taken out of it, and what is kept of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::passage::Parts;
use crate::size::Size;

/// What holds for the results of one call.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Takes secrets out; `None`: nothing is looked for.
    pub redactor: Option<Arc<dyn Redactor>>,
    /// What becomes of what some clients cannot use.
    pub conversions: Conversions,
    /// How large it may be; `None`: as large as its backend may send.
    pub cap: Option<Cap>,
}

/// How large a result may be, and what becomes of one that is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// In bytes of JSON, where base64 of images, audio and blobs counts as what it decodes to.
    pub bytes: Option<u64>,
    /// In estimated tokens.
    pub tokens: Option<u64>,
    /// What becomes of a larger one.
    pub over: Over,
}

impl Cap {
    /// The most that a result may have.
    #[must_use]
    pub fn most(&self) -> Size {
        Size::new(
            self.bytes.unwrap_or(u64::MAX),
            self.tokens.unwrap_or(u64::MAX),
        )
    }

    /// The same with room for what is added behind it, up to half of it.
    #[must_use]
    pub fn leaving(self, reserved: Size) -> Self {
        let less = |most: u64, reserved: u64| most - reserved.min(most / 2);
        Self {
            bytes: self.bytes.map(|bytes| less(bytes, reserved.bytes())),
            tokens: self.tokens.map(|tokens| less(tokens, reserved.tokens())),
            over: self.over,
        }
    }

    /// How many bytes are within the cap whatever they are: a character of two bytes is a token.
    #[must_use]
    pub fn always_within(&self) -> u64 {
        let of_tokens = self.tokens.map(|tokens| tokens.saturating_mul(2));
        let both = [self.bytes, of_tokens].into_iter().flatten();
        both.min().unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, self.tokens) {
            (Some(bytes), Some(tokens)) => write!(f, "{bytes} bytes and about {tokens} tokens"),
            (Some(bytes), None) => write!(f, "{bytes} bytes"),
            (None, Some(tokens)) => write!(f, "about {tokens} tokens"),
            (None, None) => f.write_str("any size"),
        }
    }
}

impl Over {
    /// The word in the configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::Handle => "handle",
            Self::Refuse => "refuse",
        }
    }
}

/// What becomes of a result that is larger than its cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// It is cut, still valid, and says what is missing.
    #[default]
    Truncate,
    /// It is kept, and the client gets its beginning and where to read on.
    Handle,
    /// The call fails.
    Refuse,
}

/// What becomes of content that some clients cannot use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversions {
    /// Images.
    pub image: Conversion,
    /// Audio.
    pub audio: Conversion,
    /// Binary contents of resources, embedded or read.
    pub blob: Conversion,
}

impl Conversions {
    /// Whether everything stays as it is.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of one kind of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversion {
    /// It stays.
    #[default]
    Keep,
    /// A text takes its place that says what was there.
    Drop,
    /// It is kept, and a `resource_link` takes its place.
    Link,
}

/// Finds secrets in text on its way out, and puts something else in their place that leaves JSON
/// valid.
pub trait Redactor: fmt::Debug + Send + Sync {
    /// A digest of all that it looks for and puts in: what was cached under other rules may have what
    /// these find, and answers nobody any more.
    fn rules(&self) -> &[u8; 32];

    /// The same JSON text without them; in the common case the very same bytes.
    fn redact(&self, text: Bytes) -> Bytes;

    /// The same step by step, for a text that is longer than a [`STEP`].
    fn begin_whole(&self, text: Bytes) -> Box<dyn StepwiseRedaction>;

    /// The same for a text that is no JSON.
    fn redact_text<'t>(&self, text: &'t str) -> Cow<'t, str>;

    /// Begins with a JSON text that comes in pieces.
    fn begin(&self) -> Box<dyn Redaction>;
}

/// How much of a text is looked through before others have their turn on the thread, in bytes.
pub const STEP: usize = 64 * 1024;

/// A JSON text that is there as a whole, of which its secrets are taken out step by step.
pub trait StepwiseRedaction: Send {
    /// Looks through about another [`STEP`] of it. `Some`: that was all, and this is the text
    /// without them, in the common case the very same bytes; not to be called again.
    fn step(&mut self) -> Option<Bytes>;
}

/// A text that comes in pieces, without its secrets, wherever the pieces end.
pub trait Redaction: Send {
    /// Takes the next piece; what is certain goes to `out`.
    fn push(&mut self, piece: Bytes, out: &mut Parts);

    /// The text has ended: all that was held back goes to `out`.
    fn finish(&mut self, out: &mut Parts);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_leaves_room_for_what_comes_behind_it_up_to_a_half() {
        let cap = |bytes, tokens| Cap {
            bytes,
            tokens,
            over: Over::Truncate,
        };
        for (reserved, left) in [
            (Size::default(), cap(Some(1000), Some(100))),
            (Size::new(200, 50), cap(Some(800), Some(50))),
            (Size::new(2000, 2000), cap(Some(500), Some(50))),
        ] {
            assert_eq!(cap(Some(1000), Some(100)).leaving(reserved), left);
        }
        let of_bytes = cap(Some(1000), None).leaving(Size::new(100, 100));
        assert_eq!(of_bytes, cap(Some(900), None));
    }
}
