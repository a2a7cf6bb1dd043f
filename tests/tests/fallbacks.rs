//! A tool that cannot answer, and the ones that take its place: who answered, what each was sent,
//! and that nothing is executed twice that must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use switchboard_testkit::asking::{AskingHttp, Options};
use switchboard_testkit::client::{accept, all_capabilities, call, declaring, retry};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_http::{FakeHttp, Fault, RefusedPort, Transport};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::scripted::{Scripted, Step};
use switchboard_tests::waiting::until;

const SERVED_BY: &str = "dev.switchboard/served_by";

async fn fake(label: &str) -> FakeHttp {
    FakeHttp::start(Transport::Modern, label).await
}

fn executions(server: &FakeHttp) -> usize {
    server.requests_of("tools/call").len()
}

/// A server whose tool `t` says that it failed, and how often it was called.
async fn failing() -> (Scripted, Arc<AtomicUsize>) {
    let called = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&called);
    let server = Scripted::start(move |id| {
        counter.fetch_add(1, Ordering::SeqCst);
        let result = json!({
            "resultType": "complete",
            "content": [{ "type": "text", "text": "no such city" }],
            "isError": true,
        });
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        vec![Step::Send(answer.into())]
    })
    .await;
    (server, called)
}

async fn front(backends: Value, fallbacks: Value) -> Front {
    Front::started(json!({ "backends": backends, "fallbacks": fallbacks })).await
}

/// `near` and `far`, and a chain from one to the other. `near` may have other settings.
async fn pair(near: &FakeHttp, far: &FakeHttp, settings: Value, terms: Value) -> Front {
    let mut backends = json!({ "near": remote(near.url()), "far": remote(far.url()) });
    for (key, value) in settings.as_object().into_iter().flatten() {
        backends["near"][key] = value.clone();
    }
    let mut fallback = json!({ "tool": "near__*", "try": ["far__echo"] });
    for (key, value) in terms.as_object().into_iter().flatten() {
        fallback[key] = value.clone();
    }
    front(backends, json!([fallback])).await
}

