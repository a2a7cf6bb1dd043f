//! The keeper: one task an endpoint that connects, learns, listens and reconnects.

mod listening;

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::listening::Listening;
use crate::backend::Backend;
use crate::connect::{CONNECT_DEADLINE, ConnectError, Connection, Remembered, connect};
use crate::dependencies::wait_for;
use crate::endpoint::Inner;
use crate::health::Checks;
use crate::learn::learn;
use crate::legacy;
use crate::link::{Link, LinkError};
use crate::list_memory::Held;
use crate::lists::Lists;
use crate::pause::{Pause, jittered};
use crate::process::demand::Lifetime;
use crate::process::restarts::{LEFT_ALONE, Restarts};
use crate::status::{ChangedLists, Stage, State};

/// A session that lasted no longer than this was lost at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Lists of servers that give no hint are read again this often.
const DEFAULT_REFRESH: Duration = Duration::from_secs(300);
/// No hint makes it more often than this.
const LEAST_REFRESH: Duration = Duration::from_secs(10);
/// However often sessions for calls say that their lists changed, those of the session for lists
/// are read for it at most this often.
const LEAST_AFTER_HINT: Duration = Duration::from_secs(2);
/// However often a server says that its lists changed, they are read at most this often.
const LEAST_BETWEEN_READS: Duration = Duration::from_millis(200);
/// How long a restart counts as under way while calls are yet in what it replaced.
const REPLACING_SHOWN: Duration = Duration::from_secs(5);
/// How often is looked whether calls have let a connection go that no further one takes.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Keeps the backend connected until it is stopped; begins when its dependencies are ready.
pub(crate) async fn keep(inner: Arc<Inner>, dependencies: Vec<Backend>) {
    // Boxed, since it is over soon and the keeper lives on.
    Box::pin(wait_for(&inner, &dependencies)).await;
    drop(dependencies);
    let mut pause = Pause::default();
    let mut restarts = Restarts::new(inner.config.restarts);
    let mut remembered = None;
    let mut had_connection = false;
    let mut forgiven = false;
    let mut rests = inner.takes_known_lists().await;
    while !inner.stop.is_cancelled() {
        if std::mem::take(&mut rests) {
            rest(&inner).await;
            continue;
        }
        let began = Instant::now();
        let mut was_lost = false;
        let failed = match establish(&inner, remembered, false).await {
            // Stopped, which ends the loop, or to begin anew.
            None => {
                (pause, restarts) = afresh(&inner);
                remembered = None;
                continue;
            }
            Some(Ok(connection)) => {
                let follows = std::mem::replace(&mut had_connection, true);
                if follows && inner.config.is_process() {
                    inner.metrics.restarted();
                }
                remembered = Some(Remembered::of(&connection));
                match serve_in_turn(&inner, connection, follows).await {
                    End::Stopped | End::Worn => return,
                    End::Restarted => {
                        (pause, restarts) = afresh(&inner);
                        remembered = None;
                        continue;
                    }
                    // It is ended on purpose, and its next start is none after a loss.
                    End::Idle => {
                        had_connection = false;
                        rests = true;
                        continue;
                    }
                    // Nothing is wrong with the server: only the session is new. One that is lost
                    // at once is forgiven, a second one is not.
                    End::SessionLost if began.elapsed() > AT_ONCE || !forgiven => {
                        forgiven = began.elapsed() <= AT_ONCE;
                        inner.tell();
                        continue;
                    }
                    End::SessionLost => ConnectError::new("it forgets its sessions at once"),
                    End::Closed(reason) => {
                        was_lost = true;
                        ConnectError::new(reason)
                    }
                }
            }
            // What was remembered may be what is wrong.
            Some(Err(error)) => {
                remembered = None;
                error
            }
        };
        if inner.config.is_process()
            && let Some(reason) = restarts.failed(&failed.reason, Instant::now())
        {
            inner.set_status(State::NeedsAttention, Stage::Connecting, &reason);
            tokio::select! {
                () = inner.stop.cancelled() => return,
                () = inner.try_again.notified() => {}
                () = inner.restart.notified() => {}
                () = sleep(LEFT_ALONE) => {}
            }
            inner.set_status(
                State::Starting,
                Stage::Connecting,
                "it is started again after it was left alone",
            );
            pause = Pause::default();
            continue;
        }
        inner.set_failed(failed.state(), Stage::Connecting, failed);
        tokio::select! {
            () = inner.stop.cancelled() => return,
            () = sleep(pause.after(began.elapsed())) => {
                if was_lost && inner.needs_no_process() {
                    inner.set_status(State::Ready, Stage::Listing, "");
                    rests = true;
                }
            }
            () = inner.restart.notified() => {
                (pause, restarts) = afresh(&inner);
                inner.say_restarting();
            }
        }
    }
}

