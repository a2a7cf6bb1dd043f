//! Everything that `compare` measures: one axis at a time around a small call of a modern client,
//! over 16 connections, to a modern HTTP backend that answers in JSON.

use crate::peers::Transport;
use crate::subjects::setup::{Behind, Kind};
use crate::wire::Era;

/// A row, which `--only` can name.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: &'static str,
    /// What differs in it.
    pub(crate) about: &'static str,
    /// How it is measured.
    pub(crate) measure: Measure,
}

/// How a row is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Measure {
    /// Small calls, closed loop.
    Calls(Calls),
    /// Calls with large results, closed loop.
    Results(Calls),
    /// All pages of `tools/list`, of so many tools.
    List(usize),
    /// Small calls at a fixed rate.
    Rate,
    /// Small calls of a legacy client, beside other gateways.
    Peers(Transport),
    /// Idle sessions of legacy clients.
    Sessions(usize),
    /// Open `subscriptions/listen` streams.
    Streams(usize),
    /// A client that takes a result of so many bytes slowly.
    SlowReader(usize),
    /// The memory of the gateway after the start of the quickstart's configuration.
    Quickstart,
    /// The time from the start to the first answered call.
    Start,
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    /// Which era the client speaks.
    pub(crate) client: Era,
    /// What stands behind the subject.
    pub(crate) behind: Behind,
    /// How long the text in the arguments is.
    pub(crate) argument_bytes: usize,
    /// Whether all backends are called in turn, or one of them.
    pub(crate) in_turn: bool,
    /// Keep-alive connections.
    pub(crate) connections: usize,
    /// The workers that each subject serves with.
    pub(crate) workers: usize,
    /// One call is made for so many of `--calls`.
    pub(crate) one_in: u64,
    /// Who answers.
    pub(crate) subjects: &'static [Kind],
}

const ALL: &[Kind] = &[
    Kind::Direct,
    Kind::Nginx,
    Kind::Floor,
    Kind::Switchboard,
    Kind::Policies,
];
/// All, and what only looks at results on their way.
const WITH_LOOKS: &[Kind] = &[
    Kind::Direct,
    Kind::Nginx,
    Kind::Floor,
    Kind::Switchboard,
    Kind::Policies,
    Kind::Capped,
    Kind::Redacting,
];
const PLAIN: &[Kind] = &[Kind::Direct, Kind::Nginx, Kind::Floor, Kind::Switchboard];
const WITH_NGINX: &[Kind] = &[Kind::Nginx, Kind::Switchboard];
const BARE: &[Kind] = &[Kind::Switchboard];

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The row that all others differ from.
const SMALL: Calls = Calls {
    client: Era::Modern,
    behind: Behind::USUAL,
    argument_bytes: 5,
    in_turn: true,
    connections: 16,
    workers: 1,
    one_in: 1,
    subjects: ALL,
};

const fn row(name: &'static str, about: &'static str, measure: Measure) -> Row {
    Row {
        name,
        about,
        measure,
    }
}

const fn behind(behind: Behind, subjects: &'static [Kind]) -> Measure {
    Measure::Calls(Calls {
        behind,
        subjects,
        ..SMALL
    })
}

const fn result(bytes: usize, one_in: u64, subjects: &'static [Kind]) -> Measure {
    Measure::Results(Calls {
        behind: Behind::USUAL.result(bytes),
        one_in,
        subjects,
        ..SMALL
    })
}

