//! What a client posts in its session.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use switchboard_protocol::call::{ClientSession, Payload};
use switchboard_protocol::envelope::{Envelope, Message, Response as Answered};
use switchboard_protocol::error::{ProtocolError, code};
use switchboard_protocol::header;
use switchboard_protocol::json::{JsonError, Scanner, Span};
use switchboard_protocol::method::LogLevel;
use switchboard_protocol::splice::may_have_task;
use switchboard_protocol::version::Version;

use super::attended::Attended;
use super::call::LegacyCall;
use super::clients::Agreed;
use super::events::{EventLog, First};
use super::session::{Refused, Session, Transport};
use super::tasks::{self, About};
use super::watched::{CannotSubscribe, Subscribed};
use super::{Caller, Inner, cannot_begin, handshake, listen_error, stream, translate, watched};
use crate::audit::{Named, Subscriber, SubscriptionEnd};
use crate::edge::decode::Rejection;
use crate::edge::respond::{self, Message as HttpMessage};

/// The most messages of one batch.
const MAX_BATCH: usize = 100;

/// Why a request is not begun, and the status that says it over HTTP.
type Refusal = (StatusCode, ProtocolError);

impl Inner {
    /// Begins a session.
    pub(super) async fn initialize(
        &self,
        caller: Caller<'_>,
        request: &Envelope,
    ) -> Result<Response, Rejection> {
        let agreed = handshake::agree(request)?;
        let version = agreed.version();
        self.orchestrator.first_moments().await;
        let session = self
            .sessions
            .begin(caller, Transport::Streamable, Some(agreed))
            .map_err(cannot_begin)?;
        let result = handshake::result(version, &self.orchestrator.catalogue().load(), &session);
        let mut response = respond::json(HttpMessage {
            status: StatusCode::OK,
            body: respond::enveloped(request.id(), "result", &result.into()),
        });
        if let Ok(id) = HeaderValue::from_str(session.sealed_id()) {
            response.headers_mut().insert(header::SESSION_ID, id);
        }
        Ok(response)
    }

    /// Takes one message.
    pub(super) async fn one(
        self: &Arc<Self>,
        session: &Arc<Session>,
        message: &Message,
        peer: Option<IpAddr>,
    ) -> Result<Response, Rejection> {
        let _in_use = session.in_use();
        let Some(request) = self.unless_request(session, message).await else {
            return Ok(respond::accepted());
        };
        let log = session.stream(1);
        let reader = log.read();
        let call = self
            .begin(session, &log, request, peer)
            .await
            .map_err(|(status, error)| Rejection {
                status,
                id: None,
                error,
            })?;
        let call = call.map(|call| Attended::new(|| call.run(), &self.tasks));
        let first = reader.first(call).await;
        Ok(match first {
            First::Stream(reader) => stream::response(reader, session, &self.metrics),
            First::Answers(mut answers) => match answers.pop() {
                Some(answer) => json(answer),
                // The client took its request back.
                None => respond::accepted(),
            },
        })
    }

    /// Takes a batch, which 2025-03-26 has and no other revision (2025-03-26 `basic/index`,
    /// Batching).
    pub(super) async fn batch(
        self: &Arc<Self>,
        session: &Arc<Session>,
        raw: &Bytes,
        peer: Option<IpAddr>,
    ) -> Result<Response, Rejection> {
        let version = session.agreed().map(Agreed::version);
        if version != Some(Version::V2025_03_26) {
            return Err(bad_batch(
                "batches are part of 2025-03-26 alone: send one message a request",
            ));
        }
        let messages = parse_batch(raw)?;
        let _in_use = session.in_use();
        let is_request = |message: &&Message| matches!(message, Message::Request(request) if request.is_request());
        let requests = messages.iter().filter(is_request).count();
        let log = session.stream(requests);
        let reader = log.read();
        for message in &messages {
            let Some(request) = self.unless_request(session, message).await else {
                continue;
            };
            self.begin_apart(session, &log, request, peer).await;
        }
        if requests == 0 {
            return Ok(respond::accepted());
        }
        Ok(match reader.first(None).await {
            First::Stream(reader) => stream::response(reader, session, &self.metrics),
            First::Answers(answers) if answers.is_empty() => respond::accepted(),
            First::Answers(answers) => json(array(answers)),
        })
    }