/// Waits until a call, or somebody who waits for news of a resource, needs the process.
async fn rest(inner: &Inner) {
    let mut watched = inner.watched.subscribe();
    tokio::select! {
        () = inner.stop.cancelled() => {}
        () = inner.demand.is_wanted() => {}
        () = inner.restart.notified() => {}
        () = inner.try_again.notified() => {}
        // The sender lives as long as `inner`.
        _ = watched.wait_for(|watched| !watched.is_empty()) => {}
    }
}

/// Serves a connection, and those that take its place, until one ends for another reason; then it
/// is ended. `follows`: there was one before it, which was lost.
async fn serve_in_turn(
    inner: &Arc<Inner>,
    mut connection: Arc<Connection>,
    mut follows: bool,
) -> End {
    let mut lifetime = Lifetime::new(inner.config.processes, &inner.demand);
    // Of those that were replaced and have calls yet.
    let stop = inner.stop.child_token();
    let end = loop {
        let end = tokio::select! {
            end = serve(inner, &connection, &mut lifetime, follows) => end,
            () = inner.restart.notified() => End::Restarted,
        };
        let is_asked = matches!(end, End::Restarted);
        // Asked again while calls are in the last one yet, an operator does not want to wait for them.
        let is_replaced = match end {
            End::Restarted => inner.is_replaceable() && !lifetime.has_predecessor(),
            _ => matches!(end, End::Worn),
        };
        if !is_replaced {
            break end;
        }
        // An operator may know better than what was found out once.
        let remembered = (!is_asked).then(|| Remembered::of(&connection));
        match successor(inner, &connection, remembered).await {
            Ok(next) => {
                match is_asked {
                    true if inner.config.is_process() => inner.metrics.restarted(),
                    true => {}
                    false => inner.metrics.recycled(),
                }
                let predecessor = std::mem::replace(&mut connection, next);
                let leaving = leave(Arc::clone(inner), predecessor, stop.clone());
                lifetime.begin(&inner.demand, Some(inner.tasks.spawn(leaving)));
                follows = true;
            }
            // There may be but one at a time.
            Err(None) if is_asked => break End::Restarted,
            Err(None) => {
                tracing::warn!(backend = %inner.name, "its process goes on");
                lifetime.go_on(&inner.demand);
            }
            Err(Some(end)) => break end,
        }
    };
    inner.is_replacing.store(false, Ordering::Relaxed);
    inner.connection.store(None);
    match end {
        End::Idle => {
            tracing::info!(
                backend = %inner.name,
                endpoint = inner.spec.label.as_deref(),
                "its process is ended, since nobody calls it; the next call starts it"
            );
            // Whatever was wrong with it, the next call finds another.
            inner.set_status(State::Ready, Stage::Listing, "");
            // A call may have come since it was looked.
            inner.pool.retire_all();
            let leaving = leave(Arc::clone(inner), connection, stop);
            let inner = Arc::clone(inner);
            inner.tasks.clone().spawn(async move {
                leaving.await;
                // Opened by such a call. One that is held goes on.
                if inner.connection.load().is_none() {
                    inner.pool.retire_all();
                }
            });
        }
        End::Restarted => {
            inner.say_restarting();
            stop.cancel();
            end_connection(&connection).await;
        }
        End::Closed(reason) => {
            // It takes a while until nothing is left of it.
            let error = ConnectError::new(reason.clone());
            inner.set_failed(State::Unavailable, Stage::Connecting, error);
            end_connection(&connection).await;
            return End::Closed(reason);
        }
        // One that is worn is replaced, above.
        End::SessionLost | End::Stopped | End::Worn => end_connection(&connection).await,
    }
    end
}

/// Starts what takes the place of a process; calls go to that one meanwhile. An error
/// is its end, or `None` if it goes on since no other could be started.
async fn successor(
    inner: &Arc<Inner>,
    worn: &Connection,
    remembered: Option<Remembered>,
) -> Result<Arc<Connection>, Option<End>> {
    let mut starting = pin!(establish(inner, remembered, true));
    let (started, ended) = tokio::select! {
        biased;
        started = &mut starting => (started, None),
        reason = worn.link.ended() => {
            // Calls wait for the other then.
            inner.connection.store(None);
            (starting.await, Some(reason))
        }
    };
    match started {
        None if inner.stop.is_cancelled() => Err(Some(End::Stopped)),
        None => Err(Some(End::Restarted)),
        Some(Ok(next)) => {
            tracing::debug!(backend = %inner.name, "its process is replaced");
            Ok(next)
        }
        Some(Err(_)) if let Some(reason) = ended => Err(Some(End::Closed(reason))),
        Some(Err(error)) => {
            tracing::warn!(
                backend = %inner.name,
                endpoint = inner.spec.label.as_deref(),
                cause = error.cause,
                "the one to replace its process did not start: {}",
                error.reason
            );
            Err(None)
        }
    }
}

