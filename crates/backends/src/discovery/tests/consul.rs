use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::form_urlencoded;

use super::*;

/// What a Consul that is none answers.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    index: u64,
    body: String,
}

/// A question, as far as the tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    service: String,
    index: u64,
    tag: Option<String>,
    passing: bool,
    token: Option<String>,
}

struct FakeConsul {
    url: String,
    answer: watch::Sender<Answer>,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Shared {
    answer: watch::Receiver<Answer>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeConsul {
    async fn start(index: u64, instances: &Value) -> Self {
        let (sender, receiver) = watch::channel(answer(index, instances));
        let shared = Shared {
            answer: receiver,
            asked: Arc::default(),
        };
        let asked = Arc::clone(&shared.asked);
        let app = Router::new()
            .route("/base/v1/health/service/{service}", get(health))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = async move { axum::serve(listener, app).await.unwrap() };
        Self {
            url: format!("http://{address}/base/"),
            answer: sender,
            asked,
            _task: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    fn set(&self, index: u64, instances: &Value) {
        self.answer.send_replace(answer(index, instances));
    }

    /// Waits until somebody asked for what is newer than this.
    async fn is_asked_for(&self, index: u64) {
        let is_asked = async {
            while !self.asked.lock().iter().any(|asked| asked.index == index) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, is_asked).await.unwrap();
    }

    fn config(&self) -> Value {
        json!({ "consul": { "url": self.url, "service": "mcp/search" } })
    }
}

fn answer(index: u64, instances: &Value) -> Answer {
    Answer {
        status: StatusCode::OK,
        index,
        body: instances.to_string(),
    }
}

/// As the API does it: a question for what is newer waits until there is something.
async fn health(
    State(shared): State<Shared>,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let query: HashMap<_, _> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let index = query["index"].parse().unwrap();
    let token = headers.get("x-consul-token");
    let Shared { mut answer, asked } = shared;
    asked.lock().push(Asked {
        service,
        index,
        tag: query.get("tag").cloned(),
        passing: query
            .get("passing")
            .is_some_and(|passing| passing == "true"),
        token: token.map(|token| token.to_str().unwrap().to_owned()),
    });
    let wait = humantime::parse_duration(&query["wait"]).unwrap();
    let news = answer.wait_for(|answer| index == 0 || answer.index != index);
    // Without news, the answer is what is known.
    let _ = timeout(wait, news).await;
    let Answer {
        status,
        index,
        body,
    } = answer.borrow().clone();
    (status, [("x-consul-index", index.to_string())], body)
}

fn instance(node: &str, address: &str, port: u16) -> Value {
    json!({
        "Node": { "Node": "n", "Address": node },
        "Service": { "ID": "i", "Address": address, "Port": port, "Weights": { "Passing": 1, "Warning": 1 } },
        "Checks": [],
    })
}

#[tokio::test]
async fn each_instance_whose_checks_pass_is_a_place() {
    let heavy = json!({
        "Node": { "Address": "10.0.0.9" },
        "Service": { "Address": "", "Port": 80, "Weights": { "Passing": 5, "Warning": 1 } },
    });
    let nowhere = instance("10.0.0.1", "", 0);
    let instances = json!([instance("10.0.0.1", "10.0.0.2", 8000), heavy, nowhere]);
    let consul = FakeConsul::start(7, &instances).await;
    let mut config = consul.config();
    config["consul"]["tag"] = json!("v1 beta");
    config["consul"]["token"] = json!("secret");
    let started = Started::new(config);
    let heavy = Place {
        weight: 5,
        ..place("10.0.0.9:80", "10.0.0.9")
    };
    started
        .finds(&[place("10.0.0.2:8000", "10.0.0.2"), heavy])
        .await;
    let asked = consul.asked.lock()[0].clone();
    let expected = Asked {
        service: "mcp/search".to_owned(),
        index: 0,
        tag: Some("v1 beta".to_owned()),
        passing: true,
        token: Some("secret".to_owned()),
    };
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_change_is_heard_of_while_the_question_waits() {
    let consul = FakeConsul::start(7, &json!([instance("10.0.0.1", "", 80)])).await;
    let started = Started::new(consul.config());
    started.finds(&[place("10.0.0.1:80", "10.0.0.1")]).await;
    consul.is_asked_for(7).await;
    consul.set(8, &json!([instance("10.0.0.2", "", 80)]));
    started.finds(&[place("10.0.0.2:80", "10.0.0.2")]).await;
    assert_eq!(consul.asked.lock().len(), 2, "it waited, and did not poll");
}

#[tokio::test]
async fn its_task_ends_while_a_question_waits() {
    let consul = FakeConsul::start(7, &json!([instance("10.0.0.1", "", 80)])).await;
    let Started { discovery, tasks } = Started::new(consul.config());
    consul.is_asked_for(7).await;
    drop(discovery);
    tasks.close();
    timeout(PATIENCE, tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn an_index_that_goes_back_begins_anew() {
    let consul = FakeConsul::start(7, &json!([instance("10.0.0.1", "", 80)])).await;
    let started = Started::new(consul.config());
    consul.is_asked_for(7).await;
    consul.set(3, &json!([instance("10.0.0.2", "", 80)]));
    started.finds(&[place("10.0.0.2:80", "10.0.0.2")]).await;
    consul.is_asked_for(3).await;
    let indices: Vec<_> = consul
        .asked
        .lock()
        .iter()
        .map(|asked| asked.index)
        .collect();
    assert_eq!(indices, [0, 7, 0, 3]);
}

#[tokio::test]
async fn an_answer_that_is_no_use_keeps_the_places_and_is_reported() {
    let instances = json!([instance("10.0.0.1", "", 80)]);
    let consul = FakeConsul::start(7, &instances).await;
    let started = Started::new(consul.config());
    let places = [place("10.0.0.1:80", "10.0.0.1")];
    started.finds(&places).await;

    consul.set(8, &json!([]));
    started.reports(Some(Problem::Empty)).await;
    consul.set(9, &json!({ "not": "a list" }));
    started.reports(Some(Problem::Malformed)).await;
    consul
        .answer
        .send_modify(|answer| answer.status = StatusCode::FORBIDDEN);
    started.reports(Some(Problem::Refused(403))).await;
    consul.set(
        10,
        &json!([instance("10.0.0.1", "", 80), " ".repeat(1024 * 1024)]),
    );
    started.reports(Some(Problem::Malformed)).await;
    assert_eq!(**started.discovery.places().borrow(), places);

    consul.set(11, &instances);
    started.reports(None).await;
    started.finds(&places).await;
}

#[tokio::test]
async fn a_consul_that_is_not_there_is_reported() {
    let config = json!({ "consul": { "url": "http://127.0.0.1:9", "service": "mcp" } });
    Started::new(config)
        .reports(Some(Problem::Unanswered))
        .await;
}

#[tokio::test]
async fn an_instance_with_a_name_for_its_address_is_where_the_name_leads() {
    let consul = FakeConsul::start(7, &json!([instance("10.0.0.1", "localhost.", 80)])).await;
    let mut config = consul.config();
    config["resolver"] = json!("127.0.0.1:9");
    let started = Started::new(config);
    started
        .finds(&[
            place("127.0.0.1:80", "localhost"),
            place("[::1]:80", "localhost"),
        ])
        .await;
}

#[tokio::test]
async fn an_instance_that_is_none_does_not_take_the_others_away() {
    let good = instance("10.0.0.1", "", 80);
    let mut bad = good.clone();
    bad["Service"]["Port"] = json!(-1);
    let consul = FakeConsul::start(7, &json!([bad, good, "nonsense", { "Node": null }])).await;
    let started = Started::new(consul.config());
    let places = [place("10.0.0.1:80", "10.0.0.1")];
    started.finds(&places).await;
    assert_eq!(*started.discovery.problem().borrow(), None);

    consul.set(8, &json!([bad]));
    started.reports(Some(Problem::Malformed)).await;
    started.finds(&places).await;
}