#[tokio::test]
async fn a_server_that_is_down_is_followed_by_the_next_and_the_answer_says_who_gave_it() {
    let (port, far) = (RefusedPort::take(), fake("far").await);
    let front = front(
        json!({ "near": remote(port.url()), "far": remote(far.url()) }),
        json!([{ "tool": "near__echo", "try": ["far__echo"] }]),
    )
    .await;
    let arguments = json!({ "big": 12_345_678_901_234_567_u64 });
    let answer = front.client.call("near__echo", arguments.clone()).await;
    let result = answer.result();
    assert_eq!(result["structuredContent"]["server"]["label"], "far");
    assert_eq!(result["structuredContent"]["arguments"], arguments);
    let served_by = &result["_meta"][SERVED_BY];
    assert_eq!(served_by["backend"], "far", "{}", answer.raw);
    assert_eq!(served_by["tool"], "far__echo");
    assert_eq!(served_by["attempts"][0]["backend"], "near");
    assert_eq!(served_by["attempts"][0]["reason"], "unavailable");
    assert!(served_by["attempts"][0]["ms"].is_u64());
    assert_eq!(executions(&far), 1);

    let own = front.client.call("far__echo", json!({})).await;
    assert!(own.result()["_meta"][SERVED_BY].is_null(), "{}", own.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_chain_that_does_not_fit_is_warned_of_and_a_reload_names_it() {
    let (near, far) = (fake("near").await, fake("far").await);
    let backends = json!({ "near": remote(near.url()), "far": remote(far.url()) });
    let chain = |tool: &str| json!([{ "tool": "near__echo", "try": [tool] }]);
    let front = front(backends.clone(), chain("far__ecoh")).await;
    let said = |part: &'static str| {
        let output = front.gateway.server().output();
        output
            .lines()
            .find(|line| line.contains(part))
            .map(str::to_owned)
    };
    let warned = until("the warning", async || said("fallbacks[0].try[0]: ")).await;
    assert!(warned.contains(" WARN "), "{warned}");
    assert!(warned.contains("did you mean `far__echo`?"), "{warned}");

    let fitting = json!({ "backends": backends, "fallbacks": chain("far__echo") });
    front.gateway.rewrite(fitting);
    front.gateway.hang_up();
    let reloaded = until("the reload", async || said("in force")).await;
    let keys = reloaded.split_once("keys=\"").map(|(_, rest)| rest);
    let keys = keys.and_then(|rest| rest.split_once('"'));
    let names = keys.map(|(keys, _)| keys.split(',').any(|key| key == "fallbacks"));
    assert_eq!(names, Some(true), "{reloaded}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_calls_is_followed_by_the_next() {
    let (near, far) = (fake("near").await, fake("far").await);
    let front = pair(&near, &far, json!({}), json!({})).await;
    near.fail_calls(Fault::Status(429));
    let answer = front.client.call("near__echo", json!({})).await;
    let served_by = &answer.result()["_meta"][SERVED_BY];
    assert_eq!(served_by["backend"], "far", "{}", answer.raw);
    assert_eq!(served_by["attempts"][0]["reason"], "backend_limit");
    assert_eq!(executions(&far), 1);
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_unsafe_tool_whose_outcome_is_unknown_is_not_followed_by_another() {
    for fault in [
        Fault::NeverAnswers,
        Fault::DropMidAnswer,
        Fault::Status(500),
    ] {
        for terms in [json!({}), json!({ "only_safe": false })] {
            let (near, far) = (fake("near").await, fake("far").await);
            let front = pair(&near, &far, json!({ "timeout": "500ms" }), terms).await;
            near.fail_calls(fault);
            let answer = front.client.call("near__echo", json!({})).await;
            assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
            assert_eq!(answer.fault()["backend"], "near");
            assert_eq!(executions(&near), 1, "{fault:?}");
            assert_eq!(executions(&far), 0, "{fault:?}");
            front.gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn a_safe_tool_that_does_not_answer_in_time_is_followed_by_the_next() {
    let (near, far) = (fake("near").await, fake("far").await);
    let settings = json!({ "timeout": "500ms", "safe_tools": ["echo"] });
    let front = pair(&near, &far, settings, json!({})).await;
    near.fail_calls(Fault::NeverAnswers);
    let answer = front.client.call("near__echo", json!({})).await;
    let served_by = &answer.result()["_meta"][SERVED_BY];
    assert_eq!(served_by["backend"], "far", "{}", answer.raw);
    assert_eq!(served_by["attempts"][0]["reason"], "timeout");
    assert_eq!((executions(&near), executions(&far)), (1, 1));

    // Time that the client gives is for all of them together.
    let mut message = call("near__echo", &json!({}));
    message["params"]["_meta"]["dev.switchboard/timeoutMs"] = json!(200);
    let answer = front.client.ask(&message).await;
    assert_eq!(answer.fault()["code"], 504, "{}", answer.raw);
    assert_eq!(executions(&far), 1);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_tool_that_says_that_it_failed_is_followed_only_if_the_operator_says_so() {
    let far = fake("far").await;
    for (terms, is_followed) in [
        (json!({}), false),
        (json!({ "when": ["error"] }), false),
        (json!({ "when": ["error"], "only_safe": false }), true),
    ] {
        far.forget_requests();
        let (near, called) = failing().await;
        let mut fallback = json!({ "tool": "near__t", "try": ["far__echo"] });
        for (key, value) in terms.as_object().into_iter().flatten() {
            fallback[key] = value.clone();
        }
        let backends = json!({ "near": remote(near.url()), "far": remote(far.url()) });
        let front = front(backends, json!([fallback])).await;
        let answer = front.client.call("near__t", json!({})).await;
        assert_eq!(called.load(Ordering::SeqCst), 1);
        assert_eq!(executions(&far), usize::from(is_followed), "{terms}");
        let served_by = &answer.result()["_meta"][SERVED_BY];
        if is_followed {
            assert_eq!(
                served_by["attempts"][0]["reason"], "error",
                "{}",
                answer.raw
            );
        } else {
            assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
            assert!(served_by.is_null(), "{}", answer.raw);
        }
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_chain_of_three_maps_the_arguments_for_each() {
    let (port, middle, far) = (RefusedPort::take(), fake("middle").await, fake("far").await);
    let front = front(
        json!({
            "near": remote(port.url()),
            "middle": remote(middle.url()),
            "far": remote(far.url()),
        }),
        json!([{
            "tool": "near__search",
            "try": ["middle__echo", "far__echo"],
            "map": {
                "middle__echo": { "query": "q" },
                "far__echo": { "query": "text", "lang": { "const": ["en", null] } },
            },
        }]),
    )
    .await;
    middle.fail_calls(Fault::Status(429));
    let arguments = json!({ "query": "a", "n": 1 });
    let answer = front.client.call("near__search", arguments).await;
    let result = answer.result();
    assert_eq!(
        result["structuredContent"]["arguments"],
        json!({ "text": "a", "n": 1, "lang": ["en", null] }),
        "{}",
        answer.raw
    );
    let attempts = result["_meta"][SERVED_BY]["attempts"].as_array().cloned();
    let backends: Vec<Value> = attempts
        .into_iter()
        .flatten()
        .map(|of| of["backend"].clone())
        .collect();
    assert_eq!(backends.first(), Some(&json!("near")), "{}", answer.raw);
    assert_eq!(backends.last(), Some(&json!("middle")), "{}", answer.raw);
    let sent = &middle.requests_of("tools/call")[0].json()["params"]["arguments"];
    assert_eq!(*sent, json!({ "q": "a", "n": 1 }));

    // Two arguments that would be one are nobody's to choose between.
    far.forget_requests();
    let doubled = json!({ "query": "a", "text": "b" });
    let answer = front.client.call("near__search", doubled).await;
    assert_eq!(answer.result()["isError"], true, "{}", answer.raw);
    assert_eq!(executions(&far), 0);
    front.gateway.stop().await;
}

#[tokio::test]
async fn when_all_fail_one_text_says_what_was_tried_and_what_each_said() {
    let (port, far) = (RefusedPort::take(), fake("far").await);
    let front = front(
        json!({ "near": remote(port.url()), "far": remote(far.url()) }),
        json!([{ "tool": "near__echo", "try": ["far__nothing", "far__echo"] }]),
    )
    .await;
    far.fail_calls(Fault::Status(429));
    let answer = front.client.call("near__echo", json!({})).await;
    let result = answer.result();
    assert_eq!(result["isError"], true, "{}", answer.raw);
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    assert!(
        text.starts_with("None of the 3 servers that were tried could answer."),
        "{text}"
    );
    assert!(text.contains("The server \"near\""), "{text}");
    assert!(text.contains("The server \"far\""), "{text}");
    assert!(
        text.ends_with("Try again later, or go on without it."),
        "{text}"
    );
    let fault = answer.fault();
    assert_eq!(fault["reason"], "all_failed");
    assert_eq!(fault["outcome"], "failed");
    assert_eq!(fault["attempts"][0]["backend"], "near");
    assert_eq!(fault["attempts"][1]["reason"], "not_callable");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_question_of_a_substitute_goes_home() {
    let port = RefusedPort::take();
    let asking = AskingHttp::start(Options {
        era: Era::Modern,
        ..Options::default()
    })
    .await;
    let front = front(
        json!({ "near": remote(port.url()), "far": remote(&asking.url()) }),
        json!([{
            "tool": "near__ask",
            "try": ["far__ask_form"],
            "map": { "far__ask_form": { "what": "mark" } },
        }]),
    )
    .await;
    let message = call("near__ask", &json!({ "what": "mine" }));
    let message = declaring(message, all_capabilities());
    let asked = front.client.ask(&message).await;
    assert!(asked.is_input_required(), "{}", asked.raw);
    assert_eq!(asked.result()["_meta"][SERVED_BY]["tool"], "far__ask_form");
    let responses = asked.replies(accept);
    let answer = front
        .client
        .ask(&retry(message.clone(), &asked, responses.clone()))
        .await;
    assert!(answer.raw.contains("mine"), "{}", answer.raw);
    assert_eq!(answer.result()["_meta"][SERVED_BY]["backend"], "far");
    assert!(!answer.is_input_required(), "{}", answer.raw);

    // The state is of this call, and of no other.
    let mut other = retry(message, &asked, responses);
    other["params"]["arguments"]["what"] = json!("another");
    let refused = front.client.ask(&other).await;
    assert_eq!(refused.error_code(), Some(-32602), "{}", refused.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn of_equivalent_tools_the_cheapest_answers_and_the_next_when_it_cannot() {
    let (near, far) = (fake("near").await, fake("far").await);
    let front = Front::start(json!({
        "backends": { "near": remote(near.url()), "far": remote(far.url()) },
        "equivalents": [{
            "tools": ["near__echo", "far__echo"],
            "prefer": "cheapest",
            "costs": { "near__echo": 2, "far__echo": 0.5 },
            "map": { "far__echo": { "query": "q" } },
        }],
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let answer = front.client.call("near__echo", json!({ "query": 1 })).await;
    let served_by = &answer.result()["_meta"][SERVED_BY];
    assert_eq!(served_by["tool"], "far__echo", "{}", answer.raw);
    assert_eq!(served_by["attempts"], json!([]));
    let arguments = |answer: &switchboard_testkit::client::Answer| {
        answer.result()["structuredContent"]["arguments"].clone()
    };
    assert_eq!(arguments(&answer), json!({ "q": 1 }));
    assert_eq!(executions(&near), 0);

    far.fail_calls(Fault::Status(429));
    let answer = front.client.call("far__echo", json!({ "q": 2 })).await;
    let served_by = &answer.result()["_meta"][SERVED_BY];
    assert_eq!(served_by["tool"], "near__echo", "{}", answer.raw);
    assert_eq!(served_by["attempts"][0]["reason"], "backend_limit");
    assert_eq!(arguments(&answer), json!({ "query": 2 }));
    front.gateway.stop().await;
}
