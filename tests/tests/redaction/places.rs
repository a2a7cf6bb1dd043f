//! What servers say beside results, in the order in which they said it, and in all forms in which programs
//! write a secret, wherever what is sent is cut.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, call, declaring, message};
use switchboard_testkit::fake_tasks::TASKS;
use switchboard_tests::front::{Front, remote};
use switchboard_tests::scripted::{Scripted, pieces};
use switchboard_tests::waiting::until;

use super::{HEADER, token, with_header};

const EVENTS: &str = "text/event-stream";
/// One that has to be escaped in many places.
const ODD: &str = "p@ss/w+rd\"9<k>é&=81";

/// These messages as events of a stream.
fn events(messages: &[Value]) -> String {
    let events = messages.iter();
    events
        .map(|message| format!("data: {message}\n\n"))
        .collect()
}

fn log(data: impl Into<Value>) -> Value {
    let params = json!({ "level": "info", "data": data.into() });
    json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params })
}

fn result(id: &str, text: &str) -> Value {
    let id: Value = serde_json::from_str(id).expect("an id");
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "jsonrpc": "2.0", "id": id, "result": { "resultType": "complete", "content": content } })
}

/// The request of a client that wants to hear logs.
fn listening(mut request: Value) -> Value {
    request["params"]["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
    request
}

fn data(answer: &Answer) -> Vec<&str> {
    let told = answer.notifications.iter();
    told.filter_map(|message| message["params"]["data"].as_str())
        .collect()
}

async fn front(backend: Value) -> Front {
    let front = Front::start(json!({
        "backends": { "s": backend },
        "redaction": { "secrets": [ODD] },
    }))
    .await;
    front.wait_until("s", true).await;
    front
}

#[tokio::test]
async fn a_large_notification_is_redacted_and_keeps_its_place() {
    let filler = "words and more of them, ".repeat(160_000);
    let long = filler.clone();
    let server = Scripted::start(move |id| {
        let messages = [
            log(format!("first {HEADER}")),
            log(format!("{long} {HEADER} {}", token())),
            log(format!("third {HEADER}")),
            log(format!("{long}{}", token())),
            result(id, &format!("last {HEADER}")),
        ];
        pieces(&events(&messages), 100_003)
    })
    .await;
    server.answer_as(EVENTS);
    let front = front(with_header(server.url())).await;
    let answer = front.client.ask(&listening(call("s__t", &json!({})))).await;
    let told = data(&answer);
    let ends: Vec<_> = told
        .iter()
        .map(|text| {
            (
                text.starts_with(&filler),
                text.strip_prefix(&filler).unwrap_or(text),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            (false, "first [redacted:secret]"),
            (true, " [redacted:secret] [redacted:gitlab_token]"),
            (false, "third [redacted:secret]"),
            (true, "[redacted:gitlab_token]"),
        ]
    );
    assert_eq!(
        answer.result()["content"][0]["text"],
        "last [redacted:secret]"
    );
}

#[tokio::test]
async fn a_secret_is_found_wherever_events_are_cut() {
    let server = Scripted::start(|id| {
        let messages = [
            log(format!("{HEADER} {ODD} {}", token())),
            result(id, &format!("{HEADER} {ODD} {}", token())),
        ];
        pieces(&events(&messages), 1)
    })
    .await;
    server.answer_as(EVENTS);
    let front = front(with_header(server.url())).await;
    let answer = front.client.ask(&listening(call("s__t", &json!({})))).await;
    let expected = "[redacted:secret] [redacted:secret] [redacted:gitlab_token]";
    assert_eq!(data(&answer), [expected]);
    assert_eq!(answer.result()["content"][0]["text"], expected);
}

/// The secret as programs write it in a text.
fn forms(secret: &str) -> Vec<String> {
    let json = json!(secret).to_string();
    let nested = json!({ "key": secret, "inner": json!({ "key": secret }).to_string() });
    let url: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    // As `encodeURI` of JavaScript has it.
    let address = secret
        .replace('"', "%22")
        .replace('<', "%3C")
        .replace('>', "%3E")
        .replace('é', "%C3%A9");
    // As `json.dumps` of Python has it, and the encoder of .NET.
    let escaped = |is_escaped: fn(char) -> bool| -> String {
        let chars = secret.chars();
        let chars = chars.map(|c| match c {
            c if is_escaped(c) => format!("\\u{:04X}", u32::from(c)),
            '"' => "\\\"".to_owned(),
            c => c.to_string(),
        });
        chars.collect()
    };
    let python = escaped(|c| !c.is_ascii()).to_lowercase();
    let dot_net = escaped(|c| !c.is_ascii() || "\"<>&'`+".contains(c));
    let twice: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let mut forms = vec![
        secret.to_owned(),
        json,
        nested.to_string(),
        url,
        address,
        python,
        dot_net,
        twice,
    ];
    for before in ["", "u", "me", "you:"] {
        let text = format!("{before}{secret}");
        let base64 = STANDARD.encode(&text);
        forms.push(URL_SAFE_NO_PAD.encode(&text));
        forms.push(base64.replace('/', "\\/"));
        forms.push(
            base64
                .replace('+', "%2B")
                .replace('/', "%2F")
                .replace('=', "%3D"),
        );
        forms.push(base64);
    }
    forms
}

#[tokio::test]
async fn every_form_of_a_secret_is_found_in_a_result_whole_and_in_pieces() {
    let filler = "words and more of them, ".repeat(5_000);
    let mut scripts = Vec::new();
    for secret in [HEADER, ODD] {
        let forms = forms(secret);
        let small = forms.join(" | ");
        let large = format!("{filler} | {small}");
        scripts.extend([(small, 1), (large.clone(), 4099), (large, 1_000_000)]);
    }
    let server = Scripted::start(|_| Vec::new()).await;
    let front = front(with_header(server.url())).await;
    for (text, size) in scripts {
        let count = text.split(" | ").count();
        let said = text.clone();
        server.answer_with(move |id| pieces(&result(id, &said).to_string(), size));
        let answer = front.client.call("s__t", json!({})).await;
        let told = answer.result()["content"][0]["text"]
            .as_str()
            .expect("a text");
        let parts: Vec<_> = told.split(" | ").collect();
        assert_eq!(parts.len(), count, "{size}: {}", &told[told.len() - 4000..]);
        for (part, was) in parts
            .iter()
            .zip(text.split(" | "))
            .filter(|(part, _)| !part.starts_with("words"))
        {
            assert!(part.contains("[redacted:secret]"), "{was} became {part}");
        }
    }
}

#[tokio::test]
async fn errors_have_no_secrets_whatever_was_asked_for() {
    let error = |id: &str| {
        let id: Value = serde_json::from_str(id).expect("an id");
        let error = json!({ "code": -32000, "message": format!("no {HEADER}"), "data": { "key": token() } });
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    };
    let server = Scripted::start(move |id| pieces(&error(id).to_string(), 1)).await;
    let front = front(with_header(server.url())).await;
    let requests = [
        call("s__t", &json!({})),
        message("prompts/get", json!({ "name": "s__p" })),
        message("resources/read", json!({ "uri": "test://r" })),
        message(
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "s__p" }, "argument": { "name": "a", "value": "" },
            }),
        ),
    ];
    for media_type in ["application/json", EVENTS] {
        server.answer_as(media_type);
        if media_type == EVENTS {
            server.answer_with(move |id| pieces(&events(&[error(id)]), 1));
        }
        for request in &requests {
            let answer = front.client.ask(request).await;
            let method = &request["method"];
            assert!(
                answer.raw.contains("no [redacted:secret]")
                    && answer.raw.contains("[redacted:gitlab_token]"),
                "{method}, {media_type}: {}",
                answer.raw
            );
            assert!(!answer.raw.contains(HEADER), "{}", answer.raw);
        }
    }
}

