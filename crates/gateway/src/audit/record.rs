//! A record: what docs/audit.md describes, as one line of JSON.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use switchboard_protocol::method::Method;
use switchboard_protocol::pattern;
use switchboard_protocol::trail::{Step, Steps};
use switchboard_protocol::{json, trail};

use super::arguments;
use super::event::{AdminEvent, CallEnd, CallEvent, Event, RefusalEvent};
use super::queue::is_list;
use super::subscription::SubscriptionEvent;
use super::writer::session_digest;

/// The version of the format: members are added without another, and none is changed.
const VERSION: u8 = 1;
/// The longest line, in bytes, its end left out.
pub(super) const MAX_LINE: usize = 16 * 1024;
/// The longest text of a member, in bytes, and of most.
const MAX_TEXT: usize = 1024;
/// What texts are cut to where the line is too long all the same.
const SHORT_TEXT: usize = 64;
/// The most groups that are named.
const MAX_GROUPS: usize = 32;
/// The longest values, as JSON.
const MAX_VALUES: usize = 8 * 1024;
/// How many decisions and attempts are left where the line is too long.
const FEW_STEPS: usize = 4;

/// One record of the audit. Members that do not apply are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Record {
    /// The version of the format: 1.
    pub v: u8,
    /// When it began, in UTC, to the millisecond.
    pub at: String,
    /// `call`, `list`, `authentication` or `admin`.
    pub kind: &'static str,
    /// On whose behalf; whose credential was refused, if it is good for another endpoint or for less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The groups of the principal, at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The OAuth client that its credential names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_client: Option<String>,
    /// What the client says that it is: its name, and its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The address that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The revision of MCP that the client speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// `none`, or `legacy` for a call in a session of 2025-11-25 or older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'static str>,
    /// Tells the session from others, as the admin API does; no key to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_digest: Option<String>,
    /// The method, or that of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'static str>,
    /// The tool, prompt, URI (without credentials and query) or task as the client named it; the path of
    /// a change through the admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The profile that it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Keys, types and sizes of the arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// The arguments, where `audit.values` names the tool, without what looks like a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Value>,
    /// What policies decided, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionRecord>,
    /// The backends that were called, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// What answered in the place of a backend: a cached result, or that of an equal call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<CachedRecord>,
    /// The backend that answered, or that failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// `ok`, `tool_error`, `input_required`, `invalid`, `backend_error`, `refused`, `failed` or
    /// `cancelled`.
    pub outcome: &'static str,
    /// The code of an error: of JSON-RPC, or positive as of HTTP; the status of an admin's change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// Why it failed, in one word; why a credential was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is subscribed to: `tools`, `prompts`, `resources` for their lists, and URIs without what
    /// may be secret in them. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watches: Vec<String>,
    /// The URIs of a subscription that its caller may not know of, so that it is told nothing of them.
    /// At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// The length of the request in modern form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// The length of what was answered: a result, or a backend's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// What it cost, in the units of `costs`; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// How long it took, to its last byte, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<f64>,
    /// The trace that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// `endpoint` or `admin`: where a credential was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<&'static str>,
    /// How many more like this were not noted since the last that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<u64>,
    /// The members that are not whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<&'static str>,
}

/// What a policy decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DecisionRecord {
    /// `access`, `rate`, `concurrency` or `budget`.
    pub policy: &'static str,
    /// The name of the rule, limit or budget.
    pub rule: String,
    /// `allowed`, `denied` or `would_deny`.
    pub decision: &'static str,
}

/// A result that answered in the place of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CachedRecord {
    /// Whose result.
    pub backend: String,
    /// The gateway's name of the tool, or the server's own URI.
    pub target: String,
    /// `hit`, `coalesced`, or `stale` where the backend failed.
    pub served: &'static str,
    /// How old it was, in milliseconds.
    pub age_ms: u64,
}

/// A backend that was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AttemptRecord {
    /// Which.
    pub backend: String,
    /// What was called there, by the gateway's name.
    pub target: String,
    /// Why it failed; absent: it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// How long it took until its answer began, in milliseconds.
    pub ms: u64,
}

impl Record {
    /// The record of an event. `values`: the tools whose arguments are noted with their values.
    pub(super) fn of(event: &Event, values: &[String]) -> Self {
        match event {
            Event::Call(call) => Self::of_call(call, values),
            Event::Subscription(subscription) => Self::of_subscription(subscription),
            Event::Refusal(refusal) => Self::of_refusal(refusal),
            Event::Admin(change) => Self::of_admin(change),
        }
    }

