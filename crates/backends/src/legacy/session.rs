//! What a legacy session remembers, and what its server is told apart from calls.

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::json;
use switchboard_protocol::method::LogLevel;
use tokio::sync::watch;
use tokio::time::timeout;

use super::relay::Relay;
use crate::connect::Connection;
use crate::link::mux::{GIVEN_UP_MEMORY, cancellation};
use crate::link::watch::{Asked, Hear, Watch, deliver_to_only};
use crate::link::{Link, LinkError, next_id};
use crate::message;
use crate::pause::Pause;

/// How long the first call that wants logs, or may be asked something, waits for the stream that may
/// carry them.
const LISTENING_WAIT: Duration = Duration::from_secs(2);
/// How long an answer is held back for logs on another stream, if there were some before it.
const LATE_LOGS: Duration = Duration::from_millis(50);
/// How long a small request of the gateway's own may take.
const SMALL_REQUEST: Duration = Duration::from_secs(10);

/// What a legacy session remembers.
pub(crate) struct Session {
    /// The way to the legacy client that the session belongs to, if it belongs to one.
    relay: Option<Arc<Relay>>,
    /// The least severe level that the server was asked to log. One level holds for the whole
    /// session, so it is only ever lowered; what a call did not ask for is dropped on the way.
    log_level: Mutex<Option<LogLevel>>,
    /// The calls in flight over HTTP, by request id: some servers log on a stream that names no
    /// request.
    calls: Mutex<HashMap<u64, OverHttp, RandomState>>,
    /// When a call was last given up: the server may still work on it and log.
    given_up: Mutex<Option<Instant>>,
    /// Whether the stream that belongs to no request was opened, or found not to be there.
    listening: watch::Sender<bool>,
    /// Whether the server asked something on that stream while a call was in flight, in this
    /// session or another of its pool.
    asks_elsewhere: Arc<AtomicBool>,
}

/// A call over HTTP.
struct OverHttp {
    watch: Watch,
    /// Whether the server has logged for it on a stream that names no request.
    logged: bool,
}

/// A call over HTTP that is noted in its session. Unless it was answered, the server is told when this is
/// dropped that nobody waits: closing the stream does not say so before 2026-07-28.
pub(crate) struct NotedCall {
    connection: Arc<Connection>,
    id: u64,
    progress: Progress,
}

/// How far the server is with a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It works on it.
    Working,
    /// It has begun to answer, so it neither logs nor asks any more.
    Answering,
    Answered,
}

impl NotedCall {
    /// Notes a call; `watch` hears what is said elsewhere than on its own stream. None over other links,
    /// where all is said in one place.
    pub(crate) fn enter(connection: &Arc<Connection>, id: u64, watch: Watch) -> Option<Self> {
        let (Link::Http(_), Some(session)) = (&connection.link, &connection.legacy) else {
            return None;
        };
        let call = OverHttp {
            watch,
            logged: false,
        };
        session.calls.lock().insert(id, call);
        Some(Self {
            connection: Arc::clone(connection),
            id,
            progress: Progress::Working,
        })
    }

    /// The server answers; `is_done`: it has. If it logs elsewhere than on the call's own stream, waits
    /// for what it logged last: the answer may have come first. From then on nothing that is said
    /// elsewhere is this call's.
    pub(crate) async fn answers(&mut self, is_done: bool) {
        self.progress = match is_done {
            true => Progress::Answered,
            false => Progress::Answering,
        };
        let logged = self.connection.legacy.as_ref().is_some_and(|session| {
            let calls = session.calls.lock();
            calls.get(&self.id).is_some_and(|call| call.logged)
        });
        if logged {
            tokio::time::sleep(LATE_LOGS).await;
        }
        self.forget();
    }

    /// The server is done with it.
    pub(crate) fn answered(mut self) {
        self.progress = Progress::Answered;
    }

    fn forget(&self) {
        if let Some(session) = &self.connection.legacy {
            // Dropped when the books are free again: it may be the last that knows of the call.
            let _call = session.calls.lock().remove(&self.id);
        }
    }
}

impl Drop for NotedCall {
    fn drop(&mut self) {
        self.forget();
        let (Link::Http(http), Some(session)) = (&self.connection.link, &self.connection.legacy)
        else {
            return;
        };
        if self.progress == Progress::Working {
            *session.given_up.lock() = Some(Instant::now());
        }
        if self.progress != Progress::Answered {
            http.notify_later(self.connection.wire.clone(), cancellation(self.id));
        }
    }
}

impl Session {
    pub(crate) fn new(relay: Option<Arc<Relay>>) -> Self {
        Self {
            relay,
            log_level: Mutex::default(),
            calls: Mutex::default(),
            given_up: Mutex::default(),
            listening: watch::Sender::default(),
            asks_elsewhere: Arc::default(),
        }
    }

    fn opened_or_given_up(&self) {
        self.listening.send_replace(true);
    }

    /// Has it noted there if the server asks during calls on a stream that names none. To be called
    /// before that stream is opened.
    pub(crate) fn note_asking_elsewhere(&mut self, asks_elsewhere: &Arc<AtomicBool>) {
        self.asks_elsewhere = Arc::clone(asks_elsewhere);
    }

    /// Whether a call was given up lately that the server may still work on.
    fn may_hear_of_given_up(&self) -> bool {
        let given_up = *self.given_up.lock();
        given_up.is_some_and(|since| since.elapsed() < GIVEN_UP_MEMORY)
    }

