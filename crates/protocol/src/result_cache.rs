//! Results that are cached to answer equal calls with, as data and as a seam: the cache is given
//! nothing but a digest, and hands back what was put there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memchr::memmem;

use crate::call::Payload;
use crate::json::{self, Span};
use crate::millis;
use crate::splice::for_each_member;

/// The key of `_meta` under which a result says that it was cached, and for how long.
pub const CACHE_KEY: &str = "dev.switchboard/cache";

/// All that decides about a result, as one digest. Nothing of a call can be read from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of this digest.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "CacheKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// How a call was answered without its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// By a cached result that is fresh.
    Hit,
    /// By the result of an equal call that was under way.
    Coalesced,
    /// By the last result, fresh no longer, since the backend failed.
    Stale,
}

impl Served {
    /// The word on the wire, in the audit and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Coalesced => "coalesced",
            Self::Stale => "stale",
        }
    }
}

/// A complete result in the cache. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedResult {
    /// The result object.
    pub text: Bytes,
    /// When the call was made: its age is counted from here.
    pub asked_at: Instant,
    /// Until which age it answers calls.
    pub fresh_for: Duration,
    /// Until which age it may be used; what is between is for when the backend fails.
    pub usable_for: Duration,
    /// Where something is put in or replaced for each answer.
    pub places: Places,
    /// Whether it may name resources, whose addresses are those of the catalogue that it was cached under.
    pub may_name_resources: bool,
}

/// Where a result says how old it is, found once when it is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where a member of `_meta` goes: behind the brace of its object, or of the result's.
    pub meta_at: u32,
    /// Whether the result has a `_meta`.
    pub has_meta: bool,
    /// Whether a member stands behind that place already.
    pub needs_comma: bool,
    /// The number of `ttlMs`, which becomes less with age.
    pub ttl: Option<Part>,
}

/// What a result says of how long it may be cached (specification: `server/utilities/caching`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheHints {
    /// `ttlMs`, as far as it is a number of milliseconds.
    pub ttl: Option<Duration>,
    /// Whether `cacheScope` is `public`.
    pub is_public: bool,
}

/// Where a part of a text is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub start: u32,
    /// Where what follows begins.
    pub end: u32,
}

impl Part {
    fn of(text: &[u8], part: &[u8]) -> Option<Self> {
        let span = Span::of_part(text, part);
        Some(Self {
            start: u32::try_from(span.start()).ok()?,
            end: u32::try_from(span.end()).ok()?,
        })
    }
}

impl Places {
    /// Those of a result object, and what it says of caching it. `None` if there is no place: it is
    /// no object, its `_meta` is none, or it is larger than 4 GiB.
    #[must_use]
    pub fn find(text: &[u8], with_hints: bool) -> Option<(Self, CacheHints)> {
        u32::try_from(text.len()).ok()?;
        let whole = Span::of_part(text, text);
        let mut meta = None;
        let mut ttl = None;
        let mut hints = CacheHints::default();
        // Most results of tools have no `_meta`, and then nothing of them has to be read.
        if with_hints || may_have_meta(text) {
            for_each_member(text, |key, _, value| match key {
                "_meta" => meta = Some(value),
                "ttlMs" => ttl = Some(value),
                "cacheScope" => {
                    hints.is_public = json::as_str(value).as_deref() == Some("public");
                }
                _ => {}
            });
        }
        hints.ttl = ttl.and_then(duration);
        let object = meta.map_or(whole, |meta| Span::of_part(text, meta));
        let inside = object.of(text).strip_prefix(b"{")?;
        let next = inside.iter().find(|byte| !byte.is_ascii_whitespace())?;
        let places = Self {
            meta_at: u32::try_from(object.start() + 1).ok()?,
            has_meta: meta.is_some(),
            needs_comma: *next != b'}',
            ttl: hints.ttl.and(ttl).and_then(|ttl| Part::of(text, ttl)),
        };
        Some((places, hints))
    }

    /// Whether they can be places in a text of this length.
    #[must_use]
    pub fn fit(&self, len: usize) -> bool {
        let ttl = self.ttl.unwrap_or_default();
        (1..=len).contains(&(self.meta_at as usize))
            && ttl.start <= ttl.end
            && ttl.end as usize <= len
    }
}

/// A number of milliseconds, of which fractions are dropped.
fn duration(number: &[u8]) -> Option<Duration> {
    let ms: f64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    Duration::try_from_secs_f64(ms.floor() / 1000.0).ok()
}

/// Whether a JSON text may have the key `_meta` somewhere: `false` is certain.
fn may_have_meta(text: &[u8]) -> bool {
    memmem::find(text, b"\"_meta\"").is_some() || memmem::find(text, b"\\u").is_some()
}

