use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use switchboard_protocol::capabilities::ClientCapabilities;
use switchboard_protocol::version::Version;
use switchboard_telemetry::Metrics;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::key::Sharing;
use super::*;
use crate::legacy::{Introduction, Session};
use crate::link::Wire;
use crate::link::inbox::Inbox;
use crate::link::mux::{Incoming, MessageReader, MessageWriter, Mux, WriteError};
use crate::lists::{Features, Found, Server};
use switchboard_protocol::error::{Effect, Reason};

/// Whatever waits for something that has to happen waits no longer than this, of paused time.
const SOON: Duration = Duration::from_secs(1);

struct Silent(CancellationToken);

impl MessageReader for Silent {
    async fn read(&mut self) -> Result<Option<Incoming>, String> {
        self.0.cancelled().await;
        Ok(None)
    }
}

struct Deaf;

impl MessageWriter for Deaf {
    async fn write(&mut self, _: Bytes) -> Result<(), WriteError> {
        Ok(())
    }
}

/// A pool whose sessions are channels to nobody.
struct Bench {
    core: Arc<Core>,
    server: Arc<Nobody>,
    metrics: Metrics,
}

/// The server behind all sessions.
struct Nobody {
    inbox: Arc<Inbox>,
    /// Sessions may be opened as long as there are permits.
    gate: Semaphore,
    opened: AtomicUsize,
    alive: AtomicUsize,
    refuses: AtomicBool,
    /// Ends every process.
    crash: Mutex<CancellationToken>,
}

