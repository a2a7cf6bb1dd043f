use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use bytes::Bytes;
use serde_json::json;
use switchboard_backends::config::{HttpKind, TransportConfig};
use switchboard_protocol::call::{Call, Outcome, Principal};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::Unrestricted;
use switchboard_protocol::token::Sealer;
use switchboard_protocol::version::Version;
use switchboard_telemetry::{CallSpan, Metrics};
use switchboard_testkit::fake_http::{FakeHttp, Transport};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::{Parts, TracedCall};

/// An orchestrator in front of one server that takes connections and says nothing, so that it stays
/// `starting`.
struct Silent {
    orchestrator: Orchestrator,
    metrics: Arc<Metrics>,
    config: BackendConfig,
    _server: TcpListener,
}

fn start(first: DesiredState, metrics: &Arc<Metrics>) -> Orchestrator {
    let sealer = Sealer::with_random_key().expect("random bytes");
    Orchestrator::start(Parts {
        names: first.names,
        backends: first.backends,
        chains: first.chains,
        private: first.private,
        policy: Arc::clone(&first.policy),
        ..Parts::new(sealer, Arc::clone(metrics))
    })
}

fn remote(url: &str) -> BackendConfig {
    BackendConfig::new(TransportConfig::Http {
        url: url.parse().expect("a URL"),
        headers: Vec::new(),
        kind: HttpKind::Auto,
        address: None,
    })
}

async fn silent() -> Silent {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = server.local_addr().expect("an address");
    let config = remote(&format!("http://{address}/mcp"));
    let metrics = Arc::new(Metrics::new().expect("a registry"));
    let orchestrator = start(reload_to([("a", config.clone())]), &metrics);
    Silent {
        orchestrator,
        metrics,
        config,
        _server: server,
    }
}

fn reload_to<const N: usize>(backends: [(&str, BackendConfig); N]) -> DesiredState {
    let backends = backends.map(|(name, config)| (name.to_owned(), config));
    DesiredState {
        backends: backends.into(),
        names: NamesConfig::default(),
        chains: ChainsConfig::default(),
        private: false,
        policy: Arc::new(Unrestricted),
        profiles: ProfilesConfig::new(),
        kept_results: None,
        drain_timeout: Duration::from_secs(30),
    }
}

impl Silent {
    fn changed(&self) -> BackendConfig {
        BackendConfig {
            trust_annotations: true,
            ..self.config.clone()
        }
    }

    /// Whether each backend in force trusts annotations, which the changed configuration does.
    fn in_force(&self) -> Vec<(String, bool)> {
        let backends = self.orchestrator.backends();
        let one = |backend: &Backend| {
            let trusts = backend.config().trust_annotations;
            (backend.name().to_string(), trusts)
        };
        backends.iter().map(one).collect()
    }
}

