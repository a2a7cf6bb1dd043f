//! A client in the storm: what it calls, and what it makes of the answers.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Group, SLACK, deadline};
use crate::client::{Answer, Client, call};
use crate::fault::FaultServer;

/// The pause between an answer and the next call.
const PAUSE: Duration = Duration::from_millis(10);
/// One call of so many asks for a large result, and one is given up by its client.
const ONE_IN: u32 = 20;
/// How many bytes of padding a large result has: more than what the gateway reads before it passes a
/// result on.
const LARGE: usize = 100_000;

/// What a tool is said to be, which decides how often it may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// Read-only.
    Read,
    /// Idempotent.
    Put,
    /// Neither.
    Write,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The right result.
    Success,
    /// A failure of the gateway's, with its reason and outcome.
    Failed { reason: String, outcome: String },
    /// The server's own error.
    ServerError,
    /// A large result that broke off.
    BrokenOff,
    /// The client gave up.
    GivenUp,
    /// Something that must not be, in words.
    Wrong(String),
}

/// A call that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) group: Group,
    pub(super) server: String,
    pub(super) tool: Tool,
    pub(super) key: String,
    pub(super) took: Duration,
    pub(super) said: Said,
}

/// Whom a client calls.
pub(super) struct Plan<'a> {
    group: Group,
    servers: &'a [FaultServer],
    /// What the keys of its calls begin with.
    name: String,
}

impl<'a> Plan<'a> {
    pub(super) fn new(group: Group, servers: &'a [FaultServer], name: String) -> Self {
        Self {
            group,
            servers,
            name,
        }
    }
}

/// A call that is about to be made.
struct Asked<'a> {
    id: u64,
    group: Group,
    server: &'a str,
    tool: Tool,
    key: String,
    size: usize,
    /// When the client gives it up, if it does.
    given_up_after: Option<Duration>,
}

/// Makes one call after the other until the time has come.
pub(super) async fn call_until(
    end: Instant,
    url: &str,
    plan: Plan<'_>,
    mut random: Rng,
) -> Vec<Made> {
    let client = Client::new(url);
    let mut made = Vec::new();
    for id in 1.. {
        if Instant::now() >= end {
            break;
        }
        let asked = Asked::draw(id, &plan, &mut random);
        let began = Instant::now();
        let said = asked.make(&client, random.bool()).await;
        made.push(Made {
            group: plan.group,
            server: asked.server.to_owned(),
            tool: asked.tool,
            key: asked.key,
            took: began.elapsed(),
            said,
        });
        sleep(PAUSE).await;
    }
    made
}

/// Whether a server answers a call as it should.
pub(super) async fn is_usable(client: &Client, server: &FaultServer) -> bool {
    let asked = Asked {
        id: 1,
        group: Group::Well,
        server: server.label(),
        tool: Tool::Read,
        key: "is it usable".to_owned(),
        size: 0,
        given_up_after: None,
    };
    asked.make(client, false).await == Said::Success
}

impl<'a> Asked<'a> {
    fn draw(id: u64, plan: &Plan<'a>, random: &mut Rng) -> Self {
        let one_in = |random: &mut Rng| random.u32(..ONE_IN) == 0;
        let size = if one_in(random) { LARGE } else { 0 };
        let gives_up = plan.group == Group::Ill && one_in(random);
        Self {
            id,
            group: plan.group,
            server: plan.servers[random.usize(..plan.servers.len())].label(),
            tool: [Tool::Read, Tool::Put, Tool::Write][random.usize(..3)],
            key: format!("{}-{id}", plan.name),
            size,
            given_up_after: gives_up.then(|| Duration::from_millis(random.u64(1..200))),
        }
    }

    fn message(&self, events: bool) -> Value {
        let tool = match self.tool {
            Tool::Read => "read",
            Tool::Put => "put",
            Tool::Write => "write",
        };
        let arguments = json!({ "key": self.key, "size": self.size, "events": events });
        let mut message = call(&format!("{}__{tool}", self.server), &arguments);
        message["id"] = json!(self.id);
        message
    }

    async fn make(&self, client: &Client, events: bool) -> Said {
        let message = self.message(events);
        let limit = self.given_up_after.unwrap_or(deadline(self.group) + SLACK);
        match timeout(limit, client.ask(&message)).await {
            Ok(answer) => self.read(&answer),
            Err(_) if self.given_up_after.is_some() => Said::GivenUp,
            Err(_) => Said::Wrong(format!("no answer within {limit:?}")),
        }
    }

    /// What an answer says, if it is one to this call.
    fn read(&self, answer: &Answer) -> Said {
        let wrong = |what: &str| Said::Wrong(format!("{what}: {}", start_of(&answer.raw)));
        if answer.response.is_null() && self.size >= LARGE {
            return Said::BrokenOff;
        }
        if answer.response["id"] != self.id {
            return wrong("an answer to another request");
        }
        let fault = answer.fault();
        if fault.is_object() {
            if fault["backend"] != self.server {
                return wrong("the failure of another server");
            }
            let word = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
            return Said::Failed {
                reason: word("reason"),
                outcome: word("outcome"),
            };
        }
        if let Some(message) = answer.response["error"]["message"].as_str() {
            return match message.ends_with(&self.key) {
                true => Said::ServerError,
                false => wrong("the error of another call"),
            };
        }
        let content = &answer.result()["structuredContent"];
        let padding = content["padding"].as_str().map_or(0, str::len);
        let is_right = content["key"] == self.key.as_str()
            && content["server"] == self.server
            && padding == self.size
            && answer.result()["isError"] != true;
        match is_right {
            true => Said::Success,
            false => wrong("the result of another call"),
        }
    }
}

/// Enough of an answer to see what is wrong with it.
fn start_of(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(500)
        .map_or(text.len(), |(end, _)| end);
    &text[..end]
}
