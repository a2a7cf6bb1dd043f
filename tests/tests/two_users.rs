//! Two people on one legacy server that asks: neither ever gets what is the other's.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use switchboard_testkit::client::{Client, accept, all_capabilities, message};
use switchboard_testkit::legacy_client::{LegacyClient, Reply, Setup, Wire};
use switchboard_tests::asking::{AskingServer, Way, ready_for};
use switchboard_tests::front::Front;
use switchboard_tests::keys::{auth_of, key_of};
use tokio::task::JoinSet;

const PEOPLE: [&str; 2] = ["anna", "ben"];
/// How many calls each client of a person makes at once.
const AT_ONCE: usize = 3;
/// How often a call is made again that found no session free.
const TRIES: usize = 20;

/// Tools that ask, and how often each asks.
const TOOLS: [(&str, usize); 3] = [("progress_and_logs", 1), ("ask_rounds", 2), ("ask_two", 2)];

/// What one call of somebody got.
struct Got {
    result: Value,
    /// What it was asked; unknown where all calls of a client share what they are asked.
    questions: Option<Vec<Value>>,
    notifications: Vec<Value>,
}

/// Checks that all of it is of the call with this mark.
fn check(got: &Got, mark: &str, asked: usize) {
    let content = &got.result["structuredContent"];
    assert_eq!(content["mark"], mark, "{}", got.result);
    let execution = content["execution"].as_str().expect("an execution");
    let own = format!("{mark} ");
    let of = format!(" of {execution}");
    let is_own = |text: &Value| {
        let text = text.as_str().unwrap_or_default();
        text.contains(&own) && text.ends_with(&of)
    };
    if let Some(questions) = &got.questions {
        let seen = questions.len();
        assert_eq!(seen, asked, "{mark}: {questions:?} {}", got.result);
        for question in questions {
            assert!(is_own(&question["params"]["message"]), "{mark}: {question}");
        }
    }
    let replies = content["replies"].as_array().expect("replies");
    assert_eq!(replies.len(), asked, "{mark}: {}", got.result);
    for reply in replies {
        let repeated = &reply["result"]["content"]["answer"];
        assert!(is_own(repeated), "{mark}: {reply}");
    }
    for notification in &got.notifications {
        let params = &notification["params"];
        match notification["method"].as_str() {
            Some("notifications/progress") => {
                assert_eq!(params["progressToken"], mark, "{notification}");
                assert!(is_own(&params["message"]), "{mark}: {notification}");
            }
            Some("notifications/message") => {
                assert_eq!(params["data"]["execution"], execution, "{notification}");
                assert_eq!(params["data"]["mark"], mark, "{notification}");
            }
            _ => panic!("{mark} got {notification}"),
        }
    }
}

fn params(tool: &str, mark: &str) -> Value {
    let arguments = json!({ "mark": mark, "n": 2 });
    let meta = json!({
        "progressToken": mark,
        "io.modelcontextprotocol/logLevel": "debug",
        "io.modelcontextprotocol/clientCapabilities": all_capabilities(),
    });
    json!({ "name": format!("a__{tool}"), "arguments": arguments, "_meta": meta })
}

/// Whether a call was not made since no session was free.
fn found_no_session(result: &Value) -> bool {
    result["_meta"]["dev.switchboard/error"]["code"] == 503
}

async fn call_modern(client: &Client, tool: &str, mark: &str) -> Got {
    for _ in 0..TRIES {
        let questions = Mutex::new(Vec::new());
        let reply = |question: &Value| {
            let mut questions = questions.lock().unwrap_or_else(PoisonError::into_inner);
            questions.push(question.clone());
            accept(question)
        };
        let call = message("tools/call", params(tool, mark));
        let answer = client.converse(&call, reply).await;
        if found_no_session(answer.result()) {
            continue;
        }
        assert!(answer.result().is_object(), "{mark}: {}", answer.raw);
        return Got {
            result: answer.result().clone(),
            questions: Some(
                questions
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner),
            ),
            notifications: answer.notifications,
        };
    }
    panic!("{mark}: never a session")
}

/// `who` begins the mark of every call of the client. With `is_own_session`, the server knows the
/// client by its session, and what it asks may come with any call of the client's.
async fn call_legacy(
    client: &LegacyClient,
    who: &str,
    (tool, mark): (&str, &str),
    is_own_session: bool,
) -> Got {
    for _ in 0..TRIES {
        let mut params = params(tool, mark);
        params["_meta"] = json!({ "progressToken": mark });
        let answer = client.request("tools/call", params).await;
        if found_no_session(answer.result()) {
            continue;
        }
        assert!(answer.result().is_object(), "{mark}: {answer:?}");
        for question in &answer.questions {
            let text = question["params"]["message"].as_str().unwrap_or_default();
            assert!(text.contains(&format!(" {who} ")), "{mark}: {question}");
        }
        return Got {
            result: answer.response["result"].clone(),
            questions: (!is_own_session).then_some(answer.questions),
            notifications: answer.notifications,
        };
    }
    panic!("{mark}: never a session")
}

