//! `subscriptions/listen`: a response that stays open (specification:
//! `basic/patterns/subscriptions`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use switchboard_orchestrator::catalogue::Watching;
use switchboard_orchestrator::hub::{Event, Filter, ListenError, Listener};
use switchboard_orchestrator::{Orchestrator, TaskNews};
use switchboard_protocol::call::{Call, Principal};
use switchboard_protocol::error::{ProtocolError, code};
use switchboard_protocol::json::quoted;
use switchboard_telemetry::GaugeGuard;
use tokio::time::{Instant, Sleep, sleep};

use super::decode::Rejection;
use super::respond;
use super::stream::{COMMENT, SILENCE, event};
use crate::access::AccessInForce;
use crate::audit::{Named, Subscriber, SubscriptionEnd};
use crate::endpoint::EndpointParts;

/// The filter as the client writes it, and as it is acknowledged.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_subscriptions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_ids: Option<Vec<String>>,
}

/// Opens the stream.
pub(crate) async fn respond(parts: &EndpointParts, call: &Call) -> Result<Response, Rejection> {
    let orchestrator = &parts.orchestrator;
    let request = &call.request;
    // A copy: the request's buffer may be large, and the stream may be open for days.
    let id = Bytes::copy_from_slice(&request.id_bytes());
    let reject = |status, error| Rejection {
        status,
        id: Some(id.clone()),
        error,
    };
    // serde would take an array for the fields in order.
    let filter = request
        .params
        .notifications
        .map(|span| request.slice(span))
        .filter(|raw| raw.starts_with(b"{"));
    let mut wanted: Wanted = match filter.map(serde_json::from_slice) {
        Some(Ok(wanted)) => wanted,
        _ => {
            let error = ProtocolError::invalid_params(
                "params.notifications is an object of toolsListChanged, promptsListChanged, resourcesListChanged (booleans), resourceSubscriptions (URIs) and taskIds",
            );
            return Err(reject(StatusCode::BAD_REQUEST, error));
        }
    };
    let hidden = leave_out_hidden(&mut wanted, orchestrator, call);
    let filter = Filter {
        tools: wanted.tools_list_changed,
        prompts: wanted.prompts_list_changed,
        resources: wanted.resources_list_changed,
        uris: wanted.resource_subscriptions.clone().unwrap_or_default(),
    };
    let watching = Watching::new(
        &orchestrator.catalogue().load(),
        &call.principal,
        call.profile.as_ref(),
    );
    let listened = orchestrator.listen(&call.principal, filter).await;
    note(parts, call, &wanted, &hidden, listened.as_ref().err());
    let listener = listened.map_err(|error| {
        let (status, error) = refused(error);
        reject(status, error)
    })?;
    let tasks = match wanted.task_ids.take() {
        None => None,
        Some(names) => {
            let news = orchestrator.listen_to_tasks(call, &names).await;
            Some(news.map_err(|error| reject(StatusCode::BAD_REQUEST, error))?)
        }
    };
    // Only what is told is agreed to (SEP-2663, Task Status Notifications).
    wanted.task_ids = tasks
        .as_ref()
        .map(|tasks| tasks.names().map(str::to_owned).collect::<Vec<_>>())
        .filter(|names| !names.is_empty());
    let mut stream = ListenStream {
        listener,
        watching,
        orchestrator: orchestrator.clone(),
        tasks,
        id,
        ready: VecDeque::new(),
        ended: false,
        silence: Box::pin(sleep(SILENCE)),
        access: Arc::clone(&parts.access),
        principal: Arc::clone(&call.principal),
        _counted: parts.metrics.listen_stream(),
    };
    let acknowledged = serde_json::to_vec(&wanted).unwrap_or_default();
    stream.notify(
        "subscriptions/acknowledged",
        b"\"notifications\":",
        &acknowledged,
    );
    Ok(respond::event_stream(Body::new(stream)))
}

/// Takes out of what is wanted the resources that the caller may not know of: they are neither agreed to
/// nor asked for. Answers with them.
fn leave_out_hidden(wanted: &mut Wanted, orchestrator: &Orchestrator, call: &Call) -> Vec<String> {
    let Some(uris) = &mut wanted.resource_subscriptions else {
        return Vec::new();
    };
    let snapshot = orchestrator.catalogue().load();
    let profile = call.profile.as_deref();
    let (hidden, shown) = std::mem::take(uris)
        .into_iter()
        .partition(|uri| snapshot.hides_resource(&call.principal, profile, uri));
    *uris = shown;
    hidden
}

