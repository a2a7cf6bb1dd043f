//! Who may use the admin API, and under which name.

use serde_json::{Value, json};
use switchboard_tests::front::{Front, faulty};
use switchboard_tests::waiting::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{AGENT, Administered, LIST, OPS, PATIENCE, config, keys};

#[tokio::test]
async fn nobody_gets_in_without_a_key_of_its_own() {
    let mut config = config(&json!({ "a": faulty(&[]) }));
    config["auth"] = keys(&[("agent", AGENT)]);
    let admin = Administered::start(config).await;

    let response = admin.request("GET", LIST).send().await.expect("an answer");
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    // Neither a wrong key, nor one that may call tools.
    for key in ["wrong", AGENT] {
        let request = admin.request("GET", LIST).bearer_auth(key);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 401);
        let challenge = &response.headers()["www-authenticate"];
        assert_eq!(challenge, "Bearer error=\"invalid_token\"");
        let restart = admin.request("POST", "/api/v1/backends/a/restart");
        assert_eq!(admin.send(restart.bearer_auth(key)).await.0, 401);
    }
    assert_eq!(admin.ask("GET", LIST).await.0, 200);
    let metrics = admin.front.metrics("switchboard_http_requests_total").await;
    assert_eq!(
        metrics["switchboard_http_requests_total{status=\"401\"}"],
        5.0
    );

    // And an admin's key calls no tool.
    let request = admin.http.post(admin.front.gateway.url()).bearer_auth(OPS);
    assert_eq!(admin.send(request.body("{}")).await.0, 401);
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn strange_hosts_and_pages_are_refused_and_no_page_is_told_that_it_may_call() {
    let config = json!({
        "server": { "watch_config": false, "allowed_origins": ["https://app.example.com"] },
        "admin": keys(&[("ops", OPS)]),
        "backends": {},
    });
    let admin = Administered::start(config).await;
    let asked = |name: &str, value: &str| {
        let request = admin.request("GET", LIST).bearer_auth(OPS);
        admin.send(request.header(name, value))
    };
    assert_eq!(asked("host", "evil.example").await.0, 403);
    // Pages that may call tools may not look after the gateway.
    for page in [
        "https://evil.example",
        "https://app.example.com",
        "null",
        "http://127.0.0.1:1",
    ] {
        assert_eq!(asked("origin", page).await.0, 403, "{page}");
    }
    assert_eq!(asked("origin", &admin.url).await.0, 200);
    let preflight = admin
        .request("OPTIONS", LIST)
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET");
    let response = preflight.send().await.expect("an answer");
    assert_eq!(response.status(), 403);
    let allows = |name: &str| name.starts_with("access-control");
    assert!(!response.headers().keys().any(|name| allows(name.as_str())));
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn each_listener_serves_its_own_paths_only() {
    let admin = Administered::of(json!({ "a": faulty(&[]) })).await;
    let of_clients = admin.front.gateway.url();
    let of_clients = of_clients.strip_suffix("/mcp").expect("the endpoint");
    let of_ops = admin.front.metrics_url();
    let of_ops = of_ops.strip_suffix("/metrics").expect("the metrics");
    for address in [of_clients, of_ops] {
        let request = admin.http.get(format!("{address}{LIST}")).bearer_auth(OPS);
        assert_eq!(admin.send(request).await.0, 404, "{address}");
    }
    for path in [
        "/",
        "/mcp",
        "/metrics",
        "/api/v1/backends/",
        "/api/v2/backends",
    ] {
        assert_eq!(admin.ask("GET", path).await.0, 404, "{path}");
    }
    assert_eq!(admin.ask("POST", LIST).await.0, 405);
    assert_eq!(admin.ask("GET", "/api/v1/backends/a/restart").await.0, 405);
    assert_eq!(admin.ask("DELETE", "/api/v1/backends/a").await.0, 405);
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn without_keys_there_is_no_admin_api_and_the_first_screen_says_so() {
    let front = Front::of(json!({})).await;
    until("the line", async || {
        let output = front.gateway.server().output();
        output.contains("no keys in admin.api_keys").then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_reload_revokes_and_gives_keys() {
    let admin = Administered::of(json!({})).await;
    assert_eq!(admin.ask("GET", LIST).await.0, 200);
    let with = |admin: Value| {
        let mut config = json!({ "server": { "watch_config": false }, "backends": {} });
        if !admin.is_null() {
            config["admin"] = admin;
        }
        config
    };
    let status_of = async |key: &str| {
        let request = admin.request("GET", LIST).bearer_auth(key);
        admin.send(request).await.0
    };
    let steps = [
        (keys(&[("ops", "another-key")]), 401, 200),
        (Value::Null, 401, 401),
        (keys(&[("ops", OPS)]), 200, 401),
    ];
    for (keys, first, second) in steps {
        admin.front.gateway.rewrite(with(keys));
        admin.front.gateway.hang_up();
        until("other keys", async || {
            let is_in_force =
                status_of(OPS).await == first && status_of("another-key").await == second;
            is_in_force.then_some(())
        })
        .await;
    }
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_flood_without_a_key_keeps_no_operator_out() {
    let admin = Administered::of(json!({ "a": faulty(&[]) })).await;
    let address = admin.url.strip_prefix("http://").expect("plain HTTP");
    // More than there are places, of which each says nothing, or something that is refused.
    let mut strangers = Vec::new();
    for at in 0..100 {
        let mut stranger = TcpStream::connect(address).await.expect("the backlog");
        if at % 2 == 0 {
            let request = format!("GET {LIST} HTTP/1.1\r\nhost: {address}\r\n\r\n");
            stranger
                .write_all(request.as_bytes())
                .await
                .expect("a request");
        }
        strangers.push(stranger);
    }
    let listed = timeout(PATIENCE, admin.ask("GET", LIST)).await;
    assert_eq!(listed.expect("an answer in time").0, 200);
    // Who was refused is not kept.
    let mut refused = strangers.swap_remove(0);
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, refused.read_to_end(&mut answer)).await;
    read.expect("an end in time").expect("an end");
    assert!(answer.starts_with(b"HTTP/1.1 401"));
    // Calls go on meanwhile.
    admin.front.wait_until("a", true).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}
