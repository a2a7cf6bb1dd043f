//! Playing the script of one request, with the fault that the test wants.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use http::StatusCode;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::exchange::{events, json, plain};
use super::{Behaviour, Fault, Form, InFlight, Shared, Transport, full};
use crate::fake::{End, Incoming, error};
use crate::serving;

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Play {
    shared: Arc<Shared>,
    steps: VecDeque<(Duration, String)>,
    end: Option<End>,
    behaviour: Behaviour,
    streamed: bool,
    is_initialize: bool,
    in_flight: InFlight,
    cancel: CancellationToken,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Notification(String),
    Answer(String),
    /// The connection ends without an answer.
    Break,
}

impl Play {
    /// Begins to answer a request. `cancel` is given where a notification may cancel it.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        request: &Incoming<'_>,
        session_logs: bool,
        cancel: Option<CancellationToken>,
    ) -> Self {
        let script = shared
            .content
            .script(request, &shared.facts(), session_logs);
        let mut behaviour = shared.behaviour();
        let is_call = request.method.as_deref() == Some("tools/call");
        if !is_call && !behaviour.fault_everywhere {
            behaviour.fault = None;
        }
        let end = match behaviour.fault {
            Some(Fault::NeverAnswers) => End::Never,
            _ => script.end,
        };
        Self {
            shared: Arc::clone(shared),
            steps: script.steps.into(),
            end: Some(end),
            behaviour,
            streamed: match behaviour.form {
                Form::AsNeeded => request.wants_news() || session_logs,
                Form::Json => false,
                Form::EventStream => true,
            },
            is_initialize: request.method.as_deref() == Some("initialize"),
            in_flight: InFlight::begin(shared),
            cancel: cancel.unwrap_or_default(),
        }
    }

    /// What comes next, when its time has come; `None` after the answer.
    async fn next(&mut self) -> Option<Next> {
        if let Some((pause, notification)) = self.steps.pop_front() {
            sleep(pause + self.shared.extra_pause()).await;
            return Some(Next::Notification(notification));
        }
        let next = match self.end.take()? {
            End::Answer(pause, message) => {
                sleep(pause + self.shared.extra_pause()).await;
                Next::Answer(self.distorted(message))
            }
            End::Never => {
                self.cancel.cancelled().await;
                Next::Break
            }
            End::Exit(_) => Next::Break,
        };
        self.in_flight.finish();
        Some(next)
    }

    /// As [`Play::next`]; a cancelled request breaks off.
    async fn next_unless_cancelled(&mut self) -> Option<Next> {
        let cancel = self.cancel.clone();
        tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            next = self.next() => next,
        }
    }

    fn distorted(&self, message: String) -> String {
        match self.behaviour.fault {
            Some(Fault::Garbage) => "<html>this is not JSON".to_owned(),
            Some(Fault::WrongId) => error("987654321987", -32603, "An answer for somebody else"),
            Some(Fault::Huge(bytes)) => {
                let padding = "a".repeat(bytes);
                message.replacen(
                    r#""result":{"#,
                    &format!(r#""result":{{"padding":"{padding}","#),
                    1,
                )
            }
            _ => message,
        }
    }

    /// The status of an answer as JSON: modern servers tell some errors by it too.
    fn status(&self, message: &str) -> StatusCode {
        if self.shared.transport != Transport::Modern {
            StatusCode::OK
        } else if message.contains(r#""error":{"code":-32601"#) {
            StatusCode::NOT_FOUND
        } else if message.contains(r#""error":{"code":-3202"#) {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        }
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        // Tells the session that nothing is left to cancel.
        self.cancel.cancel();
    }
}

/// Answers on the response of the request itself.
pub(super) async fn play_as_response(mut play: Play) -> Response {
    if let Some(Fault::Status(status)) = play.behaviour.fault {
        play.in_flight.finish();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return plain(status, "a fault");
    }
    // The session of an initialize goes with the head of its answer; either form would do.
    if play.streamed && !play.is_initialize {
        return play_as_events(play);
    }
    loop {
        match play.next_unless_cancelled().await {
            Some(Next::Notification(_)) => {}
            Some(Next::Answer(message)) => return as_json(&play, message),
            Some(Next::Break) => return broken(Bytes::new()),
            // Nobody waits for the answer of a cancelled request.
            None => break,
        }
    }
    drop(play);
    pending().await
}

fn as_json(play: &Play, message: String) -> Response {
    match play.behaviour.fault {
        Some(Fault::DropMidAnswer) => broken(half(&message)),
        Some(Fault::WrongContentType) => {
            serving::answer(StatusCode::OK, "text/html", full(message))
        }
        _ => json(play.status(&message), message),
    }
}

/// An answer whose connection breaks after these bytes.
fn broken(bytes: Bytes) -> Response {
    let parts = stream::unfold(Some(bytes), |bytes| async move {
        let part = match bytes {
            Some(bytes) if !bytes.is_empty() => Ok(bytes),
            _ => Err(flush_and_break().await),
        };
        Some((part, None))
    });
    serving::answer(StatusCode::OK, "application/json", Body::from_stream(parts))
}

/// The end of a connection, after what was written has been sent: hyper sends it once the body is
/// not ready with more.
async fn flush_and_break() -> io::Error {
    tokio::task::yield_now().await;
    io::Error::other("broken on purpose")
}

fn half(message: &str) -> Bytes {
    Bytes::copy_from_slice(&message.as_bytes()[..message.len() / 2])
}

fn play_as_events(play: Play) -> Response {
    let wrong_type = play.behaviour.fault == Some(Fault::WrongContentType);
    // Carries what broke the stream over to the moment after its last bytes.
    let body = stream::unfold((play, false), |(mut play, broke)| async move {
        if broke {
            return Some((Err(flush_and_break().await), (play, true)));
        }
        let event = |message: &str| Bytes::from(format!("event: message\ndata: {message}\n\n"));
        let next = match play.next_unless_cancelled().await? {
            Next::Notification(message) => (Ok(event(&message)), (play, false)),
            Next::Answer(message) if play.behaviour.fault == Some(Fault::DropMidAnswer) => {
                (Ok(half(&format!("data: {message}"))), (play, true))
            }
            Next::Answer(message) => (Ok(event(&message)), (play, false)),
            Next::Break => (Err(flush_and_break().await), (play, true)),
        };
        Some(next)
    });
    let body = Body::from_stream(body);
    if wrong_type {
        return serving::answer(StatusCode::OK, "text/html", body);
    }
    events(body)
}

/// Answers in the event stream of a session.
pub(super) async fn play_into_stream(mut play: Play, stream: mpsc::Sender<String>) {
    while let Some(next) = play.next_unless_cancelled().await {
        let message = match next {
            Next::Notification(message) | Next::Answer(message) => message,
            Next::Break => return,
        };
        if stream.send(message).await.is_err() {
            return;
        }
    }
}