/// All rows; those of one group stand together.
pub(crate) static ROWS: &[Row] = &[
    row(
        "small",
        "a small call, 16 connections",
        Measure::Calls(Calls {
            subjects: WITH_LOOKS,
            ..SMALL
        }),
    ),
    row(
        "1-connection",
        "1 connection",
        Measure::Calls(Calls {
            connections: 1,
            one_in: 2,
            ..SMALL
        }),
    ),
    row(
        "64-connections",
        "64 connections",
        Measure::Calls(Calls {
            connections: 64,
            ..SMALL
        }),
    ),
    row(
        "2-workers",
        "64 connections, two workers each",
        Measure::Calls(Calls {
            connections: 64,
            workers: 2,
            subjects: WITH_NGINX,
            ..SMALL
        }),
    ),
    row(
        "legacy-client",
        "a client of 2025-11-25",
        Measure::Calls(Calls {
            client: Era::Legacy,
            subjects: BARE,
            ..SMALL
        }),
    ),
    row(
        "sse-backend",
        "a backend that answers in event streams",
        behind(Behind::USUAL.streaming(), WITH_NGINX),
    ),
    row(
        "legacy-backend",
        "a backend of 2025-11-25",
        behind(Behind::USUAL.legacy(), BARE),
    ),
    row(
        "legacy-both",
        "client and backend of 2025-11-25",
        Measure::Calls(Calls {
            client: Era::Legacy,
            behind: Behind::USUAL.legacy(),
            subjects: WITH_NGINX,
            ..SMALL
        }),
    ),
    row(
        "cached",
        "the same call again, and again from the cache",
        Measure::Calls(Calls {
            subjects: &[Kind::Switchboard, Kind::Cached],
            ..SMALL
        }),
    ),
    row(
        "cached-server",
        "the same with the real server-everything over stdio",
        Measure::Calls(Calls {
            behind: Behind::real(),
            one_in: 5,
            subjects: &[Kind::Switchboard, Kind::Cached],
            ..SMALL
        }),
    ),
    row(
        "stdio-backend",
        "a modern backend over stdio",
        behind(Behind::USUAL.stdio(), BARE),
    ),
    row(
        "legacy-stdio-backend",
        "a backend of 2025-11-25 over stdio",
        behind(Behind::USUAL.stdio().legacy(), BARE),
    ),
    row(
        "arguments-10k",
        "arguments of 10 KiB",
        Measure::Calls(Calls {
            argument_bytes: 10 * KIB,
            subjects: PLAIN,
            ..SMALL
        }),
    ),
    row(
        "tools-10000",
        "one backend with 10,000 tools",
        behind(Behind::USUAL.tools(10_000), BARE),
    ),
    row(
        "backends-50",
        "50 backends with 20 tools each, all called in turn",
        behind(Behind::USUAL.tools(20).times(50), BARE),
    ),
    row(
        "backends-500",
        "500 backends with 20 tools each, one of them called",
        Measure::Calls(Calls {
            behind: Behind::USUAL.tools(20).times(500),
            in_turn: false,
            subjects: BARE,
            ..SMALL
        }),
    ),
    row(
        "backends-500-in-turn",
        "the same, called in turn",
        behind(Behind::USUAL.tools(20).times(500), BARE),
    ),
    row("result-100k", "100 KiB", result(100 * KIB, 5, PLAIN)),
    row("result-1m", "1 MiB", result(MIB, 25, WITH_LOOKS)),
    row("result-10m", "10 MiB", result(10 * MIB, 250, PLAIN)),
    row("list-10", "10 tools, one page", Measure::List(10)),
    row("list-1000", "1,000 tools, one page", Measure::List(1_000)),
    row(
        "list-10000",
        "10,000 tools, ten pages",
        Measure::List(10_000),
    ),
    row(
        "rate",
        "half of what switchboard answers at most",
        Measure::Rate,
    ),
    row(
        "peers-http",
        "a legacy HTTP backend",
        Measure::Peers(Transport::Http),
    ),
    row(
        "peers-stdio",
        "a legacy stdio backend",
        Measure::Peers(Transport::Stdio),
    ),
    row(
        "quickstart",
        "the gateway after the quickstart's start",
        Measure::Quickstart,
    ),
    row("sessions-0", "no idle legacy session", Measure::Sessions(0)),
    row(
        "sessions-1000",
        "1,000 idle legacy sessions",
        Measure::Sessions(1_000),
    ),
    row(
        "sessions-10000",
        "10,000 idle legacy sessions",
        Measure::Sessions(10_000),
    ),
    row(
        "streams",
        "1,000 open subscriptions/listen streams",
        Measure::Streams(1_000),
    ),
    row(
        "slow-reader",
        "a result of 100 MiB, read at 10 MiB/s",
        Measure::SlowReader(100 * MIB),
    ),
    row(
        "start",
        "from the start to the first answered call",
        Measure::Start,
    ),
];

/// Small calls of a legacy client to a legacy backend, which other gateways can bridge.
pub(crate) const fn peers(transport: Transport) -> Calls {
    let behind = match transport {
        Transport::Http => Behind::USUAL.legacy(),
        Transport::Stdio => Behind::USUAL.legacy().stdio(),
    };
    Calls {
        client: Era::Legacy,
        behind,
        one_in: 50,
        subjects: BARE,
        ..SMALL
    }
}

/// Small calls at a fixed rate: so many connections that one is free when a call is due, and a
/// worker on each core, as everybody runs them who counts milliseconds.
pub(crate) const RATE: Calls = Calls {
    connections: 64,
    workers: 2,
    ..SMALL
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Small calls to each subject in each round.
    pub(crate) calls: u64,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Whether only that everything works is to be seen: everything is small.
    pub(crate) quick: bool,
}

impl Scale {
    /// How many of these calls make a round; at least one.
    pub(crate) fn calls(&self, calls: &Calls) -> u64 {
        (self.calls / calls.one_in).max(1)
    }

    /// Of this, as much as is put behind a subject.
    pub(crate) fn behind(&self, behind: Behind) -> Behind {
        if !self.quick {
            return behind;
        }
        Behind {
            count: behind.count.min(4),
            ..behind.tools(behind.fake.tools.min(1_010))
        }
    }

    /// So many of something, or few.
    pub(crate) fn count(&self, count: usize) -> usize {
        if self.quick {
            count.div_ceil(100)
        } else {
            count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let names: HashSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn a_quick_run_is_small() {
        let scale = Scale {
            calls: 100,
            rounds: 1,
            quick: true,
        };
        assert_eq!(scale.calls(&peers(Transport::Http)), 2);
        assert_eq!(scale.behind(Behind::USUAL.times(500)).count, 4);
        assert_eq!(scale.count(1_000), 10);
        let whole = Scale {
            quick: false,
            ..scale
        };
        assert_eq!(whole.behind(Behind::USUAL.times(500)).count, 500);
    }
}
