//! What can go wrong, and when it does.

use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// What goes wrong with one answer. Unless it is said here, the tool has been executed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It comes so many milliseconds late.
    Latency(u64),
    /// It never comes.
    Hang,
    /// The connection is reset instead, and nothing was executed.
    ResetUnexecuted,
    /// The connection is reset after so many bytes of the head.
    ResetInHead(usize),
    /// The connection is reset after so many bytes of the body, and always before its last.
    ResetInBody(usize),
    /// Nothing follows the head.
    StallAfterHead,
    /// `Content-Length` tells of the whole body; half of it comes, and the connection is closed.
    HalfBody,
    /// Half of the body comes as a chunk, and the connection is closed without the last chunk.
    HalfChunked,
    /// It is this HTTP status, with a JSON-RPC error in the body if `json`, else with a few words of
    /// text. Only at 500, 503 and 504 was anything executed.
    Status {
        /// The status.
        status: u16,
        /// Whether the body is a JSON-RPC error.
        json: bool,
    },
    /// It is HTTP status 429 with a `Retry-After` of so many seconds, and nothing was executed.
    RetryAfter(u64),
    /// It comes a few bytes at a time.
    Drip {
        /// How many at a time, at least one.
        bytes: usize,
        /// How many milliseconds lie between them.
        every_ms: u64,
    },
    /// It is an answer for the next request, with somebody else's content.
    WrongId,
    /// It claims to be JSON, and is none.
    InvalidJson,
    /// It is a page of HTML with status 200, as a portal in the way would send it.
    WrongContentType,
}

impl Fault {
    /// Whether the tool is executed though this befalls its answer.
    pub fn executes(self) -> bool {
        match self {
            Self::ResetUnexecuted | Self::RetryAfter(_) => false,
            Self::Status { status, .. } => matches!(status, 500 | 503 | 504),
            _ => true,
        }
    }

    /// Any of all of them, with numbers that fit a small answer.
    pub fn any(random: &mut Rng) -> Self {
        match random.u8(0..14) {
            0 => Self::Latency(random.u64(1..=300)),
            1 => Self::Hang,
            2 => Self::ResetUnexecuted,
            3 => Self::ResetInHead(random.usize(..150)),
            4 => Self::ResetInBody(random.usize(..250)),
            5 => Self::StallAfterHead,
            6 => Self::HalfBody,
            7 => Self::HalfChunked,
            8 => Self::Status {
                status: [500, 502, 503, 504][random.usize(..4)],
                json: random.bool(),
            },
            9 => Self::RetryAfter(random.u64(1..=3)),
            10 => Self::Drip {
                bytes: random.usize(1..=20),
                every_ms: random.u64(1..=20),
            },
            11 => Self::WrongId,
            12 => Self::InvalidJson,
            _ => Self::WrongContentType,
        }
    }

    /// The pause before anything is sent.
    pub(super) fn delay(self) -> Duration {
        match self {
            Self::Latency(ms) => Duration::from_millis(ms),
            _ => Duration::ZERO,
        }
    }
}

/// Faults drawn at random: the same ones in the same order for the same seed.
#[derive(Clone, Debug)]
pub struct Schedule {
    random: Rng,
    percent: u8,
    everywhere: bool,
}

impl Schedule {
    /// Of 100 tool calls so many go wrong, each in any way; with `everywhere` as many of all other
    /// requests do too, such as handshakes and lists.
    pub fn new(seed: u64, percent: u8, everywhere: bool) -> Self {
        Self {
            random: Rng::with_seed(seed),
            percent,
            everywhere,
        }
    }

    /// What befalls the next request.
    pub(super) fn draw(&mut self, is_call: bool) -> Option<Fault> {
        let is_hit = (is_call || self.everywhere) && self.random.u8(..100) < self.percent;
        is_hit.then(|| Fault::any(&mut self.random))
    }
}
