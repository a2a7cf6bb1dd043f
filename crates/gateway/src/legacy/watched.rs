//! What a session hears of: changed lists, and the resources that it subscribed to (2025-11-25
//! `server/resources`, Subscriptions).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll};

use switchboard_orchestrator::Orchestrator;
use switchboard_orchestrator::catalogue::Watching;
use switchboard_orchestrator::hub::{Event, Filter, ListenError, Listener};
use switchboard_protocol::call::Sink;
use switchboard_protocol::json::quoted;

use super::events::EventLog;
use super::session::Session;

/// The most resources that a session may subscribe to: each change of them is a new listener.
const MAX_URIS: usize = 256;

/// Resources and the listener that hears of them.
#[derive(Default)]
pub(super) struct Watched {
    uris: BTreeSet<String>,
    /// Counts the changes of `uris`.
    version: u64,
    /// With the version of `uris` that it was made for.
    listener: Option<(u64, Listener)>,
    /// What it saw last, from before it began to listen.
    sight: Option<Box<Sight>>,
}

/// What a session sees, and of what.
struct Sight {
    watching: Watching,
    orchestrator: Orchestrator,
}

impl Sight {
    fn of(session: &Session, orchestrator: &Orchestrator) -> Self {
        let snapshot = orchestrator.catalogue().load();
        Self {
            watching: Watching::new(&snapshot, &session.principal(), session.profile()),
            orchestrator: orchestrator.clone(),
        }
    }

    fn is_news(&mut self, event: &Event) -> bool {
        let snapshot = self.orchestrator.catalogue().load();
        self.watching.is_news(&snapshot, event)
    }
}

/// What became of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There may be more.
    Open,
    /// The gateway is about to end.
    Closed,
}

/// What became of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscribed {
    /// The session hears of it.
    Open,
    /// It is hidden from the session's principal, which is told the same and hears nothing.
    Hidden,
}

/// Why a subscription cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CannotSubscribe {
    /// The client's fault.
    #[error("a session may subscribe to at most {MAX_URIS} resources")]
    TooMany,
    /// See [`ListenError`].
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Watched {
    fn filter(&self) -> Filter {
        Filter {
            tools: true,
            prompts: true,
            resources: true,
            uris: self.uris.iter().cloned().collect(),
        }
    }

    /// Writes what happened to the stream.
    fn hear(&mut self, context: &mut Context<'_>, log: &EventLog) -> Heard {
        let (Some((_, listener)), Some(sight)) = (&mut self.listener, &mut self.sight) else {
            return Heard::Open;
        };
        while let Poll::Ready(event) = listener.poll_next(context) {
            match event {
                Some(Event::Closed) | None => return Heard::Closed,
                Some(Event::ResourceUpdated(uri)) if !self.uris.contains(&*uri) => {}
                // It is of what others see.
                Some(event) if !sight.is_news(&event) => {}
                // One that finds no room is lost: the client has not read for long.
                Some(event) => {
                    log.offer(notification(&event).into());
                }
            }
        }
        Heard::Open
    }
}

fn notification(event: &Event) -> Vec<u8> {
    let (name, uri) = match event {
        Event::ToolsChanged => ("tools/list_changed", None),
        Event::PromptsChanged => ("prompts/list_changed", None),
        Event::ResourcesChanged => ("resources/list_changed", None),
        Event::ResourceUpdated(uri) => ("resources/updated", Some(uri)),
        // Nothing is said of the end.
        Event::Closed => return Vec::new(),
    };
    let mut out = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{name}\"").into_bytes();
    if let Some(uri) = uri {
        out.extend_from_slice(b",\"params\":{\"uri\":");
        out.extend_from_slice(&quoted(uri));
        out.push(b'}');
    }
    out.push(b'}');
    out
}

/// Writes what happened since to the session's own stream, and has the context woken when more
/// happens.
pub(super) fn hear(session: &Session, context: &mut Context<'_>) -> Heard {
    session.with_watched(|watched| watched.hear(context, session.outside()))
}

/// Has the session hear of changed lists, if it does not yet.
pub(super) async fn listen(
    session: &Arc<Session>,
    orchestrator: &Orchestrator,
) -> Result<(), ListenError> {
    if session.with_watched(|watched| watched.listener.is_some()) {
        return Ok(());
    }
    change(session, orchestrator, |_| {}).await
}

/// Adds a resource; returns when its server knows, or after a bounded wait.
pub(super) async fn subscribe(
    session: &Arc<Session>,
    orchestrator: &Orchestrator,
    uri: &str,
) -> Result<Subscribed, CannotSubscribe> {
    let profile = session.profile().map(|profile| &**profile);
    let is_hidden = {
        let snapshot = orchestrator.catalogue().load();
        snapshot.hides_resource(&session.principal(), profile, uri)
    };
    // Answered as one that nobody has, of which nothing is heard either.
    if is_hidden {
        return Ok(Subscribed::Hidden);
    }
    let is_full = session
        .with_watched(|watched| watched.uris.len() >= MAX_URIS && !watched.uris.contains(uri));
    if is_full {
        return Err(CannotSubscribe::TooMany);
    }
    let uri = uri.to_owned();
    let added = change(session, orchestrator, |uris| {
        uris.insert(uri.clone());
    })
    .await;
    if added.is_err() {
        session.with_watched(|watched| watched.uris.remove(&uri));
    }
    added?;
    Ok(Subscribed::Open)
}

/// Takes a resource away.
pub(super) async fn unsubscribe(
    session: &Arc<Session>,
    orchestrator: &Orchestrator,
    uri: &str,
) -> Result<(), CannotSubscribe> {
    if !session.with_watched(|watched| watched.uris.contains(uri)) {
        return Ok(());
    }
    change(session, orchestrator, |uris| {
        uris.remove(uri);
    })
    .await?;
    Ok(())
}

/// Changes the resources, and puts a listener that hears of the new set in the place of the old
/// one, unless a later change was quicker.
async fn change(
    session: &Arc<Session>,
    orchestrator: &Orchestrator,
    change: impl FnOnce(&mut BTreeSet<String>),
) -> Result<(), ListenError> {
    let (version, filter) = session.with_watched(|watched| {
        let sight = || Box::new(Sight::of(session, orchestrator));
        watched.sight.get_or_insert_with(sight);
        change(&mut watched.uris);
        watched.version += 1;
        (watched.version, watched.filter())
    });
    let listener = orchestrator.listen(&session.principal(), filter).await?;
    let replaced = session.with_watched(|watched| {
        if session.is_ended() || matches!(&watched.listener, Some((newer, _)) if *newer > version) {
            return Some(listener);
        }
        // What the old one was told is not lost: the new one may hear it again.
        watched.hear(
            &mut Context::from_waker(std::task::Waker::noop()),
            session.outside(),
        );
        watched
            .listener
            .replace((version, listener))
            .map(|(_, listener)| listener)
    });
    drop(replaced);
    // The new one has yet to learn whom to wake.
    session.outside().wake();
    Ok(())
}
