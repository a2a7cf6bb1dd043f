//! A call and, where its tool has some, its substitutes.

use std::sync::Arc;
use std::time::Duration;

use switchboard_protocol::call::{Call, Completed, Outcome};
use switchboard_protocol::error::{CallError, ProtocolError};
use switchboard_protocol::json;
use switchboard_protocol::splice::member;
use switchboard_telemetry::{CallEvent, CallSpan, FallbackOutcome};
use tokio::time::Instant;

use super::group::Group;
use super::judge::{Failure, is_unsendable};
use super::substitute::{Change, substitute_in_profile};
use super::tried::Tried;
use super::{Chains, Route, state};
use crate::config::chains::When;
use crate::continuation::invalid;
use crate::orchestrator::Inner;
use crate::results::unsealable;

/// A call that goes through several tools.
struct Chained<'a> {
    call: &'a Call,
    called: &'a str,
    route: Route<'a>,
    span: &'a CallSpan,
    /// Why the first of them failed, if it has.
    failed: Option<When>,
}

/// A call of a tool that stands in for another.
pub(crate) struct Substitute {
    pub(crate) tool: String,
    pub(crate) call: Call,
}

impl Inner {
    /// Makes a call, and if it fails that of its tool's substitutes. What is rare is boxed, since it
    /// would make the future of every call larger.
    pub(crate) async fn call_or_substitute(&self, mut call: Box<Call>, span: &CallSpan) -> Outcome {
        let chains = self.chains.load();
        if !chains.may_concern(&call) {
            drop(chains);
            if state::is_of_substitute(&call) {
                return Box::pin(self.go_on(&call, span)).await;
            }
            return self.call_once(&mut call, span).await;
        }
        let chains = Arc::clone(&chains);
        Box::pin(self.call_chained(&chains, call, span)).await
    }

    async fn call_once(&self, call: &mut Call, span: &CallSpan) -> Outcome {
        let outcome = self.call(call, span).await;
        outcome.unwrap_or_else(Outcome::Failed)
    }

    /// Makes a call that may be of a tool with substitutes: as these chains say to its end, whatever
    /// is configured meanwhile.
    async fn call_chained(&self, chains: &Chains, mut call: Box<Call>, span: &CallSpan) -> Outcome {
        let called = call.target().unwrap_or_default();
        // What the caller may not know of does not lead to what it may call.
        if self.hides_tool(&call, &called) {
            drop(called);
            return self.call_once(&mut call, span).await;
        }
        if let Some((group, member)) = chains.group(&called) {
            return self.call_group(group, member, &call, span).await;
        }
        let Some(fallback) = chains.fallback(&called) else {
            return self.call_once(&mut call, span).await;
        };
        let called = called.into_owned();
        // Asked before: what the tool says of itself afterwards it says of another call.
        let is_safe = self.is_safe(&call, &called);
        let given = call.deadline;
        let began = Instant::now();
        let outcome = self.call_once(&mut call, span).await;
        let failure = Failure::of(&outcome);
        let is_followed = failure.is_some_and(|it| it.may_be_followed(&fallback.terms, is_safe));
        if !is_followed {
            return outcome;
        }
        call.deadline = given;
        let mut tried = Tried::default();
        tried.first_failed(
            &self.backend_of(&called, &outcome),
            outcome,
            began.elapsed(),
        );
        let chained = Chained {
            call: &call,
            called: &called,
            route: Route::Fallback(fallback),
            span,
            failed: failure.map(|failure| failure.when),
        };
        self.call_from(&chained, 1, tried).await
    }

    /// Makes a call of one of several equivalent tools: of this member of a group.
    async fn call_group(
        &self,
        group: &Group,
        member: usize,
        call: &Call,
        span: &CallSpan,
    ) -> Outcome {
        let called = call.target().unwrap_or_default();
        let snapshot = self.catalogue.load_full();
        let is_available = |tool: &str| {
            let entry = snapshot.tool(tool);
            entry.is_some_and(|entry| {
                let state = snapshot.sources()[entry.source].status.state;
                state.is_usable()
            })
        };
        let route = Route::Group {
            group,
            called: member,
            order: group.order(Instant::now(), is_available),
        };
        let chained = Chained {
            call,
            called: &called,
            route,
            span,
            failed: None,
        };
        self.call_from(&chained, 0, Tried::default()).await
    }

