//! Tasks (SEP-2663): how a call that is answered later is found again.
//!
//! The client gets a sealed token in the place of the server's own identifier of a task. It names
//! the backend and the tool, and opens only for the principal that made the call, in its profile; what comes
//! back leads home, from any replica and after a restart. Of the tool the policy in force is asked
//! again with every request ([`policy`]). An identifier that does not open, or whose tool is hidden
//! by now, is answered as a server answers for a task that it does not have: whether somebody else
//! has it stays unknown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchboard_backends::{Answer, RequestState, Rewrite, Take};
use switchboard_protocol::call::{Call, Completed, Deadline, Outcome};
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason, code};
use switchboard_protocol::extension;
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::millis;
use switchboard_protocol::splice::{Splice, member};
use switchboard_protocol::token::{Binding, Purpose, Sealer, digest};
use switchboard_telemetry::CallSpan;
use tokio::time::Instant;

use crate::catalogue::Snapshot;
use crate::clock::now_ms;
use crate::delivery;
use crate::delivery::notifications::{give_sink_back, hearing, redact_notifications};
use crate::dispatch::admit;
use crate::home::Home;
use crate::orchestrator::Inner;
use crate::replicas::replica_away;
use crate::results::{Addresses, SealedAt, undeclared};

mod policy;
#[cfg(test)]
mod tests;

use policy::has_result;

/// The least and the longest time that a task can be asked for after it was created. What its
/// server says of its life may change while it lives, and the token cannot.
const MIN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The most tasks that one stream of news may name.
pub(crate) const MAX_LISTENED: usize = 100;
/// The longest identifier of a server's that is passed on, in bytes: it travels in a header.
const MAX_ID_LEN: usize = 2 * 1024;

/// A task of a backend.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Clone)]
pub(crate) struct Task {
    /// Who has it.
    pub(crate) home: Home,
    /// The tool that was called, by the name that policies know it by.
    pub(crate) tool: String,
    /// The backend's own identifier.
    pub(crate) id: String,
}

/// Seals a task for the principal and profile of this call. `ttl_ms` is how long the server keeps it; `None`: for ever.
///
/// # Errors
/// If the server's identifier is too long, or there is no entropy.
pub(crate) fn seal(
    sealer: &Sealer,
    call: &Call,
    task: &Task,
    ttl_ms: Option<u64>,
) -> Result<String, String> {
    if task.id.len() > MAX_ID_LEN {
        return Err("the identifier of its task is too long".to_owned());
    }
    let life = ttl_ms.map_or(MAX_LIFETIME, Duration::from_millis);
    let life = life.clamp(MIN_LIFETIME, MAX_LIFETIME);
    let expires = now_ms().saturating_add(millis(life));
    let payload = format!("{}\0{}\0{}", task.home, task.tool, task.id);
    sealer
        .seal(Purpose::Task, &binding(call), expires, payload.as_bytes())
        .map_err(|error| error.to_string())
}

/// Opens what a client calls a task; `None` for anything but a token that was given to this
/// principal in this profile and has not expired.
pub(crate) fn open(sealer: &Sealer, call: &Call, token: &str) -> Option<Task> {
    let payload = sealer
        .open(Purpose::Task, &binding(call), now_ms(), token)
        .ok()?;
    let payload = String::from_utf8(payload).ok()?;
    let (home, rest) = payload.split_once('\0')?;
    let (tool, id) = rest.split_once('\0')?;
    Some(Task {
        home: Home::parse(home),
        tool: tool.to_owned(),
        id: id.to_owned(),
    })
}

fn binding(call: &Call) -> Binding<'_> {
    Binding {
        principal: &call.principal.id,
        // Of what names a tool as well: what was sealed without one opens no more.
        request: match &call.profile {
            None => digest(&[b"tool"]),
            Some(profile) => digest(&[b"tool", b"profile", profile.as_bytes()]),
        },
    }
}

impl Inner {
    /// A request of the tasks extension: goes to the backend that has the task.
    pub(crate) async fn call_of_task(
        &self,
        call: &mut Call,
        span: &CallSpan,
    ) -> Result<Outcome, CallError> {
        let began = Instant::now();
        let snapshot = self.catalogue.load_full();
        let token = call.target().ok_or_else(|| {
            ProtocolError::invalid_params("params.taskId is missing or no string")
        })?;
        let token = token.into_owned();
        let task = open(&self.sealer, call, &token);
        if task.is_none() && !snapshot.may_have(extension::TASKS) {
            return Err(ProtocolError::method_not_found().into());
        }
        if !call.declares(extension::TASKS) {
            return Err(undeclared_extension().into());
        }
        let (task, backend) = task
            .filter(|task| task.is_shown_or_reported(&snapshot, call))
            .and_then(|task| {
                let backend = self.backends.get(&task.home.backend)?;
                Some((task, backend))
            })
            .ok_or_else(unknown)?;
        if task.home.is_elsewhere(self.replica.as_ref()) {
            return Err(replica_away(backend.name()).into());
        }
        let target = task.target(&snapshot);
        let permit = admit(&snapshot, &target, call, true).await?;
        call.end_by(Deadline {
            at: (began + backend.config().timeout).into_std(),
            is_clients: false,
        });
        let rewrite = Rewrite {
            target: Some(&task.id),
            request_state: RequestState::Keep,
            param_headers: Vec::new(),
            endpoint: task.home.endpoint(),
            take: Take::Whole,
        };
        let terms = delivery::terms(&snapshot, call, &target);
        let mut notifications = redact_notifications(call, terms.as_ref(), &backend);
        let answer = hearing(&mut notifications, pin!(backend.call(call, &rewrite, span))).await;
        let answer = match give_sink_back(call, notifications) {
            None => answer,
            Some(waiting) => waiting.all_told(answer).await,
        };
        let (outcome, has_result) = match answer {
            Ok(answer) => {
                let has_result = has_result(answer.result.of(&answer.response.raw));
                let outcome = detailed(&snapshot, call, backend.name(), &answer);
                (outcome, has_result)
            }
            Err(error) => (Outcome::Failed(error), false),
        };
        let delivering =
            self.deliverer
                .deliver_task(&snapshot, call, backend.name(), target, outcome);
        let outcome = delivering.await;
        permit.settle(match &outcome {
            Outcome::Complete(completed) if has_result => {
                self.first_delivery(&token, completed.result.len())
            }
            _ => policy::NOTHING_DELIVERED,
        });
        Ok(outcome)
    }
}

