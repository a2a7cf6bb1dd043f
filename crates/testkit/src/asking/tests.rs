use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::time::{sleep, timeout};

use super::{AskingHttp, Journal, Options, QuestionsOn, RESOURCE_URI, serve_stdio};
use crate::client::{Client, accept, call, message, retry};
use crate::fake::Era;
use crate::legacy_client::{LegacyClient, Reply, Setup, Wire};

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

fn count(events: &[Value], event: &str) -> usize {
    events.iter().filter(|seen| seen["event"] == event).count()
}

fn replies(result: &Value) -> Vec<Value> {
    let replies = result["structuredContent"]["replies"].as_array();
    replies.unwrap_or_else(|| panic!("{result}")).clone()
}

/// A server, and a client of it over one of the legacy ways.
async fn connected(wire: Wire, questions_on: QuestionsOn) -> (AskingHttp, LegacyClient) {
    let options = Options {
        questions_on,
        ..Options::default()
    };
    let server = AskingHttp::start(options).await;
    let url = match wire {
        Wire::Streamable => server.url(),
        Wire::Sse => server.sse_url(),
    };
    let setup = Setup {
        wire,
        ..Setup::default()
    };
    let client = LegacyClient::connect(&url, setup).await;
    if questions_on == QuestionsOn::Get {
        client.listen().await;
    }
    (server, client)
}

#[tokio::test]
async fn every_question_is_asked_and_answered_over_every_legacy_transport() {
    let ways = [
        (Wire::Streamable, QuestionsOn::Post),
        (Wire::Streamable, QuestionsOn::Get),
        (Wire::Sse, QuestionsOn::Post),
    ];
    for (wire, on) in ways {
        let (server, client) = connected(wire, on).await;
        let answers = [
            ("ask_form", "ask_form m 1"),
            ("ask_two", "ask_two m 1"),
            ("ask_rounds", "ask_rounds m 1"),
        ];
        for (tool, text) in answers {
            let answer = client.call(tool, json!({ "mark": "m", "n": 3 })).await;
            let replies = replies(answer.result());
            let repeated = replies[0]["result"]["content"]["answer"].as_str();
            let repeated = repeated.unwrap_or_default();
            assert!(repeated.starts_with(text), "{wire:?}: {repeated}");
        }
        for tool in ["ask_url", "sample", "sample_with_tools", "roots"] {
            let answer = client.call(tool, json!({ "mark": "m" })).await;
            let replies = replies(answer.result());
            assert!(replies[0]["result"].is_object(), "{wire:?}: {answer:?}");
        }
        let prompt = client.request("prompts/get", json!({ "name": "asking" }));
        assert!(prompt.await.result()["messages"].is_array());
        let read = client.request("resources/read", json!({ "uri": RESOURCE_URI }));
        assert!(read.await.result()["contents"].is_array());
        let events = server.events();
        assert_eq!(count(&events, "asked"), 12, "{wire:?}");
        assert_eq!(count(&events, "answered"), 12, "{wire:?}");
        assert_eq!(count(&events, "begin"), 9, "{wire:?}");
        assert_eq!(count(&events, "end"), 9, "{wire:?}");
        assert_eq!(count(&events, "stray"), 0, "{wire:?}");
    }
}

#[tokio::test]
async fn a_question_stands_on_the_stream_that_was_chosen() {
    let (_server, client) = connected(Wire::Streamable, QuestionsOn::Post).await;
    let answer = client.call("ask_form", json!({})).await;
    assert_eq!(answer.questions.len(), 1);
    let (_server, client) = connected(Wire::Streamable, QuestionsOn::Get).await;
    let answer = client.call("ask_form", json!({})).await;
    assert_eq!(answer.questions.len(), 0);
    assert_eq!(client.heard().len(), 1);
}

#[tokio::test]
async fn wrong_answers_show_in_the_journal() {
    let server = AskingHttp::start(Options::default()).await;
    let twice = |question: &Value| {
        let answer =
            json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
        Reply::Messages(vec![answer.clone(), answer])
    };
    let setup = Setup {
        replies: Arc::new(twice),
        ..Setup::default()
    };
    let client = LegacyClient::connect(&server.url(), setup).await;
    let answer = client.call("ask_form", json!({})).await;
    assert_eq!(replies(answer.result())[0]["result"]["action"], "decline");
    until("the second answer", || {
        count(&server.events(), "stray") == 1
    })
    .await;
}