    /// Takes a message that asks for no answer; gives a request back.
    pub(super) async fn unless_request<'m>(
        &self,
        session: &Arc<Session>,
        message: &'m Message,
    ) -> Option<&'m Envelope> {
        match message {
            Message::Request(request) if request.is_request() => return Some(request),
            Message::Request(notification) => self.notified(session, notification).await,
            Message::Response(response) => answered(session, response),
        }
        None
    }

    async fn notified(&self, session: &Arc<Session>, notification: &Envelope) {
        match &*notification.method() {
            "notifications/cancelled" => {
                if let Some(id) = notification.params.request_id {
                    session.cancel_call(notification.slice(id));
                }
            }
            "notifications/roots/list_changed" => {
                self.orchestrator
                    .roots_changed(&session.principal().id, session.id())
                    .await;
            }
            // That it is initialized, its session knows from being used; its progress nobody asked
            // for; others are unknown.
            _ => {}
        }
    }

    /// Begins a request whose answer nobody waits for here: a call becomes a task, and a refusal is
    /// written to the stream.
    pub(super) async fn begin_apart(
        self: &Arc<Self>,
        session: &Arc<Session>,
        log: &Arc<EventLog>,
        request: &Envelope,
        peer: Option<IpAddr>,
    ) {
        match self.begin(session, log, request, peer).await {
            Ok(Some(call)) => self.tasks.spawn(call.run()),
            Ok(None) => {}
            Err((_, error)) => log.answer(error_answer(request, &error)),
        }
    }

    /// Begins a request: what concerns the session itself is answered at once, everything else is a
    /// call, to be run by whoever began it.
    async fn begin(
        self: &Arc<Self>,
        session: &Arc<Session>,
        log: &Arc<EventLog>,
        request: &Envelope,
        peer: Option<IpAddr>,
    ) -> Result<Option<Box<LegacyCall>>, Refusal> {
        let answered = match &*request.method_name() {
            b"ping" => Ok(()),
            b"initialize" => Err((
                StatusCode::BAD_REQUEST,
                ProtocolError::new(code::INVALID_REQUEST, "this session is initialized already"),
            )),
            b"logging/setLevel" => set_level(session, request),
            b"resources/subscribe" => self.subscribe(session, request, peer).await,
            b"resources/unsubscribe" => self.unsubscribe(session, request).await,
            _ => return self.call(session, log, request, peer),
        };
        match answered {
            Ok(()) => {
                let result = Bytes::from_static(b"{}").into();
                log.answer(respond::enveloped(request.id(), "result", &result));
                Ok(None)
            }
            Err((StatusCode::OK, error)) => {
                log.answer(error_answer(request, &error));
                Ok(None)
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn subscribe(
        &self,
        session: &Arc<Session>,
        request: &Envelope,
        peer: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let uri = uri_of(request)?;
        let subscribed = watched::subscribe(session, &self.orchestrator, &uri).await;
        if let Some(audit) = &self.audit {
            let end = match &subscribed {
                Ok(Subscribed::Open) => SubscriptionEnd::Open,
                Ok(Subscribed::Hidden) => SubscriptionEnd::Hidden,
                Err(CannotSubscribe::TooMany) => SubscriptionEnd::Invalid,
                Err(CannotSubscribe::Listen(error)) => (*error).into(),
            };
            let uri = Named::default().and_uris([&*uri]);
            let (watches, hidden) = match end {
                SubscriptionEnd::Hidden => (Named::default(), uri),
                _ => (uri, Named::default()),
            };
            let subscriber = Subscriber {
                method: "resources/subscribe",
                principal: &session.principal(),
                profile: session.profile(),
                protocol: Some(session.version().as_str()),
                session: Some(session.id()),
                peer,
            };
            audit.subscribed(&subscriber, watches, hidden, end);
        }
        subscribed.map(drop).map_err(cannot_subscribe)
    }

    async fn unsubscribe(&self, session: &Arc<Session>, request: &Envelope) -> Result<(), Refusal> {
        let uri = uri_of(request)?;
        let ended = watched::unsubscribe(session, &self.orchestrator, &uri).await;
        ended.map_err(cannot_subscribe)
    }

    fn call(
        self: &Arc<Self>,
        session: &Arc<Session>,
        log: &Arc<EventLog>,
        request: &Envelope,
        peer: Option<IpAddr>,
    ) -> Result<Option<Box<LegacyCall>>, Refusal> {
        let log_level = session.log_level();
        let agreed = session.agreed().ok_or_else(|| {
            (
                StatusCode::BAD_REQUEST,
                ProtocolError::new(code::INVALID_REQUEST, "begin with initialize"),
            )
        })?;
        let params = request.keys.params;
        let may_have_task = params.is_some_and(|params| may_have_task(request.slice(params)));
        let task = About::of(agreed.version(), request, may_have_task);
        let translated = match task {
            None => translate::request(request, &agreed.identity, Some(log_level), may_have_task),
            Some(about) => {
                let snapshot = self.orchestrator.catalogue().load();
                let profile = session.profile().map(|profile| &**profile);
                let tool = |name: &str| snapshot.tool_in(profile, name);
                tasks::request(about, request, &agreed.identity, Some(log_level), tool)
            }
        };
        let (method, modern) = match translated {
            Ok(translated) => translated,
            Err(error) => {
                log.answer(error_answer(request, &error));
                return Ok(None);
            }
        };
        let id = request.id_bytes();
        let place = self
            .places
            .take(&session.principal())
            .ok_or_else(|| refusal(Refused::TooManyInAll))?;
        let guard = session.begin_call(id.clone(), log).map_err(refusal)?;
        Ok(Some(Box::new(LegacyCall {
            edge: Arc::clone(self),
            session: Arc::clone(session),
            guard,
            _place: place,
            log: Arc::clone(log),
            peer,
            id,
            method,
            request: modern,
            log_level,
            task,
        })))
    }
}

/// The resource that a request names.
fn uri_of(request: &Envelope) -> Result<Cow<'_, str>, Refusal> {
    request.text(request.params.uri).ok_or_else(|| {
        (
            StatusCode::OK,
            ProtocolError::invalid_params("params.uri is missing or no string"),
        )
    })
}

fn cannot_subscribe(error: CannotSubscribe) -> Refusal {
    match error {
        CannotSubscribe::TooMany => (
            StatusCode::OK,
            ProtocolError::invalid_params(error.to_string()),
        ),
        CannotSubscribe::Listen(error) => listen_error(error),
    }
}

fn refusal(refused: Refused) -> Refusal {
    let (status, code) = match refused {
        Refused::SameId => (StatusCode::BAD_REQUEST, code::INVALID_REQUEST),
        Refused::TooMany | Refused::TooManyInAll => {
            (StatusCode::SERVICE_UNAVAILABLE, code::INTERNAL_ERROR)
        }
    };
    (status, ProtocolError::new(code, refused.to_string()))
}

/// Gives an answer to whoever asked. One that nobody waits for is normal, since questions are taken
/// back; nobody else can be given it, for questions are the session's.
fn answered(session: &Session, response: &Answered) {
    let Some(id) = response.id_number() else {
        return;
    };
    let part = |span: Span| Bytes::copy_from_slice(response.slice(span));
    let answer = match (response.result, response.error) {
        (Some(result), _) => Ok(part(result)),
        (None, Some(error)) => Err(part(error)),
        (None, None) => return,
    };
    if !session.answered(id, answer) {
        tracing::debug!(id, "an answer to what was not asked, or is no longer");
    }
}

fn set_level(session: &Session, request: &Envelope) -> Result<(), Refusal> {
    let level = request.text(request.params.level);
    let level = level.as_deref().and_then(LogLevel::parse).ok_or_else(|| {
        (
            StatusCode::OK,
            ProtocolError::invalid_params(
                "params.level is not one of the eight levels, debug to emergency",
            ),
        )
    })?;
    session.set_log_level(level);
    Ok(())
}

fn parse_batch(raw: &Bytes) -> Result<Vec<Message>, Rejection> {
    let items = items(raw).map_err(|_| {
        Rejection::new(
            StatusCode::BAD_REQUEST,
            code::PARSE_ERROR,
            "not a JSON array",
        )
    })?;
    let items = items.filter(|items| !items.is_empty());
    let items = items.ok_or_else(|| bad_batch("a batch has 1 to 100 messages"))?;
    let mut messages = Vec::with_capacity(items.len());
    for item in items {
        let message = Message::parse(raw.slice(item.range()))
            .map_err(|error| bad_batch(error.to_string()))?;
        if let Message::Request(request) = &message
            && request.method() == "initialize"
        {
            return Err(bad_batch("initialize is not part of a batch"));
        }
        messages.push(message);
    }
    Ok(messages)
}

/// Where the items of an array are; `None` if there are more than a batch may have.
fn items(raw: &[u8]) -> Result<Option<Vec<Span>>, JsonError> {
    let mut scanner = Scanner::new(raw)?;
    scanner.enter_array()?;
    let (mut items, mut first) = (Vec::new(), true);
    while scanner.next_item(&mut first)? {
        if items.len() == MAX_BATCH {
            return Ok(None);
        }
        items.push(scanner.value()?);
    }
    scanner.end()?;
    Ok(Some(items))
}

fn bad_batch(message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, code::INVALID_REQUEST, message)
}

pub(super) fn error_answer(request: &Envelope, error: &ProtocolError) -> Payload {
    respond::enveloped(request.id(), "error", &error.to_json().into())
}

fn json(body: Payload) -> Response {
    respond::json(HttpMessage {
        status: StatusCode::OK,
        body,
    })
}

fn array(answers: Vec<Payload>) -> Payload {
    let mut body = Payload::default();
    for (index, answer) in answers.into_iter().enumerate() {
        let before = if index == 0 { "[" } else { "," };
        body.push(Bytes::from_static(before.as_bytes()));
        for segment in answer.into_segments() {
            body.push(segment);
        }
    }
    body.push(Bytes::from_static(b"]"));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_looked_at_no_further_than_it_may_reach() {
        let of = |text: &str| items(text.as_bytes()).map(|items| items.map(|items| items.len()));
        assert_eq!(of(" [ {} , [1,2] ] "), Ok(Some(2)));
        assert_eq!(of("[]"), Ok(Some(0)));
        let many = format!("[{}1]", "1,".repeat(MAX_BATCH));
        assert_eq!(of(&many), Ok(None));
        for bad in ["[1,]", "[1", "[1]2", "{}", "[\u{1}]"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
