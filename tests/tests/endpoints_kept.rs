//! What one of several endpoints of a backend began goes on there, and what checks and breakers
//! find about each of them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use http::StatusCode;
use serde_json::{Value, json};
use switchboard_testkit::asking::Options;
use switchboard_testkit::client::{all_capabilities, call, declaring, message, retry};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fake_http::{Behaviour, FakeHttp, Fault, Transport};
use switchboard_testkit::fake_tasks::{FakeTasks, TASKS};
use switchboard_tests::asking::{AskingServer, Way, accepted, asking_call, content};
use switchboard_tests::front::{Front, remote};
use switchboard_tests::keys::{auth_of, key_of};
use switchboard_tests::waiting::until;

/// How often each kind is tried: turns would go elsewhere every second time.
const TRIES: usize = 20;

/// The state of a backend of which not every endpoint is well.
const DEGRADED: &str = "switchboard_backend_state{backend=\"s\",state=\"degraded\"}";

/// A backend `s` with these settings, whose calls take turns between its endpoints.
fn taking_turns(urls: &[&str], mut settings: Value) -> Value {
    settings["balance"] = json!("round_robin");
    settings["endpoints"] = urls.iter().map(|url| remote(url)).collect();
    json!({ "s": settings })
}

fn calls(fake: &FakeHttp) -> usize {
    fake.requests_of("tools/call").len()
}

/// Calls until every one of these has answered.
async fn all_answer(front: &Front, fakes: &[&FakeHttp]) {
    until("every endpoint answers", async || {
        front.client.call("s__echo", json!({})).await;
        fakes.iter().all(|fake| calls(fake) > 0).then_some(())
    })
    .await;
}

/// Waits until the checks have found an endpoint ill, and no call goes there any more.
async fn left_out(front: &Front, fake: &FakeHttp) {
    until("the checks notice", async || {
        let states = front.metrics("switchboard_backend_state").await;
        (states.get(DEGRADED) == Some(&1.0)).then_some(())
    })
    .await;
    until("no call goes there any more", async || {
        fake.forget_requests();
        for _ in 0..6 {
            front.client.call("s__echo", json!({})).await;
        }
        (calls(fake) == 0).then_some(())
    })
    .await;
}

