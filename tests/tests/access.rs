//! Who may call, from where, and what nobody gets to see.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, WWW_AUTHENTICATE,
};
use http::{HeaderName, Method};
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Draft, call, message};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, RefusedPort, Transport};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::keys::entry_of;
use switchboard_tests::waiting::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANNA: &str = "annas-key-7d1f0c52";
const BEN: &str = "bens-key-93ae4b60";
const PAGE: &str = "https://app.example.com";
const STRANGE_PAGE: &str = "https://evil.example";

/// The `auth` section for the two.
fn auth() -> Value {
    json!({ "api_keys": [entry_of("anna", ANNA), entry_of("ben", BEN)] })
}

fn with_key(draft: Draft, key: &str) -> Draft {
    draft.with_header("authorization", &format!("Bearer {key}"))
}

async fn send(front: &Front, draft: Draft) -> Answer {
    front.client.send(draft).await.finish().await
}

/// Makes a request with a key.
async fn ask_as(front: &Front, key: &str, method: &str, params: Value) -> Answer {
    let draft = front.client.draft(&message(method, params));
    send(front, with_key(draft, key)).await
}

/// Waits until nothing is missing for whoever has this key.
async fn ready_for(front: &Front, key: &str) {
    until("all backends", async || {
        let answer = ask_as(front, key, "tools/list", json!({})).await;
        let missing = &answer.result()["_meta"]["dev.switchboard/backends"];
        missing.as_array().is_none_or(Vec::is_empty).then_some(())
    })
    .await;
}

fn header(answer: &Answer, name: HeaderName) -> Option<&str> {
    let value = answer.headers.get(name)?;
    Some(value.to_str().expect("a header of text"))
}

fn assert_refused(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.raw);
    assert!(answer.response["result"].is_null(), "{}", answer.raw);
    assert!(answer.error_code().is_some(), "{}", answer.raw);
}

