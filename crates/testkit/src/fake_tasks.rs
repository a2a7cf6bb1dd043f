//! A fake server whose calls are answered later, in either era: tasks of 2025-11-25, or the tasks
//! extension of 2026-07-28 (SEP-2663). It has a user interface too (MCP Apps).
//!
//! | tool | does | as a legacy server says |
//! |---|---|---|
//! | `quick` | answers at once | no task |
//! | `later` | is a task, and takes `ms` milliseconds, or until `release` is called if `hold` | `required` |
//! | `maybe` | as `later`, or answers at once where the client knows of no tasks | `optional` |
//! | `asks` | is a task that asks for a name, then greets | `required` |
//! | `breaks` | is a task that ends with a JSON-RPC error | `required` |
//! | `fails` | is a task whose result says `isError` | `required` |
//! | `rude` | is a task even for a client that knows of none (modern only) | |
//! | `release` | lets all held tasks end | no task |
//! | `shows` | answers with its user interface and a link to it | no task |
//!
//! The tools that the official suite wants for the tasks extension are there as well, as it
//! describes them: `greet`, `slow_compute`, `failing_job`, `protocol_error_job`, `confirm_delete`,
//! `multi_input`, and as a modern server `test_tool_with_task`.
//!
//! A legacy server keeps the tasks of each session apart, and refuses what the negotiated
//! revision does not allow.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::fake::Era;

mod http;
mod stdio;

pub use http::FakeTasks;
pub use stdio::serve;

/// The URI of the one resource, a user interface.
pub const UI_URI: &str = "ui://app/main.html";
/// The identifier of the tasks extension.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";
/// The identifier of MCP Apps.
pub const UI: &str = "io.modelcontextprotocol/ui";

/// The most tasks that are kept.
const MAX_TASKS: usize = 10_000;
/// What a task says of how long it is kept, in milliseconds.
const TTL_MS: u64 = 60_000;
/// What a task says of how often to look, in milliseconds.
const POLL_MS: u64 = 20;
/// When every task was created, and changed last.
const WHEN: &str = "2026-01-02T03:04:05Z";

/// The server, without a transport.
#[derive(Debug)]
pub struct TaskServer {
    era: Era,
    label: String,
    state: Mutex<State>,
    /// Counts whatever may change what a task says of itself.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    tasks: BTreeMap<String, Entry>,
    created: u64,
    asked: u64,
    /// Who waits for a reply of the client's, by session and the id of the request.
    waiting: BTreeMap<(String, u64), oneshot::Sender<Value>>,
}

#[derive(Clone, Debug)]
struct Entry {
    session: String,
    tool: String,
    ends: Instant,
    held: bool,
    cancelled: bool,
    /// What was said before it became a task.
    said: Option<Value>,
    answers: BTreeMap<String, Value>,
}

impl Entry {
    /// The questions that have no answer yet.
    fn open(&self) -> impl Iterator<Item = &'static str> {
        let keys = questions(&self.tool).iter().copied();
        keys.filter(|key| !self.answers.contains_key(*key))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn is_final(self) -> bool {
        !matches!(self, Self::Working | Self::InputRequired)
    }
}

/// Where messages of the server go before the answer: to the stream of the request, or to the one
/// channel there is.
pub type Out = mpsc::Sender<Value>;

type Answer = Result<Value, (i64, String)>;