#[tokio::test]
async fn questions_that_are_withdrawn_given_up_or_late() {
    let server = AskingHttp::start(Options::default()).await;
    let setup = Setup {
        replies: Arc::new(|_| Reply::Nothing),
        ..Setup::default()
    };
    let client = LegacyClient::connect(&server.url(), setup).await;
    let withdrew = client.call("ask_and_withdraw", json!({ "ms": 1 })).await;
    assert_eq!(
        withdrew.notifications[0]["method"],
        "notifications/cancelled"
    );
    let gave_up = client.call("ask_and_give_up", json!({ "ms": 1 })).await;
    assert_eq!(gave_up.result()["structuredContent"]["gave_up"], true);
    let needs = client.call("needs_url_42", json!({ "mark": "m" })).await;
    assert_eq!(needs.error_code(), Some(-32042));
    let has = client.call("needs_url_42", json!({ "mark": "m" })).await;
    assert!(has.result().is_object(), "{has:?}");
    let after = client.call("ask_after_answer", json!({})).await;
    assert_eq!(after.questions.len(), 0);

    let message = client.call_message("ask_form", json!({}));
    let mut exchange = client.start(&message).await;
    exchange.next().await.expect("a question");
    let params = json!({ "requestId": message["id"] });
    client.notify("notifications/cancelled", Some(params)).await;
    until("cancelled", || count(&server.events(), "cancelled") == 1).await;
    assert_eq!(client.delete().await, 200);
    assert_eq!(server.sessions(), 0);
    assert_eq!(client.call("echo", json!({})).await.status, 404);
}

#[tokio::test]
async fn reports_surround_the_question() {
    let (_server, client) = connected(Wire::Streamable, QuestionsOn::Post).await;
    client
        .request("logging/setLevel", json!({ "level": "debug" }))
        .await;
    let arguments = json!({ "mark": "m", "n": 2 });
    let meta = json!({ "progressToken": "t" });
    let params = json!({ "name": "progress_and_logs", "arguments": arguments, "_meta": meta });
    let answer = client.request("tools/call", params).await;
    assert_eq!(answer.notifications.len(), 8, "{answer:?}");
    assert_eq!(replies(answer.result()).len(), 1);
}

#[tokio::test]
async fn a_modern_call_goes_on_with_its_answers() {
    let server = AskingHttp::start(Options {
        era: Era::Modern,
        ..Options::default()
    })
    .await;
    let client = Client::new(&server.url());
    let answer = client
        .converse(&call("ask_rounds", &json!({ "mark": "m", "n": 3 })), accept)
        .await;
    let replies = replies(answer.result());
    assert_eq!(replies.len(), 3, "{}", answer.raw);
    let third = replies[2]["result"]["content"]["answer"].as_str();
    assert!(third.is_some_and(|text| text.starts_with("ask_rounds m 3 of")));
    let events = server.events();
    assert_eq!(count(&events, "begin"), 1);
    assert_eq!(count(&events, "resumed"), 3);
    assert_eq!(count(&events, "end"), 1);

    let first = call("ask_two", &json!({}));
    let asked = client.ask(&first).await;
    assert_eq!(asked.questions().len(), 2);
    let again = client.ask(&retry(first, &asked, json!({}))).await;
    assert_eq!(again.questions().len(), 2, "{}", again.raw);
    let read = message("resources/read", json!({ "uri": RESOURCE_URI }));
    let read = client.converse(&read, accept).await;
    assert_eq!(read.result()["ttlMs"], 0, "{}", read.raw);
}

/// The other end of a server over standard input and output.
struct Pipe {
    lines: Lines<BufReader<tokio::io::ReadHalf<tokio::io::DuplexStream>>>,
    writer: tokio::io::WriteHalf<tokio::io::DuplexStream>,
}

impl Pipe {
    fn to(options: Options) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(far);
        tokio::spawn(serve_stdio(options, input, output));
        let (reader, writer) = tokio::io::split(near);
        Self {
            lines: BufReader::new(reader).lines(),
            writer,
        }
    }

    async fn say(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.writer
            .write_all(line.as_bytes())
            .await
            .expect("a reader");
    }

    async fn hear(&mut self) -> Value {
        let line = timeout(Duration::from_secs(10), self.lines.next_line()).await;
        let line = line.expect("in time").expect("a line").expect("no end");
        serde_json::from_str(&line).expect("JSON")
    }
}

#[tokio::test]
async fn over_one_channel_and_with_a_journal_in_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal");
    let mut pipe = Pipe::to(Options {
        journal: Some(path.clone()),
        newest: "2025-06-18".to_owned(),
        asks_at_once: true,
        tools_by_capability: true,
        ..Options::default()
    });
    let request = |id: u64, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {} });
    pipe.say(request(1, "initialize", params)).await;
    let initialized = pipe.hear().await;
    assert_eq!(initialized["result"]["protocolVersion"], "2025-06-18");
    pipe.say(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
        .await;
    assert_eq!(pipe.hear().await["params"]["message"], "at once");
    pipe.say(request(2, "tools/list", json!({}))).await;
    let listed = pipe.hear().await;
    assert!(!listed.to_string().contains("ask_form"), "{listed}");
    let called = json!({ "name": "ask_form", "arguments": { "mark": "m" } });
    pipe.say(request(3, "tools/call", called)).await;
    let question = pipe.hear().await;
    assert!(question["params"]["mode"].is_null(), "{question}");
    let declined = json!({ "code": -1, "message": "no" });
    pipe.say(json!({ "jsonrpc": "2.0", "id": question["id"], "error": declined }))
        .await;
    let answer = pipe.hear().await;
    assert_eq!(replies(&answer["result"])[0]["error"]["code"], -1);
    let events = Journal::read(&path);
    let seen: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert_eq!(
        seen,
        ["opened", "asked", "begin", "asked", "answered", "end"]
    );
}