impl Nobody {
    async fn open(self: Arc<Self>) -> Result<Connection, ConnectError> {
        let permit = self.gate.acquire().await.expect("an open gate");
        drop(permit);
        self.opened.fetch_add(1, Ordering::Relaxed);
        if self.refuses.load(Ordering::Relaxed) {
            return Err(ConnectError::new("it is tired"));
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        let crash = self.crash.lock().clone();
        let server = Arc::clone(&self);
        let mux = Mux::start(
            Silent(crash),
            Deaf,
            Arc::clone(&self.inbox),
            |stop| async move {
                stop.cancelled().await;
                server.alive.fetch_sub(1, Ordering::Relaxed);
                None
            },
        );
        Ok(Connection {
            link: Link::Mux(mux),
            http: None,
            wire: Wire {
                version: Version::LATEST_LEGACY,
                session: None,
            },
            server: Arc::new(Server {
                version: Version::LATEST_LEGACY,
                instructions: None,
                extensions: Vec::new(),
                features: Features::default(),
                found: Found::Configured,
            }),
            legacy: Some(Session::new(None)),
            session_lost: Notify::new(),
        })
    }
}

impl Bench {
    fn new(sessions: SessionsConfig) -> Self {
        let mut config: BackendConfig =
            serde_json::from_str(r#"{"command":"x"}"#).expect("a configuration");
        config.sessions = sessions;
        let metrics = Metrics::new().expect("metrics");
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let handles = metrics.backend("b");
        let inbox = Arc::new(Inbox::new(handles.clone(), tasks.clone()));
        let pool = Pool::new("b".into(), &config, handles, stop, tasks);
        Self {
            core: pool.core,
            server: Arc::new(Nobody {
                inbox,
                gate: Semaphore::new(1000),
                opened: AtomicUsize::new(0),
                alive: AtomicUsize::new(0),
                refuses: AtomicBool::new(false),
                crash: Mutex::default(),
            }),
            metrics,
        }
    }

    fn with(max: usize, max_per_principal: usize) -> Self {
        Self::new(SessionsConfig {
            max,
            max_per_principal,
            ..SessionsConfig::default()
        })
    }

    /// Has nothing opened any more, until [`Bench::open_gate`].
    async fn close_gate(&self) {
        let all = self.server.gate.acquire_many(1000).await;
        all.expect("an open gate").forget();
    }

    fn open_gate(&self) {
        self.server.gate.add_permits(1000);
    }

    async fn lease(&self, wish: &Wish) -> Result<Lease, CallError> {
        let until = Instant::now() + Duration::from_secs(60);
        let open = || Arc::clone(&self.server).open();
        self.core.lease(wish, until, open).await
    }

    async fn leased(&self, wish: &Wish) -> Lease {
        self.lease(wish).await.expect("a session")
    }

    /// Begins to ask for a session, as a task.
    async fn ask(&self, wish: &Wish) -> JoinHandle<Result<Lease, CallError>> {
        let (core, server, wish) = (
            Arc::clone(&self.core),
            Arc::clone(&self.server),
            wish.clone(),
        );
        let until = Instant::now() + Duration::from_secs(60);
        let asking = tokio::spawn(async move {
            core.lease(&wish, until, || Arc::clone(&server).open())
                .await
        });
        settle().await;
        asking
    }

    fn restarts(&self) -> usize {
        let name = "switchboard_backend_restarts_total{backend=\"b\"} ";
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.expect("the metric").parse().expect("a count")
    }

    fn opened(&self) -> usize {
        self.server.opened.load(Ordering::Relaxed)
    }

    /// Waits until so many sessions are left.
    async fn expect_alive(&self, count: usize) {
        let reached = async {
            while self.core.places.lock().len() != count
                || self.server.alive.load(Ordering::Relaxed) != count
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reached = timeout(SOON, reached).await;
        let alive = self.server.alive.load(Ordering::Relaxed);
        assert!(reached.is_ok(), "{alive} sessions instead of {count}");
        let shown = format!("switchboard_backend_sessions{{backend=\"b\"}} {count}\n");
        assert!(self.metrics.render().contains(&shown));
    }

    /// Ends the pool, and checks that nothing is left.
    async fn end(self) {
        self.core.stop.cancel();
        self.core.tasks.close();
        let ended = timeout(SOON, self.core.tasks.wait()).await;
        assert!(ended.is_ok(), "tasks are left");
        self.expect_alive(0).await;
        let places = self.core.places.lock();
        assert!(places.is_empty(), "books are left");
    }
}

/// Lets every task go as far as it can without time passing.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn wish(principal: Option<&str>, sharing: Sharing) -> Wish {
    let capabilities = ClientCapabilities {
        roots: principal.is_some(),
        ..ClientCapabilities::default()
    };
    Wish {
        key: Key {
            principal: principal.map(Arc::from),
            client: None,
            introduction: Introduction {
                capabilities,
                ..Introduction::BARE
            },
        },
        sharing,
    }
}

fn apart(principal: &str) -> Wish {
    wish(Some(principal), Sharing::Apart { may_share: false })
}

fn refusal(result: Result<Lease, CallError>) -> (u16, Reason, Effect, String) {
    match result.map(drop) {
        Err(CallError::Fault(fault)) => (fault.code, fault.reason, fault.effect, fault.message),
        other => panic!("{other:?} instead of a fault"),
    }
}

fn same(one: &Lease, other: &Lease) -> bool {
    Arc::ptr_eq(one.connection(), other.connection())
}

#[tokio::test(start_paused = true)]
async fn calls_without_capabilities_share_one_session_that_stays() {
    let bench = Bench::with(1, 1);
    let common = wish(None, Sharing::Together);
    let (one, other) = (bench.leased(&common).await, bench.leased(&common).await);
    assert!(same(&one, &other));
    assert!(!one.may_be_asked());
    drop(one);
    other.answered();
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    bench.expect_alive(1).await;
    bench.leased(&common).await.answered();
    assert_eq!(bench.opened(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_may_be_asked_has_one_call_at_a_time() {
    let bench = Bench::with(64, 16);
    let (one, other) = (
        bench.leased(&apart("ann")).await,
        bench.leased(&apart("ann")).await,
    );
    assert!(!same(&one, &other));
    assert!(one.may_be_asked());
    let kept = Arc::clone(one.connection());
    one.answered();
    let again = bench.leased(&apart("ann")).await;
    assert!(Arc::ptr_eq(again.connection(), &kept), "an idle one first");
    assert_eq!(bench.opened(), 2);
    drop((again, other));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_in_which_the_server_answers_is_free_and_does_not_end() {
    for sharing in [Sharing::InTurn, Sharing::Apart { may_share: false }] {
        let bench = Bench::with(1, 1);
        let own = wish(Some("ann"), sharing);
        let arriving = bench.leased(&own).await.answering();
        let next = bench.leased(&own).await;
        assert!(same(&arriving, &next), "{sharing:?}");
        next.retire();
        tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
        bench.expect_alive(1).await;
        drop(arriving);
        bench.expect_alive(0).await;
        assert_eq!(bench.opened(), 1);
        // One that ends early leaves the session as good as before.
        drop(bench.leased(&own).await.answering());
        bench.leased(&own).await.answered();
        bench.expect_alive(1).await;
        assert_eq!(bench.opened(), 2);
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_principals_never_share() {
    let bench = Bench::with(64, 16);
    for sharing in [
        Sharing::Together,
        Sharing::InTurn,
        Sharing::Apart { may_share: true },
        Sharing::Apart { may_share: false },
    ] {
        let ann = bench.leased(&wish(Some("ann"), sharing)).await;
        let seen = Arc::clone(ann.connection());
        ann.answered();
        let bob = bench.leased(&wish(Some("bob"), sharing)).await;
        assert!(!Arc::ptr_eq(bob.connection(), &seen), "{sharing:?}");
        bob.answered();
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_closes_a_session_that_may_be_asked() {
    let bench = Bench::with(64, 16);
    drop(bench.leased(&apart("ann")).await);
    bench.expect_alive(0).await;
    let mut own = apart("ann");
    own.key.client = Some("c".into());
    own.sharing = Sharing::Together;
    drop(bench.leased(&own).await);
    bench.leased(&own).await.answered();
    bench.expect_alive(1).await;
    assert_eq!(bench.opened(), 2, "a client's own session stays");
    bench.leased(&own).await.retire();
    bench.expect_alive(0).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_session_waits_for_its_other_calls() {
    let bench = Bench::with(64, 16);
    let together = wish(Some("ann"), Sharing::Together);
    let (one, other) = (bench.leased(&together).await, bench.leased(&together).await);
    one.retire();
    let next = bench.leased(&together).await;
    assert!(!same(&next, &other), "nobody gets it any more");
    bench.expect_alive(2).await;
    other.answered();
    bench.expect_alive(1).await;
    next.answered();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_an_idle_session_makes_room_and_else_there_is_none() {
    let bench = Bench::with(2, 2);
    bench.leased(&apart("ann")).await.answered();
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.leased(&apart("bob")).await.answered();
    let eve = bench.leased(&apart("eve")).await;
    bench.expect_alive(2).await;
    let bob = bench.leased(&apart("bob")).await;
    assert_eq!(bench.opened(), 3, "the longest idle one was closed");
    let began = Instant::now();
    let (code, reason, effect, message) = refusal(bench.lease(&apart("ann")).await);
    assert_eq!(
        (code, reason, effect),
        (503, Reason::Overloaded, Effect::NotSent)
    );
    assert!(message.contains("Nothing was executed"), "{message}");
    assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    let ann = bench.ask(&apart("ann")).await;
    eve.answered();
    ann.await.expect("joined").expect("a session").answered();
    drop(bob);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_opened_for_somebody_is_not_closed_for_another() {
    let bench = Bench::with(1, 1);
    bench.close_gate().await;
    let others = [
        bench.ask(&apart("ann")).await,
        bench.ask(&apart("bob")).await,
        bench.ask(&apart("eve")).await,
    ];
    bench.open_gate();
    let [ann, bob, eve] = others;
    let ann = ann.await.expect("joined").expect("a session");
    assert_eq!(refusal(bob.await.expect("joined")).1, Reason::Overloaded);
    assert_eq!(refusal(eve.await.expect("joined")).1, Reason::Overloaded);
    ann.answered();
    assert_eq!(bench.opened(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn all_end_when_the_server_is_no_legacy_one_any_more() {
    let bench = Bench::with(64, 16);
    let held = bench.leased(&apart("ann")).await;
    bench
        .leased(&wish(None, Sharing::Together))
        .await
        .answered();
    let pool = Pool {
        core: Arc::clone(&bench.core),
    };
    pool.end_all();
    bench.expect_alive(0).await;
    held.answered();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_principal_has_a_cap_of_its_own() {
    let bench = Bench::with(64, 2);
    let held = [
        bench.leased(&apart("ann")).await,
        bench.leased(&apart("ann")).await,
    ];
    assert_eq!(
        refusal(bench.lease(&apart("ann")).await).1,
        Reason::Overloaded
    );
    bench.leased(&apart("bob")).await.answered();
    drop(held);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn over_http_calls_share_the_least_busy_session_at_the_cap() {
    let bench = Bench::with(64, 2);
    let ann = wish(Some("ann"), Sharing::Apart { may_share: true });
    let (one, two) = (bench.leased(&ann).await, bench.leased(&ann).await);
    let (three, four) = (bench.leased(&ann).await, bench.leased(&ann).await);
    assert!(!same(&one, &two) && !same(&three, &four));
    assert_eq!(bench.opened(), 2);
    for lease in [one, two, three, four] {
        lease.answered();
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn in_a_session_that_is_kept_calls_wait_for_their_turn() {
    let bench = Bench::with(64, 16);
    let ann = wish(Some("ann"), Sharing::InTurn);
    let first = bench.leased(&ann).await;
    let second = bench.ask(&ann).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(!second.is_finished());
    first.answered();
    let second = second.await.expect("joined").expect("its turn");
    assert_eq!(refusal(bench.lease(&ann).await).1, Reason::Overloaded);
    second.answered();
    assert_eq!(bench.opened(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_share_a_session_have_it_opened_once() {
    let bench = Bench::with(64, 16);
    bench.close_gate().await;
    let common = wish(None, Sharing::Together);
    let mut asking = Vec::new();
    for _ in 0..100 {
        asking.push(bench.ask(&common).await);
    }
    // Whoever came first goes away, and it makes no difference to the others.
    asking.remove(0).abort();
    bench.open_gate();
    for asking in asking {
        asking.await.expect("joined").expect("a session").answered();
    }
    assert_eq!(bench.opened(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn as_many_sessions_are_opened_as_are_waited_for() {
    let bench = Bench::with(64, 16);
    bench.close_gate().await;
    let asking = [
        bench.ask(&apart("ann")).await,
        bench.ask(&apart("ann")).await,
    ];
    let gone = bench.ask(&apart("ann")).await;
    gone.abort();
    settle().await;
    let late = bench.ask(&apart("ann")).await;
    bench.open_gate();
    let mut leases = Vec::new();
    for asking in asking.into_iter().chain([late]) {
        leases.push(asking.await.expect("joined").expect("a session"));
    }
    assert_eq!(bench.opened(), 3, "the one that nobody waits for is taken");
    drop(leases);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_nobody_waits_for_leaves_nothing() {
    let bench = Bench::with(64, 16);
    bench.close_gate().await;
    let gone = bench.ask(&apart("ann")).await;
    gone.abort();
    settle().await;
    assert_eq!(bench.core.places.lock().len(), 1);
    tokio::time::sleep(CONNECT_DEADLINE).await;
    bench.expect_alive(0).await;
    bench.open_gate();
    let gone = bench.ask(&apart("ann")).await;
    drop(gone.await.expect("joined").expect("a session"));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_opening_ends_with_the_pool() {
    let bench = Bench::with(64, 16);
    bench.close_gate().await;
    let asking = bench.ask(&apart("ann")).await;
    bench.core.stop.cancel();
    assert_eq!(refusal(asking.await.expect("joined")).0, 503);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_why_there_is_no_session() {
    let bench = Bench::with(64, 16);
    bench.server.refuses.store(true, Ordering::Relaxed);
    bench.close_gate().await;
    let common = wish(None, Sharing::Together);
    let asking = [bench.ask(&common).await, bench.ask(&common).await];
    bench.open_gate();
    for asking in asking {
        let (code, reason, effect, message) = refusal(asking.await.expect("joined"));
        assert_eq!(
            (code, reason, effect),
            (503, Reason::Unavailable, Effect::NotSent)
        );
        assert!(message.contains("it is tired"), "{message}");
    }
    bench.expect_alive(0).await;
    bench.server.refuses.store(false, Ordering::Relaxed);
    bench.leased(&common).await.answered();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_bounds_its_waiting() {
    let bench = Bench::with(64, 16);
    bench.close_gate().await;
    let began = Instant::now();
    let until = began + Duration::from_secs(3);
    let wish = apart("ann");
    let open = || Arc::clone(&bench.server).open();
    let refused = bench.core.lease(&wish, until, open).await;
    assert_eq!(refusal(refused).1, Reason::Starting);
    assert_eq!(began.elapsed().as_secs(), 3);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_are_closed() {
    let bench = Bench::with(64, 16);
    let idle = bench.core.config.idle_timeout;
    let busy = bench.leased(&apart("ann")).await;
    bench.leased(&apart("ann")).await.answered();
    tokio::time::sleep(idle - SOON).await;
    bench.expect_alive(2).await;
    tokio::time::sleep(SOON).await;
    bench.expect_alive(1).await;
    tokio::time::sleep(idle * 3).await;
    bench.expect_alive(1).await;
    busy.answered();
    tokio::time::sleep(idle - SOON).await;
    bench.expect_alive(1).await;
    tokio::time::sleep(SOON).await;
    bench.expect_alive(0).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ended_is_leased_no_more() {
    let bench = Bench::with(64, 16);
    let common = wish(None, Sharing::Together);
    bench.leased(&common).await.answered();
    std::mem::take(&mut *bench.server.crash.lock()).cancel();
    bench.expect_alive(0).await;
    assert_eq!(bench.restarts(), 0);
    let held = bench.leased(&common).await;
    assert_eq!(bench.restarts(), 1);
    held.connection().session_lost.notify_one();
    settle().await;
    let next = bench.leased(&common).await;
    assert!(!same(&held, &next));
    drop((held, next));
    assert_eq!(bench.opened(), 3);
    bench.end().await;
}

impl Bench {
    /// Has the process of the only session end.
    async fn crash(&self) {
        std::mem::take(&mut *self.server.crash.lock()).cancel();
        self.expect_alive(0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn processes_that_keep_ending_are_started_ever_more_seldom_and_then_left_alone() {
    let bench = Bench::with(64, 16);
    let common = wish(None, Sharing::Together);
    let mut starts = 0;
    let refused = loop {
        match bench.lease(&common).await {
            Ok(lease) => drop(lease),
            refused => break refusal(refused),
        }
        starts += 1;
        bench.crash().await;
    };
    // A pause that is longer than a call waits is told instead.
    assert_eq!(refused.1, Reason::Unavailable, "{refused:?}");
    assert!((3..=5).contains(&starts), "{starts}");
    let began = Instant::now();
    let refused = loop {
        match bench.lease(&common).await {
            Ok(lease) => {
                drop(lease);
                starts += 1;
                bench.crash().await;
            }
            refused => {
                let refused = refusal(refused);
                if refused.3.contains("left alone for 5 minutes") {
                    break refused;
                }
                tokio::time::sleep(SOON).await;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{refused:?}");
    };
    assert_eq!((refused.0, refused.2), (503, Effect::NotSent));
    assert_eq!(starts, 6);
    assert_eq!(bench.opened(), 6);
    // Others are not concerned.
    bench.leased(&apart("ann")).await.answered();

    let pool = Pool {
        core: Arc::clone(&bench.core),
    };
    pool.try_again();
    bench.leased(&common).await.answered();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_one_process_shows_whether_it_goes_well() {
    let bench = Bench::with(64, 16);
    bench.server.refuses.store(true, Ordering::Relaxed);
    let refused = refusal(bench.lease(&apart("ann")).await);
    assert!(refused.3.contains("it is tired"), "{refused:?}");
    assert_eq!(bench.opened(), 1);
    let mut asking = Vec::new();
    for _ in 0..10 {
        asking.push(bench.ask(&apart("ann")).await);
    }
    for asking in asking {
        let refused = refusal(asking.await.expect("joined"));
        assert!(refused.3.contains("it is tired"), "{refused:?}");
    }
    assert_eq!(bench.opened(), 2);
    bench.server.refuses.store(false, Ordering::Relaxed);
    bench.leased(&apart("ann")).await.answered();
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_takes_its_sessions_along() {
    let bench = Bench::with(64, 16);
    let mut of_client = apart("ann");
    of_client.key.client = Some("one".into());
    let held = bench.leased(&of_client).await;
    bench.leased(&apart("ann")).await.answered();
    let pool = Pool {
        core: Arc::clone(&bench.core),
    };
    pool.client_gone("two");
    bench.expect_alive(2).await;
    pool.client_gone("one");
    bench.expect_alive(1).await;
    drop(held);
    bench.end().await;
}