impl TaskServer {
    /// A server of this era. Every result repeats the label.
    #[must_use]
    pub fn new(era: Era, label: &str) -> Self {
        Self {
            era,
            label: label.to_owned(),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// How many tasks were created.
    pub fn created(&self) -> u64 {
        self.state().created
    }

    /// Lets all held tasks end.
    pub fn release(&self) {
        for task in self.state().tasks.values_mut() {
            task.held = false;
        }
        self.changed();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Answers a message of a session; `None` for what has no answer.
    pub async fn handle(&self, session: &str, message: &Value, out: &Out) -> Option<Value> {
        let Some(method) = message["method"].as_str() else {
            self.take_reply(session, message);
            return None;
        };
        let id = message.get("id")?;
        let params = &message["params"];
        let answer = match method {
            _ if self.era == Era::Modern => self.modern(method, params, id, out).await,
            _ => self.legacy(session, method, params, out).await,
        };
        let (key, value) = match answer {
            Ok(result) => ("result", result),
            Err((code, message)) => {
                let mut error = json!({ "code": code, "message": message });
                if code == -32021 {
                    error["data"] =
                        json!({ "requiredCapabilities": { "extensions": { TASKS: {} } } });
                }
                ("error", error)
            }
        };
        let mut response = json!({ "jsonrpc": "2.0", "id": id });
        response[key] = value;
        Some(response)
    }

    fn take_reply(&self, session: &str, message: &Value) {
        let waiting = message["id"]
            .as_u64()
            .and_then(|id| self.state().waiting.remove(&(session.to_owned(), id)));
        if let Some(waiting) = waiting {
            let reply = message.get("result").unwrap_or(&message["error"]);
            let _ = waiting.send(reply.clone());
        }
    }

    async fn modern(&self, method: &str, params: &Value, id: &Value, out: &Out) -> Answer {
        let declared = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"];
        if !declared.is_object() {
            return Err((-32602, "The request has no metadata".to_owned()));
        }
        let knows_tasks = declared["extensions"][TASKS].is_object();
        if (method.starts_with("tasks/") || params["notifications"]["taskIds"].is_array())
            && !knows_tasks
        {
            return missing();
        }
        match method {
            "server/discover" => Ok(json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": {
                    "tools": {},
                    "resources": {},
                    "extensions": {
                        TASKS: {},
                        UI: { "mimeTypes": ["text/html;profile=mcp-app"] },
                        "dev.example/unknown": {},
                    },
                },
                "ttlMs": 300_000,
                "cacheScope": "public",
            })),
            "tools/call" => {
                let called = self.call_modern(params, knows_tasks).await?;
                Ok(with(called, json!({ "resultType": "complete" })))
            }
            "tasks/get" => {
                let task = self.detailed("", task_id(params))?;
                Ok(with(task, json!({ "resultType": "complete" })))
            }
            "tasks/update" => {
                self.update(task_id(params), &params["inputResponses"])?;
                Ok(json!({ "resultType": "complete" }))
            }
            "tasks/cancel" => {
                self.cancel("", task_id(params))?;
                Ok(json!({ "resultType": "complete" }))
            }
            "subscriptions/listen" => {
                self.listen(params, id, out).await;
                Ok(json!({ "resultType": "complete" }))
            }
            _ => {
                let hints =
                    json!({ "resultType": "complete", "ttlMs": 300_000, "cacheScope": "public" });
                Ok(with(self.listed(method, params)?, hints))
            }
        }
    }

    async fn call_modern(&self, params: &Value, knows_tasks: bool) -> Answer {
        let tool = params["name"].as_str().unwrap_or_default();
        let asked_first = tool == "test_tool_with_task";
        if asked_first && knows_tasks && params["inputResponses"]["user_name"].is_null() {
            return Ok(json!({
                "resultType": "input_required",
                "inputRequests": {
                    "user_name": { "method": "elicitation/create", "params": question() },
                },
                "requestState": "first",
            }));
        }
        match (tool, support(tool)) {
            ("rude", _) => Ok(self.create("", params)),
            (_, Some(_)) if knows_tasks => Ok(self.create("", params)),
            ("maybe" | "slow_compute", _) => Ok(self.result(tool, false)),
            (_, Some(_)) => missing(),
            _ => self.call_plainly(params),
        }
    }