    /// Calls the tools from this place on until one answers.
    async fn call_from(&self, chained: &Chained<'_>, first: usize, mut tried: Tried) -> Outcome {
        let Chained {
            call,
            called,
            route,
            span,
            failed,
        } = chained;
        let mut failed = *failed;
        for at in first..route.len() {
            let began = Instant::now();
            if let Some(deadline) = call.deadline
                && began.into_std() >= deadline.at
                && !tried.is_empty()
            {
                break;
            }
            let step = route.step(at);
            let tool = step.map_or(*called, |(tool, _)| tool);
            // Nothing is said of it either.
            if step.is_some() && self.hides_tool(call, tool) {
                continue;
            }
            if step.is_some() {
                span.event(CallEvent::Fallback {
                    from: called,
                    to: tool,
                    reason: failed.map(When::as_str),
                });
            }
            let attempt = match step {
                None => Ok((*call).clone()),
                Some((tool, mappings)) => {
                    let change = Change {
                        called,
                        tool,
                        mappings,
                    };
                    substitute_in_profile(&self.catalogue.load(), call, change, None)
                }
            };
            let mut attempt = match attempt {
                Ok(attempt) => attempt,
                Err(error) => {
                    let message = format!("the arguments do not fit its tool {tool}: {error}");
                    let outcome = Outcome::Failed(ProtocolError::invalid_params(message).into());
                    tried.failed(&self.backend_of(tool, &outcome), outcome, Duration::ZERO);
                    continue;
                }
            };
            // What is collected can be said to be of a substitute; what is the first cannot.
            attempt.takes_arriving &= tried.is_empty();
            if step.is_some() || !tried.is_empty() {
                attempt.reserved = tried.reserved(&self.backend_having(tool), tool);
            }
            let is_safe = self.is_safe(&attempt, tool);
            let outcome = self.call_once(&mut attempt, span).await;
            let failure = Failure::of(&outcome);
            // A client that was in a hurry says nothing of the tool.
            let is_hurried = attempt.deadline.is_some_and(|deadline| deadline.is_clients);
            if !(is_hurried && failure.is_some_and(|failure| failure.when == When::Timeout)) {
                let has_failed = failure.is_some_and(|failure| failure.when != When::Error);
                route.measure(at, began, has_failed);
            }
            let is_followed = match failure {
                Some(failure) => failure.may_be_followed(route.terms(), is_safe),
                // The first is the caller's own call: what is wrong with it is for the caller.
                None => step.is_some() && is_unsendable(&outcome),
            };
            let backend = self.backend_of(tool, &outcome);
            if !tried.is_empty() {
                let has_failed = failure.is_some() || matches!(outcome, Outcome::Failed(_));
                self.count_fallback(called, &backend, has_failed);
            }
            if is_followed {
                failed = failure.map(|failure| failure.when);
                match step.is_none() && tried.is_empty() {
                    true => tried.first_failed(&backend, outcome, began.elapsed()),
                    false => tried.failed(&backend, outcome, began.elapsed()),
                }
                continue;
            }
            if step.is_none() && tried.is_empty() {
                return outcome;
            }
            return match outcome {
                // An end like that of all the others.
                Outcome::Failed(CallError::Fault(_)) if !tried.is_empty() => {
                    tried.failed(&backend, outcome, began.elapsed());
                    tried.ended()
                }
                outcome => self.served(&tried, call, outcome, &backend, step.map(|_| tool), called),
            };
        }
        tried.ended()
    }

    /// The call of the tool that asked what this one answers, if that is not the one that it names.
    ///
    /// # Errors
    /// −32602 for a token that does not open, or of a tool that no longer stands in.
    pub(crate) fn substitute_of(&self, call: &Call) -> Result<Option<Substitute>, ProtocolError> {
        if !state::is_of_substitute(call) {
            return Ok(None);
        }
        let (tool, token) = state::open(&self.sealer, call)?;
        let called = call.target().unwrap_or_default();
        let chains = self.chains.load_full();
        let attempt = chains.mappings(&called, &tool).and_then(|mappings| {
            let change = Change {
                called: &called,
                tool: &tool,
                mappings,
            };
            let snapshot = self.catalogue.load();
            substitute_in_profile(&snapshot, call, change, Some(&token)).ok()
        });
        let call = attempt.ok_or_else(|| {
            let gone = "requestState belongs to a tool that no longer stands in for this one";
            ProtocolError::invalid_params(gone)
        })?;
        Ok(Some(Substitute { tool, call }))
    }