    fn of_call(call: &CallEvent, values: &[String]) -> Self {
        let quotes = &call.quotes;
        let steps = call.trail.steps();
        let mut record = Self {
            v: VERSION,
            at: humantime::format_rfc3339_millis(call.at).to_string(),
            kind: match is_list(call.method) {
                true => "list",
                false => "call",
            },
            oauth_client: call.principal.client.clone(),
            principal: Some(call.principal.id.clone()),
            groups: call.principal.groups.clone(),
            client: quotes.slice(quotes.client_info).and_then(client_name),
            peer: call.peer.map(|peer| peer.to_string()),
            protocol: Some(call.version.as_str()),
            session: Some(call.session.as_ref().map_or("none", |_| "legacy")),
            session_digest: call.session.as_deref().map(session_digest),
            method: Some(call.method.as_str()),
            target: target(call),
            profile: call.profile.as_deref().map(str::to_owned),
            request_bytes: u64::try_from(quotes.raw.len()).ok(),
            result_bytes: Some(call.result_bytes),
            cost: Some(steps.cost).filter(|cost| *cost > 0),
            ms: Some((call.took.as_secs_f64() * 1e6).round() / 1e3),
            trace_id: call.trace.map(|trace| trace.to_string()),
            ..Self::default()
        };
        record.add_end(&call.end);
        record.add_steps(steps);
        record.add_arguments(call, values);
        record
    }

    fn add_end(&mut self, end: &CallEnd) {
        let (outcome, code) = match end {
            CallEnd::Ok => ("ok", None),
            CallEnd::ToolError => ("tool_error", None),
            CallEnd::InputRequired => ("input_required", None),
            CallEnd::Invalid { code } => ("invalid", Some(*code)),
            CallEnd::BackendError { code } => ("backend_error", Some(*code)),
            CallEnd::Cancelled => ("cancelled", None),
            CallEnd::Fault {
                code,
                reason,
                backend,
            } => {
                self.reason = Some(reason.as_str().to_owned());
                self.backend = backend.as_deref().map(str::to_owned);
                let is_policys =
                    matches!(code, 402 | 403 | 422) || reason.as_str() == "rate_limited";
                let is_refused = is_policys || reason.as_str() == "policy_unavailable";
                (if is_refused { "refused" } else { "failed" }, Some(*code))
            }
        };
        self.outcome = outcome;
        self.code = code;
    }

    fn add_steps(&mut self, steps: Steps) {
        if steps.dropped > 0 {
            self.cut.push("attempts");
        }
        for step in steps.steps {
            match step {
                Step::Decision {
                    policy,
                    rule,
                    decision,
                } => self.decisions.push(DecisionRecord {
                    policy,
                    rule: rule.to_string(),
                    decision: trail::Decision::as_str(decision),
                }),
                Step::Attempt {
                    backend,
                    target,
                    reason,
                    ms,
                } => self.attempts.push(AttemptRecord {
                    backend: backend.to_string(),
                    target: target.to_string(),
                    reason: reason.map(switchboard_protocol::error::Reason::as_str),
                    ms,
                }),
                Step::Cached {
                    backend,
                    target,
                    served,
                    age_ms,
                } => {
                    self.cached = Some(CachedRecord {
                        backend: backend.to_string(),
                        target: target.to_string(),
                        served: served.as_str(),
                        age_ms,
                    });
                }
            }
        }
        if let Some(last) = self.attempts.last() {
            self.backend = Some(last.backend.clone());
        }
        if let Some(cached) = &self.cached {
            self.backend = Some(cached.backend.clone());
        }
    }

    fn add_arguments(&mut self, call: &CallEvent, values: &[String]) {
        let Some(raw) = call.quotes.slice(call.quotes.arguments) else {
            return;
        };
        let Ok(arguments) = serde_json::from_slice::<Value>(raw) else {
            // Deeper than anybody reads.
            self.cut.push("arguments");
            return;
        };
        self.arguments = Some(arguments::shape(&arguments));
        let names = self.attempts.iter().map(|attempt| &attempt.target);
        let names = names.chain(self.cached.iter().map(|cached| &cached.target));
        let mut names = self.target.iter().chain(names);
        let is_named = |name: &String| values.iter().any(|pattern| pattern::matches(pattern, name));
        if names.any(is_named) {
            if raw.len() > MAX_VALUES {
                self.cut.push("values");
            } else {
                self.values = Some(arguments::without_secrets(arguments));
            }
        }
    }

    fn of_subscription(asked: &SubscriptionEvent) -> Self {
        let (outcome, code, reason) = asked.end.words();
        let mut record = Self {
            v: VERSION,
            at: humantime::format_rfc3339_millis(asked.at).to_string(),
            kind: "call",
            oauth_client: asked.principal.client.clone(),
            principal: Some(asked.principal.id.clone()),
            groups: asked.principal.groups.clone(),
            peer: asked.peer.map(|peer| peer.to_string()),
            protocol: asked.protocol,
            session: Some(asked.session.as_ref().map_or("none", |_| "legacy")),
            session_digest: asked.session.as_deref().map(session_digest),
            method: Some(asked.method),
            profile: asked.profile.as_deref().map(str::to_owned),
            watches: asked.watches.names.clone(),
            hidden: asked.hidden.names.clone(),
            outcome,
            code,
            reason: reason.map(str::to_owned),
            ..Self::default()
        };
        for (member, named) in [("watches", &asked.watches), ("hidden", &asked.hidden)] {
            if named.is_cut {
                record.cut(member);
            }
        }
        record
    }