    /// Tells what becomes of the tasks that are asked for, until nobody hears it any more.
    async fn listen(&self, params: &Value, id: &Value, out: &Out) {
        let wanted = &params["notifications"]["taskIds"];
        let tag = json!({ "io.modelcontextprotocol/subscriptionId": id });
        let known: Vec<&str> = wanted
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|id| self.state().tasks.contains_key(*id))
            .collect();
        let mut acknowledged = json!({});
        if !known.is_empty() {
            acknowledged["taskIds"] = json!(known);
        }
        let acknowledgement = json!({
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": { "_meta": tag, "notifications": acknowledged },
        });
        if out.send(acknowledgement).await.is_err() {
            return;
        }
        let mut changed = self.changed.subscribe();
        let mut told: BTreeMap<&str, Value> = BTreeMap::new();
        loop {
            for id in &known {
                let Ok(task) = self.detailed("", id) else {
                    continue;
                };
                if told.get(id) == Some(&task) {
                    continue;
                }
                told.insert(id, task.clone());
                let params = with(task, json!({ "_meta": tag }));
                let notification =
                    json!({ "jsonrpc": "2.0", "method": "notifications/tasks", "params": params });
                if out.send(notification).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = out.closed() => return,
            }
        }
    }

    async fn legacy(&self, session: &str, method: &str, params: &Value, out: &Out) -> Answer {
        match method {
            "initialize" => Ok(json!({
                "protocolVersion": "2025-11-25",
                "capabilities": {
                    "tools": {},
                    "resources": {},
                    "tasks": { "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } },
                    "extensions": { UI: { "mimeTypes": ["text/html;profile=mcp-app"] } },
                },
                "serverInfo": { "name": "tasks", "version": "1" },
            })),
            "ping" | "logging/setLevel" => Ok(json!({})),
            "tools/call" => self.call_legacy(session, params).await,
            "tasks/get" => {
                let id = task_id(params);
                let status = self.status(session, id)?;
                Ok(self.task_legacy(id, status))
            }
            "tasks/result" => self.wait(session, task_id(params), out).await,
            "tasks/cancel" => {
                let id = task_id(params);
                self.cancel(session, id)?;
                Ok(self.task_legacy(id, Status::Cancelled))
            }
            "tasks/list" => {
                let tasks = self.state().tasks.clone();
                let own = tasks.iter().filter(|(_, task)| task.session == session);
                let own: Vec<Value> = own
                    .map(|(id, task)| self.task_legacy(id, status_of(task)))
                    .collect();
                Ok(json!({ "tasks": own }))
            }
            _ => self.listed(method, params),
        }
    }

    async fn call_legacy(&self, session: &str, params: &Value) -> Answer {
        let tool = params["name"].as_str().unwrap_or_default();
        let as_task = params["task"].is_object();
        match (support(tool), as_task) {
            (Some("required"), false) => {
                Err((-32601, "The tool has to be called as a task".to_owned()))
            }
            (Some(_), true) => {
                let created = self.create(session, params);
                let id = created["taskId"].as_str().unwrap_or_default();
                let status = self.status(session, id)?;
                Ok(json!({ "task": self.task_legacy(id, status) }))
            }
            (None, true) => Err((-32601, "The tool cannot be a task".to_owned())),
            (Some(_), false) => Ok(self.result(tool, false)),
            (None, false) => self.call_plainly(params),
        }
    }

    /// `tasks/result`: waits for the end, and asks meanwhile what there is to ask.
    async fn wait(&self, session: &str, id: &str, out: &Out) -> Answer {
        let mut changed = self.changed.subscribe();
        let mut asked = false;
        loop {
            match self.status(session, id)? {
                Status::InputRequired if !asked => {
                    asked = true;
                    let open: Vec<_> = match self.state().tasks.get(id) {
                        Some(task) => task.open().collect(),
                        None => Vec::new(),
                    };
                    join_all(open.into_iter().map(|key| self.ask(session, id, key, out))).await;
                    continue;
                }
                Status::Completed | Status::Failed | Status::Cancelled => break,
                _ => {}
            }
            let ends = self.state().tasks.get(id).map(|task| task.ends);
            let ends = ends.filter(|ends| *ends > Instant::now());
            let wake = ends.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep_until(wake) => {}
                () = out.closed() => return Err((-32603, "Nobody waits".to_owned())),
            }
        }
        let related =
            json!({ "_meta": { "io.modelcontextprotocol/related-task": { "taskId": id } } });
        Ok(with(self.end_of(id)?, related))
    }

    /// Asks something on the stream of the request that waits, and keeps the answer.
    async fn ask(&self, session: &str, id: &str, key: &str, out: &Out) {
        let (reply, replied) = oneshot::channel();
        let number = {
            let mut state = self.state();
            state.asked += 1;
            let number = state.asked;
            state.waiting.insert((session.to_owned(), number), reply);
            number
        };
        let mut params = question();
        params["_meta"] = json!({ "io.modelcontextprotocol/related-task": { "taskId": id } });
        let request = json!({
            "jsonrpc": "2.0", "id": number, "method": "elicitation/create", "params": params,
        });
        let sent = out.send(request).await.is_ok();
        let reply = tokio::select! {
            reply = replied => reply.ok(),
            () = out.closed() => None,
        };
        let mut state = self.state();
        state.waiting.remove(&(session.to_owned(), number));
        if let (true, Some(reply), Some(task)) = (sent, reply, state.tasks.get_mut(id)) {
            task.answers.insert(key.to_owned(), reply);
        }
        drop(state);
        self.changed();
    }

    fn call_plainly(&self, params: &Value) -> Answer {
        let tool = params["name"].as_str().unwrap_or_default();
        match tool {
            "greet" => {
                let name = params["arguments"]["name"].as_str().unwrap_or_default();
                let mut result = self.result(tool, false);
                result["content"][0]["text"] = format!("Hello, {name}!").into();
                Ok(result)
            }
            "quick" => Ok(self.result(tool, false)),
            "release" => {
                self.release();
                Ok(self.result(tool, false))
            }
            "shows" => {
                let mut result = self.result(tool, false);
                result["content"] = json!([
                    { "type": "text", "text": format!("shows of {}", self.label) },
                    { "type": "resource_link", "uri": UI_URI, "name": "main" },
                ]);
                result["_meta"] = json!({ "ui": { "resourceUri": UI_URI } });
                Ok(result)
            }
            _ => Err((-32602, "There is no such tool".to_owned())),
        }
    }

    fn listed(&self, method: &str, params: &Value) -> Answer {
        match method {
            "tools/list" => Ok(json!({ "tools": self.tools() })),
            "resources/list" => Ok(json!({ "resources": [
                { "uri": UI_URI, "name": "main", "mimeType": "text/html;profile=mcp-app" },
            ] })),
            "resources/templates/list" => Ok(json!({ "resourceTemplates": [] })),
            "resources/read" if params["uri"] == UI_URI => Ok(json!({ "contents": [{
                "uri": UI_URI,
                "mimeType": "text/html;profile=mcp-app",
                "text": format!("<p>{}</p>", self.label),
                "_meta": { "ui": { "prefersBorder": true } },
            }] })),
            "resources/read" => Err((-32602, "There is no such resource".to_owned())),
            _ => Err((-32601, "Method not found".to_owned())),
        }
    }

    fn tools(&self) -> Vec<Value> {
        let names = [
            "quick",
            "later",
            "maybe",
            "asks",
            "breaks",
            "fails",
            "rude",
            "release",
            "shows",
            "greet",
            "slow_compute",
            "failing_job",
            "protocol_error_job",
            "confirm_delete",
            "multi_input",
            "test_tool_with_task",
        ];
        let mut tools = Vec::new();
        for name in names {
            let mut tool = json!({ "name": name, "inputSchema": { "type": "object" } });
            if name == "shows" {
                tool["_meta"] = json!({ "ui": { "resourceUri": UI_URI } });
            }
            if self.era == Era::Legacy {
                if matches!(name, "rude" | "test_tool_with_task") {
                    continue;
                }
                if let Some(support) = support(name) {
                    tool["execution"] = json!({ "taskSupport": support });
                }
            }
            tools.push(tool);
        }
        tools
    }

    /// Creates a task, and answers with its first state in the modern form.
    fn create(&self, session: &str, params: &Value) -> Value {
        let arguments = &params["arguments"];
        let seconds = arguments["seconds"].as_u64().unwrap_or(0);
        let ms = arguments["ms"].as_u64().unwrap_or(0) + 1000 * seconds;
        let entry = Entry {
            session: session.to_owned(),
            tool: params["name"].as_str().unwrap_or_default().to_owned(),
            ends: Instant::now() + Duration::from_millis(ms),
            held: arguments["hold"] == true,
            cancelled: false,
            said: params["inputResponses"].get("user_name").cloned(),
            answers: BTreeMap::new(),
        };
        let mut state = self.state();
        state.created += 1;
        // Short, however long the label is: it becomes part of a token.
        let label = self.label.get(..32).unwrap_or(&self.label);
        let id = format!("{label}-task-{}", state.created);
        if state.tasks.len() >= MAX_TASKS {
            state.tasks.pop_first();
        }
        let status = status_of(&entry);
        state.tasks.insert(id.clone(), entry);
        drop(state);
        with(self.task(&id, status), json!({ "resultType": "task" }))
    }

    fn task(&self, id: &str, status: Status) -> Value {
        json!({
            "taskId": id,
            "status": status.as_str(),
            "statusMessage": format!("{} at {}", status.as_str(), self.label),
            "createdAt": WHEN,
            "lastUpdatedAt": WHEN,
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        })
    }

    fn task_legacy(&self, id: &str, status: Status) -> Value {
        let mut task = self.task(id, status);
        task["ttl"] = task["ttlMs"].take();
        task["pollInterval"] = task["pollIntervalMs"].take();
        if let Some(members) = task.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        task
    }

    fn status(&self, session: &str, id: &str) -> Result<Status, (i64, String)> {
        let state = self.state();
        let task = state.tasks.get(id).filter(|task| task.session == session);
        task.map(status_of)
            .ok_or_else(|| (-32602, "Task not found".to_owned()))
    }

    fn detailed(&self, session: &str, id: &str) -> Answer {
        let status = self.status(session, id)?;
        let mut task = self.task(id, status);
        match status {
            Status::InputRequired => {
                let asked = json!({ "method": "elicitation/create", "params": question() });
                let open: Vec<_> = match self.state().tasks.get(id) {
                    Some(task) => task.open().collect(),
                    None => Vec::new(),
                };
                task["inputRequests"] = open.into_iter().map(|key| (key, asked.clone())).collect();
            }
            Status::Completed => task["result"] = self.end_of(id)?,
            Status::Failed => match self.end_of(id) {
                Ok(result) => {
                    task["status"] = "completed".into();
                    task["result"] = result;
                }
                Err((code, message)) => task["error"] = json!({ "code": code, "message": message }),
            },
            Status::Working | Status::Cancelled => {}
        }
        Ok(task)
    }

    /// What the call itself would have been answered with.
    fn end_of(&self, id: &str) -> Answer {
        let task = self.state().tasks.get(id).cloned();
        let task = task.ok_or_else(|| (-32602, "Task not found".to_owned()))?;
        match task.tool.as_str() {
            _ if task.cancelled => Err((-32603, "The task was cancelled".to_owned())),
            "breaks" | "protocol_error_job" => Err((-32050, "It broke".to_owned())),
            "asks" | "test_tool_with_task" => {
                let answer = task.answers.get("name").or(task.said.as_ref()).cloned();
                let answer = answer.unwrap_or_default();
                let content = &answer["content"];
                let name = content["name"].as_str().or(content["user_name"].as_str());
                let name = name.unwrap_or("nobody");
                let mut result = self.result(&task.tool, false);
                result["content"][0]["text"] = format!("Hello, {name}").into();
                result["structuredContent"]["answer"] = answer;
                Ok(result)
            }
            tool => Ok(self.result(tool, matches!(tool, "fails" | "failing_job"))),
        }
    }

    fn result(&self, tool: &str, is_error: bool) -> Value {
        json!({
            "content": [{ "type": "text", "text": format!("{tool} of {}", self.label) }],
            "structuredContent": { "server": self.label },
            "isError": is_error,
        })
    }

    fn update(&self, id: &str, responses: &Value) -> Result<(), (i64, String)> {
        self.status("", id)?;
        if let Some(task) = self.state().tasks.get_mut(id) {
            for key in questions(&task.tool) {
                if let Some(answer) = responses.get(key) {
                    let kept = task.answers.entry((*key).to_owned());
                    kept.or_insert_with(|| answer.clone());
                }
            }
        }
        self.changed();
        Ok(())
    }

    fn cancel(&self, session: &str, id: &str) -> Result<(), (i64, String)> {
        let status = self.status(session, id)?;
        if status.is_final() && self.era == Era::Legacy {
            let text = format!(
                "Cannot cancel task: already in terminal status '{}'",
                status.as_str()
            );
            return Err((-32602, text));
        }
        if let Some(task) = self.state().tasks.get_mut(id) {
            task.cancelled |= !status.is_final();
        }
        self.changed();
        Ok(())
    }
}