#[tokio::test]
async fn a_key_is_needed_and_the_challenge_says_so() {
    let front = Front::start(json!({ "auth": auth(), "backends": { "f": faulty(&[]) } })).await;
    ready_for(&front, ANNA).await;
    let good = || front.client.draft(&call("f__echo", &json!({ "x": 1 })));

    let missing = send(&front, good()).await;
    assert_refused(&missing, 401);
    assert_eq!(header(&missing, WWW_AUTHENTICATE), Some("Bearer"));

    let doubled = with_key(good(), ANNA).and_header("authorization", &format!("Bearer {BEN}"));
    let mut in_query = good();
    in_query.uri = format!("{}?access_token={ANNA}&api_key={ANNA}", in_query.uri)
        .parse()
        .expect("a URL");
    for (what, draft) in [
        ("a wrong key", with_key(good(), "wrong")),
        ("half a key", with_key(good(), &ANNA[..8])),
        ("a key and more", with_key(good(), &format!("{ANNA}x"))),
        ("no key", good().with_header("authorization", "Bearer ")),
        (
            "another scheme",
            good().with_header("authorization", &format!("Basic {ANNA}")),
        ),
        ("a key alone", good().with_header("authorization", ANNA)),
        ("two keys", doubled),
    ] {
        let wrong = send(&front, draft).await;
        assert_eq!(wrong.status, 401, "{what}: {}", wrong.raw);
        assert_refused(&wrong, 401);
        let challenge = header(&wrong, WWW_AUTHENTICATE);
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""), "{what}");
        assert!(!wrong.raw.contains(ANNA), "{what}: {}", wrong.raw);
    }
    assert_refused(&send(&front, in_query).await, 401);
    let mut get = good();
    get.verb = Method::GET;
    assert_eq!(send(&front, get).await.status, 401);

    for right in [
        with_key(good(), ANNA),
        with_key(good(), BEN),
        good().with_header("authorization", &format!("bearer {ANNA}")),
    ] {
        let answer = send(&front, right).await;
        assert_eq!(answer.status, 200, "{}", answer.raw);
        let echoed = &answer.result()["structuredContent"]["arguments"];
        assert_eq!(*echoed, json!({ "x": 1 }), "{}", answer.raw);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn lists_are_private_where_callers_are_told_apart() {
    let backends = json!({ "f": faulty(&[]) });
    let front = Front::start(json!({ "auth": auth(), "backends": backends })).await;
    ready_for(&front, ANNA).await;
    let open = Front::of(backends).await;
    open.gateway.wait_for_backends().await;
    for method in ["tools/list", "server/discover"] {
        let answer = ask_as(&front, ANNA, method, json!({})).await;
        assert_eq!(answer.result()["cacheScope"], "private", "{}", answer.raw);
        let answer = open.client.request(method, json!({})).await;
        assert_eq!(answer.result()["cacheScope"], "public", "{}", answer.raw);
    }
    front.gateway.stop().await;
    open.gateway.stop().await;
}

#[tokio::test]
async fn what_a_client_proves_itself_with_goes_nowhere() {
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let front = Front::start(json!({
        "auth": auth(),
        "backends": { "f": { "url": fake.url(), "headers": { "X-Own": "of the gateway" } } },
    }))
    .await;
    ready_for(&front, ANNA).await;
    fake.forget_requests();
    let draft = with_key(front.client.draft(&call("f__echo", &json!({}))), ANNA)
        .with_header("cookie", "session=of-the-client")
        .with_header("x-forwarded-user", "of-the-client")
        .with_header("x-own", "of-the-client")
        .with_header("proxy-authorization", "Basic of-the-client");
    let answer = send(&front, draft).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    let requests = fake.requests_of("tools/call");
    assert_eq!(requests.len(), 1);
    let headers = &requests[0].headers;
    for name in [
        "authorization",
        "cookie",
        "x-forwarded-user",
        "proxy-authorization",
    ] {
        assert!(!headers.contains_key(name), "{headers:?}");
    }
    let own: Vec<_> = headers.get_all("x-own").iter().collect();
    assert_eq!(own, ["of the gateway"]);
    front.gateway.stop().await;
}

/// Runs `switchboard` to its end; the exit code and all that it said.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = switchboard(arguments);
    command.envs(environment.iter().copied());
    let ended = ended(command).await;
    (ended.code, ended.said())
}