/// Notes in the audit what was asked for, and whether it is told.
fn note(
    parts: &EndpointParts,
    call: &Call,
    wanted: &Wanted,
    hidden: &[String],
    error: Option<&ListenError>,
) {
    let Some(audit) = &parts.audit else { return };
    let lists = Named::lists([
        ("tools", wanted.tools_list_changed),
        ("prompts", wanted.prompts_list_changed),
        ("resources", wanted.resources_list_changed),
    ]);
    let uris = wanted.resource_subscriptions.iter().flatten();
    let end = error.map_or(SubscriptionEnd::Open, |error| (*error).into());
    let subscriber = Subscriber {
        method: call.method.as_str(),
        principal: &call.principal,
        profile: call.profile.as_ref(),
        protocol: Some(call.version.as_str()),
        session: None,
        peer: call.peer,
    };
    let watches = lists.and_uris(uris.map(String::as_str));
    let hidden = Named::default().and_uris(hidden.iter().map(String::as_str));
    audit.subscribed(&subscriber, watches, hidden, end);
}

/// What is said to a subscription that cannot be.
fn refused(error: ListenError) -> (StatusCode, ProtocolError) {
    let status = match error {
        ListenError::TooManyUris | ListenError::UriTooLong => {
            let error = ProtocolError::invalid_params(error.to_string());
            return (StatusCode::BAD_REQUEST, error);
        }
        ListenError::ShareFull => StatusCode::TOO_MANY_REQUESTS,
        ListenError::Full | ListenError::Closed => StatusCode::SERVICE_UNAVAILABLE,
    };
    let error = ProtocolError::new(code::INTERNAL_ERROR, error.to_string());
    (status, error)
}

/// One open subscription. It costs memory, not a task: the connection polls it.
struct ListenStream {
    listener: Listener,
    watching: Watching,
    orchestrator: Orchestrator,
    tasks: Option<TaskNews>,
    /// The id of the request as written, which is the subscription's.
    id: Bytes,
    ready: VecDeque<Bytes>,
    ended: bool,
    silence: Pin<Box<Sleep>>,
    access: AccessInForce,
    principal: Arc<Principal>,
    _counted: GaugeGuard,
}

impl ListenStream {
    /// Sends a notification that is tagged with the subscription; `key` and `value` are one more
    /// member.
    fn notify(&mut self, name: &str, key: &[u8], value: &[u8]) {
        let mut message =
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{name}\",\"params\":{{")
                .into_bytes();
        self.tag(&mut message);
        if !key.is_empty() {
            message.push(b',');
            message.extend_from_slice(key);
            message.extend_from_slice(value);
        }
        message.extend_from_slice(b"}}");
        event(message.into(), &mut self.ready);
    }

    fn tag(&self, message: &mut Vec<u8>) {
        message.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":");
        message.extend_from_slice(&self.id);
        message.push(b'}');
    }

    fn push(&mut self, happened: &Event) {
        match happened {
            Event::ToolsChanged => self.notify("tools/list_changed", b"", b""),
            Event::PromptsChanged => self.notify("prompts/list_changed", b"", b""),
            Event::ResourcesChanged => self.notify("resources/list_changed", b"", b""),
            Event::ResourceUpdated(uri) => {
                self.notify("resources/updated", b"\"uri\":", &quoted(uri));
            }
            Event::Closed => {
                let mut message = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
                message.extend_from_slice(&self.id);
                message.extend_from_slice(b",\"result\":{\"resultType\":\"complete\",");
                self.tag(&mut message);
                message.extend_from_slice(b"}}");
                event(message.into(), &mut self.ready);
                self.ended = true;
            }
        }
    }
}

impl hyper::body::Body for ListenStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                this.silence.as_mut().reset(Instant::now() + SILENCE);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            // Looked at whenever there may be something to say, a comment at the latest: who may not
            // call any more is told nothing either.
            let has_profile = this
                .watching
                .has_profile(&this.orchestrator.catalogue().load());
            let profile = this.watching.profile();
            let access = this.access.load();
            if !has_profile || !access.authenticator.knows(&this.principal, profile) {
                drop(access);
                this.push(&Event::Closed);
                continue;
            }
            match this.listener.poll_next(context) {
                Poll::Ready(Some(happened)) => {
                    let snapshot = this.orchestrator.catalogue().load();
                    if this.watching.is_news(&snapshot, &happened) {
                        drop(snapshot);
                        this.push(&happened);
                    }
                }
                Poll::Ready(None) => this.ended = true,
                Poll::Pending => {
                    if let Some(tasks) = &mut this.tasks
                        && let Poll::Ready(task) = tasks.poll_next(context)
                    {
                        this.notify("tasks", &task, b"");
                        continue;
                    }
                    ready!(this.silence.as_mut().poll(context));
                    this.ready.push_back(Bytes::from_static(COMMENT));
                }
            }
        }
    }
}
