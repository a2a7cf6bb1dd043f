//! The queue between calls and the thread that writes.

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use parking_lot::{Condvar, Mutex};
use switchboard_protocol::call::Principal;
use switchboard_protocol::method::Method;
use switchboard_telemetry::{AuditDrop, Metrics};

use super::config::AuditKind;
use super::event::{AdminEvent, Event, RefusalEvent};

/// The most memory that waiting records hold on to, in bytes: each keeps its request.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most refused credentials that are noted in a second.
const MAX_REFUSALS: u32 = 10;
/// How often is said that records are dropped.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Where calls leave what records are made of. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(crate) struct AuditLog(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    news: Condvar,
    capacity: usize,
    includes: Includes,
    metrics: Arc<Metrics>,
    refusals: Mutex<RefusalCount>,
    began: Instant,
    /// When was last said that records are dropped, in seconds since `began` and one; 0: never.
    said: AtomicU64,
}

#[derive(Default)]
struct Queue {
    events: Vec<Event>,
    bytes: usize,
    is_closed: bool,
}

#[derive(Clone, Copy, Default)]
struct Includes {
    calls: bool,
    lists: bool,
    authentications: bool,
    admin: bool,
}

#[derive(Default)]
struct RefusalCount {
    second: u64,
    noted: u32,
    suppressed: u64,
}

/// A credential that was refused, and what is known of it.
pub(super) struct Refused<'r> {
    pub(super) listener: &'static str,
    pub(super) peer: Option<IpAddr>,
    pub(super) status: StatusCode,
    pub(super) reason: &'static str,
    /// Whose it is, if it is good elsewhere.
    pub(super) principal: Option<Arc<Principal>>,
    /// What it is not good for.
    pub(super) profile: Option<&'r str>,
}

impl AuditLog {
    pub(super) fn new(capacity: usize, include: &[AuditKind], metrics: Arc<Metrics>) -> Self {
        let includes = Includes {
            calls: include.contains(&AuditKind::Calls),
            lists: include.contains(&AuditKind::Lists),
            authentications: include.contains(&AuditKind::Authentications),
            admin: include.contains(&AuditKind::Admin),
        };
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            news: Condvar::new(),
            capacity,
            includes,
            metrics,
            refusals: Mutex::default(),
            began: Instant::now(),
            said: AtomicU64::new(0),
        }))
    }

    /// Whether there is a record of calls of this method.
    pub(super) fn includes_method(&self, method: Method) -> bool {
        let includes = self.0.includes;
        match is_list(method) {
            true => includes.lists,
            false => includes.calls,
        }
    }

    /// Whether there is a record of each call.
    pub(super) fn includes_calls(&self) -> bool {
        self.0.includes.calls
    }

    /// Leaves an event, or drops it if there are too many.
    pub(super) fn push(&self, event: Event) {
        let shared = &*self.0;
        let size = event.size();
        let mut queue = shared.queue.lock();
        if queue.events.len() >= shared.capacity
            || queue.bytes + size > MAX_BYTES
            || queue.is_closed
        {
            drop(queue);
            self.dropped(AuditDrop::QueueFull, 1, "the queue of the audit is full");
            return;
        }
        queue.bytes += size;
        queue.events.push(event);
        let is_first = queue.events.len() == 1;
        drop(queue);
        // The writer looks for more by itself as long as it finds some.
        if is_first {
            shared.news.notify_one();
        }
    }

    /// Counts records that are lost, and says so once a minute.
    pub(super) fn dropped(&self, reason: AuditDrop, count: u64, why: &str) {
        self.0.metrics.audit_dropped(reason, count);
        let now = self.0.began.elapsed().as_secs() + 1;
        let said = self.0.said.load(Ordering::Relaxed);
        let is_due = said == 0 || now >= said + SAY_AGAIN.as_secs();
        let takes_turn = || {
            let swap =
                self.0
                    .said
                    .compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed);
            swap.is_ok()
        };
        if is_due && takes_turn() {
            tracing::warn!(
                "records of the audit are lost: {why} (counted in switchboard_audit_dropped_total)"
            );
        }
    }

    /// Takes all that wait, in the place of what was in `taken`; waits for some for at most this long.
    /// Answers whether more may come.
    pub(super) fn take(&self, taken: &mut Vec<Event>, patience: Duration) -> bool {
        taken.clear();
        let mut queue = self.0.queue.lock();
        if queue.events.is_empty() && !queue.is_closed {
            self.0.news.wait_for(&mut queue, patience);
        }
        mem::swap(&mut queue.events, taken);
        queue.bytes = 0;
        !queue.is_closed
    }

    /// Has the writer end when it has written what is here.
    pub(super) fn close(&self) {
        self.0.queue.lock().is_closed = true;
        self.0.news.notify_one();
    }

    /// Notes a refused credential, unless there were many in this second.
    pub(super) fn refused(&self, refused: &Refused<'_>) {
        if !self.0.includes.authentications {
            return;
        }
        let second = self.0.began.elapsed().as_secs();
        let mut count = self.0.refusals.lock();
        if count.second != second {
            count.second = second;
            count.noted = 0;
        }
        if count.noted >= MAX_REFUSALS {
            count.suppressed += 1;
            return;
        }
        count.noted += 1;
        let suppressed = mem::take(&mut count.suppressed);
        drop(count);
        self.push(Event::Refusal(Box::new(RefusalEvent {
            at: SystemTime::now(),
            listener: refused.listener,
            peer: refused.peer,
            status: refused.status,
            reason: refused.reason,
            principal: refused.principal.clone(),
            profile: refused.profile.map(Box::from),
            suppressed,
        })));
    }

    /// Notes what an operator changed, or tried to.
    pub(crate) fn changed_by(
        &self,
        principal: &Arc<Principal>,
        peer: Option<IpAddr>,
        method: &'static str,
        path: String,
        status: u16,
    ) {
        if !self.0.includes.admin {
            return;
        }
        self.push(Event::Admin(Box::new(AdminEvent {
            at: SystemTime::now(),
            principal: Arc::clone(principal),
            peer,
            method,
            path,
            status,
        })));
    }
}

