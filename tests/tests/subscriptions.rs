//! `subscriptions/listen`: many listeners, the changes of all servers, and the end.

use std::net::Ipv4Addr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, Exchange};
use switchboard_testkit::conformance::{Era, HttpServer};
use switchboard_tests::front::{Front, faulty, remote};
use switchboard_tests::keys::{auth_of, key_of};
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tokio::task::JoinSet;

/// How many listen at once.
const MANY: usize = 1000;
/// Tasks that come and go for reasons of their own, such as connections to the servers.
const SLACK: usize = 20;

const WATCHED: &str = "test://watched-resource";
const UNWATCHED: &str = "test://static-text";
const TOOLS: &str = "notifications/tools/list_changed";
const PROMPTS: &str = "notifications/prompts/list_changed";
const UPDATED: &str = "notifications/resources/updated";

/// A stream that was acknowledged.
struct Listener {
    exchange: Exchange,
}

impl Listener {
    /// Opens a stream, with id 1 as all of them.
    async fn open(client: &Client, filter: Value) -> Self {
        let mut exchange = client.listen(filter.clone()).await;
        assert_eq!(exchange.status, 200);
        let first = exchange.next().await.expect("an acknowledgement");
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(first["params"]["notifications"], filter, "{first}");
        assert_tagged(&first);
        Self { exchange }
    }

    /// The next notification.
    async fn next(&mut self) -> Value {
        let message = self.exchange.next().await.expect("more of the stream");
        assert_tagged(&message);
        message
    }

    /// The method of the next notification.
    async fn method(&mut self) -> String {
        let message = self.next().await;
        let method = message["method"].as_str();
        method.unwrap_or_else(|| panic!("{message}")).to_owned()
    }

    /// Reads until this notification; the methods of all before it.
    async fn until(&mut self, method: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let found = self.method().await;
            if found == method {
                return before;
            }
            before.push(found);
        }
    }
}

fn assert_tagged(message: &Value) {
    let carrier = if message["method"].is_string() {
        &message["params"]
    } else {
        &message["result"]
    };
    let id = &carrier["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(*id, 1, "{message}");
}

/// As many streams with this filter, opened side by side.
async fn open_all(client: &Client, filter: &Value, count: usize) -> Vec<Listener> {
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let (client, filter) = (client.clone(), filter.clone());
        opening.spawn(async move { Listener::open(&client, filter).await });
    }
    opening.join_all().await
}

/// Runs one step for all of them, side by side; their results in no order.
async fn for_all<T: Send + 'static, F: Future<Output = (Listener, T)> + Send + 'static>(
    listeners: Vec<Listener>,
    step: impl Fn(Listener) -> F,
) -> (Vec<Listener>, Vec<T>) {
    let steps: JoinSet<(Listener, T)> = listeners.into_iter().map(step).collect();
    steps.join_all().await.into_iter().unzip()
}

/// Lets this process and its children have as many files as the system allows.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("the soft limit may rise");
}

async fn modern_server() -> HttpServer {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    HttpServer::bind(any, Era::Modern).await.expect("a port")
}

async fn call(front: &Front, tool: &str, arguments: Value) -> Answer {
    let answer = front.client.call(tool, arguments).await;
    assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
    assert_eq!(answer.error_code(), None, "{}", answer.raw);
    answer
}

async fn has_tool(front: &Front, name: &str) -> bool {
    let answer = front.client.request("tools/list", json!({})).await;
    let tools = answer.result()["tools"].as_array().expect("tools");
    tools.iter().any(|tool| tool["name"] == name)
}

async fn gauge(front: &Front, name: &str) -> usize {
    let metrics = front.metrics(name).await;
    metrics.get(name).map_or(0, |value| *value as usize)
}