async fn put_back(front: &Front, fake: &FakeHttp) {
    until("calls go there again", async || {
        front.client.call("s__echo", json!({})).await;
        (calls(fake) > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_of_sessions_is_asked_by_ping() {
    let ill = FakeHttp::start(Transport::Legacy, "ill").await;
    let well = FakeHttp::start(Transport::Legacy, "well").await;
    let health = json!({ "interval": "50ms", "timeout": "1s", "failures": 2, "slow_start": "0s" });
    let front = Front::of(taking_turns(
        &[ill.url(), well.url()],
        json!({ "health": health }),
    ))
    .await;
    front.wait_until("s", true).await;
    all_answer(&front, &[&ill, &well]).await;
    until("both are asked", async || {
        let asked = |fake: &FakeHttp| !fake.requests_of("ping").is_empty();
        (asked(&ill) && asked(&well)).then_some(())
    })
    .await;
    ill.behave(Behaviour {
        fault: Some(Fault::Status(500)),
        fault_everywhere: true,
        ..Behaviour::default()
    });
    left_out(&front, &ill).await;
    ill.behave(Behaviour::default());
    put_back(&front, &ill).await;
    front.gateway.stop().await;
}

/// A server with a health path of its own before it: what else is asked goes on to the server.
struct Guarded {
    url: String,
    is_well: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Guarded {
    async fn before(fake: &FakeHttp) -> Self {
        let (is_well, asked) = (
            Arc::new(AtomicBool::new(true)),
            Arc::<AtomicUsize>::default(),
        );
        let health = {
            let (is_well, asked) = (Arc::clone(&is_well), Arc::clone(&asked));
            move || async move {
                asked.fetch_add(1, Ordering::SeqCst);
                match is_well.load(Ordering::SeqCst) {
                    true => StatusCode::NO_CONTENT,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                }
            }
        };
        let (client, server) = (reqwest::Client::new(), fake.url().to_owned());
        let forward = move |request: axum::extract::Request| async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
            let sent = client
                .request(parts.method, server)
                .headers(parts.headers)
                .body(body);
            let answer = sent.send().await.expect("an answer");
            let (status, headers) = (answer.status(), answer.headers().clone());
            (status, headers, answer.bytes().await.expect("a body"))
        };
        let app = Router::new()
            .route("/healthz", axum::routing::get(health))
            .route("/mcp", axum::routing::post(forward));
        let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let socket = socket.expect("a free port");
        let address = socket.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(socket, app).await });
        Self {
            url: format!("http://{address}/mcp"),
            is_well,
            asked,
        }
    }
}

#[tokio::test]
async fn a_path_decides_whether_a_server_is_well() {
    let fake = FakeHttp::start(Transport::Modern, "guarded").await;
    let other = FakeHttp::start(Transport::Modern, "other").await;
    let (guarded, beside) = (Guarded::before(&fake).await, Guarded::before(&other).await);
    let health = json!({
        "path": "/healthz", "interval": "50ms", "timeout": "1s", "failures": 2, "slow_start": "0s",
    });
    let front = Front::of(taking_turns(
        &[&guarded.url, &beside.url],
        json!({ "health": health }),
    ))
    .await;
    front.wait_until("s", true).await;
    all_answer(&front, &[&fake, &other]).await;
    until("both paths are asked", async || {
        let is_asked = |guarded: &Guarded| guarded.asked.load(Ordering::SeqCst) > 2;
        (is_asked(&guarded) && is_asked(&beside)).then_some(())
    })
    .await;
    // It still answers every call.
    guarded.is_well.store(false, Ordering::SeqCst);
    left_out(&front, &fake).await;
    front.works("s").await;
    guarded.is_well.store(true, Ordering::SeqCst);
    put_back(&front, &fake).await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_canary_gets_the_calls_of_a_group() {
    let stable = FakeHttp::start(Transport::Modern, "stable").await;
    let canary = FakeHttp::start(Transport::Modern, "canary").await;
    let mut auth = auth_of(&["ada", "bob"].map(str::to_owned));
    auth["api_keys"][0]["groups"] = json!(["staff", "testers"]);
    auth["api_keys"][1]["groups"] = json!(["staff"]);
    let mut backends = taking_turns(&[stable.url(), canary.url()], json!({}));
    let endpoint = &mut backends["s"]["endpoints"][1];
    endpoint["weight"] = json!(0);
    endpoint["canary"] = json!({ "groups": ["testers"] });
    let front = Front::start(json!({ "auth": auth, "backends": backends })).await;
    let [ada, bob] = ["ada", "bob"].map(|name| front.client.with_key(&key_of(name)));
    let label = async |client: &switchboard_testkit::client::Client| {
        let answer = client.call("s__echo", json!({})).await;
        answer.result()["structuredContent"]["server"]["label"].clone()
    };
    until("the canary is well", async || {
        (label(&ada).await == "canary").then_some(())
    })
    .await;
    until("the other is well", async || {
        (label(&bob).await == "stable").then_some(())
    })
    .await;
    for _ in 0..TRIES {
        assert_eq!(label(&ada).await, "canary");
        assert_eq!(label(&bob).await, "stable");
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_breaker_is_logged_when_it_opens_and_when_it_closes() {
    let fake = FakeHttp::start(Transport::Modern, "a").await;
    let breaker = json!({ "consecutive_failures": 3, "open_for": "200ms" });
    let front = Front::of(json!({ "s": { "url": fake.url(), "breaker": breaker } })).await;
    front.wait_until("s", true).await;
    let line = async |said: &str| {
        until(said, async || {
            let output = front.gateway.server().output();
            let found = output.lines().find(|line| line.contains(said));
            found.map(str::to_owned)
        })
        .await
    };
    fake.fail_calls(Fault::Status(500));
    for _ in 0..3 {
        front.client.call("s__echo", json!({})).await;
    }
    let opened = line("its breaker is open").await;
    assert!(opened.contains("WARN"), "{opened}");
    assert!(
        !front
            .gateway
            .server()
            .output()
            .contains("its breaker is closed")
    );
    fake.behave(Behaviour::default());
    until("the breaker lets a call in", async || {
        let answer = front.client.call("s__echo", json!({})).await;
        (answer.result()["isError"] != json!(true)).then_some(())
    })
    .await;
    let closed = line("its breaker is closed").await;
    assert!(closed.contains("INFO"), "{closed}");
    front.gateway.stop().await;
}

async fn asking(label: &str, era: Era) -> AskingServer {
    let options = Options {
        label: label.to_owned(),
        era,
        ..Options::default()
    };
    AskingServer::with(Way::Post, options).await
}

/// A gateway before two asking servers, both of which have been called.
async fn before_two(one: &AskingServer, two: &AskingServer, settings: Value) -> Front {
    let urls = [one, two].map(|server| server.backend()["url"].as_str().map(str::to_owned));
    let urls: Vec<&str> = urls.iter().flatten().map(String::as_str).collect();
    let front = Front::of(taking_turns(&urls, settings)).await;
    front.wait_until("s", true).await;
    until("both endpoints answer", async || {
        let message = call("s__who_am_i", &json!({ "mark": "first" }));
        front.client.ask(&message).await;
        let answered = |server: &AskingServer| !server.events().is_empty();
        (answered(one) && answered(two)).then_some(())
    })
    .await;
    front
}

#[tokio::test]
async fn a_parked_call_goes_on_where_it_began() {
    for era in [Era::Legacy, Era::Modern] {
        let (one, two) = (asking("one", era).await, asking("two", era).await);
        let front = before_two(&one, &two, json!({})).await;
        let at = |mark: &str| {
            let seen = |server: &AskingServer| {
                let events = server.events();
                events.iter().filter(|event| event["mark"] == mark).count()
            };
            (seen(&one), seen(&two))
        };
        let mut began = [0, 0];
        for number in 0..TRIES {
            let mark = format!("m{number}");
            let message = asking_call("s__ask_form", &json!({ "mark": mark }));
            let asked = front.client.ask(&message).await;
            assert!(asked.is_input_required(), "{era:?}: {}", asked.raw);
            let label = match at(&mark) {
                (1.., 0) => "one",
                (0, 1..) => "two",
                other => panic!("{era:?}: begun at both or nowhere: {other:?}"),
            };
            began[usize::from(label == "two")] += 1;
            // Turns move on in between.
            if number % 3 == 0 {
                let message = call("s__who_am_i", &json!({ "mark": "between" }));
                front.client.ask(&message).await;
            }
            let message = retry(message, &asked, accepted(&asked, "yes"));
            let answer = front.client.ask(&message).await;
            assert_eq!(content(&answer)["server"]["label"], label, "{era:?}");
        }
        assert!(began.iter().all(|count| *count > 0), "{era:?}: {began:?}");
        front.gateway.stop().await;
    }
}

#[tokio::test]
async fn a_session_that_is_kept_stays_at_its_endpoint() {
    let (one, two) = (
        asking("one", Era::Legacy).await,
        asking("two", Era::Legacy).await,
    );
    let front = before_two(&one, &two, json!({ "sessions": "per_principal" })).await;
    let home = async || {
        let message = call("s__who_am_i", &json!({ "mark": "m" }));
        let answer = front
            .client
            .ask(&declaring(message, all_capabilities()))
            .await;
        content(&answer)["server"].clone()
    };
    let first = home().await;
    for _ in 0..TRIES {
        assert_eq!(home().await, first);
    }
    front.gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_asked_for_where_it_was_created() {
    let one = FakeTasks::start(Era::Modern, "one").await;
    let two = FakeTasks::start(Era::Modern, "two").await;
    let front = Front::of(taking_turns(&[one.url(), two.url()], json!({}))).await;
    front.wait_until("s", true).await;
    let ask = async |method: &str, mut params: Value| {
        let capabilities = json!({ "elicitation": {}, "extensions": { TASKS: {} } });
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
        front.client.ask(&message(method, params)).await
    };
    let start = async || {
        let params = json!({ "name": "s__later", "arguments": { "hold": true } });
        let answer = ask("tools/call", params).await;
        let id = answer.result()["taskId"].as_str().map(str::to_owned);
        id.unwrap_or_else(|| panic!("a task, not {}", answer.raw))
    };
    until("both endpoints have a task", async || {
        start().await;
        (one.server().created() > 0 && two.server().created() > 0).then_some(())
    })
    .await;
    let mut tasks = Vec::new();
    for _ in 0..TRIES {
        let before = one.server().created();
        let id = start().await;
        let home = if one.server().created() > before {
            "one"
        } else {
            "two"
        };
        tasks.push((id, home));
    }
    for label in ["one", "two"] {
        assert!(
            tasks.iter().any(|(_, home)| *home == label),
            "none at {label}"
        );
    }
    one.server().release();
    two.server().release();
    for (id, home) in &tasks {
        let task = until("completed", async || {
            let answer = ask("tasks/get", json!({ "taskId": id })).await;
            let task = answer.result();
            assert_eq!(task["taskId"], **id, "{}", answer.raw);
            (task["status"] == "completed").then(|| task.clone())
        })
        .await;
        assert_eq!(
            task["result"]["structuredContent"]["server"], *home,
            "{task}"
        );
    }
    front.gateway.stop().await;
}