#[tokio::test]
async fn a_backend_with_an_equal_configuration_is_not_touched() {
    let silent = silent().await;
    let wanted = reload_to([("a", silent.config.clone())]);
    let exchanged = silent.orchestrator.reload(wanted).await;
    assert_eq!(exchanged, Ok(BackendChanges::default()));
    silent.orchestrator.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_not_learned_takes_over_after_ten_seconds() {
    let silent = silent().await;
    let wanted = reload_to([("a", silent.changed())]);
    let begun = Instant::now();
    let exchanged = silent.orchestrator.reload(wanted).await.expect("it runs");
    let took = begun.elapsed();
    assert!(took >= TAKE_OVER && took < 2 * TAKE_OVER, "{took:?}");
    assert_eq!(exchanged.changed, ["a".into()]);
    assert_eq!(silent.in_force(), [("a".to_owned(), true)]);
    silent.orchestrator.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_is_given_up_changes_nothing_and_leaves_nothing() {
    let silent = silent().await;
    let wanted = reload_to([("a", silent.changed()), ("b", silent.config.clone())]);
    let reload = silent.orchestrator.reload(wanted);
    assert!(timeout(Duration::from_millis(20), reload).await.is_err());
    assert_eq!(silent.in_force(), [("a".to_owned(), false)]);
    let shown = silent.metrics.render();
    assert!(
        !shown.contains("switchboard_backend_state{backend=\"b\""),
        "{shown}"
    );
    // It waits for all tasks, so also for those of the backends that were given up.
    silent.orchestrator.shut_down().await;
    let wanted = reload_to([]);
    assert_eq!(silent.orchestrator.reload(wanted).await, Err(ShutDown));
}

fn call_of(tool: &str) -> TracedCall {
    let text = switchboard_testkit::client::call(tool, &json!({})).to_string();
    let call = Call::new(
        Envelope::parse(Bytes::from(text)).expect("valid"),
        Method::ToolsCall,
        Arc::new(Principal::anonymous()),
        Version::LATEST,
    );
    TracedCall {
        call: Box::new(call),
        span: CallSpan::none(),
    }
}

async fn keep_calling(orchestrator: Orchestrator, stop: Arc<AtomicBool>, calls: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        for tool in ["kept__echo", "changed__echo"] {
            let outcome = orchestrator.call(call_of(tool)).await;
            let is_answer = matches!(&outcome, Outcome::Complete(done) if !done.is_error);
            assert!(is_answer, "{tool}: {outcome:?}");
            calls.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits until this many tasks are alive, or fewer.
async fn wait_for_tasks(at_most: usize) {
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let fewer = async {
        while alive() > at_most {
            sleep(POLL_INTERVAL).await;
        }
    };
    let patience = Duration::from_secs(60);
    let waited = timeout(patience, fewer).await;
    assert!(waited.is_ok(), "{} tasks instead of {at_most}", alive());
}

#[tokio::test]
async fn no_call_fails_and_nothing_is_left_over_a_thousand_reloads() {
    let kept = FakeHttp::start(Transport::Modern, "kept").await;
    let changed = FakeHttp::start(Transport::Modern, "changed").await;
    let third = FakeHttp::start(Transport::Modern, "third").await;
    // Each differs from the one before in the timeout of `changed`, and most in `third`.
    let variant = |number: usize| {
        let timeout = Duration::from_secs(if number.is_multiple_of(2) { 30 } else { 31 });
        let changed = BackendConfig {
            timeout,
            ..remote(changed.url())
        };
        let mut wanted = reload_to([("kept", remote(kept.url())), ("changed", changed)]);
        if number % 4 >= 2 {
            let third = BackendConfig {
                prefix: Some(format!("third{}", number % 4)),
                ..remote(third.url())
            };
            wanted.backends.insert("third".to_owned(), third);
        }
        wanted
    };
    let metrics = Arc::new(Metrics::new().expect("a registry"));
    let orchestrator = start(variant(0), &metrics);
    let soon = Instant::now() + Duration::from_secs(60);
    orchestrator.known(soon).await;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let caller = keep_calling(orchestrator.clone(), Arc::clone(&stop), Arc::clone(&calls));
    let caller = tokio::spawn(caller);
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|name| Arc::from(*name))
            .collect::<Vec<_>>()
    };
    let mut alive = 0;
    for number in 1..=1_000 {
        let exchanged = orchestrator.reload(variant(number)).await.expect("it runs");
        let third = names(&["third"]);
        let expected = match number % 4 {
            2 => BackendChanges {
                added: third,
                changed: names(&["changed"]),
                removed: Vec::new(),
            },
            3 => BackendChanges {
                changed: names(&["changed", "third"]),
                ..BackendChanges::default()
            },
            0 => BackendChanges {
                removed: third,
                changed: names(&["changed"]),
                added: Vec::new(),
            },
            _ => BackendChanges {
                changed: names(&["changed"]),
                ..BackendChanges::default()
            },
        };
        assert_eq!(exchanged, expected, "reload {number}");
        let same = orchestrator.reload(variant(number)).await;
        assert_eq!(same, Ok(BackendChanges::default()), "reload {number} again");
        if number == 8 {
            alive = tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks();
        }
    }
    stop.store(true, Ordering::Relaxed);
    caller.await.expect("every call is answered");
    assert!(calls.load(Ordering::Relaxed) > 100, "{calls:?}");
    wait_for_tasks(alive).await;
    orchestrator.shut_down().await;
}
