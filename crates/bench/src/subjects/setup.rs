//! What is measured, and what stands behind it.

use crate::backend::fake::{Fake, Form, ServerEra};
use crate::peers::Transport;
use crate::wire::{Era, TOOL};

/// Something that calls are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The backend itself: no gateway.
    Direct,
    /// nginx as a plain reverse proxy.
    Nginx,
    /// nginx with files of its own.
    NginxFiles,
    /// The least that a gateway of this kind can cost.
    Floor,
    /// `switchboard serve` without any policy.
    Switchboard,
    /// `switchboard serve` with every policy that there is.
    Policies,
    /// `switchboard serve` that has the answer already.
    Cached,
    /// `switchboard serve` that looks for secrets and all types of tokens.
    Redacting,
    /// `switchboard serve` with caps that no result reaches.
    Capped,
    /// Another gateway, by its place among those of the run.
    Peer(usize),
    /// `switchboard serve` under callgrind, which is no subject of a comparison.
    Counted,
}

/// A server behind a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// A fake one of this program's.
    Fake,
    /// The real `server-everything`, as a process.
    Everything,
}

/// What stands behind a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// How it is reached: at paths of the one fake server, or as processes of their own.
    pub(crate) transport: Transport,
    /// Which server it is.
    pub(crate) server: ServerKind,
    /// What a fake one does, and how large the results of either are.
    pub(crate) fake: Fake,
    /// How many of it there are.
    pub(crate) count: usize,
}

/// A subject and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// The subject.
    pub(crate) kind: Kind,
    /// What it is put before.
    pub(crate) behind: Behind,
    /// The threads, or processes, that it serves with, where it can be told.
    pub(crate) workers: usize,
}

impl Behind {
    /// The usual one: modern, over HTTP with JSON answers, results of 200 bytes, ten tools.
    pub(crate) const USUAL: Self = Self {
        transport: Transport::Http,
        server: ServerKind::Fake,
        fake: Fake::modern(200, 10),
        count: 1,
    };

    /// The same with another result.
    pub(crate) const fn result(mut self, bytes: usize) -> Self {
        self.fake.result_bytes = bytes;
        self
    }

    /// The same with so many tools at each.
    pub(crate) const fn tools(mut self, tools: usize) -> Self {
        self.fake.tools = tools;
        self
    }

    /// So many of the same.
    pub(crate) const fn times(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// The same that answers in event streams.
    pub(crate) const fn streaming(mut self) -> Self {
        self.fake.form = Form::Sse;
        self
    }

    /// The same in the older era.
    pub(crate) const fn legacy(mut self) -> Self {
        self.fake.era = ServerEra::Legacy;
        self
    }

    /// The same as a process.
    pub(crate) const fn stdio(mut self) -> Self {
        self.transport = Transport::Stdio;
        self
    }

    /// The real `server-everything`, whose results are as long as its texts.
    pub(crate) const fn real() -> Self {
        let mut real = Self::USUAL.result(0).stdio();
        real.server = ServerKind::Everything;
        real
    }

    /// The era in which it can be spoken to without a gateway.
    pub(crate) fn era(&self) -> Era {
        match self.fake.era {
            ServerEra::Modern => Era::Modern,
            ServerEra::Legacy | ServerEra::Sessionless => Era::Legacy,
        }
    }
}

impl Kind {
    /// Whether it is Switchboard.
    pub(crate) const fn is_switchboard(self) -> bool {
        matches!(
            self,
            Self::Switchboard
                | Self::Policies
                | Self::Cached
                | Self::Redacting
                | Self::Capped
                | Self::Counted
        )
    }
}

impl Setup {
    /// The usual one, with one worker: what a call costs where no other core helps or hinders.
    pub(crate) const fn of(kind: Kind, behind: Behind) -> Self {
        Self {
            kind,
            behind,
            workers: 1,
        }
    }

    /// The names under which the servers' tool is called through the subject.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.kind.is_switchboard() && self.behind.count > 1 {
            let name = |index| format!("{}__{TOOL}", backend_name(index));
            (0..self.behind.count).map(name).collect()
        } else {
            vec![TOOL.to_owned()]
        }
    }
}

/// What a backend is called in Switchboard's configuration.
pub(crate) fn backend_name(index: usize) -> String {
    format!("b{index}")
}