/// Whether a method asks for a list, or what there is at all: such calls are a kind of their own.
pub(super) const fn is_list(method: Method) -> bool {
    match method {
        Method::Discover
        | Method::ToolsList
        | Method::ResourcesList
        | Method::ResourceTemplatesList
        | Method::PromptsList
        | Method::SkillsList => true,
        Method::ToolsCall
        | Method::ResourcesRead
        | Method::PromptsGet
        | Method::Complete
        | Method::Listen
        | Method::TasksGet
        | Method::TasksUpdate
        | Method::TasksCancel
        | Method::SkillsGet
        | Method::DirectoryRead => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(capacity: usize) -> (AuditLog, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let log = AuditLog::new(capacity, AuditKind::ALL, Arc::clone(&metrics));
        (log, metrics)
    }

    fn change(log: &AuditLog) {
        let who = Arc::new(Principal::new("key:ops"));
        log.changed_by(&who, None, "POST", "/x".to_owned(), 202);
    }

    #[test]
    fn a_writer_that_is_blocked_makes_nobody_wait_and_what_is_lost_is_counted() {
        let (log, metrics) = log(3);
        for _ in 0..5 {
            change(&log);
        }
        let sample = "switchboard_audit_dropped_total{reason=\"queue_full\"} 2";
        assert!(metrics.render().contains(sample), "{}", metrics.render());
        let mut taken = Vec::new();
        assert!(log.take(&mut taken, Duration::ZERO));
        assert_eq!(taken.len(), 3);
        // There is room again.
        change(&log);
        assert!(log.take(&mut taken, Duration::ZERO));
        assert_eq!(taken.len(), 1);
        log.close();
        assert!(!log.take(&mut taken, Duration::from_secs(60)));
        assert!(taken.is_empty());
    }

    #[test]
    fn refusals_are_noted_ten_times_a_second_and_the_rest_is_counted() {
        let (log, _) = log(1000);
        for _ in 0..500 {
            log.refused(&Refused {
                listener: "endpoint",
                peer: None,
                status: StatusCode::UNAUTHORIZED,
                reason: "missing",
                principal: None,
                profile: None,
            });
        }
        let mut taken = Vec::new();
        log.take(&mut taken, Duration::ZERO);
        // A second may have ended meanwhile.
        assert!((10..=20).contains(&taken.len()), "{}", taken.len());
    }
}