impl CachedResult {
    /// How old it is at this moment.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.asked_at)
    }

    /// Whether it answers calls at this moment.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.fresh_for
    }

    /// Whether it may still be used at this moment, fresh or not.
    #[must_use]
    pub fn is_usable(&self, now: Instant) -> bool {
        self.age(now) < self.usable_for
    }

    /// What a caller gets of it: the result, which says how old it is and why it is that old, and for
    /// how long it is still fresh where it said so.
    #[must_use]
    pub fn answer(&self, served: Served, now: Instant) -> Payload {
        let age = self.age(now);
        let Places {
            meta_at,
            has_meta,
            needs_comma,
            ttl,
        } = self.places;
        let (open, close) = match has_meta {
            true => ("", ""),
            false => ("\"_meta\":{", "}"),
        };
        let comma = if needs_comma { "," } else { "" };
        let said = format!(
            "{open}\"{CACHE_KEY}\":{{\"ageMs\":{},\"state\":\"{}\"}}{close}{comma}",
            millis(age),
            served.as_str()
        );
        let said = Bytes::from(said);
        let left = ttl.map(|ttl| (ttl, self.fresh_for.saturating_sub(age)));
        let meta_at = meta_at as usize;
        let mut payload = Payload::default();
        match left {
            None => {
                payload.push(self.text.slice(..meta_at));
                payload.push(said);
                payload.push(self.text.slice(meta_at..));
            }
            Some((ttl, left)) => {
                let left = Bytes::from(millis(left).to_string());
                let (start, end) = (ttl.start as usize, ttl.end as usize);
                // `_meta` has no `ttlMs` of the result's in it: one is wholly before the other.
                if meta_at <= start {
                    payload.push(self.text.slice(..meta_at));
                    payload.push(said);
                    payload.push(self.text.slice(meta_at..start));
                    payload.push(left);
                    payload.push(self.text.slice(end..));
                } else {
                    payload.push(self.text.slice(..start));
                    payload.push(left);
                    payload.push(self.text.slice(end..meta_at));
                    payload.push(said);
                    payload.push(self.text.slice(meta_at..));
                }
            }
        }
        payload
    }
}

/// What is cached under a key.
pub enum Lookup {
    /// Known at once.
    Known(Option<CachedResult>),
    /// Somebody else has to be asked, who answers in bounded time.
    Pending(Pin<Box<dyn Future<Output = Option<CachedResult>> + Send>>),
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(Some(_)) => "Known(Some)",
            Self::Known(None) => "Known(None)",
            Self::Pending(_) => "Pending",
        })
    }
}

/// How much is cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Results.
    pub entries: u64,
    /// Their bytes, with what each needs beside them.
    pub bytes: u64,
}

/// Caches results. What it cannot find, read or store is simply not there: it fails no call. Whether
/// what it gives is still fresh is for the caller to see; it gives nothing that is usable no longer.
pub trait ResultCache: fmt::Debug + Send + Sync {
    /// What is cached under this key.
    fn get(&self, key: &CacheKey) -> Lookup;

    /// Caches a result, in the place of what was cached under this key. Does not wait.
    fn put(&self, key: &CacheKey, result: CachedResult);

    /// How much is cached; `None` if that is not known here.
    fn usage(&self) -> Option<CacheUsage>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Duration = Duration::from_millis(1500);

    fn answer(text: &'static str) -> String {
        let (places, hints) = Places::find(text.as_bytes(), true).expect("there is a place");
        let now = Instant::now() + ASKED;
        let cached = CachedResult {
            text: Bytes::from_static(text.as_bytes()),
            asked_at: now - ASKED,
            fresh_for: hints.ttl.unwrap_or(Duration::from_secs(60)),
            usable_for: Duration::from_secs(60),
            places,
            may_name_resources: false,
        };
        let payload = cached.answer(Served::Hit, now);
        String::from_utf8(payload.segments().concat()).expect("text")
    }

    #[test]
    fn a_result_says_how_old_it_is_wherever_its_meta_stands() {
        let said = r#""dev.switchboard/cache":{"ageMs":1500,"state":"hit"}"#;
        for (text, expected) in [
            ("{}", format!(r#"{{"_meta":{{{said}}}}}"#)),
            (
                r#"{ "content":[]}"#,
                format!(r#"{{"_meta":{{{said}}}, "content":[]}}"#),
            ),
            (
                r#"{"a":1,"_meta":{"b":2}}"#,
                format!(r#"{{"a":1,"_meta":{{{said},"b":2}}}}"#),
            ),
            (
                r#"{"_m\u0065ta": { }}"#,
                format!(r#"{{"_m\u0065ta": {{{said} }}}}"#),
            ),
        ] {
            assert_eq!(answer(text), expected);
        }
    }

    #[test]
    fn what_is_left_of_its_time_becomes_less_on_either_side_of_meta() {
        let said = r#""dev.switchboard/cache":{"ageMs":1500,"state":"hit"}"#;
        for (text, expected) in [
            (
                r#"{"ttlMs":2000,"_meta":{}}"#,
                format!(r#"{{"ttlMs":500,"_meta":{{{said}}}}}"#),
            ),
            (
                r#"{"_meta":{},"ttlMs": 2e3}"#,
                format!(r#"{{"_meta":{{{said}}},"ttlMs": 500}}"#),
            ),
            (
                r#"{"ttlMs":2000}"#,
                format!(r#"{{"_meta":{{{said}}},"ttlMs":500}}"#),
            ),
            (
                r#"{"ttlMs":1000}"#,
                format!(r#"{{"_meta":{{{said}}},"ttlMs":0}}"#),
            ),
        ] {
            assert_eq!(answer(text), expected);
        }
    }

    #[test]
    fn what_is_no_object_has_no_place() {
        for text in ["[]", "", r#"{"_meta":1}"#] {
            assert!(Places::find(text.as_bytes(), true).is_none(), "{text}");
        }
        for text in [r#"{"ttlMs":"1"}"#, r#"{"ttlMs":-1}"#, r#"{"ttlMs":null}"#] {
            let (places, hints) = Places::find(text.as_bytes(), true).expect("a place");
            assert_eq!((places.ttl, hints.ttl), (None, None), "{text}");
        }
    }
}
