//! What is written to standard output and is no message, or too long for one.

use serde_json::json;
use switchboard_tests::front::{assert_fault, faulty};
use switchboard_tests::waiting::until;
use tokio::time::Instant;

use super::{
    ERAS, GIB, PROMPT, assert_flat, counted, did, front, ignored, misbehave, misbehaving, process,
};

/// How long a line of 1 GiB may take until what stands behind it is heard, on a busy machine and
/// with a debug build.
const PASSING: std::time::Duration = std::time::Duration::from_secs(60);

async fn restarts(front: &switchboard_tests::front::Front) -> f64 {
    counted(front, "switchboard_backend_restarts_total", "").await
}

#[tokio::test]
async fn a_banner_is_counted_and_ignored() {
    for era in ERAS {
        let front = front(faulty(&["--banner", "--era", era])).await;
        assert!(ignored(&front, "banner").await >= 2.0);
        process(&front).await;
        assert_eq!(restarts(&front).await, 0.0);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn garbage_between_messages_is_counted_and_ignored() {
    for era in ERAS {
        let front = front(misbehaving(era)).await;
        let before = process(&front).await;
        for _ in 0..3 {
            did(&misbehave(&front, json!({ "evil": "garbage" })).await);
        }
        // Partial JSON, other JSON and no JSON; two lines of each time are no UTF-8.
        assert!(ignored(&front, "banner").await >= 3.0 * 10.0);
        assert_eq!(ignored(&front, "invalid_utf8").await, 3.0 * 2.0);
        assert_eq!(process(&front).await, before);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn long_lines_are_answers_up_to_the_limit_and_faults_beyond() {
    for era in ERAS {
        let front = front(misbehaving(era)).await;
        let process_before = process(&front).await;
        for bytes in [64 << 10, 1 << 20, 15 << 20] {
            let evil = json!({ "evil": "long_line", "bytes": bytes });
            let answer = misbehave(&front, evil).await;
            let text = answer.result()["content"][0]["text"].as_str();
            assert_eq!(text.map(str::len), Some(bytes), "{era}");
        }
        let before = front.memory().peak;
        for bytes in [17 << 20, 64 << 20] {
            for id_behind in [false, true] {
                let evil = json!({ "evil": "long_line", "bytes": bytes, "id_behind": id_behind });
                let answer = misbehave(&front, evil).await;
                assert_fault(&answer, 502, "bad");
                assert_eq!(answer.fault()["reason"], "answer_too_large");
                assert_eq!(answer.fault()["outcome"], "unknown");
            }
        }
        assert_eq!(process(&front).await, process_before, "{era}");
        assert_eq!(ignored(&front, "oversize").await, 4.0);
        assert_eq!(restarts(&front).await, 0.0);
        assert_flat(&front, before, era);
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_line_of_one_gib_costs_its_call_and_no_memory() {
    for id_behind in [false, true] {
        let front = front(misbehaving("modern")).await;
        let (process_before, before) = (process(&front).await, front.memory().peak);
        let began = Instant::now();
        let evil = json!({ "evil": "long_line", "bytes": GIB, "id_behind": id_behind });
        let answer = misbehave(&front, evil).await;
        // As soon as it is too long, not when it has passed.
        assert!(began.elapsed() < PROMPT, "{:?}", began.elapsed());
        assert_fault(&answer, 502, "bad");
        assert_eq!(answer.fault()["reason"], "answer_too_large");
        // What is asked meanwhile is answered behind it, by the same process.
        let behind = front.client.call("bad__echo", json!({}));
        let answer = front.beside("good", PROMPT, behind).await;
        let server = &answer.result()["structuredContent"]["server"];
        assert_eq!(server["pid"], process_before, "{}", answer.raw);
        assert!(began.elapsed() < PASSING, "{:?}", began.elapsed());
        assert_eq!(ignored(&front, "oversize").await, 1.0);
        assert_eq!(restarts(&front).await, 0.0);
        assert_flat(&front, before, "1 GiB");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn noise_of_one_gib_costs_nobody_anything() {
    let front = front(misbehaving("legacy")).await;
    let (process_before, before) = (process(&front).await, front.memory().peak);
    let evil = json!({ "evil": "long_noise", "bytes": GIB });
    did(&misbehave(&front, evil).await);
    assert_eq!(process(&front).await, process_before);
    assert_eq!(ignored(&front, "oversize").await, 1.0);
    assert_flat(&front, before, "1 GiB");
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_line_without_end_ends_the_process_at_last() {
    let front = front(faulty(&["--endless-line"])).await;
    let (process_before, before) = (process(&front).await, front.memory().peak);
    let answer = front.client.call("bad__hang", json!({})).await;
    assert_fault(&answer, 502, "bad");
    let another = async || {
        let answer = front.client.call("bad__echo", json!({})).await;
        let process = answer.result()["structuredContent"]["server"]["pid"].as_u64()?;
        (process != process_before).then_some(())
    };
    front
        .beside("good", PROMPT, until("another process", another))
        .await;
    let output = front.gateway.server().output();
    assert!(output.contains("writes a line without end"), "{output}");
    assert_flat(&front, before, "an endless line");
    front.gateway.stop().await;
}
