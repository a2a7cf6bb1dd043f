//! Backends that do what they must not. Each gets the specified error, promptly; a healthy one
//! beside it notices nothing; and when the fault is over, so is the trouble.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::Answer;
use switchboard_tests::front::{Front, faulty};
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tokio::time::Instant;

mod processes;
mod remotes;

/// Well below every deadline of the gateway but well above what a busy machine needs.
const PROMPT: Duration = Duration::from_secs(8);

/// A gateway in front of this backend as `bad` and a healthy one as `good`, both there.
async fn front(bad: Value) -> Front {
    let front = beginning(bad).await;
    front.wait_until("bad", true).await;
    front
}

async fn beginning(bad: Value) -> Front {
    let front = Front::of(json!({ "bad": bad, "good": faulty(&["--label", "good"]) })).await;
    front.wait_until("good", true).await;
    front
}

/// Does something while the healthy backend is called all the time.
async fn beside<T>(front: &Front, doing: impl Future<Output = T>) -> T {
    front.beside("good", PROMPT, doing).await
}

/// Calls a tool of the bad backend beside the good one; the answer has to be prompt.
async fn call(front: &Front, tool: &str, arguments: Value) -> Answer {
    let began = Instant::now();
    let answer = beside(front, front.client.call(&format!("bad__{tool}"), arguments)).await;
    assert!(
        began.elapsed() < PROMPT,
        "{tool} took {:?}: {}",
        began.elapsed(),
        answer.raw
    );
    let root = tools::repository().to_str().expect("a path in UTF-8");
    assert!(
        !answer.raw.contains(root),
        "a path of the host: {}",
        answer.raw
    );
    answer
}

/// Waits until `echo` of the bad backend answers again, beside the good one.
async fn recovers(front: &Front, arguments: Value) {
    let recovered = async || {
        let answer = front.client.call("bad__echo", arguments.clone()).await;
        answer.result()["structuredContent"]
            .is_object()
            .then_some(())
    };
    beside(front, until("the bad backend is well again", recovered)).await;
}

fn assert_ok(answer: &Answer) {
    assert!(
        answer.result()["structuredContent"].is_object(),
        "{}",
        answer.raw
    );
}
