//! Headers that disagree with the message, and hosts and origins of strangers.

use serde_json::json;
use switchboard_testkit::client::{call, encoded};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_tests::front::{Front, faulty, remote};

use crate::{HEADER_MISMATCH, INVALID_REQUEST, answer_to, front, good, refuses};

#[tokio::test]
async fn headers_mirror_the_message() {
    let front = front().await;
    let draft = || front.client.draft(&good());
    let wrong = [
        ("no version", draft().without_header("mcp-protocol-version")),
        (
            "another version",
            draft().with_header("mcp-protocol-version", "2025-11-25"),
        ),
        (
            "an unknown version",
            draft().with_header("mcp-protocol-version", "2030-01-01"),
        ),
        (
            "two versions",
            draft().and_header("mcp-protocol-version", "2026-07-28"),
        ),
        ("no method", draft().without_header("mcp-method")),
        (
            "another method",
            draft().with_header("mcp-method", "tools/list"),
        ),
        (
            "another case",
            draft().with_header("mcp-method", "Tools/Call"),
        ),
        (
            "two methods",
            draft().and_header("mcp-method", "tools/call"),
        ),
        ("no name", draft().without_header("mcp-name")),
        ("another name", draft().with_header("mcp-name", "a__hang")),
        (
            "another name in Base64",
            draft().with_header("mcp-name", "=?base64?YV9faGFuZw==?="),
        ),
        (
            "no Base64",
            draft().with_header("mcp-name", "=?base64?###?="),
        ),
        (
            "unpadded Base64",
            draft().with_header("mcp-name", "=?base64?YV9fZWNobw?=x"),
        ),
        (
            "Base64 of no text",
            draft().with_header("mcp-name", "=?base64?//8=?="),
        ),
        ("two names", draft().and_header("mcp-name", "a__hang")),
        (
            "the same name twice",
            draft().and_header("mcp-name", "a__echo"),
        ),
    ];
    for (what, draft) in wrong {
        refuses(&front, what, draft, 400, HEADER_MISMATCH).await;
    }
    let mut raw = draft();
    let latin = http::HeaderValue::from_bytes(b"a__echo\xe9").unwrap();
    raw.headers.insert("mcp-name", latin);
    refuses(
        &front,
        "a name that is not ASCII",
        raw,
        400,
        HEADER_MISMATCH,
    )
    .await;

    let base64 = draft().with_header("mcp-name", "=?base64?YV9fZWNobw==?=");
    assert_eq!(answer_to(&front.client, base64).await.status, 200);
    // A session is nothing that this revision knows: its header is ignored.
    let session = draft()
        .with_header("mcp-session-id", "x")
        .with_header("last-event-id", "1");
    let answer = answer_to(&front.client, session).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("mcp-session-id"));
    front.gateway.stop().await;
}

#[tokio::test]
async fn mirrored_arguments_match_the_arguments() {
    let server = FakeHttp::start(Transport::Modern, "h").await;
    let backends = json!({ "a": faulty(&[]), "h": remote(server.url()) });
    let front = Front::of(backends).await;
    front.wait_until("a", true).await;
    front.wait_until("h", true).await;
    for tool in ["a__locate", "h__locate"] {
        let draft = |region: &str| {
            let call = call(tool, &json!({ "region": region }));
            front
                .client
                .draft(&call)
                .with_header("mcp-param-region", &encoded(region))
        };
        let wrong = [
            ("another", draft("eu").with_header("mcp-param-region", "us")),
            ("none", draft("eu").without_header("mcp-param-region")),
            (
                "no Base64",
                draft("eu").with_header("mcp-param-region", "=?base64?#?="),
            ),
            ("two", draft("eu").and_header("mcp-param-region", "us")),
            (
                "other Base64",
                draft("eu").with_header("mcp-param-region", "=?base64?dXM=?="),
            ),
        ];
        for (what, draft) in wrong {
            let before = server.requests_of("tools/call").len();
            refuses(
                &front,
                &format!("{tool}: {what}"),
                draft,
                400,
                HEADER_MISMATCH,
            )
            .await;
            assert_eq!(
                server.requests_of("tools/call").len(),
                before,
                "{tool}: {what}"
            );
        }
        for region in ["eu", "Zürich"] {
            let answer = answer_to(&front.client, draft(region)).await;
            let arguments = &answer.result()["structuredContent"]["arguments"];
            // The fake compares plain texts only.
            if tool == "a__locate" || region == "eu" {
                assert_eq!(arguments["region"], region, "{}", answer.raw);
            }
        }
        let absent = answer_to(&front.client, front.client.draft(&call(tool, &json!({})))).await;
        assert!(
            absent.result()["structuredContent"].is_object(),
            "{}",
            absent.raw
        );
    }
    // A header that the tool does not know goes on as it came.
    let strange = front.client.draft(&call("h__echo", &json!({})));
    let strange = strange.with_header("mcp-param-color", "=?base64?4oCc?=");
    assert_eq!(answer_to(&front.client, strange).await.status, 200);
    let calls = server.requests_of("tools/call");
    assert_eq!(
        calls.last().unwrap().headers["mcp-param-color"],
        "=?base64?4oCc?="
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn strange_hosts_and_origins_are_forbidden() {
    let front = front().await;
    let url = front.gateway.url();
    let authority = url.trim_start_matches("http://").trim_end_matches("/mcp");
    let draft = || front.client.draft(&good());
    let port = authority.rsplit(':').next().unwrap();
    let origins = [
        "http://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        "null".to_owned(),
        "http://127.0.0.1:1".to_owned(),
        "http://localhost:1".to_owned(),
        format!("https://127.0.0.1:{port}"),
        format!("http://{authority}.evil.example"),
        format!("http://evil.example@{authority}"),
        format!("http://127.0.0.1.:{port}"),
        format!("http://lоcalhost:{port}").replace('о', "%D0%BE"),
        "file://".to_owned(),
        String::new(),
    ];
    for origin in &origins {
        let refused = draft().with_header("origin", origin);
        refuses(&front, origin, refused, 403, INVALID_REQUEST).await;
    }
    let hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1:1".to_owned(),
        format!("127.0.0.1.evil.example:{port}"),
        format!("evil.example@{authority}"),
        format!("{authority}.evil.example"),
    ];
    for host in &hosts {
        let refused = draft().with_header("host", host);
        let answer = answer_to(&front.client, refused).await;
        let is_refused = matches!(answer.status.as_u16(), 400 | 403);
        assert!(is_refused, "{host}: {} {}", answer.status, answer.raw);
        front.works("a").await;
    }
    for origin in [
        format!("http://{authority}"),
        format!("http://localhost:{port}"),
    ] {
        let own = draft().with_header("origin", &origin);
        assert_eq!(answer_to(&front.client, own).await.status, 200, "{origin}");
    }
    front.gateway.stop().await;
}
