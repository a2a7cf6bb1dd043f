//! The admin API and `switchboard backends`: who may use it, what it says of what runs, and that a
//! restart is one.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::{self, Client};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use switchboard_testkit::legacy_client::{LegacyClient, Setup};
use switchboard_tests::commands::{ended, switchboard};
use switchboard_tests::front::{Front, descendants, faulty, is_running, remote, until};
use switchboard_tests::keys::entry_of;
use switchboard_tests::tools;
use switchboard_tests::tunnel::tunnel_to;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const OPS: &str = "the-key-of-ops-51b2";
const AGENT: &str = "the-key-of-an-agent-77aa";

fn keys(names: &[(&str, &str)]) -> Value {
    let keys = names.iter().map(|(name, key)| entry_of(name, key));
    json!({ "api_keys": keys.collect::<Vec<_>>() })
}

fn config(backends: &Value) -> Value {
    json!({
        "server": { "watch_config": false },
        "admin": keys(&[("ops", OPS)]),
        "backends": backends,
    })
}

/// A gateway with an admin API.
struct Administered {
    front: Front,
    url: String,
    http: reqwest::Client,
}

/// A status and a body.
type Answer = (u16, Value);

impl Administered {
    async fn start(config: Value) -> Self {
        let front = Front::start(config).await;
        Self {
            url: front.admin_url().await,
            front,
            http: reqwest::Client::new(),
        }
    }

    async fn of(backends: Value) -> Self {
        Self::start(config(&backends)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.text().await.expect("a whole answer");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method, path).bearer_auth(OPS)).await
    }

    async fn backend(&self, name: &str) -> Value {
        let (status, backend) = self.ask("GET", &format!("/api/v1/backends/{name}")).await;
        assert_eq!(status, 200, "{backend}");
        backend
    }

    /// The program of a local backend that its lists come from.
    async fn pid(&self, name: &str) -> Option<u32> {
        let backend = self.backend(name).await;
        let pid = backend["endpoints"][0]["processes"][0]["pid"].as_u64()?;
        u32::try_from(pid).ok()
    }

    /// Waits until it is ready with another program than this.
    async fn another_than(&self, name: &str, before: Option<u32>) -> u32 {
        until("another process", async || {
            let pid = self.pid(name).await?;
            let is_ready = self.backend(name).await["state"] == "ready";
            (is_ready && Some(pid) != before).then_some(pid)
        })
        .await
    }

    async fn restart(&self, name: &str) -> Answer {
        self.ask("POST", &format!("/api/v1/backends/{name}/restart"))
            .await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = switchboard(&["backends"]);
        command
            .args(arguments)
            .env("SWITCHBOARD_ADMIN_URL", &self.url)
            .env("SWITCHBOARD_ADMIN_KEY", OPS);
        command
    }
}