#[tokio::test]
async fn only_a_loopback_address_is_open_to_everybody() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, config: Value| {
        let file = folder.path().join(name);
        std::fs::write(&file, config.to_string()).expect("the folder is ours");
        file.to_str().expect("a path in UTF-8").to_owned()
    };
    let backends = json!({ "f": faulty(&[]) });
    let everywhere = json!({ "listen": "0.0.0.0:0", "ops_listen": "off" });
    let open = write("open.json", json!({ "backends": backends }));
    let wide = write(
        "wide.json",
        json!({ "server": everywhere, "backends": backends }),
    );
    let off = ("SWITCHBOARD_SERVER__OPS_LISTEN", "off");
    let listen = "SWITCHBOARD_SERVER__LISTEN";
    let attempts = [
        (vec!["serve", "-c", &wide], vec![]),
        (vec!["check", "-c", &wide], vec![]),
        (
            vec!["serve", "-c", &open, "--listen", "0.0.0.0:0"],
            vec![off],
        ),
        (vec!["serve", "-c", &open, "--listen", "[::]:0"], vec![off]),
        (
            vec!["serve", "-c", &open, "--listen", "192.0.2.1:0"],
            vec![off],
        ),
        (vec!["serve", "-c", &open], vec![off, (listen, "0.0.0.0:0")]),
    ];
    for (arguments, environment) in attempts {
        let (code, said) = run(&arguments, &environment).await;
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains("auth"), "{arguments:?}: {said}");
    }
    let closed = write(
        "closed.json",
        json!({ "server": everywhere, "auth": auth(), "backends": backends }),
    );
    let (code, said) = run(&["check", "-c", &closed], &[]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn strange_hosts_and_origins_are_refused() {
    let front = Front::start(json!({
        "server": { "allowed_hosts": ["mcp.example.com"], "allowed_origins": [PAGE] },
        "backends": { "f": faulty(&[]) },
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let good = || front.client.draft(&call("f__echo", &json!({})));
    let port = good().uri.port_u16().expect("a port");
    for (name, value) in [
        ("host", "evil.example".to_owned()),
        ("host", format!("evil.example:{port}")),
        ("host", "127.0.0.1:1".to_owned()),
        ("host", "mcp.example.com.evil.example".to_owned()),
        ("origin", STRANGE_PAGE.to_owned()),
        ("origin", "null".to_owned()),
        ("origin", format!("{PAGE}:444")),
        ("origin", format!("{PAGE}.evil.example")),
        ("origin", "http://app.example.com".to_owned()),
        ("origin", format!("http://127.0.0.1:{}", port ^ 1)),
    ] {
        let answer = send(&front, good().with_header(name, &value)).await;
        assert_eq!(answer.status, 403, "{name}: {value}: {}", answer.raw);
        assert_refused(&answer, 403);
        assert!(
            !answer.raw.contains(&value),
            "{name}: {value}: {}",
            answer.raw
        );
        let allowed = header(&answer, ACCESS_CONTROL_ALLOW_ORIGIN);
        assert_eq!(allowed, None, "{name}: {value}");
    }
    for (name, value) in [
        ("host", format!("localhost:{port}")),
        ("host", format!("[::1]:{port}")),
        ("host", "mcp.example.com".to_owned()),
        ("host", "MCP.example.com:443".to_owned()),
        ("origin", PAGE.to_owned()),
        ("origin", format!("http://localhost:{port}")),
    ] {
        let answer = send(&front, good().with_header(name, &value)).await;
        assert_eq!(answer.status, 200, "{name}: {value}: {}", answer.raw);
    }
    front.gateway.stop().await;
}

/// What a browser asks before a page may call.
fn preflight(front: &Front, origin: &str, headers: &str) -> Draft {
    let mut draft = front.client.draft(&call("f__echo", &json!({})));
    draft.verb = Method::OPTIONS;
    draft.headers.clear();
    draft
        .with_body("")
        .with_header("origin", origin)
        .with_header("access-control-request-method", "POST")
        .with_header("access-control-request-headers", headers)
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call_and_no_others() {
    const WANTED: &str =
        "authorization,content-type,mcp-method,mcp-name,mcp-param-region,mcp-protocol-version";
    let front = Front::start(json!({
        "server": { "allowed_origins": [PAGE] },
        "auth": auth(),
        "backends": { "f": faulty(&[]) },
    }))
    .await;
    ready_for(&front, ANNA).await;

    // It carries no credential, since browsers send none with it.
    let answer = send(&front, preflight(&front, PAGE, WANTED)).await;
    assert!(answer.status.is_success(), "{}", answer.status);
    assert_eq!(header(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), Some(PAGE));
    let methods = header(&answer, ACCESS_CONTROL_ALLOW_METHODS).expect("methods");
    assert!(methods.contains("POST"), "{methods}");
    let headers = header(&answer, ACCESS_CONTROL_ALLOW_HEADERS).expect("headers");
    for wanted in WANTED.split(',') {
        assert!(headers.contains(wanted), "{wanted} is not in {headers}");
    }

    let answer = send(&front, preflight(&front, STRANGE_PAGE, WANTED)).await;
    assert_eq!(answer.status, 403, "{}", answer.raw);
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_METHODS] {
        assert_eq!(header(&answer, name), None);
    }

    let good = || {
        let draft = front.client.draft(&call("f__echo", &json!({})));
        draft.with_header("origin", PAGE)
    };
    let answer = send(&front, with_key(good(), ANNA)).await;
    assert_eq!(answer.status, 200, "{}", answer.raw);
    assert_eq!(header(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), Some(PAGE));
    // The page may read why it was refused.
    let answer = send(&front, good()).await;
    assert_refused(&answer, 401);
    assert_eq!(header(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), Some(PAGE));
    let exposed = header(&answer, ACCESS_CONTROL_EXPOSE_HEADERS).expect("headers");
    assert!(exposed.to_ascii_lowercase().contains("www-authenticate"));
    front.gateway.stop().await;
}

#[tokio::test]
async fn without_allowed_origins_no_page_is_told_anything() {
    let front = Front::of(json!({ "f": faulty(&[]) })).await;
    for origin in [PAGE, STRANGE_PAGE] {
        let answer = send(&front, preflight(&front, origin, "content-type")).await;
        assert_eq!(answer.status, 403, "{}", answer.raw);
        assert_eq!(header(&answer, ACCESS_CONTROL_ALLOW_ORIGIN), None);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_state_of_one_callers_call_is_nothing_to_another() {
    const TOOL: &str = "c__test_input_required_result_request_state";
    let any = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(any, Era::Modern).await.expect("a port");
    let backends = json!({ "c": remote(&server.url()) });
    let front = Front::start(json!({ "auth": auth(), "backends": backends })).await;
    ready_for(&front, ANNA).await;
    let ask = async |key: &str, mut params: Value| {
        params["name"] = json!(TOOL);
        params["arguments"] = json!({});
        let capabilities = json!({ "elicitation": { "form": {} } });
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
        ask_as(&front, key, "tools/call", params).await
    };
    let question = ask(ANNA, json!({})).await;
    let state = &question.result()["requestState"];
    assert!(state.is_string(), "{}", question.raw);
    let retry = json!({
        "requestState": state,
        "inputResponses": { "confirm": { "action": "accept", "content": { "ok": true } } },
    });

    let stolen = ask(BEN, retry.clone()).await;
    assert_eq!(stolen.error_code(), Some(-32602), "{}", stolen.raw);
    let done = ask(ANNA, retry).await;
    assert_eq!(
        done.result()["content"][0]["text"],
        "state-ok",
        "{}",
        done.raw
    );
    front.gateway.stop().await;
}

/// Values that nobody may see: in headers, in environments, as a credential.
const SECRETS: [&str; 5] = [
    "header-secret-e1b6",
    "refused-secret-77c0",
    "environment-secret-a9d3",
    "sealing-secret-of-at-least-32-bytes-4f02",
    ANNA,
];

fn assert_no_secret(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in {what}:\n{text}");
    }
}

/// A configuration that is full of secrets: three backends that work or fail at will, two that
/// never come.
fn secretive(fake: &FakeHttp, nobody: &RefusedPort) -> Value {
    let [header, refused, environment, sealing, _] = SECRETS;
    let with_environment = |flags: &[&str]| {
        let mut backend = faulty(flags);
        backend["env"] = json!({ "TOKEN": environment });
        backend
    };
    json!({
        "server": { "sealing_keys": [sealing] },
        "auth": auth(),
        "telemetry": { "log": { "level": "info,switchboard_backends=trace,switchboard_gateway=trace,switchboard_orchestrator=trace,switchboard_policy=trace,switchboard=trace" } },
        "backends": {
            "fake": {
                "url": fake.url(),
                "headers": { "Authorization": format!("Bearer {header}"), "X-Api-Key": header },
                "timeout": "2s",
            },
            "gone": { "url": nobody.url(), "headers": { "X-Api-Key": refused } },
            "works": with_environment(&[]),
            "falls": with_environment(&["--exit-on-call", "7"]),
            "fails": with_environment(&["--exit-at-start"]),
        },
    })
}

#[tokio::test]
async fn no_message_contains_a_secret() {
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let nobody = RefusedPort::take();
    let config = secretive(&fake, &nobody);
    let front = Front::start(config.clone()).await;
    until("those that can come", async || {
        let answer = ask_as(&front, ANNA, "tools/list", json!({})).await;
        let tools = answer.result()["tools"].to_string();
        let all = ["fake__echo", "works__echo", "falls__echo"];
        all.iter().all(|name| tools.contains(name)).then_some(())
    })
    .await;

    for method in [
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ] {
        let answer = ask_as(&front, ANNA, method, json!({})).await;
        assert_no_secret(method, &answer.raw);
    }
    let call = async |tool: &str| {
        let params = json!({ "name": tool, "arguments": {} });
        let answer = ask_as(&front, ANNA, "tools/call", params).await;
        assert_no_secret(tool, &answer.raw);
        answer
    };
    for tool in [
        "works__echo",
        "falls__echo",
        "gone__echo",
        "fails__echo",
        "nobody__echo",
    ] {
        call(tool).await;
    }
    for fault in [
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
        Fault::Status(500),
        Fault::Garbage,
        Fault::DropMidAnswer,
        Fault::WrongId,
        Fault::NeverAnswers,
    ] {
        fake.fail_calls(fault);
        let answer = call("fake__echo").await;
        let has_failed = answer.result()["isError"] == true || answer.error_code().is_some();
        assert!(has_failed, "{fault:?}: {}", answer.raw);
    }
    fake.behave(Behaviour::default());
    let wrong = ask_as(&front, SECRETS[0], "tools/list", json!({})).await;
    assert_no_secret("a refusal", &wrong.raw);

    let metrics: Vec<String> = front.metrics("").await.into_keys().collect();
    assert!(!metrics.is_empty());
    assert_no_secret("the metrics", &metrics.join("\n"));
    let output = front.gateway.server().output();
    assert!(
        output.contains("endpoint"),
        "the beginning is not kept:\n{output}"
    );
    assert_no_secret("the output", &output);
    front.gateway.stop().await;
}

#[tokio::test]
async fn no_report_of_a_check_contains_a_secret() {
    let fake = FakeHttp::start(Transport::Modern, "fake").await;
    let nobody = RefusedPort::take();
    let mut config = secretive(&fake, &nobody);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("switchboard.json");
    let path = file.to_str().expect("a path in UTF-8");
    std::fs::write(&file, config.to_string()).expect("the folder is ours");
    for format in ["text", "json"] {
        let (code, said) = run(&["check", "-c", path, "--connect", "--format", format], &[]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("gone"), "{said}");
        assert_no_secret("the report", &said);
    }
    // Values that are wrong are not repeated where they may be secret.
    let [header, _, environment, sealing, _] = SECRETS;
    config["server"]["sealing_keys"] = json!([&sealing[..20]]);
    config["auth"]["api_keys"][0]["key_sha256"] = json!(ANNA);
    config["backends"]["fake"]["headers"]["X-Api-Key"] = json!(format!("{header}\n"));
    config["backends"]["works"]["env"]["TOKEN"] = json!([environment]);
    std::fs::write(&file, config.to_string()).expect("the folder is ours");
    for format in ["text", "json"] {
        let (code, said) = run(&["check", "-c", path, "--format", format], &[]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("sealing_keys"), "{said}");
        assert_no_secret("the report", &said);
        assert!(!said.contains(&sealing[..20]), "{said}");
    }
}

#[tokio::test]
async fn a_connection_whose_credential_is_refused_is_not_kept() {
    let front = Front::start(json!({
        "auth": { "api_keys": [{ "name": "a", "key_sha256": "0a1b".repeat(16) }] },
        "backends": { "a": faulty(&[]) },
    }))
    .await;
    let address = front.gateway.url().trim_start_matches("http://");
    let address = address.trim_end_matches("/mcp");
    let told = async |request: &[u8]| {
        let mut connection = TcpStream::connect(address).await.expect("a connection");
        connection.write_all(request).await.expect("a request");
        let mut told = Vec::new();
        // Less than the idle time of who is known.
        let end = timeout(Duration::from_secs(60), connection.read_to_end(&mut told)).await;
        end.expect("an end").expect("answers");
        String::from_utf8_lossy(&told).to_ascii_lowercase()
    };
    let refused = "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}";
    let answer = told(refused.as_bytes()).await;
    assert!(answer.starts_with("http/1.1 401"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    // Nobody has said who he is, but for a path that is not there nobody asks.
    let nowhere = "GET /nowhere HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    let answer = told(nowhere.as_bytes()).await;
    assert!(answer.starts_with("http/1.1 404"), "{answer}");
    front.gateway.stop().await;
}