/// What a task is answered with that nobody has, has any longer, or has for somebody else
/// (SEP-2663, Protocol Errors).
fn unknown() -> ProtocolError {
    ProtocolError::invalid_params("Task not found: it never was, or has expired")
}

/// What is answered to a client that did not declare tasks and asks for them (SEP-2663, Protocol
/// Errors).
pub(crate) fn undeclared_extension() -> ProtocolError {
    ProtocolError {
        code: code::MISSING_CLIENT_CAPABILITY,
        message: format!(
            "Missing required client capability: the extension {}",
            extension::TASKS
        )
        .into(),
        data: Some(format!(
            "{{\"requiredCapabilities\":{{\"extensions\":{{\"{}\":{{}}}}}}}}",
            extension::TASKS
        )),
    }
}

/// The outcome of a call of `tool` that is answered later (`resultType: "task"`). `splice` holds
/// what was changed about the result so far.
pub(crate) fn created(
    sealed_at: SealedAt<'_>,
    call: &Call,
    tool: &str,
    backend: &Arc<str>,
    answer: &Answer,
    mut splice: Splice<'_>,
) -> Outcome {
    let SealedAt { sealer, replica } = sealed_at;
    let response = &answer.response;
    if !call.declares(extension::TASKS) {
        return invalid(
            backend,
            "it made a task of a call whose client knows of none",
        );
    }
    let (Some(span), Some(id)) = (response.keys.task_id, response.text(response.keys.task_id))
    else {
        return invalid(backend, "its task has no identifier");
    };
    let ttl_ms = member(answer.result.of(&response.raw), "ttlMs").and_then(number);
    let task = Task {
        // What a server has that is reached from everywhere is asked for from anywhere.
        home: Home::of(backend, answer, replica).without_first(),
        tool: tool.to_owned(),
        id: id.into_owned(),
    };
    match seal(sealer, call, &task, ttl_ms) {
        Ok(token) => splice.replace(span, json::quoted(&token)),
        Err(detail) => return invalid(backend, &detail),
    }
    Outcome::Complete(Completed {
        result: splice.apply_shared(&response.raw, answer.result),
        is_error: false,
    })
}

fn number(raw: &[u8]) -> Option<u64> {
    serde_json::from_slice(raw).ok()
}

/// The outcome of a request for a task: what the server says of it, under the client's own name
/// for it.
fn detailed(snapshot: &Snapshot, call: &Call, backend: &Arc<str>, answer: &Answer) -> Outcome {
    let response = &answer.response;
    let raw = &response.raw;
    let result = answer.result;
    if let Some(error) = undeclared(call, result.of(raw)) {
        return Outcome::Failed(error.into());
    }
    let mut splice = Splice::new();
    if !answer.missing_members.is_empty() {
        splice.insert_members(raw, result, answer.missing_members.as_bytes());
    }
    let own = call
        .request
        .params
        .task_id
        .map(|span| call.request.slice(span))
        .unwrap_or_default();
    edit(snapshot, backend, raw, result, own, &mut splice);
    Outcome::Complete(Completed {
        result: splice.apply_shared(raw, result),
        is_error: false,
    })
}

/// Rewrites the state of a task at `task` in `raw`: `own`, quotes included, is the client's name
/// for it; the result in it is one of a tool.
pub(crate) fn edit(
    snapshot: &Snapshot,
    backend: &str,
    raw: &Bytes,
    task: Span,
    own: &[u8],
    splice: &mut Splice<'_>,
) {
    let place = |part: &[u8]| Span::of_part(raw, part);
    let addresses = Addresses {
        snapshot,
        backend,
        raw,
        is_again: false,
    };
    let text = task.of(raw);
    if let Some(id) = member(text, "taskId") {
        splice.replace(place(id), own.to_vec());
    }
    if let Some(meta) = member(text, "_meta") {
        addresses.edit_meta(place(meta), splice);
    }
    let Some(result) = member(text, "result") else {
        return;
    };
    if let Some(meta) = member(result, "_meta") {
        addresses.edit_meta(place(meta), splice);
    }
    addresses.edit_content(member(result, "content").map(place), splice);
}

fn invalid(backend: &Arc<str>, detail: &str) -> Outcome {
    let message = format!(
        "The server \"{backend}\" answered with a task that cannot be passed on. It may or may not be at work: check before you call again."
    );
    let fault = Fault::unknown(Reason::InvalidAnswer, message).of(backend);
    Outcome::Failed(fault.with_detail(detail).into())
}
