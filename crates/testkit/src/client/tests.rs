use super::{Client, call, encoded, event_end};
use serde_json::json;

#[test]
fn a_draft_mirrors_its_message() {
    let client = Client::new("http://127.0.0.1:1/mcp");
    let draft = client.draft(&call("é", &json!({})));
    assert_eq!(draft.headers["mcp-method"], "tools/call");
    assert_eq!(draft.headers["mcp-name"], "=?base64?w6k=?=");
    assert_eq!(draft.headers["mcp-protocol-version"], "2026-07-28");
    let draft = draft.without_header("mcp-name").and_header("accept", "x/y");
    assert!(!draft.headers.contains_key("mcp-name"));
    assert_eq!(draft.headers.get_all("accept").iter().count(), 2);
}

#[test]
fn text_is_encoded_as_the_specification_shows() {
    assert_eq!(encoded("us-west1"), "us-west1");
    assert_eq!(encoded(" padded "), "=?base64?IHBhZGRlZCA=?=");
    let literal = encoded("=?base64?literal?=");
    assert_eq!(literal, "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=");
}

#[test]
fn an_event_ends_with_an_empty_line_of_any_kind() {
    assert_eq!(event_end(b"data: 1\n\ndata: 2\n\n"), Some(9));
    assert_eq!(event_end(b"data: 1\r\n\r\n"), Some(11));
    assert_eq!(event_end(b"data: 1\n"), None);
}