const LIST: &str = "/api/v1/backends";

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
async fn it_says_what_runs_and_what_it_uses() {
    let server = FakeHttp::start(Transport::Modern, "far").await;
    let backends = json!({ "a": faulty(&["--label", "seen"]), "far": remote(server.url()) });
    let admin = Administered::of(backends).await;
    admin.front.gateway.wait_for_backends().await;
    admin.front.works("a").await;

    let (status, all) = admin.ask("GET", LIST).await;
    assert_eq!(status, 200);
    let all = all["backends"].as_array().expect("backends").clone();
    let names: Vec<_> = all.iter().map(|backend| &backend["name"]).collect();
    assert_eq!(names, ["a", "far"]);
    assert_eq!(all[1]["transport"], "HTTP");
    assert_eq!(all[1]["endpoints"][0]["processes"], json!([]));

    let a = &all[0];
    assert_eq!(a["transport"], "stdio");
    assert_eq!(a["era"], "modern");
    assert_eq!(a["state"], "ready");
    assert_eq!(a["restarts"], 0);
    assert_eq!(a["endpoints"][0]["breaker"], "closed");
    let process = &a["endpoints"][0]["processes"][0];
    assert_eq!(process["kind"], "main");
    let pid = process["pid"]
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.expect("a process id");
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(String::from_utf8_lossy(&arguments).contains("seen"));
    let gateway = admin.front.gateway.server().id().expect("it runs");
    assert!(descendants(gateway).contains(&pid));
    let resident = process["resident_memory_bytes"].as_u64().expect("memory");
    assert!((1 << 20..1 << 30).contains(&resident), "{process}");
    assert!(
        process["cpu_seconds"]
            .as_f64()
            .is_some_and(|cpu| cpu < 60.0)
    );
    assert_eq!(process["processes"], 1);
    assert_eq!(process["write_queue"], 0);
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_restart_gives_another_process_and_metrics_never_go_back() {
    // A shell that works for a moment, so that there is something to count.
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; \"$0\"; true";
    let server = tools::program("faulty-server");
    let backends = json!({ "a": { "command": "sh", "args": ["-c", script, server] } });
    let admin = Administered::of(backends).await;
    let first = admin.another_than("a", None).await;
    let cpu = "switchboard_process_cpu_seconds_total{backend=\"a\"}";
    let started = "switchboard_process_start_time_seconds{backend=\"a\"}";
    // What was read lately counts for a second: the shell may have been alone then.
    let both = "switchboard_processes{backend=\"a\"}";
    let before = until("the shell and the server", async || {
        let now = admin.front.metrics("switchboard_process").await;
        (now[both] == 2.0).then_some(now)
    })
    .await;
    assert!(before[cpu] > 0.0, "{before:?}");
    assert!(before[started] > 0.0);
    let memory = "switchboard_process_resident_memory_bytes{backend=\"a\"}";
    assert!(before[memory] > 1e6, "{before:?}");
    assert_eq!(
        before["switchboard_process_write_queue{backend=\"a\"}"],
        0.0
    );

    let (status, answer) = admin.restart("a").await;
    assert_eq!(status, 202, "{answer}");
    // Calls go to the first until the second is there.
    assert_eq!(
        (&answer["state"], &answer["restarting"]),
        (&json!("ready"), &json!(true))
    );
    let mut last = before[cpu];
    let second = until("another process", async || {
        let now = admin.front.metrics("switchboard_process_cpu").await[cpu];
        assert!(now >= last, "{now} after {last}");
        last = now;
        let pid = admin.pid("a").await.filter(|pid| *pid != first)?;
        (admin.backend("a").await["state"] == "ready").then_some(pid)
    })
    .await;
    until("the first has ended", async || {
        (!is_running(first)).then_some(())
    })
    .await;
    assert!(is_running(second));
    admin.front.works("a").await;
    assert_eq!(admin.backend("a").await["restarts"], 1);
    until("what the second has used is counted too", async || {
        let now = admin.front.metrics("switchboard_process").await;
        (now[cpu] > before[cpu] && now[both] == 2.0).then_some(())
    })
    .await;
    admin.front.gateway.stop().await;
}

/// Begins a call of this tool, and waits until it is in the backend `a`.
async fn begun(
    admin: &Administered,
    tool: &'static str,
    arguments: Value,
) -> JoinHandle<client::Answer> {
    let client = Client::new(admin.front.gateway.url());
    let calling = tokio::spawn(async move { client.call(tool, arguments).await });
    until("the call is in it", async || {
        (admin.backend("a").await["in_flight"] == 1).then_some(())
    })
    .await;
    calling
}

#[tokio::test]
async fn a_call_in_a_process_that_is_restarted_is_answered_by_it() {
    for flags in [&[][..], &["--era", "legacy"]] {
        let admin = Administered::of(json!({ "a": faulty(flags) })).await;
        admin.front.wait_until("a", true).await;
        let first = admin.pid("a").await;
        let calling = begun(&admin, "a__delay", json!({ "ms": 2000 })).await;
        assert_eq!(admin.restart("a").await.0, 202);
        let client = Client::new(admin.front.gateway.url());
        // No call waits for the other, or fails.
        let mut answered = 0;
        while !calling.is_finished() {
            let answer = client.call("a__echo", json!({})).await;
            assert!(answer.result()["isError"] != true, "{}", answer.raw);
            answered += 1;
        }
        assert!(answered > 0);
        let answer = calling.await.expect("an answer");
        assert!(answer.result()["isError"] != true, "{}", answer.raw);
        admin.another_than("a", first).await;
        until("it is over", async || {
            (admin.backend("a").await["restarting"] == false).then_some(())
        })
        .await;
        admin.front.works("a").await;
        admin.front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_call_in_a_process_that_is_restarted_twice_fails_and_the_next_works() {
    let admin = Administered::of(json!({ "a": faulty(&[]) })).await;
    admin.front.wait_until("a", true).await;
    let first = admin.pid("a").await;
    let calling = begun(&admin, "a__hang", json!({})).await;
    assert_eq!(admin.restart("a").await.0, 202);
    assert_eq!(admin.restart("a").await.0, 202);
    let called = timeout(PATIENCE, calling).await.expect("an answer in time");
    let answer = called.expect("an answer");
    assert_eq!(answer.fault()["outcome"], "unknown", "{}", answer.raw);
    admin.another_than("a", first).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_can_run_but_once_is_restarted_all_the_same() {
    // Another one ends while the first has the folder.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "mkdir \"$1/lock\" || exit 9; \"$0\"; rmdir \"$1/lock\"";
    let server = tools::program("faulty-server");
    let backends = json!({ "a": {
        "command": "sh",
        "args": ["-c", script, server, folder.path()],
    }});
    let admin = Administered::of(backends).await;
    let first = admin.another_than("a", None).await;
    assert_eq!(admin.restart("a").await.0, 202);
    admin.another_than("a", Some(first)).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_restart_revives_what_was_left_alone_and_ends_a_pause() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let marker = folder.path().join("mended");
    let script = "[ -e \"$1\" ] || { echo 'fatal: no mends' >&2; exit 3; }; exec \"$0\"";
    let server = tools::program("faulty-server");
    let backends = json!({ "a": {
        "command": "sh",
        "args": ["-c", script, server, &marker],
        "restarts": { "max": 1 },
    }});
    let admin = Administered::of(backends).await;
    let alone = async || {
        until("it is left alone", async || {
            let backend = admin.backend("a").await;
            (backend["state"] == "needs_attention").then_some(backend)
        })
        .await
    };
    let backend = alone().await;
    let end = backend["endpoints"][0]["last_end"]["reason"].as_str();
    let end = end.expect("its last words");
    assert!(
        end.contains("exit code 3") && end.contains("no mends"),
        "{end}"
    );
    assert_eq!(backend["endpoints"][0]["processes"], json!([]));

    // It fails once more, and says so.
    let ended = ended(admin.command(&["restart", "a"])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("exit code 3"), "{ended:?}");
    alone().await;

    std::fs::write(&marker, "").expect("the folder is ours");
    assert_eq!(admin.restart("a").await.0, 202);
    admin.another_than("a", None).await;
    admin.front.works("a").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn a_remote_server_is_connected_again() {
    let server = FakeHttp::start(Transport::Modern, "far").await;
    let admin = Administered::of(json!({ "far": remote(server.url()) })).await;
    admin.front.wait_until("far", true).await;
    let (status, answer) = admin.restart("far").await;
    assert_eq!((status, &answer["restarting"]), (202, &json!(true)));
    until("it is connected again", async || {
        (admin.backend("far").await["restarting"] == false).then_some(())
    })
    .await;
    admin.front.works("far").await;
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn an_unknown_backend_is_named_with_the_nearest() {
    let admin = Administered::of(json!({ "files": faulty(&[]) })).await;
    let (status, problem) = admin.restart("fles").await;
    assert_eq!(status, 404);
    let detail = "there is no backend `fles`; did you mean `files`?";
    assert_eq!(problem["detail"], detail);
    assert_eq!(problem["status"], 404);
    let ended = ended(admin.command(&["restart", "fles"])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(detail), "{ended:?}");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn the_command_prints_a_table_or_json_and_restarts() {
    let admin =
        Administered::of(json!({ "a": faulty(&[]), "gone": { "command": "no-such-program" } }))
            .await;
    let first = admin.another_than("a", None).await;
    let table = ended(admin.command(&[])).await;
    assert_eq!(table.code, Some(0), "{table:?}");
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("NAME "), "{table:?}");
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(cells[..4], ["a", "ready", "stdio", &first.to_string()]);
    assert!(lines[2].contains("was not found"), "{table:?}");

    let as_json = ended(admin.command(&["--format", "json"])).await;
    let value: Value = serde_json::from_str(&as_json.stdout).expect("JSON");
    assert_eq!(
        value["backends"][0]["endpoints"][0]["processes"][0]["pid"],
        first
    );

    let restarted = ended(admin.command(&["restart", "a"])).await;
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    let second = admin.pid("a").await.expect("a process");
    assert_ne!(second, first);
    assert_eq!(restarted.stdout, format!("a is ready, process {second}\n"));

    // Watched by a program, it prints a line each second.
    let mut command = admin.command(&["--watch", "--format", "json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    for _ in 0..2 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("in time");
        let line = line.expect("a line").expect("a line");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["backends"][0]["name"], "a");
    }
    watching.kill().await.expect("it runs");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn the_command_says_what_is_wrong() {
    let admin = Administered::of(json!({})).await;
    let mut command = admin.command(&[]);
    command.env_remove("SWITCHBOARD_ADMIN_KEY");
    let no_key = ended(command).await;
    assert_eq!(no_key.code, Some(1));
    assert!(
        no_key.stderr.contains("SWITCHBOARD_ADMIN_KEY"),
        "{no_key:?}"
    );
    let wrong_key = ended(admin.command(&["--key", "wrong"])).await;
    assert_eq!(wrong_key.code, Some(1));
    assert!(wrong_key.stderr.contains("another key"), "{wrong_key:?}");
    assert!(!wrong_key.stderr.contains("wrong"), "{wrong_key:?}");
    let of_clients = admin.front.gateway.url();
    let elsewhere = ended(admin.command(&["--url", of_clients])).await;
    assert!(
        elsewhere.stderr.contains("there is no admin API"),
        "{elsewhere:?}"
    );
    let url = admin.url.clone();
    let authority = url.strip_prefix("http://").expect("plain HTTP");
    let tunnel = tunnel_to(authority.trim_end_matches('/')).await;
    let tunnelled = ended(admin.command(&["--url", &format!("http://{tunnel}")])).await;
    assert_eq!(tunnelled.code, Some(1));
    let expected = format!("`server.allowed_hosts` lacks {tunnel}");
    assert!(tunnelled.stderr.contains(&expected), "{tunnelled:?}");
    admin.front.gateway.stop().await;
    let away = ended(switchboard(&["backends", "--url", &url])).await;
    assert_eq!(away.code, Some(1));
    assert!(away.stderr.contains("switchboard serve"), "{away:?}");
}

#[tokio::test]
async fn the_command_finds_the_address_in_the_configuration_or_says_what_to_add() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("switchboard.yaml");
    let asked = async |text: &str| {
        std::fs::write(&file, text).expect("the folder is ours");
        let mut command = switchboard(&["backends"]);
        command.current_dir(folder.path());
        ended(command).await
    };
    let none = asked("backends: {}\n").await;
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("sha256sum"), "{none:?}");
    let digest = "de4275e478bbf76c6f76bf15cfde3bbadfc1f3d9b098a6ed630c05e28471968b";
    let keys = format!("admin: {{ api_keys: [{{ name: ops, key_sha256: \"{digest}\" }}] }}\n");
    let off = asked(&format!("server: {{ admin_listen: off }}\n{keys}")).await;
    assert!(off.stderr.contains("is `off`"), "{off:?}");
    // Nobody listens at port 1.
    let found = asked(&format!(
        "server: {{ admin_listen: \"127.0.0.1:1\" }}\n{keys}"
    ))
    .await;
    assert!(found.stderr.contains("http://127.0.0.1:1/"), "{found:?}");
    let without = asked("server: { admin_listen: \"127.0.0.1:1\" }\n").await;
    assert_eq!(without.code, Some(2));
    assert!(without.stderr.contains("admin.api_keys"), "{without:?}");
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

#[tokio::test]
async fn every_get_of_the_document_is_answered_and_none_may_be_cached() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(&json!({ "a": faulty(&[]) }));
    config["auth"] = keys(&[("agent", AGENT)]);
    config["audit"] = json!({ "sqlite": { "path": folder.path().join("audit.db") } });
    let admin = Administered::start(config).await;
    until("the backend", async || {
        let (_, catalogue) = admin.ask("GET", "/api/v1/catalogue").await;
        let tools = catalogue["tools"].as_array()?;
        tools
            .iter()
            .any(|tool| tool["name"] == "a__echo")
            .then_some(())
    })
    .await;
    let (status, document) = admin.ask("GET", "/api/v1/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let text = document.to_string();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let path = path.replace("{name}", "a").replace("{digest}", "a");
        for method in ["get", "post", "put", "patch", "delete"] {
            let request = admin
                .request(&method.to_uppercase(), &path)
                .bearer_auth("wrong");
            assert_eq!(admin.send(request).await.0, 401, "{method} {path}");
            if operations[method].is_null() {
                let request = admin
                    .request(&method.to_uppercase(), &path)
                    .bearer_auth(OPS);
                assert_eq!(admin.send(request).await.0, 405, "{method} {path}");
            }
        }
        if operations["get"].is_null() {
            continue;
        }
        let request = admin.request("GET", &path).bearer_auth(OPS);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        let body = response.text().await.expect("a body");
        for secret in [OPS, AGENT, "key_sha256"] {
            assert!(!body.contains(secret), "{secret} in {path}");
        }
    }
    for word in ["\"command\"", "\"args\"", "\"env\""] {
        assert!(!text.contains(word), "{word}");
    }
    // What is logged is all that is said in a body.
    assert_eq!(text.matches("requestBody").count(), 1);
    assert!(document["paths"]["/api/v1/log"]["put"]["requestBody"].is_object());
    let (_, principals) = admin.ask("GET", "/api/v1/principals").await;
    assert_eq!(principals["principals"][0]["id"], "key:agent");
    let (_, limits) = admin.ask("GET", "/api/v1/limits").await;
    assert_eq!(limits, json!({ "store": "memory", "limits": [] }));
    let (_, shown) = admin.ask("GET", "/api/v1/config").await;
    assert_eq!(shown["backends"], json!(["a"]));
    assert_eq!(admin.ask("GET", "/api/v1/audit?limit=0").await.0, 400);
    // Refused credentials and changes are noted, and found.
    admin.restart("a").await;
    until("the records", async || {
        let (_, found) = admin.ask("GET", "/api/v1/audit?principal=key:ops").await;
        let restart = &found["records"][0];
        (restart["target"] == "/api/v1/backends/a/restart").then_some(())
    })
    .await;
    let (_, found) = admin.ask("GET", "/api/v1/audit?outcome=refused").await;
    assert_eq!(found["records"][0]["listener"], "admin", "{found}");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn an_operator_reloads_and_is_told_what_has_changed() {
    let admin = Administered::of(json!({ "a": faulty(&[]) })).await;
    assert_eq!(admin.ask("GET", "/api/v1/audit").await.0, 404);
    let (status, same) = admin.ask("POST", "/api/v1/reload").await;
    assert_eq!((status, &same["changed"]), (200, &json!(false)), "{same}");
    let mut changed = config(&json!({ "a": faulty(&[]), "b": faulty(&[]) }));
    changed["audit"] = json!({ "stdout": true });
    admin.front.gateway.rewrite(changed);
    let (status, reloaded) = admin.ask("POST", "/api/v1/reload").await;
    assert_eq!(status, 200, "{reloaded}");
    assert_eq!(reloaded["changed"], true);
    assert_eq!(reloaded["backends"]["added"], json!(["b"]));
    assert_eq!(reloaded["needs_restart"], json!(["audit"]));
    let (_, shown) = admin.ask("GET", "/api/v1/config").await;
    assert_eq!(shown["backends"], json!(["a", "b"]));
    admin
        .front
        .gateway
        .rewrite(json!({ "backends": { "a": { "nonsense": 1 } } }));
    let (status, refused) = admin.ask("POST", "/api/v1/reload").await;
    assert_eq!(status, 422);
    let detail = refused["detail"].as_str().expect("why");
    assert!(detail.contains("nonsense"), "{detail}");
    admin.front.gateway.stop().await;
}

#[tokio::test]
async fn sessions_are_shown_without_what_opens_them_and_can_be_ended() {
    let admin = Administered::of(json!({})).await;
    let url = admin.front.gateway.url();
    let client = LegacyClient::connect(url, Setup::default()).await;
    let id = client.session().expect("a session");
    let (_, open) = admin.ask("GET", "/api/v1/sessions").await;
    assert_eq!(open["total"], 1, "{open}");
    assert!(!open.to_string().contains(&id));
    let session = &open["sessions"][0];
    assert_eq!(session["principal"], "anonymous");
    assert_eq!(session["protocol"], "2025-11-25");
    let digest = session["digest"].as_str().expect("a digest");
    let path = format!("/api/v1/sessions/{digest}");
    assert_eq!(admin.ask("DELETE", "/api/v1/sessions/ffff").await.0, 404);
    assert_eq!(admin.ask("DELETE", &path).await.0, 204);
    assert_eq!(admin.ask("DELETE", &path).await.0, 404);
    let (_, open) = admin.ask("GET", "/api/v1/sessions").await;
    assert_eq!(open, json!({ "sessions": [], "total": 0 }));
    let answer = client.request("tools/list", json!({})).await;
    assert_eq!(answer.status, 404, "{answer:?}");
    admin.front.gateway.stop().await;
}
