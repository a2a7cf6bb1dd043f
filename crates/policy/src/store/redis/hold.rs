//! What a call holds in Redis.

use std::sync::Arc;

use switchboard_protocol::policy::{Ending, Hold, Permit};

use super::Redis;
use super::counts::Count;
use crate::limits::Bill;
use crate::limits::terms::Price;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It did something, with so many bytes of a result.
    Done(u64),
    /// It did nothing, for certain.
    Nothing,
    /// Nobody knows.
    GivenUp,
}

impl How {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Nothing => "nothing",
            Self::GivenUp => "given_up",
        }
    }

    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Done(bytes) => bytes,
            Self::Nothing | Self::GivenUp => 0,
        }
    }
}

/// What Redis is asked for, and may have given though the answer never came: leases go back if the
/// call is given up meanwhile.
pub(super) struct Asked {
    redis: Arc<Redis>,
    counts: Vec<Count>,
    number: u64,
}

impl Asked {
    pub(super) fn new(redis: &Arc<Redis>, counts: Vec<Count>, number: u64) -> Self {
        Self {
            redis: Arc::clone(redis),
            counts,
            number,
        }
    }

    pub(super) fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// It was not given.
    pub(super) fn forget(mut self) {
        self.counts.clear();
    }

    /// It was given.
    pub(super) fn taken(mut self) -> Taken {
        let counts = std::mem::take(&mut self.counts);
        let keys = counts.iter().filter_map(Count::leased).map(str::to_owned);
        self.redis.leases.hold(self.number, keys.collect());
        Taken {
            redis: Arc::clone(&self.redis),
            counts,
            number: self.number,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut counts = std::mem::take(&mut self.counts);
        counts.retain(|count| count.leased().is_some());
        if !counts.is_empty() {
            let price = Price {
                cost: 0,
                is_continuation: true,
            };
            self.redis.ended(counts, Vec::new(), How::GivenUp, price);
        }
    }
}

/// What Redis gave.
pub(super) struct Taken {
    redis: Arc<Redis>,
    counts: Vec<Count>,
    number: u64,
}

/// What a call holds.
pub(super) struct RedisHold {
    taken: Taken,
    /// When, or of which windows, Redis gave it.
    marks: Vec<u64>,
    price: Price,
    bill: Option<Bill>,
    is_settled: bool,
}

impl RedisHold {
    pub(super) fn permit(
        taken: Taken,
        marks: Vec<u64>,
        price: Price,
        bill: Option<Bill>,
    ) -> Permit {
        Permit::holding(Box::new(Self {
            taken,
            marks,
            price,
            bill,
            is_settled: false,
        }))
    }

    fn end(&mut self, how: How) {
        self.is_settled = true;
        if let Some(bill) = self.bill.as_mut().filter(|_| how == How::Nothing) {
            bill.cancel();
        }
        let Taken {
            redis,
            counts,
            number,
        } = &mut self.taken;
        redis.leases.give_up(*number);
        let counts = std::mem::take(counts);
        let marks = std::mem::take(&mut self.marks);
        redis.ended(counts, marks, how, self.price);
    }
}

impl Hold for RedisHold {
    fn settle(mut self: Box<Self>, ending: Ending) {
        self.end(match ending.did_something {
            true => How::Done(ending.bytes),
            false => How::Nothing,
        });
    }
}

impl Drop for RedisHold {
    fn drop(&mut self) {
        if !self.is_settled {
            self.end(How::GivenUp);
        }
    }
}