#[tokio::test]
async fn a_thousand_listeners_cost_memory_and_hear_each_change_once() {
    raise_file_limit();
    let server = modern_server().await;
    let front = Front::of(json!({ "m": remote(&server.url()) })).await;
    front.gateway.wait_for_backends().await;
    let before = front.census().await;

    let everything = json!({ "toolsListChanged": true, "promptsListChanged": true });
    let listeners = open_all(&front.client, &everything, MANY).await;
    assert_eq!(gauge(&front, "switchboard_listen_streams").await, MANY);
    // Over HTTP/1.1 each has a connection, and each connection a task.
    let during = front.census().await;
    assert!(
        during.tasks <= before.tasks + MANY + SLACK,
        "{before:?} has become {during:?}"
    );

    call(&front, "m__add_tool", json!({ "name": "brand_new" })).await;
    let (listeners, heard) = for_all(listeners, async |mut listener| {
        let heard = listener.method().await;
        (listener, heard)
    })
    .await;
    assert!(heard.iter().all(|method| method == TOOLS), "{heard:?}");
    // Whoever is told may look at once.
    assert!(has_tool(&front, "m__brand_new").await);

    // Nothing comes twice: the next that anybody hears is the next change.
    call(&front, "m__test_trigger_prompt_change", json!({})).await;
    let (listeners, heard) = for_all(listeners, async |mut listener| {
        let heard = listener.method().await;
        (listener, heard)
    })
    .await;
    assert!(heard.iter().all(|method| method == PROMPTS), "{heard:?}");

    drop(listeners);
    until("the streams are closed", async || {
        (gauge(&front, "switchboard_listen_streams").await == 0).then_some(())
    })
    .await;
    until("their tasks are gone", async || {
        (front.census().await.tasks <= before.tasks + SLACK).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn open_connections_are_counted() {
    const LISTENERS: usize = 20;
    let front = Front::of(json!({})).await;
    let filter = json!({ "toolsListChanged": true });
    let listeners = open_all(&front.client, &filter, LISTENERS).await;
    let open = gauge(&front, "switchboard_connections").await;
    assert!(open >= LISTENERS, "{open} connections are counted");
    drop(listeners);
    until("they are closed", async || {
        (gauge(&front, "switchboard_connections").await < LISTENERS).then_some(())
    })
    .await;
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_burst_of_changes_is_told_no_oftener_than_it_happened() {
    const CHANGES: usize = 20;
    const LISTENERS: usize = 10;
    let server = modern_server().await;
    let front = Front::of(json!({ "m": remote(&server.url()) })).await;
    front.gateway.wait_for_backends().await;
    let filter = json!({ "toolsListChanged": true, "promptsListChanged": true });
    let listeners = open_all(&front.client, &filter, LISTENERS).await;
    let mut changes = JoinSet::new();
    for index in 0..CHANGES {
        let client = front.client.clone();
        changes.spawn(async move {
            let name = json!({ "name": format!("new_{index}") });
            client.call("m__add_tool", name).await.error_code()
        });
    }
    let errors = changes.join_all().await;
    assert!(errors.iter().all(Option::is_none), "{errors:?}");
    until("all new tools", async || {
        for index in 0..CHANGES {
            if !has_tool(&front, &format!("m__new_{index}")).await {
                return None;
            }
        }
        Some(())
    })
    .await;
    call(&front, "m__test_trigger_prompt_change", json!({})).await;
    let (_, heard) = for_all(listeners, async |mut listener| {
        let heard = listener.until(PROMPTS).await;
        (listener, heard)
    })
    .await;
    for heard in heard {
        assert!((1..=CHANGES).contains(&heard.len()), "{heard:?}");
        assert!(heard.iter().all(|method| method == TOOLS), "{heard:?}");
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn changes_of_every_server_come_in_on_one_stream() {
    let server = modern_server().await;
    let program = tools::program("conformance-server");
    // A legacy process is missing here: its lists come from another process than the one that the
    // calls go to, which shares no memory with it.
    let stdio = |era: &str| json!({ "command": program, "args": ["--stdio", "--era", era] });
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let legacy = HttpServer::bind(any, Era::Legacy).await.expect("a port");
    let front = Front::of(json!({
        "mh": remote(&server.url()),
        "lh": remote(&legacy.url()),
        "ms": stdio("modern"),
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let backends = ["mh", "lh", "ms"];
    let addresses =
        backends.map(|name| format!("switchboard://{name}/test%3A%2F%2Fwatched-resource"));
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": addresses });
    let mut listener = Listener::open(&front.client, filter).await;
    for (backend, address) in backends.iter().zip(&addresses) {
        let name = json!({ "name": "brand_new" });
        call(&front, &format!("{backend}__add_tool"), name.clone()).await;
        assert_eq!(listener.method().await, TOOLS, "{backend}");
        assert!(has_tool(&front, &format!("{backend}__brand_new")).await);
        call(&front, &format!("{backend}__remove_tool"), name).await;
        assert_eq!(listener.method().await, TOOLS, "{backend}");
        assert!(!has_tool(&front, &format!("{backend}__brand_new")).await);

        call(
            &front,
            &format!("{backend}__touch_resource"),
            json!({ "uri": WATCHED }),
        )
        .await;
        let update = listener.next().await;
        assert_eq!(update["method"], UPDATED, "{update}");
        assert_eq!(update["params"]["uri"], *address, "{update}");
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn updates_of_a_resource_come_to_those_who_watch_it() {
    const EACH: usize = 20;
    let server = modern_server().await;
    let front = Front::of(json!({ "m": remote(&server.url()) })).await;
    front.gateway.wait_for_backends().await;
    let filter =
        |uris: &[&str]| json!({ "promptsListChanged": true, "resourceSubscriptions": uris });
    let groups = [
        (filter(&[WATCHED]), vec![WATCHED]),
        (filter(&[UNWATCHED]), vec![]),
        (filter(&[UNWATCHED, WATCHED]), vec![WATCHED]),
        (filter(&[]), vec![]),
        (
            json!({ "promptsListChanged": true, "resourcesListChanged": true }),
            vec![],
        ),
    ];
    let mut opened = Vec::new();
    for (filter, expected) in groups {
        opened.push((open_all(&front.client, &filter, EACH).await, expected));
    }
    // Said twice, it may be told once or twice, but to nobody else.
    for _ in 0..2 {
        call(&front, "m__touch_resource", json!({ "uri": WATCHED })).await;
    }
    call(
        &front,
        "m__touch_resource",
        json!({ "uri": "test://nobody-has-this" }),
    )
    .await;
    call(&front, "m__test_trigger_prompt_change", json!({})).await;
    for (listeners, expected) in opened {
        let (_, heard) = for_all(listeners, async |mut listener| {
            let mut uris = Vec::new();
            loop {
                let message = listener.next().await;
                match message["method"].as_str() {
                    Some(PROMPTS) => break,
                    Some(UPDATED) => uris.push(message["params"]["uri"].to_string()),
                    _ => panic!("{message}"),
                }
            }
            uris.dedup();
            (listener, uris)
        })
        .await;
        let expected: Vec<String> = expected.iter().map(|uri| json!(uri).to_string()).collect();
        for heard in heard {
            assert_eq!(heard, expected);
        }
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn nobody_hears_what_was_not_asked_for() {
    let server = modern_server().await;
    let front = Front::of(json!({ "m": remote(&server.url()) })).await;
    front.gateway.wait_for_backends().await;
    let prompts = json!({ "promptsListChanged": true, "toolsListChanged": false });
    // What is not wanted is not acknowledged either.
    let mut exchange = front.client.listen(prompts).await;
    let first = exchange.next().await.expect("an acknowledgement");
    let acknowledged = &first["params"]["notifications"];
    assert_eq!(*acknowledged, json!({ "promptsListChanged": true }));
    let mut listener = Listener { exchange };
    call(&front, "m__add_tool", json!({ "name": "brand_new" })).await;
    until("the new tool", async || {
        has_tool(&front, "m__brand_new").await.then_some(())
    })
    .await;
    call(&front, "m__test_trigger_prompt_change", json!({})).await;
    assert_eq!(listener.method().await, PROMPTS);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_wrong_filter_is_refused() {
    let front = Front::of(json!({})).await;
    let many: Vec<String> = (0..1001).map(|index| format!("test://{index}")).collect();
    for notifications in [
        json!(null),
        json!([]),
        json!([true]),
        json!("all"),
        json!({ "toolsListChanged": "yes" }),
        json!({ "resourceSubscriptions": WATCHED }),
        json!({ "resourceSubscriptions": [1] }),
        json!({ "resourceSubscriptions": many }),
    ] {
        let exchange = front.client.listen(notifications.clone()).await;
        let media_type = exchange.headers.get("content-type");
        let media_type = media_type.and_then(|value| value.to_str().ok());
        assert_eq!(media_type, Some("application/json"), "{notifications}");
        let answer = exchange.finish().await;
        assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    }
    let answer = front
        .client
        .request("subscriptions/listen", json!({}))
        .await;
    assert_eq!(answer.error_code(), Some(-32602), "{}", answer.raw);
    assert_eq!(gauge(&front, "switchboard_listen_streams").await, 0);
    front.gateway.stop().await;
}

#[tokio::test]
async fn a_shutdown_answers_every_stream_before_it_ends() {
    const LISTENERS: usize = 50;
    let server = modern_server().await;
    let front = Front::of(json!({ "m": remote(&server.url()) })).await;
    front.gateway.wait_for_backends().await;
    let filter = json!({ "toolsListChanged": true });
    let listeners = open_all(&front.client, &filter, LISTENERS).await;
    let stopping = tokio::spawn(front.gateway.stop());
    let (_, ends) = for_all(listeners, async |mut listener| {
        let last = listener.next().await;
        let after = listener.exchange.next().await;
        (listener, (last, after))
    })
    .await;
    for (last, after) in ends {
        assert_eq!(last["id"], 1, "{last}");
        assert_eq!(last["jsonrpc"], "2.0", "{last}");
        assert_eq!(last["result"]["resultType"], "complete", "{last}");
        assert_eq!(after, None, "something follows the response");
    }
    stopping.await.expect("a graceful end");
}

/// How many such subscriptions fill the share of one principal: 8 MiB.
const SHARE: usize = 2;

#[tokio::test]
async fn who_takes_much_leaves_room_for_others() {
    let people = ["anna", "ben"].map(str::to_owned);
    let front = Front::start(json!({
        "auth": auth_of(&people),
        "backends": { "f": faulty(&[]) },
    }))
    .await;
    let url = front.gateway.url();
    let [anna, ben] = ["anna", "ben"].map(|name| Client::new(url).with_key(&key_of(name)));
    let filter = |number: usize| {
        let uris = (0..980).map(|n| format!("none:{number}:{n:0>4000}"));
        json!({ "resourceSubscriptions": uris.collect::<Vec<_>>() })
    };
    let mut open = Vec::new();
    for number in 0..SHARE {
        open.push(Listener::open(&anna, filter(number)).await);
    }
    let refused = anna.listen(filter(SHARE)).await.finish().await;
    assert_eq!(refused.status, 429, "{}", refused.response);
    let message = refused.response["error"]["message"].as_str();
    let message = message.expect("a message");
    assert!(message.contains("end some of them first"), "{message}");
    let _other = Listener::open(&ben, filter(0)).await;
    open.pop();
    // That a stream is over the gateway notices by itself.
    until("there is room again", async || {
        let again = anna.listen(filter(SHARE)).await;
        (again.status == 200).then_some(())
    })
    .await;
    front.gateway.stop().await;
}
