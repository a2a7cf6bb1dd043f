//! A result as it is written, before it is sealed.

use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes};
use switchboard_protocol::millis;
use switchboard_protocol::result_cache::{CachedResult, Part, Places};

/// The form; another number is another form, which is not read.
const FORMAT: u8 = 2;
const HEADER_LEN: usize = 1 + 3 * 8 + 1 + 3 * 4;

const HAS_META: u8 = 1;
const NEEDS_COMMA: u8 = 2;
const HAS_TTL: u8 = 4;
const MAY_NAME_RESOURCES: u8 = 8;

/// A result with times that mean something in another process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// By the clock of whoever asked.
    asked_since_1970: Duration,
    fresh_for: Duration,
    usable_for: Duration,
    places: Places,
    may_name_resources: bool,
    text: Bytes,
}

impl Plain {
    pub(super) fn of(result: &CachedResult, asked_since_1970: Duration) -> Self {
        Self {
            asked_since_1970,
            fresh_for: result.fresh_for,
            usable_for: result.usable_for,
            places: result.places,
            may_name_resources: result.may_name_resources,
            text: result.text.clone(),
        }
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let Places {
            meta_at,
            has_meta,
            needs_comma,
            ttl,
        } = self.places;
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let span = ttl.unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_LEN + self.text.len() + 16);
        out.put_u8(FORMAT);
        for time in [self.asked_since_1970, self.fresh_for, self.usable_for] {
            out.put_u64(millis(time));
        }
        out.put_u8(
            flag(has_meta, HAS_META)
                | flag(needs_comma, NEEDS_COMMA)
                | flag(ttl.is_some(), HAS_TTL)
                | flag(self.may_name_resources, MAY_NAME_RESOURCES),
        );
        for place in [meta_at, span.start, span.end] {
            out.put_u32(place);
        }
        out.extend_from_slice(&self.text);
        out
    }

    pub(super) fn read(mut raw: Bytes) -> Option<Self> {
        if raw.len() < HEADER_LEN || raw.get_u8() != FORMAT {
            return None;
        }
        let [asked_since_1970, fresh_for, usable_for] =
            std::array::from_fn(|_| Duration::from_millis(raw.get_u64()));
        let flags = raw.get_u8();
        let [meta_at, start, end] = std::array::from_fn(|_| raw.get_u32());
        let places = Places {
            meta_at,
            has_meta: flags & HAS_META != 0,
            needs_comma: flags & NEEDS_COMMA != 0,
            ttl: (flags & HAS_TTL != 0).then_some(Part { start, end }),
        };
        places.fit(raw.len()).then_some(Self {
            asked_since_1970,
            fresh_for,
            usable_for,
            places,
            may_name_resources: flags & MAY_NAME_RESOURCES != 0,
            text: raw,
        })
    }

    /// The result, as old as Redis or the two clocks say, whichever says more: Redis begins to count
    /// when it is told, and clocks of two machines differ. `left` is how long Redis still has it.
    pub(super) fn into_result(
        self,
        now: Instant,
        now_since_1970: Duration,
        left: Duration,
    ) -> Option<CachedResult> {
        let by_clock = now_since_1970.saturating_sub(self.asked_since_1970);
        let age = self.usable_for.saturating_sub(left).max(by_clock);
        Some(CachedResult {
            asked_at: now.checked_sub(age)?,
            text: self.text,
            fresh_for: self.fresh_for,
            usable_for: self.usable_for,
            places: self.places,
            may_name_resources: self.may_name_resources,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let text = Bytes::from_static(br#"{"ttlMs":5,"_meta":{}}"#);
        let (places, _) = Places::find(&text, true).expect("places");
        let plain = Plain {
            asked_since_1970: Duration::from_secs(1_000),
            fresh_for: Duration::from_secs(5),
            usable_for: Duration::from_secs(60),
            places,
            may_name_resources: true,
            text,
        };
        let written = plain.write();
        assert_eq!(Plain::read(written.clone().into()).as_ref(), Some(&plain));
        for cut in 0..HEADER_LEN {
            assert_eq!(Plain::read(written[..cut].to_vec().into()), None);
        }
        // Places beyond the text, as another program might have written them.
        assert_eq!(Plain::read(written[..HEADER_LEN + 3].to_vec().into()), None);
        let now = Instant::now() + Duration::from_secs(1_000);
        let age = |since_1970, left| {
            let plain = Plain::read(written.clone().into()).expect("it is one");
            let result = plain.into_result(
                now,
                Duration::from_secs(since_1970),
                Duration::from_secs(left),
            );
            result.expect("it is young enough").age(now).as_secs()
        };
        assert_eq!(age(1_002, 50), 10);
        assert_eq!(age(1_020, 50), 20);
        assert_eq!(age(900, 50), 10);
    }
}