/// Ends a connection that no further call takes, when those that have it are over, or the longest
/// that one may take is, or it is told to.
async fn leave(inner: Arc<Inner>, connection: Arc<Connection>, stop: CancellationToken) {
    let unused = async {
        while Arc::strong_count(&connection) > 1 {
            sleep(POLL_INTERVAL).await;
        }
    };
    let longest = inner.config.longest_timeout();
    let shown = async {
        sleep(REPLACING_SHOWN).await;
        inner.is_replacing.store(false, Ordering::Relaxed);
        pending::<()>().await;
    };
    // However the wait ended, the connection does too.
    tokio::select! {
        _ = stop.run_until_cancelled(timeout(longest, unused)) => {}
        () = shown => {}
    }
    end_connection(&connection).await;
    inner.is_replacing.store(false, Ordering::Relaxed);
}

/// What is remembered of failures when it begins anew: nothing.
fn afresh(inner: &Inner) -> (Pause, Restarts) {
    (Pause::default(), Restarts::new(inner.config.restarts))
}

/// Connects and learns; `None` when stopped, or asked to begin anew, meanwhile. `takes_over`: there
/// is one that works, whose place is not taken by one that lacks a part of its lists.
async fn establish(
    inner: &Arc<Inner>,
    remembered: Option<Remembered>,
    takes_over: bool,
) -> Option<Result<Arc<Connection>, ConnectError>> {
    let connecting = timeout(
        CONNECT_DEADLINE,
        connect(
            &inner.name,
            &inner.config,
            &inner.supervisor,
            remembered,
            &inner.inbox,
            inner.credentials.as_ref(),
        ),
    );
    let connection = tokio::select! {
        () = inner.interrupted() => return None,
        connection = connecting => match connection {
            Ok(Ok(connection)) => Arc::new(connection),
            Ok(Err(error)) => return Some(Err(error)),
            Err(_) => return Some(Err(ConnectError::new("it does not answer"))),
        },
    };
    let learned = tokio::select! {
        () = inner.interrupted() => None,
        learned = learn(&inner.name, &inner.config, &connection, &inner.list_memory) => {
            Some(learned)
        }
    };
    match learned {
        Some(Ok((
            Lists {
                missing: Some(reason),
                ..
            },
            _,
        ))) if takes_over && missing(inner).is_none() => {
            end_connection(&connection).await;
            Some(Err(ConnectError::new(reason)))
        }
        Some(Ok((lists, held))) => {
            take(inner, lists, held);
            if inner.config.is_process() {
                inner.breaker.is_renewed(Instant::now());
            }
            inner.connection.store(Some(Arc::clone(&connection)));
            if connection.legacy.is_none() {
                inner.pool.end_all();
            }
            ready(inner);
            inner.tell();
            Some(Ok(connection))
        }
        Some(Err(error)) => {
            end_connection(&connection).await;
            Some(Err(error.into()))
        }
        None => {
            end_connection(&connection).await;
            None
        }
    }
}

/// Ends a connection politely: a session is given back, a process ended.
pub(crate) async fn end_connection(connection: &Connection) {
    if let (Link::Http(http), Some(_)) = (&connection.link, &connection.wire.session) {
        http.delete_session(&connection.wire).await;
    }
    connection.link.shut_down().await;
}

fn missing(inner: &Inner) -> Option<String> {
    let lists = inner.lists.load();
    lists.as_ref().and_then(|lists| lists.missing.clone())
}

fn ready(inner: &Inner) {
    match missing(inner) {
        None => inner.set_status(State::Ready, Stage::Listing, ""),
        Some(reason) => inner.set_status(State::Unavailable, Stage::Listing, &reason),
    }
}

async fn relearn(inner: &Arc<Inner>, connection: &Connection) -> Result<(), LinkError> {
    let memory = &inner.list_memory;
    let (lists, held) = learn(&inner.name, &inner.config, connection, memory).await?;
    take(inner, lists, held);
    Ok(())
}

/// Takes what was learned for what the server offers.
fn take(inner: &Arc<Inner>, lists: Lists, held: Held) {
    inner.metrics.set_tools(lists.tools.len());
    let lists = Arc::new(lists);
    inner.keep_known_lists(&lists);
    inner.lists.store(Some(lists));
    inner.lists_held.lock().replace(held);
    inner.learned.send_modify(|count| *count += 1);
}

/// Why a connection is not served any more.
#[derive(Debug)]
pub(crate) enum End {
    Closed(String),
    SessionLost,
    Stopped,
    /// An operator wants it to be made anew.
    Restarted,
    /// Nobody calls it.
    Idle,
    /// Its process is as old as it may be, or has had as many calls.
    Worn,
}

