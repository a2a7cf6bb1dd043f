//! What a client without a token is told.

use serde_json::{Value, json};
use switchboard_tests::front::Front;

use crate::{Guarded, metadata_of};

#[tokio::test]
async fn the_metadata_of_each_endpoint_says_where_tokens_are_had() {
    let guarded = Guarded::with(json!({
        "scopes": { "required": ["mcp"], "profiles": { "coding": ["code"] } },
    }))
    .await;
    let resource = guarded.resource();
    let http = reqwest::Client::new();
    let root = resource.replace("/mcp", "/.well-known/oauth-protected-resource");
    for (at, of, scopes) in [
        (root, resource.clone(), json!(["mcp"])),
        (metadata_of(&resource), resource.clone(), json!(["mcp"])),
        (
            metadata_of(&format!("{resource}/coding")),
            format!("{resource}/coding"),
            json!(["mcp", "code"]),
        ),
    ] {
        // A page of any origin may read it.
        let request = http.get(&at).header("origin", "https://anywhere.example");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{at}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let metadata: Value = response.json().await.expect("JSON");
        assert_eq!(
            metadata,
            json!({
                "resource": of,
                "authorization_servers": [guarded.issuer.url()],
                "bearer_methods_supported": ["header"],
                "scopes_supported": scopes,
            })
        );
        let preflight = http.request(reqwest::Method::OPTIONS, &at);
        let preflight = preflight.header("origin", "https://anywhere.example");
        assert_eq!(preflight.send().await.expect("an answer").status(), 204);
        assert_eq!(
            http.post(&at).send().await.expect("an answer").status(),
            405
        );
    }
    for nowhere in ["/mcp/", "/mcp/a/b", "/other", "x"] {
        let at = format!(
            "{}{nowhere}",
            metadata_of(&resource).trim_end_matches("/mcp")
        );
        let response = http.get(&at).send().await.expect("an answer");
        assert_eq!(response.status(), 404, "{at}");
    }
    guarded.front.gateway.stop().await;

    let open = Front::of(json!({})).await;
    let at = metadata_of(open.gateway.url());
    assert_eq!(http.get(&at).send().await.expect("an answer").status(), 404);
    open.gateway.stop().await;
}
