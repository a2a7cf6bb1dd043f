//! The legacy edge: what 2025-11-25 and older need besides the messages themselves (2025-11-25:
//! `basic/lifecycle`).
//!
//! The handshake, what a session remembers and what its server is told apart from calls are here.
//! What is not: the form of a legacy call (`message`), the session's header (`link::http`), the
//! second try of a call whose session was lost (`attempt`), and the HTTP+SSE transport
//! (`link::http_sse`).

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use switchboard_protocol::call::Call;
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::json;
use switchboard_protocol::method::LogLevel;
use switchboard_protocol::splice::member;
use switchboard_protocol::version::Version;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::connect::{Agreed, Connection, describe};
use crate::link::http::HttpLink;
use crate::link::mux::GIVEN_UP_MEMORY;
use crate::link::watch::{Hear, Watch, deliver_to_only};
use crate::link::{Link, LinkError, Wire, next_id};
use crate::message;
use crate::pause::Pause;

/// How long the first call that wants logs waits for the stream that may carry them.
const LISTENING_WAIT: Duration = Duration::from_secs(2);
/// How long a small request of the gateway's own may take.
const SMALL_REQUEST: Duration = Duration::from_secs(10);

/// What a legacy session remembers.
#[derive(Default)]
pub(crate) struct Session {
    /// The least severe level that the server was asked to log. One level holds for the whole
    /// session, so it is only ever lowered; what a call did not ask for is dropped on the way.
    log_level: Mutex<Option<LogLevel>>,
    /// The calls in flight over HTTP, by request id: some servers log on a stream that names no
    /// request.
    calls: Mutex<HashMap<u64, Watch>>,
    /// When a call was last given up: the server may still work on it and log.
    given_up: Mutex<Option<Instant>>,
    /// Whether the stream that belongs to no request was opened, or found not to be there.
    listening: watch::Sender<bool>,
}

/// Takes a call off the books of its session.
pub(crate) struct InFlight<'s> {
    session: &'s Session,
    id: u64,
    answered: bool,
}

impl InFlight<'_> {
    /// The server is done with it.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Session {
    /// Notes a call for as long as what is returned lives.
    pub(crate) fn enter(&self, id: u64, call: &Call) -> InFlight<'_> {
        self.calls.lock().insert(id, Watch::logs_of(call, id));
        InFlight {
            session: self,
            id,
            answered: false,
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.session.calls.lock().remove(&self.id);
        if !self.answered {
            *self.session.given_up.lock() = Some(Instant::now());
        }
    }
}

/// Hears logs on a stream that belongs to no request.
impl Hear for &Session {
    fn hear(&mut self, notification: &Envelope) -> bool {
        let given_up = self
            .given_up
            .lock()
            .is_some_and(|since| since.elapsed() < GIVEN_UP_MEMORY);
        notification.method() == "notifications/message"
            && !given_up
            && deliver_to_only(self.calls.lock().values_mut(), notification) == Some(true)
    }

    fn opened(&mut self) {
        self.listening.send_replace(true);
    }
}

/// The handshake of a session that many share, and which for that reason declares no capability:
/// what the server would ask could not be told whom to ask. Takes as long as the server does: the
/// deadline is that of connecting as a whole.
pub(crate) async fn initialize(link: &Link) -> Result<Agreed, LinkError> {
    let params = format!(
        "\"protocolVersion\":\"{}\",\"capabilities\":{{}},\"clientInfo\":{{\"name\":\"switchboard\",\"version\":\"{}\"}}",
        Version::LATEST_LEGACY.as_str(),
        env!("CARGO_PKG_VERSION")
    );
    let out = message::own("initialize", next_id(), "", &params);
    // The version is not agreed yet, so no header names it; 2024-11-05 had none.
    let mut wire = Wire {
        version: Version::V2024_11_05,
        session: None,
    };
    let (response, session) = match link {
        Link::Http(http) => http.request_with_session(&wire, out, Watch::deaf()).await?,
        Link::Mux(mux) => (mux.request(out, Watch::deaf()).await?, None),
    };
    let Some(result) = response.result.map(|span| response.slice(span)) else {
        let code = response.error_code().unwrap_or_default();
        return Err(LinkError::Invalid(format!(
            "it refuses the handshake with error {code}"
        )));
    };
    let version = member(result, "protocolVersion").and_then(json::as_str);
    wire.version = version
        .and_then(|version| Version::parse(&version))
        .filter(|version| !version.is_modern())
        .ok_or_else(|| {
            LinkError::Invalid(
                "it speaks a version of the protocol that the gateway does not".to_owned(),
            )
        })?;
    wire.session = session;
    let server = describe(result, wire.version);
    if let Link::Mux(mux) = link {
        mux.speak_legacy();
    }
    link.notify(
        &wire,
        (&b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"[..]).into(),
    )
    .await?;
    Ok(Agreed {
        wire,
        server,
        legacy: Some(Session::default()),
    })
}

/// Has the server log at least what a call asks for (2025-11-25: `server/utilities/logging`).
pub(crate) async fn ensure_log_level(connection: &Connection, wanted: Option<LogLevel>) {
    let (Some(session), Some(wanted)) = (&connection.legacy, wanted) else {
        return;
    };
    if !connection.server.features.logging {
        return;
    }
    // Some servers log on the stream that belongs to no request: what they say before it is open is
    // lost.
    if matches!(connection.link, Link::Http(_)) {
        let mut listening = session.listening.subscribe();
        let _ = timeout(LISTENING_WAIT, listening.wait_for(|listening| *listening)).await;
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

/// Tells the server that a call over HTTP is not waited for any more. Closing the stream does not
/// say so before 2026-07-28.
pub(crate) fn cancel_on_drop(http: HttpLink, wire: Wire, id: u64) -> CancelOnDrop {
    CancelOnDrop {
        told: Some((http, wire, id)),
    }
}

/// See [`cancel_on_drop`].
pub(crate) struct CancelOnDrop {
    told: Option<(HttpLink, Wire, u64)>,
}

impl CancelOnDrop {
    /// The call was answered: nothing to cancel.
    pub(crate) fn disarm(mut self) {
        self.told = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some((http, wire, id)) = self.told.take() {
            http.notify_later(wire, crate::link::mux::cancellation(id));
        }
    }
}