#[tokio::test]
async fn a_request_for_a_task_tells_no_secrets_on_its_way() {
    let task = |kind: &str, more: Value| {
        let mut task = json!({
            "resultType": kind, "taskId": "t-1", "status": "working", "statusMessage": format!("at {HEADER}"),
            "createdAt": "2026-01-02T03:04:05Z", "lastUpdatedAt": "2026-01-02T03:04:05Z", "ttlMs": 60_000, "pollIntervalMs": 20,
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            task[key] = value.clone();
        }
        task
    };
    let answered = |id: &str, result: Value| {
        let id: Value = serde_json::from_str(id).expect("an id");
        json!({ "jsonrpc": "2.0", "id": id, "result": result })
    };
    let server =
        Scripted::start(move |id| pieces(&answered(id, task("task", json!({}))).to_string(), 50))
            .await;
    let front = front(with_header(server.url())).await;
    let capabilities = json!({ "extensions": { TASKS: {} } });
    let asked = declaring(call("s__t", &json!({})), capabilities.clone());
    let begun = front.client.ask(&asked).await;
    assert_eq!(
        begun.result()["statusMessage"],
        "at [redacted:secret]",
        "{}",
        begun.raw
    );
    server.answer_as(EVENTS);
    let filler = "words and more of them, ".repeat(10_000);
    let long = filler.clone();
    server.answer_with(move |id| {
        let content = json!([{ "type": "text", "text": format!("done {HEADER}") }]);
        let done = task(
            "complete",
            json!({ "status": "completed", "result": { "content": content } }),
        );
        let messages = [
            log(format!("{long}{HEADER}")),
            log(token()),
            answered(id, done),
        ];
        pieces(&events(&messages), 5_000)
    });
    let id = begun.result()["taskId"].clone();
    let asked = declaring(message("tasks/get", json!({ "taskId": id })), capabilities);
    let answer = front.client.ask(&listening(asked)).await;
    let told = data(&answer);
    assert_eq!(
        told,
        [
            format!("{filler}[redacted:secret]").as_str(),
            "[redacted:gitlab_token]"
        ]
    );
    let text = &answer.result()["result"]["content"][0]["text"];
    assert_eq!(text, "done [redacted:secret]", "{}", answer.raw);
}

#[tokio::test]
async fn what_a_backend_says_that_is_left_alone_is_as_it_was() {
    let server = Scripted::start(|id| {
        let messages = [log(HEADER), result(id, &format!("{HEADER} {}", token()))];
        pieces(&events(&messages), 10)
    })
    .await;
    server.answer_as(EVENTS);
    let mut backend = with_header(server.url());
    backend["redaction"] = json!("off");
    let front = front(backend).await;
    let answer = front.client.ask(&listening(call("s__t", &json!({})))).await;
    assert_eq!(data(&answer), [HEADER]);
    assert_eq!(
        answer.result()["content"][0]["text"],
        format!("{HEADER} {}", token())
    );
    server.answer_with(|id| {
        let id: Value = serde_json::from_str(id).expect("an id");
        let error = json!({ "code": -32000, "message": format!("no {HEADER}") });
        pieces(
            &events(&[json!({ "jsonrpc": "2.0", "id": id, "error": error })]),
            10,
        )
    });
    let answer = front.client.call("s__t", json!({})).await;
    assert!(answer.raw.contains(HEADER), "{}", answer.raw);
    let counted = front.metrics("switchboard_redactions_total").await;
    let of_backend = counted.keys().find(|name| name.contains("place=\"s\""));
    assert_eq!(of_backend, None, "{counted:?}");
    // What is logged of it is redacted all the same.
    assert!(!front.gateway.server().output().contains(HEADER));
}

/// A server that does not start tells why, and so does the gateway.
#[tokio::test]
async fn why_a_server_is_not_there_is_told_without_secrets() {
    let script = format!("echo \"error: cannot open with {HEADER}\" >&2; exit 3");
    let server = Scripted::start(|id| pieces(&result(id, "").to_string(), 100)).await;
    let front = Front::start(json!({
        "backends": {
            "local": { "command": "sh", "args": ["-c", script] },
            "s": with_header(server.url()),
        },
        "redaction": {},
    }))
    .await;
    front.wait_until("s", true).await;
    let reason = until("the reason", async || {
        let answer = front.client.call("local__t", json!({})).await;
        let is_told = answer.raw.contains("cannot open");
        is_told.then_some(answer.raw)
    })
    .await;
    assert!(
        reason.contains("[redacted") && !reason.contains(HEADER),
        "{reason}"
    );
    let listed = front.client.request("tools/list", json!({})).await;
    assert!(!listed.raw.contains(HEADER), "{}", listed.raw);
    assert!(!front.gateway.server().output().contains(HEADER));
}

/// What is cut, kept and kept for others is without secrets: whole ones, and parts of them at a cut.
#[tokio::test]
async fn nothing_that_is_cut_or_kept_has_any_part_of_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("{HEADER} ").repeat(10_000);
    let server = Scripted::start(move |id| pieces(&result(id, &text).to_string(), 10_007)).await;
    for over in ["truncate", "handle"] {
        let front = Front::start(json!({
            "backends": { "s": with_header(server.url()) },
            "kept_results": { "in_memory": "64KiB", "dir": folder.path() },
            "result_caps": [{ "max_bytes": "4KiB", "over": over }],
        }))
        .await;
        front.wait_until("s", true).await;
        let answer = front.client.call("s__t", json!({})).await;
        assert!(answer.raw.contains("[redacted:secret]"), "{}", answer.raw);
        assert!(!answer.raw.contains(&HEADER[..6]), "{}", answer.raw);
        if over == "handle" {
            let blocks = answer.result()["content"].as_array().expect("blocks");
            let link = blocks.iter().find(|block| block["type"] == "resource_link");
            let uri = &link.expect("a link")["uri"];
            let read = front
                .client
                .request("resources/read", json!({ "uri": uri }))
                .await;
            assert!(read.raw.contains("[redacted:secret]"), "{}", read.raw);
            assert!(!read.raw.contains(&HEADER[..6]), "{}", read.raw);
        }
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn what_was_kept_under_other_rules_answers_nobody() {
    const WORD: &str = "not-yet-a-secret-71";
    let server = Scripted::start(|id| pieces(&result(id, WORD).to_string(), 100)).await;
    let mut backend = remote(server.url());
    backend["cache"] = json!({ "tools": ["t"] });
    let config = |redaction: Value| {
        json!({
            "server": { "watch_config": false },
            "backends": { "s": backend },
            "redaction": redaction,
        })
    };
    let front = Front::start(config(json!({ "secrets": ["of-nobody-else-93"] }))).await;
    front.wait_until("s", true).await;
    let text = |answer: &Answer| answer.result()["content"][0]["text"].clone();
    for state in [Value::Null, json!("hit")] {
        let answer = front.client.call("s__t", json!({})).await;
        assert_eq!(text(&answer), WORD, "{}", answer.raw);
        assert_eq!(
            answer.result()["_meta"]["dev.switchboard/cache"]["state"],
            state
        );
    }
    front.gateway.rewrite(config(json!({ "secrets": [WORD] })));
    front.gateway.hang_up();
    until("the reload", async || {
        let answer = front.client.call("s__t", json!({})).await;
        (text(&answer) == "[redacted:secret]").then_some(())
    })
    .await;
}
