use serde_json::json;

use super::{LegacyClient, Setup};
use crate::asking::{AskingHttp, Options};

#[tokio::test]
async fn what_is_sent_names_the_session_and_its_revision() {
    let server = AskingHttp::start(Options::default()).await;
    for (version, sends) in [("2025-11-25", true), ("2025-03-26", false)] {
        let setup = Setup {
            version,
            key: Some("k".to_owned()),
            ..Setup::default()
        };
        let client = LegacyClient::connect(&server.url(), setup).await;
        let draft = client.draft(&client.call_message("echo", json!({})));
        assert!(draft.headers.contains_key("mcp-session-id"));
        assert!(!draft.headers.contains_key("mcp-method"));
        assert_eq!(draft.headers["authorization"], "Bearer k");
        assert_eq!(draft.headers.contains_key("mcp-protocol-version"), sends);
        let answer = client.call("who_am_i", json!({})).await;
        let declared = &answer.result()["structuredContent"];
        assert_eq!(declared["protocolVersion"], version, "{answer:?}");
        assert_eq!(answer.last_event.as_deref(), Some("0"));
    }
}
