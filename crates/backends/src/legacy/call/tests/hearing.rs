//! What is heard between two legs.

use super::*;
use crate::legacy::call::heard::{MAX_HEARD, MAX_LOGS};

#[tokio::test(start_paused = true)]
async fn what_is_heard_meanwhile_comes_on_the_next_leg_in_its_terms() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let notify = |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params});
    for progress in [1, 2, 3] {
        server
            .say(notify(
                "progress",
                json!({"progressToken": id, "progress": progress}),
            ))
            .await;
    }
    server
        .say(notify(
            "progress",
            json!({"progressToken": 99_999, "progress": 4}),
        ))
        .await;
    for (level, data) in [("debug", "quiet"), ("error", "loud")] {
        server
            .say(notify("message", json!({"level": level, "data": data})))
            .await;
    }
    for _ in 0..MAX_LOGS {
        server
            .say(notify(
                "message",
                json!({"level": "error", "data": "x".repeat(10)}),
            ))
            .await;
    }
    server
        .say(notify(
            "message",
            json!({"level": "error", "data": "x".repeat(MAX_HEARD)}),
        ))
        .await;
    let heard = Arc::new(Recorder::default());
    let sink = Arc::clone(&heard) as Arc<dyn Sink>;
    let call = call_with(
        "alice",
        &json!({"inputResponses": {"q1": accept("x")}}),
        &json!({"progressToken": "mine"}),
        Some((sink, LogLevel::Warning)),
    );
    let Ok(Resumed::Waiting(_leg)) = gateway.resume_with(&state, &call) else {
        panic!("the server has not answered");
    };
    let notifications = heard.0.lock().clone();
    assert_eq!(
        notifications.len(),
        MAX_LOGS,
        "all that fit but the quiet one, and the progress"
    );
    assert_eq!(notifications[0]["params"]["data"], "loud");
    let last = notifications.last().expect("progress");
    assert_eq!(
        last["params"],
        json!({"progressToken": "mine", "progress": 3})
    );
    server
        .say(notify(
            "progress",
            json!({"progressToken": id, "progress": 5}),
        ))
        .await;
    assert_eq!(
        heard.0.lock().last().expect("progress")["params"]["progress"],
        5
    );
    gateway.ends().await;
}
