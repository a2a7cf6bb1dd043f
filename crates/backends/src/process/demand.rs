//! How much a process is used: what decides when it is started, ended for want of calls, or replaced.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::config::ProcessesConfig;
use crate::endpoint::Inner;
use crate::keeper::End;
use crate::pause::{Pause, jittered};

/// How often, in the time that a process may be without a call, is looked whether it was.
const LOOKS: u32 = 4;
/// It is looked no more often than this.
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The calls of one endpoint, as far as its process lives by them.
#[derive(Debug)]
pub(crate) struct Demand {
    calls: AtomicU64,
    /// At how many calls the process is worn.
    worn_at: AtomicU64,
    worn: Notify,
    /// How many calls wait for a connection.
    waiting: watch::Sender<usize>,
    /// How many clients hear of its tasks.
    listeners: Arc<()>,
}

impl Demand {
    pub(crate) fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            worn_at: AtomicU64::new(u64::MAX),
            worn: Notify::new(),
            waiting: watch::Sender::new(0),
            listeners: Arc::default(),
        }
    }

    /// Counts a call that is made.
    pub(crate) fn count_call(&self) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if calls >= self.worn_at.load(Ordering::Relaxed) {
            self.worn.notify_one();
        }
    }

    /// Counts a call that waits for a connection, until what is returned is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.send_modify(|waiting| *waiting += 1);
        Waiting(self)
    }

    /// Counts a client that hears of its tasks, until what is returned is dropped.
    pub(crate) fn listen(&self) -> Arc<()> {
        Arc::clone(&self.listeners)
    }

    /// Whether any client hears of its tasks.
    pub(crate) fn is_listened_to(&self) -> bool {
        Arc::strong_count(&self.listeners) > 1
    }

    /// Waits until a call waits for a connection.
    pub(crate) async fn is_wanted(&self) {
        let mut waiting = self.waiting.subscribe();
        // The sender lives as long as `self`.
        let _ = waiting.wait_for(|waiting| *waiting > 0).await;
    }

    /// Whether a call waits for a connection.
    pub(crate) fn is_waited_for(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// Waits until the process has had all the calls that it may have.
    async fn is_worn(&self) {
        while self.calls() < self.worn_at.load(Ordering::Relaxed) {
            self.worn.notified().await;
        }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// A call that waits for a connection.
pub(crate) struct Waiting<'a>(&'a Demand);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

/// How long a process may go on, by its age and its calls. Of the keeper, for the process that calls
/// are made with.
pub(crate) struct Lifetime {
    config: ProcessesConfig,
    /// When it is too old.
    ends: Option<Instant>,
    /// How many calls had been made when it was looked last, and since when there was none.
    seen: u64,
    idle_since: Instant,
    next_look: Instant,
    /// The process before it, while that has calls yet.
    predecessor: Option<JoinHandle<()>>,
    /// Between tries to start a successor.
    pause: Pause,
}

impl Lifetime {
    pub(crate) fn new(config: ProcessesConfig, demand: &Demand) -> Self {
        let now = Instant::now();
        let mut lifetime = Self {
            config,
            ends: None,
            seen: 0,
            idle_since: now,
            next_look: now,
            predecessor: None,
            pause: Pause::default(),
        };
        lifetime.begin(demand, None);
        lifetime
    }

    /// A process begins; its predecessor may have calls yet.
    pub(crate) fn begin(&mut self, demand: &Demand, predecessor: Option<JoinHandle<()>>) {
        let now = Instant::now();
        self.predecessor = predecessor;
        self.ends = self.config.max_age.map(|age| now + jittered(age));
        let worn_at = self.config.max_calls.map(|calls| demand.calls() + calls);
        demand
            .worn_at
            .store(worn_at.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.seen = demand.calls();
        self.idle_since = now;
        self.look_again(now);
        self.pause = Pause::default();
    }

    /// Its successor could not be started: it is tried again after a pause.
    pub(crate) fn go_on(&mut self, demand: &Demand) {
        demand.worn_at.store(u64::MAX, Ordering::Relaxed);
        self.ends = Some(Instant::now() + self.pause.next());
    }

    /// Whether the process before it has calls yet.
    pub(crate) fn has_predecessor(&self) -> bool {
        let predecessor = self.predecessor.as_ref();
        predecessor.is_some_and(|leaving| !leaving.is_finished())
    }

    /// Waits until it does not go on: idle or worn. `is_called`: calls are made with it, so that it wears. May be
    /// dropped and called again.
    pub(crate) async fn end(&mut self, inner: &Inner, is_called: bool) -> End {
        if let Some(predecessor) = &mut self.predecessor {
            // One at a time, however fast they wear.
            let _ = predecessor.await;
            self.predecessor = None;
        }
        let ends = self.ends.filter(|_| is_called);
        let too_old = async {
            match ends {
                Some(ends) => sleep_until(ends).await,
                None => pending().await,
            }
        };
        let worn = async {
            match is_called {
                true => inner.demand.is_worn().await,
                false => pending().await,
            }
        };
        tokio::select! {
            () = too_old => End::Worn,
            () = worn => End::Worn,
            () = self.is_idle(inner) => End::Idle,
        }
    }

    /// Waits until there was no call for too long.
    async fn is_idle(&mut self, inner: &Inner) {
        let Some(limit) = self.config.idle_stop else {
            return pending().await;
        };
        loop {
            sleep_until(self.next_look).await;
            let now = Instant::now();
            let calls = inner.demand.calls();
            if calls != self.seen || inner.is_in_use() {
                self.seen = calls;
                self.idle_since = now;
            } else if now.saturating_duration_since(self.idle_since) >= limit {
                return;
            }
            self.look_again(now);
        }
    }

    fn look_again(&mut self, now: Instant) {
        if let Some(limit) = self.config.idle_stop {
            self.next_look = now + (limit / LOOKS).max(LEAST_BETWEEN_LOOKS);
        }
    }
}
