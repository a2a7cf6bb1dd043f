//! Results of local processes are cut while they arrive, if they begin with their id.

use super::*;

/// A gateway in front of a process that answers with lines as long as it is told, with this cap.
async fn local(era: &str, caps: Value) -> Front {
    let mut backend = faulty(&["--misbehaves", "--era", era]);
    backend["max_message_bytes"] = json!("256MiB");
    let front = Front::start(json!({ "backends": { "s": backend }, "result_caps": caps })).await;
    front.wait_until("s", true).await;
    front
}

/// An answer of a process of about so many bytes, whose id stands behind the result or before.
fn long_line(bytes: usize, id_behind: bool) -> Value {
    json!({ "evil": "long_line", "bytes": bytes, "id_behind": id_behind })
}

#[tokio::test]
async fn a_long_line_is_cut_and_what_follows_is_heard() {
    for era in ["modern", "legacy"] {
        for id_behind in [false, true] {
            let front = local(era, json!([{ "max_bytes": "16KiB" }])).await;
            for _ in 0..3 {
                let line = long_line(5_000_000, id_behind);
                let answer = front.client.call("s__misbehave", line).await;
                assert_cut(&answer, 16 * KIB);
                // Whose answer it is has to be known before its end.
                assert_eq!(told(&answer)["totalBytes"].is_null(), !id_behind);
                let small = front
                    .client
                    .call("s__echo", json!({ "text": "small" }))
                    .await;
                assert!(small.raw.contains("small"), "{}", small.raw);
            }
            front.gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn a_process_that_has_had_its_calls_is_not_ended_in_the_middle_of_a_line() {
    for era in ["modern", "legacy"] {
        let mut backend = faulty(&["--misbehaves", "--era", era]);
        backend["max_calls"] = json!(1);
        let caps = json!([{ "max_bytes": "16KiB", "over": "handle" }]);
        let front =
            Front::start(json!({ "backends": { "s": backend }, "result_caps": caps })).await;
        front.wait_until("s", true).await;
        for _ in 0..3 {
            let line = long_line(5_000_000, false);
            let answer = front.client.call("s__misbehave", line).await;
            assert_cut(&answer, 16 * KIB);
            assert_eq!(told(&answer)["keptInAll"], 5_000_000, "{era}");
            assert_eq!(told(&answer)["isWhole"], true);
        }
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn one_that_breaks_off_says_what_became_of_the_process() {
    for era in ["modern", "legacy"] {
        let flags = ["--half-message", "--exit-on-call", "3", "--era", era];
        let caps = json!([{ "max_bytes": "1MiB" }]);
        let front =
            Front::start(json!({ "backends": { "s": faulty(&flags) }, "result_caps": caps })).await;
        front.wait_until("s", true).await;
        let text = "x".repeat(400_000);
        let answer = front.client.call("s__echo", json!({ "text": text })).await;
        assert_eq!(answer.fault()["reason"], "connection_lost", "{era}");
        let said = texts(&answer)[0];
        assert!(said.contains("exit code 3"), "{said}");
        front.gateway.stop().await;
    }
}
