//! What the tools, the prompt and the resource do.

use std::future::pending;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::lists::RESOURCE_URI;
use super::questions::{Question, url_of};
use super::talk::{Side, Stop, Talk};
use crate::fake::Era;

/// The most questions or notifications of one call.
const MAX_REPEATS: u64 = 10_000;
/// How long a question outside of calls stays open.
const OUTSIDE: Duration = Duration::from_secs(5);
/// The pause between what is reported while a question is open.
const TICK: Duration = Duration::from_millis(5);

/// Carries a request out.
pub(super) async fn run(talk: &mut Talk, method: &str) -> Result<Value, Stop> {
    let name = talk.name.clone();
    match (method, name.as_str()) {
        ("tools/call", _) => {
            let more = tool(talk, &name).await?;
            Ok(tool_result(talk, &more))
        }
        ("prompts/get", "asking") => {
            let replies = form(talk).await?;
            let content = json!({ "type": "text", "text": replies.to_string() });
            Ok(json!({ "messages": [{ "role": "user", "content": content }] }))
        }
        ("resources/read", RESOURCE_URI) => {
            let replies = form(talk).await?;
            let mut result =
                json!({ "contents": [{ "uri": RESOURCE_URI, "text": replies.to_string() }] });
            if talk.shared.options.era == Era::Modern {
                result["ttlMs"] = json!(0);
                result["cacheScope"] = json!("private");
            }
            Ok(result)
        }
        _ => Err(Stop::Error(-32602, "There is no such thing", None)),
    }
}