/// How a tool may be called, as 2025-11-25 says it.
fn support(tool: &str) -> Option<&'static str> {
    match tool {
        "later"
        | "asks"
        | "breaks"
        | "fails"
        | "slow_compute"
        | "failing_job"
        | "protocol_error_job"
        | "confirm_delete"
        | "multi_input"
        | "test_tool_with_task" => Some("required"),
        "maybe" => Some("optional"),
        _ => None,
    }
}

/// What a tool asks while it is a task, by names of its own.
fn questions(tool: &str) -> &'static [&'static str] {
    match tool {
        "asks" | "confirm_delete" => &["name"],
        "multi_input" => &["first", "second"],
        _ => &[],
    }
}

fn status_of(task: &Entry) -> Status {
    match task.tool.as_str() {
        _ if task.cancelled => Status::Cancelled,
        _ if task.open().next().is_some() => Status::InputRequired,
        _ if task.held || task.ends > Instant::now() => Status::Working,
        "breaks" | "fails" | "failing_job" | "protocol_error_job" => Status::Failed,
        _ => Status::Completed,
    }
}

fn question() -> Value {
    json!({
        "mode": "form",
        "message": "What is your name?",
        "requestedSchema": {
            "type": "object",
            "properties": { "name": { "type": "string" } },
            "required": ["name"],
        },
    })
}

fn missing() -> Answer {
    Err((-32021, "Missing required client capability".to_owned()))
}

fn task_id(params: &Value) -> &str {
    params["taskId"].as_str().unwrap_or_default()
}

/// The members of both; those of `object` stay where both have them.
fn with(mut object: Value, members: Value) -> Value {
    if let (Some(object), Value::Object(members)) = (object.as_object_mut(), members) {
        for (key, value) in members {
            object.entry(key).or_insert(value);
        }
    }
    object
}