/// All tools at once, a few times each.
async fn modern(client: Client, who: String) {
    let mut calls = JoinSet::new();
    for at in 0..AT_ONCE {
        for (tool, asked) in TOOLS {
            let (client, mark) = (client.clone(), format!("{who} {tool} {at}"));
            calls.spawn(
                async move { check(&call_modern(&client, tool, &mark).await, &mark, asked) },
            );
        }
    }
    while let Some(done) = calls.join_next().await {
        done.expect("what each call got is its own");
    }
}

async fn legacy(client: LegacyClient, who: String, is_own_session: bool) {
    let client = Arc::new(client);
    client.listen().await;
    client
        .request("logging/setLevel", json!({ "level": "debug" }))
        .await;
    let mut calls = JoinSet::new();
    for at in 0..AT_ONCE {
        for (tool, asked) in TOOLS {
            let (client, who) = (Arc::clone(&client), who.clone());
            calls.spawn(async move {
                let mark = format!("{who} {tool} {at}");
                let got = call_legacy(&client, &who, (tool, &mark), is_own_session).await;
                check(&got, &mark, asked);
            });
        }
    }
    while let Some(done) = calls.join_next().await {
        done.expect("what each call got is its own");
    }
    for heard in client.heard() {
        assert!(heard.to_string().contains(&who), "{who} heard {heard}");
    }
}

/// The same over HTTP+SSE, where the one stream is the client's own: so it can only be looked at as
/// a whole.
async fn oldest(client: LegacyClient, who: String) {
    for (tool, _) in TOOLS {
        let mark = format!("{who} {tool}");
        let got = call_legacy(&client, &who, (tool, &mark), true).await;
        assert_eq!(got.result["structuredContent"]["mark"], *mark);
    }
    let heard = client.heard();
    assert!(!heard.is_empty(), "{who}");
    for message in heard {
        let text = message.to_string();
        assert!(text.contains(&who), "{who} heard {text}");
    }
}

/// The questions that nobody answered.
fn unanswered(events: &[Value]) -> Vec<&Value> {
    let of = |what: &'static str| events.iter().filter(move |event| event["event"] == what);
    let is_answer = |asked: &Value, answer: &Value| {
        answer["question"] == asked["question"] && answer["session"] == asked["session"]
    };
    of("asked")
        .filter(|asked| !of("answered").any(|answer| is_answer(asked, answer)))
        .collect()
}

async fn together(way: Way, sessions: &str) {
    let server = AskingServer::start(way).await;
    let mut backend = server.backend();
    backend["sessions"] = json!(sessions);
    backend["timeout"] = json!("20s");
    let front = Front::start(json!({
        "auth": auth_of(&PEOPLE.map(str::to_owned)),
        "backends": { "a": backend },
    }))
    .await;
    ready_for(&front.client.with_key(&key_of("anna"))).await;
    let is_own_session = sessions == "per_client";
    if way == Way::Get {
        // That the server asks on a stream of its own has to be seen once.
        let anna = front.client.with_key(&key_of("anna"));
        check(
            &call_modern(&anna, "ask_rounds", "anna first").await,
            "anna first",
            2,
        );
    }
    let mut clients = JoinSet::new();
    for person in PEOPLE {
        let key = key_of(person);
        clients.spawn(modern(
            Client::new(front.gateway.url()).with_key(&key),
            format!("{person} modern"),
        ));
        let setup = |wire| Setup {
            wire,
            capabilities: all_capabilities(),
            key: Some(key.clone()),
            replies: Arc::new(Reply::accept),
            ..Setup::default()
        };
        // Two of each person, with a session each.
        for number in ["one", "two"] {
            let client = LegacyClient::connect(front.gateway.url(), setup(Wire::Streamable)).await;
            clients.spawn(legacy(client, format!("{person} {number}"), is_own_session));
        }
        let sse = front.gateway.url().replace("/mcp", "/sse");
        let client = LegacyClient::connect(&sse, setup(Wire::Sse)).await;
        clients.spawn(oldest(client, format!("{person} oldest")));
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap_or_else(|error| {
            let events = server.events();
            panic!("{way:?} {sessions}: {error}; {:#?}", unanswered(&events))
        });
    }
    for never in ["stray", "cancelled", "cancelled_nothing"] {
        assert_eq!(server.count_all(never), 0, "{way:?} {sessions}: {never}");
    }
    let events = server.events();
    let ends = |what: &str| events.iter().filter(|event| event["event"] == what).count();
    assert_eq!(ends("asked"), ends("answered"), "{way:?} {sessions}");
    assert_eq!(ends("begin"), ends("end"), "{way:?} {sessions}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn in_sessions_that_are_shared_where_nobody_can_be_asked() {
    for way in Way::ALL {
        together(way, "shared").await;
    }
}

#[tokio::test]
async fn in_a_session_of_each_principal() {
    for way in Way::ALL {
        together(way, "per_principal").await;
    }
}

#[tokio::test]
async fn in_a_session_of_each_client() {
    for way in Way::ALL {
        together(way, "per_client").await;
    }
}
