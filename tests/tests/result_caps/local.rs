//! Results of local processes are cut while they arrive, if they begin with their id.

use super::*;

/// A gateway in front of a process that answers with lines as long as it is told, with this cap.
async fn local(era: &str, caps: Value) -> Front {
    let mut backend = faulty(&["--misbehaves", "--era", era]);
    backend["max_message_bytes"] = json!(256 * KIB * KIB);
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