    /// The question's answer goes to the tool that asked, which is not the one that the call names.
    async fn go_on(&self, call: &Call, span: &CallSpan) -> Outcome {
        let (tool, mut attempt) = match self.substitute_of(call) {
            Ok(Some(substitute)) => (substitute.tool, substitute.call),
            Ok(None) => return Outcome::Failed(invalid().into()),
            Err(error) => return Outcome::Failed(error.into()),
        };
        let called = call.target().unwrap_or_default();
        attempt.reserved = Tried::default().reserved(&self.backend_having(&tool), &tool);
        let outcome = self.call_once(&mut attempt, span).await;
        let backend = self.backend_of(&tool, &outcome);
        self.served(
            &Tried::default(),
            call,
            outcome,
            &backend,
            Some(&tool),
            &called,
        )
    }

    /// An outcome that says who it is of. A question of a substitute comes back under the name that
    /// the client called.
    fn served(
        &self,
        tried: &Tried,
        call: &Call,
        outcome: Outcome,
        backend: &Arc<str>,
        substitute: Option<&str>,
        called: &str,
    ) -> Outcome {
        let tool = substitute.unwrap_or(called);
        match outcome {
            Outcome::Complete(Completed { result, is_error }) => Outcome::Complete(Completed {
                result: tried.spliced(&result, backend, tool, None),
                is_error,
            }),
            Outcome::InputRequired(result) => {
                let raw = result.clone().into_contiguous();
                let token = member(&raw, "requestState").and_then(json::as_str);
                let sealed = match (substitute, token) {
                    (Some(tool), Some(token)) => {
                        state::seal(&self.sealer, call, tool, &token).map(Some)
                    }
                    _ => Ok(None),
                };
                match sealed {
                    Ok(sealed) => Outcome::InputRequired(tried.spliced(
                        &result,
                        backend,
                        tool,
                        sealed.as_deref(),
                    )),
                    Err(detail) => Outcome::Failed(unsealable(backend, &detail)),
                }
            }
            outcome => outcome,
        }
    }

    /// Counts a call of another tool that was made after one had failed.
    fn count_fallback(&self, called: &str, to: &str, has_failed: bool) {
        let snapshot = self.catalogue.load();
        let tools = (snapshot.tool(called), self.backends.get(to));
        // Names that are configured and known, or that nobody shows.
        let (Some(entry), Some(to)) = tools else {
            return;
        };
        if let Some(from) = self.backends.get(&entry.backend) {
            let outcome = match has_failed {
                true => FallbackOutcome::Failed,
                false => FallbackOutcome::Served,
            };
            from.metrics().fell_back(to.name(), outcome);
        }
    }

    /// Whether a tool that is there, or may be, is hidden from the caller.
    fn hides_tool(&self, call: &Call, tool: &str) -> bool {
        let snapshot = self.catalogue.load();
        snapshot.hides_tool(&call.principal, call.profile.as_deref(), tool)
    }

    /// Whether calling this tool twice does no more than calling it once.
    fn is_safe(&self, call: &Call, tool: &str) -> bool {
        let snapshot = self.catalogue.load();
        snapshot.tool(tool).is_some_and(|entry| {
            let backend = self.backends.get(&entry.backend);
            backend.is_some_and(|backend| backend.is_safe(call, entry.original()))
        })
    }

    /// The backend of a tool, known or not.
    fn backend_of(&self, tool: &str, outcome: &Outcome) -> Arc<str> {
        if let Outcome::Failed(CallError::Fault(fault)) = outcome
            && let Some(backend) = &fault.backend
        {
            return Arc::clone(backend);
        }
        self.backend_having(tool)
    }

    /// The backend that has a tool, as far as is known.
    fn backend_having(&self, tool: &str) -> Arc<str> {
        let snapshot = self.catalogue.load();
        let known = snapshot.tool(tool).map(|entry| Arc::clone(&entry.backend));
        known.unwrap_or_else(|| Arc::from(tool))
    }
}

impl Route<'_> {
    /// Takes note of how long the call at this place took.
    fn measure(&self, at: usize, began: Instant, failed: bool) {
        if let Self::Group { group, order, .. } = self
            && let Some(member) = order.get(at)
        {
            let now = Instant::now();
            group.measure(*member, now, now.saturating_duration_since(began), failed);
        }
    }
}