/// The result of a tool; the members of `more` stand in its structured content.
fn tool_result(talk: &Talk, more: &Value) -> Value {
    let mut content = json!({
        "mark": talk.mark,
        "arguments": talk.arguments,
        "execution": talk.execution,
        "server": {
            "label": talk.shared.options.label,
            "pid": std::process::id(),
            "session": talk.session_number(),
        },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        content[key] = value.clone();
    }
    let text = format!("{} {}", talk.name, talk.mark);
    json!({ "content": [{ "type": "text", "text": text }], "structuredContent": content })
}

/// What a tool adds to the structured content of its result.
async fn tool(talk: &mut Talk, name: &str) -> Result<Value, Stop> {
    let number = |key: &str, default: u64| talk.arguments[key].as_u64().unwrap_or(default);
    let (ms, repeats) = (number("ms", 0), number("n", 1).min(MAX_REPEATS));
    let pause = Duration::from_millis(ms);
    match name {
        "echo" => {
            sleep(pause).await;
            Ok(json!({}))
        }
        "hang" => pending().await,
        "who_am_i" => Ok(who_am_i(talk)),
        "seen" => Ok(json!({ "events": talk.shared.events() })),
        "ask_form" => Ok(json!({ "replies": form(talk).await? })),
        "ask_url" => url(talk).await,
        "sample" => {
            let question = Question::sample(&talk.text(1));
            Ok(json!({ "replies": talk.ask(vec![question]).await? }))
        }
        "sample_with_tools" => sample_with_tools(talk).await,
        "roots" => Ok(json!({ "replies": talk.ask(vec![Question::roots()]).await? })),
        "ask_two" => several(talk).await,
        "ask_rounds" => rounds(talk, repeats).await,
        "ask_forever" => rounds(talk, u64::MAX).await,
        "progress_and_logs" => report(talk, repeats).await,
        "needs_url_42" => needs_url(talk).await,
        "ask_and_withdraw" => {
            let question = Question::form(&talk.text(1), &Value::Null, talk.knows_modes());
            let open = talk.open(&question).await?;
            sleep(pause).await;
            talk.withdraw(open).await?;
            Ok(json!({ "withdrew": true }))
        }
        "ask_and_give_up" => {
            let question = Question::form(&talk.text(1), &Value::Null, talk.knows_modes());
            let mut open = talk.open(&question).await?;
            let reply = timeout(pause, open.reply()).await.ok();
            Ok(json!({ "gave_up": reply.is_none(), "replies": [reply] }))
        }
        "ask_after_answer" | "ask_outside" => ask_afterwards(talk, name == "ask_outside").await,
        "answer_never_sent" => {
            talk.legacy()?;
            for stranger in [json!(987_654_321), json!("stranger"), Value::Null] {
                let answer = json!({ "jsonrpc": "2.0", "id": stranger, "result": {} });
                talk.out.send(&answer).await;
            }
            Ok(json!({}))
        }
        _ => Err(Stop::Error(-32602, "There is no such tool", None)),
    }
}

fn who_am_i(talk: &Talk) -> Value {
    match &talk.side {
        Side::Legacy(session) => session.declared(),
        Side::Modern(replay) => {
            let of = |key: &str| replay.meta[format!("io.modelcontextprotocol/{key}")].clone();
            json!({
                "protocolVersion": of("protocolVersion"),
                "capabilities": of("clientCapabilities"),
                "clientInfo": of("clientInfo"),
            })
        }
    }
}

async fn form(talk: &mut Talk) -> Result<Value, Stop> {
    let schema = talk.arguments["schema"].clone();
    let question = Question::form(&talk.text(1), &schema, talk.knows_modes());
    let replies = talk.ask(vec![question]).await?;
    let more = talk.arguments["then_ms"].as_u64().unwrap_or(0);
    sleep(Duration::from_millis(more)).await;
    Ok(json!(replies))
}

async fn url(talk: &mut Talk) -> Result<Value, Stop> {
    let id = format!("visit-{}", talk.execution);
    let is_legacy = talk.legacy().is_ok();
    let question = Question::url(&talk.text(1), is_legacy.then_some(id.as_str()));
    let replies = talk.ask(vec![question]).await?;
    if is_legacy && replies[0]["result"]["action"] == "accept" {
        let params = json!({ "elicitationId": id });
        let method = "notifications/elicitation/complete";
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        talk.out.send(&message).await;
    }
    Ok(json!({ "replies": replies }))
}

async fn sample_with_tools(talk: &mut Talk) -> Result<Value, Stop> {
    let said = json!({ "role": "user", "content": { "type": "text", "text": talk.text(1) } });
    let first = Question::sample_of(json!([said]), true);
    let mut replies = talk.ask(vec![first]).await?;
    let result = &replies[0]["result"];
    if result["stopReason"] == "toolUse" {
        let used = match &result["content"] {
            Value::Array(content) => content.iter().find(|item| item["type"] == "tool_use"),
            one => Some(one),
        };
        let id = used.map_or(Value::Null, |used| used["id"].clone());
        let found = json!([{ "type": "text", "text": format!("found for {}", talk.mark) }]);
        let found = json!([{ "type": "tool_result", "toolUseId": id, "content": found }]);
        let messages = json!([
            said,
            { "role": "assistant", "content": result["content"] },
            { "role": "user", "content": found },
        ]);
        let second = Question::sample_of(messages, true);
        replies.extend(talk.ask(vec![second]).await?);
    }
    Ok(json!({ "replies": replies }))
}

async fn several(talk: &mut Talk) -> Result<Value, Stop> {
    let usual = [json!("form"), json!("form")];
    let kinds = talk.arguments["kinds"].as_array();
    let kinds = kinds.map_or(usual.as_slice(), Vec::as_slice);
    let is_legacy = talk.legacy().is_ok();
    let mut questions = Vec::new();
    for (at, kind) in (1..).zip(kinds) {
        let text = talk.text(at);
        let id = format!("visit-{}-{at}", talk.execution);
        questions.push(match kind.as_str().unwrap_or_default() {
            "url" => Question::url(&text, is_legacy.then_some(id.as_str())),
            "sample" => Question::sample(&text),
            "roots" => Question::roots(),
            _ => Question::form(&text, &Value::Null, talk.knows_modes()),
        });
    }
    Ok(json!({ "replies": talk.ask(questions).await? }))
}

async fn rounds(talk: &mut Talk, count: u64) -> Result<Value, Stop> {
    let mut replies = Vec::new();
    for round in 1..=count {
        let question = Question::form(&talk.text(round), &Value::Null, talk.knows_modes());
        let reply = talk.ask(vec![question]).await?;
        let refused = reply[0].get("error").is_some();
        // Nobody looks at more of those that never end.
        if count < u64::MAX || replies.len() < 100 {
            replies.extend(reply);
        }
        if count < u64::MAX && refused {
            break;
        }
    }
    Ok(json!({ "replies": replies }))
}

/// Reports once before it asks, `count` times while the question is open, and once afterwards.
async fn report(talk: &mut Talk, count: u64) -> Result<Value, Stop> {
    talk.progress(1).await;
    talk.log("before").await;
    let text = talk.text(1);
    let question = Question::form(&text, &Value::Null, talk.knows_modes());
    let replies = if talk.legacy().is_ok() {
        let mut open = talk.open(&question).await?;
        let reports = async {
            for at in 1..=count {
                sleep(TICK).await;
                talk.progress(1 + at).await;
                talk.log("meanwhile").await;
            }
            talk.note("reported", json!({}));
        };
        let (reply, ()) = tokio::join!(open.reply(), reports);
        vec![reply]
    } else {
        talk.ask(vec![question]).await?
    };
    talk.progress(count + 2).await;
    talk.log("after").await;
    Ok(json!({ "replies": replies }))
}

async fn needs_url(talk: &mut Talk) -> Result<Value, Stop> {
    if talk.legacy().is_err() {
        return url(talk).await;
    }
    let times = talk.arguments["times"].as_u64().unwrap_or(1);
    let events = talk.shared.events();
    let before = events
        .iter()
        .filter(|event| event["event"] == "needed_url" && event["mark"] == *talk.mark)
        .count() as u64;
    if before >= times {
        return Ok(json!({ "needed": before }));
    }
    talk.note("needed_url", json!({}));
    let text = talk.text(before + 1);
    let needed = json!({
        "mode": "url",
        "elicitationId": format!("visit-{}", talk.execution),
        "url": url_of(&text),
        "message": text,
    });
    let data = json!({ "elicitations": [needed] });
    Err(Stop::Error(-32042, "A URL has to be visited", Some(data)))
}

/// Answers, and asks when the request is over.
async fn ask_afterwards(talk: &mut Talk, outside: bool) -> Result<Value, Stop> {
    let session = talk.legacy()?;
    let result = tool_result(talk, &json!({}));
    talk.answer(Ok(result)).await;
    let question = Question::form(&talk.text(1), &Value::Null, talk.knows_modes());
    let mut open = talk.open_on(&session, &question, outside).await;
    // The journal tells what came.
    let _ = timeout(OUTSIDE, open.reply()).await;
    Err(Stop::Silent)
}