/// Looks after a connection until it ends, or another is to take its place. `follows`: it has taken
/// the place of one that was there before.
async fn serve(
    inner: &Arc<Inner>,
    connection: &Arc<Connection>,
    lifetime: &mut Lifetime,
    follows: bool,
) -> End {
    let is_called = connection.legacy.is_none();
    let mut watched = inner.watched.subscribe();
    let mut listening = Listening::new(Arc::clone(inner), Arc::clone(connection));
    let initially_watched = watched.borrow_and_update().clone();
    let mut lost = Box::pin(legacy::listen(connection));
    if let Some(end) = until_ended(inner, connection, listening.set(initially_watched)).await {
        return end;
    }
    if follows {
        // What changed while nobody was told, if anything did: old news are better than none.
        for uri in inner.watched.borrow().iter() {
            inner.observer.resource_updated(&inner.name, uri);
        }
    }
    let mut checks = Checks::new(Arc::clone(inner), Arc::clone(connection));
    let mut failing: Option<Pause> = None;
    // What the server said to have changed, until it has been read.
    let mut announced = ChangedLists::default();
    let mut incomplete = Pause::default();
    let mut last_read = Instant::now();
    let mut next_read = last_read + until_next_read(inner, &mut incomplete);
    loop {
        let read_now = tokio::select! {
            () = inner.stop.cancelled() => return End::Stopped,
            reason = connection.link.ended() => return End::Closed(reason),
            () = connection.session_lost.notified() => return End::SessionLost,
            _ = &mut lost => return End::SessionLost,
            end = lifetime.end(inner, is_called) => return end,
            news = inner.inbox.news() => {
                for uri in &news.resources {
                    inner.observer.resource_updated(&inner.name, uri);
                }
                let may_have_missed = listening.acknowledged(news.acknowledged);
                announced = announced.union(news.lists);
                if news.hint || may_have_missed {
                    next_read = next_read.min(last_read + LEAST_AFTER_HINT);
                }
                news.lists.any()
            }
            // A stream that broke may have missed something.
            () = listening.broken() => true,
            changed = watched.changed() => {
                if changed.is_ok() {
                    let uris = watched.borrow_and_update().clone();
                    if let Some(end) = until_ended(inner, connection, listening.set(uris)).await {
                        return end;
                    }
                }
                false
            }
            () = inner.suspicion.notified() => true,
            failed = checks.finished() => {
                match failed {
                    Some(error) => inner.set_failed(checks.state(&error), Stage::Checking, error),
                    None => {
                        inner.probed();
                        if failing.is_none() {
                            ready(inner);
                        }
                    }
                }
                false
            }
            () = sleep_until(next_read) => true,
        };
        if !read_now {
            continue;
        }
        tokio::select! {
            () = inner.stop.cancelled() => return End::Stopped,
            () = sleep_until(last_read + LEAST_BETWEEN_READS) => {}
        }
        let read = tokio::select! {
            () = inner.stop.cancelled() => return End::Stopped,
            read = relearn(inner, connection) => read,
        };
        last_read = Instant::now();
        next_read = match read {
            Ok(()) => {
                if failing.take().is_some() {
                    inner.probed();
                }
                if checks.are_well() {
                    ready(inner);
                }
                inner.tell();
                let announced = std::mem::take(&mut announced);
                if announced.any() {
                    inner.observer.lists_changed(&inner.name, announced);
                }
                last_read + until_next_read(inner, &mut incomplete)
            }
            Err(error) if connection.wire.lost_by(&error) => return End::SessionLost,
            Err(error) => {
                let error = ConnectError::from(error);
                inner.set_failed(error.state(), Stage::Listing, error);
                last_read + failing.get_or_insert_default().next()
            }
        };
    }
}

/// How long what was read counts: for its period, or for a pause if a part of it is missing.
fn until_next_read(inner: &Inner, incomplete: &mut Pause) -> Duration {
    if missing(inner).is_some() {
        return incomplete.next();
    }
    *incomplete = Pause::default();
    refresh_period(inner)
}

/// Does something that takes the server's answers, unless the connection ends meanwhile.
async fn until_ended(
    inner: &Inner,
    connection: &Connection,
    work: impl Future<Output = ()>,
) -> Option<End> {
    tokio::select! {
        () = work => None,
        () = inner.stop.cancelled() => Some(End::Stopped),
        reason = connection.link.ended() => Some(End::Closed(reason)),
        () = connection.session_lost.notified() => Some(End::SessionLost),
    }
}

fn refresh_period(inner: &Inner) -> Duration {
    let hint = inner
        .lists
        .load()
        .as_ref()
        .and_then(|lists| lists.ttl_ms)
        .filter(|ttl| *ttl > 0);
    let period = hint.map_or(DEFAULT_REFRESH, |ttl| {
        Duration::from_millis(ttl).clamp(LEAST_REFRESH, DEFAULT_REFRESH)
    });
    jittered(period)
}