    fn of_refusal(refusal: &RefusalEvent) -> Self {
        Self {
            v: VERSION,
            at: humantime::format_rfc3339_millis(refusal.at).to_string(),
            kind: "authentication",
            principal: refusal.principal.as_ref().map(|it| it.id.clone()),
            profile: refusal.profile.as_deref().map(str::to_owned),
            peer: refusal.peer.map(|peer| peer.to_string()),
            outcome: "refused",
            code: Some(refusal.status.as_u16().into()),
            reason: Some(refusal.reason.to_owned()),
            listener: Some(refusal.listener),
            suppressed: Some(refusal.suppressed).filter(|count| *count > 0),
            ..Self::default()
        }
    }

    fn of_admin(change: &AdminEvent) -> Self {
        let outcome = match change.status {
            200..=299 => "ok",
            400..=499 => "invalid",
            _ => "failed",
        };
        Self {
            v: VERSION,
            at: humantime::format_rfc3339_millis(change.at).to_string(),
            kind: "admin",
            principal: Some(change.principal.id.clone()),
            peer: change.peer.map(|peer| peer.to_string()),
            method: Some(change.method),
            target: Some(change.path.clone()),
            outcome,
            code: Some(i64::from(change.status)),
            ..Self::default()
        }
    }

    /// The record as a line without its end, of at most [`MAX_LINE`] bytes.
    pub(super) fn line(&mut self) -> String {
        self.shorten(MAX_TEXT);
        for shorten in [
            Self::drop_values,
            Self::drop_shape,
            Self::drop_steps,
            Self::drop_texts,
        ] {
            let line = self.render();
            if line.len() <= MAX_LINE {
                return line;
            }
            shorten(self);
        }
        self.render()
    }

    fn render(&self) -> String {
        // Fails only for maps with keys that are no text, and there are none.
        let line = serde_json::to_string(self).unwrap_or_default();
        let harmless = |c: char| !is_invisible(c);
        if line.chars().all(harmless) {
            return line;
        }
        let mut escaped = String::with_capacity(line.len() + 64);
        for character in line.chars() {
            if harmless(character) {
                escaped.push(character);
            } else {
                // Outside of texts there is none, so this is one of JSON's own escapes.
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
        escaped
    }

    fn cut(&mut self, member: &'static str) {
        if !self.cut.contains(&member) {
            self.cut.push(member);
        }
    }

    fn drop_values(&mut self) {
        if self.values.take().is_some() {
            self.cut("values");
        }
    }

    fn drop_shape(&mut self) {
        if self.arguments.take().is_some() {
            self.cut("arguments");
        }
    }

    fn drop_steps(&mut self) {
        if self.decisions.len() > FEW_STEPS {
            self.decisions.truncate(FEW_STEPS);
            self.cut("decisions");
        }
        if self.attempts.len() > FEW_STEPS {
            self.attempts.truncate(FEW_STEPS);
            self.cut("attempts");
        }
    }

    fn drop_texts(&mut self) {
        if self.groups.len() > FEW_STEPS {
            self.groups.truncate(FEW_STEPS);
            self.cut("groups");
        }
        self.shorten(SHORT_TEXT);
    }

    fn shorten(&mut self, most: usize) {
        if self.groups.len() > MAX_GROUPS {
            self.groups.truncate(MAX_GROUPS);
            self.cut("groups");
        }
        let members = [
            ("principal", &mut self.principal),
            ("oauth_client", &mut self.oauth_client),
            ("client", &mut self.client),
            ("target", &mut self.target),
            ("profile", &mut self.profile),
            ("backend", &mut self.backend),
            ("reason", &mut self.reason),
        ];
        let mut cut = Vec::new();
        for (name, text) in members {
            if text.as_mut().is_some_and(|text| shorten(text, most)) {
                cut.push(name);
            }
        }
        for group in &mut self.groups {
            if shorten(group, most.min(128)) {
                cut.push("groups");
            }
        }
        for (name, uris) in [("watches", &mut self.watches), ("hidden", &mut self.hidden)] {
            for uri in uris {
                if shorten(uri, most) {
                    cut.push(name);
                }
            }
        }
        for decision in &mut self.decisions {
            if shorten(&mut decision.rule, most) {
                cut.push("decisions");
            }
        }
        for attempt in &mut self.attempts {
            if shorten(&mut attempt.backend, most) | shorten(&mut attempt.target, most) {
                cut.push("attempts");
            }
        }
        for name in cut {
            self.cut(name);
        }
    }
}

/// Cuts a text; whether that was needed.
fn shorten(text: &mut String, most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    text.truncate(text.floor_char_boundary(most));
    true
}

/// Whether a character does something to a terminal, or to the order of what is around it.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn target(call: &CallEvent) -> Option<String> {
    let text = json::as_str(call.quotes.slice(call.quotes.target)?)?;
    Some(match call.method {
        Method::ToolsCall | Method::PromptsGet => text.into_owned(),
        _ => arguments::public_uri(&text),
    })
}

/// What a client says that it is, on one line.
fn client_name(info: &[u8]) -> Option<String> {
    let info: Value = serde_json::from_slice(info).ok()?;
    let name = info["name"].as_str()?;
    Some(match info["version"].as_str() {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests;