    /// The way to the legacy client that the session belongs to: what the server asks outside of
    /// any call is relayed to it, and to nobody where there is none.
    pub(crate) fn relay(&self) -> Option<&Arc<Relay>> {
        self.relay.as_ref()
    }
}

/// Whom a server asks that does not say for which call: the only call in flight, or the client that
/// the session belongs to, of whose calls any will do.
pub(crate) fn attribute<'w>(
    mut calls: impl Iterator<Item = &'w mut Watch>,
    given_up: bool,
    relay: Option<&Arc<Relay>>,
    request: &Envelope,
) -> Asked {
    if let Some(relay) = relay {
        let mut calls = calls.filter(|call| call.may_be_asked());
        return match (calls.next(), calls.next()) {
            (Some(only), None) => only.asked(request),
            (Some(any), Some(_)) => any.asked_perhaps(request),
            (None, _) => Asked::Relay(Arc::clone(relay)),
        };
    }
    match (calls.next(), calls.next()) {
        // What a call asks that was given up is not for the next one.
        (Some(only), None) if !given_up => only.asked(request),
        _ => Watch::deaf().asked(request),
    }
}

/// Hears logs and questions on a stream that belongs to no request.
impl Hear for &Session {
    fn hear(&mut self, notification: &Envelope) -> bool {
        if notification.method() != "notifications/message" || self.may_hear_of_given_up() {
            return false;
        }
        let mut calls = self.calls.lock();
        let watches = calls.values_mut().map(|call| &mut call.watch);
        let heard = deliver_to_only(watches, notification) == Some(true);
        if heard {
            calls.values_mut().for_each(|only| only.logged = true);
        }
        heard
    }

    fn asked(&mut self, request: &Envelope) -> Asked {
        let given_up = self.may_hear_of_given_up();
        let mut calls = self.calls.lock();
        if !calls.is_empty() {
            self.asks_elsewhere.store(true, Ordering::Relaxed);
        }
        let watches = calls.values_mut().map(|call| &mut call.watch);
        attribute(watches, given_up, self.relay(), request)
    }

    fn withdrawn(&mut self, notification: &Envelope) -> bool {
        let mut calls = self.calls.lock();
        calls
            .values_mut()
            .any(|call| call.watch.withdrawn(notification))
    }

    fn aside(&mut self, notification: &Envelope) {
        if let Some(relay) = &self.relay {
            relay.tell(notification);
        }
    }

    fn opened(&mut self) {
        self.opened_or_given_up();
    }
}

/// Waits until the stream that belongs to no request is open, or was found not to be there. Some
/// servers log and ask there, and what they say before it is open is lost.
pub(crate) async fn until_heard(connection: &Connection) {
    let (Link::Http(_), Some(session)) = (&connection.link, &connection.legacy) else {
        return;
    };
    let mut listening = session.listening.subscribe();
    let waited = timeout(LISTENING_WAIT, listening.wait_for(|listening| *listening)).await;
    if waited.is_err() {
        // A server that keeps the stream's head to itself is waited for once, not at every call.
        session.opened_or_given_up();
    }
}

/// Has the server log at least what a call asks for (2025-11-25: `server/utilities/logging`).
pub(crate) async fn ensure_log_level(connection: &Connection, wanted: Option<LogLevel>) {
    let (Some(session), Some(wanted)) = (&connection.legacy, wanted) else {
        return;
    };
    if !connection.server.features.logging {
        return;
    }
    if session
        .log_level
        .lock()
        .is_some_and(|level| level <= wanted)
    {
        return;
    }
    let params = format!("\"level\":\"{}\"", wanted.as_str());
    if request(connection, "logging/setLevel", &params)
        .await
        .is_ok()
    {
        let mut level = session.log_level.lock();
        *level = Some(level.map_or(wanted, |level| level.min(wanted)));
    }
}

/// Subscribes to a resource, or ends that.
pub(crate) async fn subscribe(
    connection: &Connection,
    uri: &str,
    subscribe: bool,
) -> Result<(), LinkError> {
    let mut params = b"\"uri\":".to_vec();
    json::write_str(&mut params, uri);
    let method = if subscribe {
        "resources/subscribe"
    } else {
        "resources/unsubscribe"
    };
    request(connection, method, &String::from_utf8_lossy(&params)).await
}

async fn request(
    connection: &Connection,
    method: &'static str,
    params: &str,
) -> Result<(), LinkError> {
    let out = message::own(method, next_id(), "", params);
    let answer = connection
        .link
        .request(&connection.wire, out, Watch::deaf());
    match timeout(SMALL_REQUEST, answer).await {
        Ok(Ok(response)) if response.result.is_some() => Ok(()),
        Ok(Ok(response)) => Err(LinkError::Invalid(format!(
            "error {}",
            response.error_code().unwrap_or_default()
        ))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(LinkError::Lost(format!("no answer to {method}"))),
    }
}

/// Reads what the server says outside of any call, until the session is gone. Servers without such
/// a stream say nothing.
pub(crate) async fn listen(connection: &Connection) -> LinkError {
    let (Link::Http(http), Some(session)) = (&connection.link, &connection.legacy) else {
        return std::future::pending().await;
    };
    let mut pause = Pause::default();
    loop {
        let opened = tokio::time::Instant::now();
        match http.listen(&connection.wire, &mut &*session).await {
            Ok(false) => return std::future::pending().await,
            Err(error) if connection.wire.lost_by(&error) => return error,
            Ok(true) | Err(_) => {}
        }
        // A stream that lasted was good; one that ends at once is not worth a busy loop.
        tokio::time::sleep(pause.after(opened.elapsed())).await;
    }
}
