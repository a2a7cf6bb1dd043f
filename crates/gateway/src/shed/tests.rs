use super::*;

use std::future::pending;

use switchboard_protocol::call::{Call, Piece, Principal, ResultStream};
use switchboard_protocol::envelope::Envelope;
use switchboard_protocol::version::Version;
use switchboard_telemetry::CallSpan;
use tower::service_fn;

fn traced() -> TracedCall {
    let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#;
    TracedCall {
        call: Box::new(Call {
            takes_arriving: true,
            ..Call::new(
                Envelope::parse(text.into()).expect("a request"),
                switchboard_protocol::method::Method::ToolsCall,
                Arc::new(Principal::anonymous()),
                Version::LATEST,
            )
        }),
        span: CallSpan::none(),
    }
}

fn admission(cap: usize) -> Arc<AdmissionControl> {
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    Arc::new(AdmissionControl::new(cap, Duration::from_secs(1), metrics))
}

fn post() -> Request<Body> {
    Request::post("/mcp")
        .body(Body::empty())
        .expect("a request")
}

fn is_overload(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(CallError::Fault(fault))
        if fault.reason == Reason::Overloaded && fault.retry_after_ms == Some(1000))
}

#[tokio::test]
async fn calls_beyond_the_cap_are_refused_at_once_and_places_come_back() {
    let admission = admission(2);
    let layer = ShedLayer {
        admission: Arc::clone(&admission),
    };
    let mut service = layer.layer(service_fn(|_| pending::<Result<Outcome, Infallible>>()));
    let (first, _second) = (service.call(traced()), service.call(traced()));
    let Ok(refused) = service.call(traced()).await;
    assert!(is_overload(&refused), "{refused:?}");

    let response = admission.check(&post(), || false).expect("an early answer");
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let get = Request::get("/mcp").body(Body::empty()).expect("a request");
    assert!(admission.check(&get, || false).is_none());

    drop(first);
    assert!(admission.check(&post(), || false).is_none());
    assert!(matches!(service.call(traced()), Either::Left(_)));
}

#[test]
fn one_principal_leaves_a_quarter_to_others() {
    let admission = admission(16);
    let fill =
        |principal| -> Vec<_> { std::iter::from_fn(|| admission.take(principal).ok()).collect() };
    let of_a = fill(PrincipalHash(1));
    assert_eq!(of_a.len(), 12);
    let refused = admission.take(PrincipalHash(1)).err().expect("no place");
    assert!(refused.did_nothing() && refused.message.contains("your own"));
    let of_b = fill(PrincipalHash(2));
    assert_eq!(of_b.len(), 4);
    drop((of_a, of_b));
    assert!(admission.crowd.lock().is_empty());
    // Where nobody needs a credential, all are one, and there is nobody to leave something to.
    assert_eq!(fill(PrincipalHash::ANYBODY).len(), 16);
}

#[tokio::test]
async fn what_comes_in_a_session_is_looked_at_though_there_is_no_place() {
    let admission = admission(1);
    let _place = admission
        .take(PrincipalHash(1))
        .map_err(drop)
        .expect("a place");
    assert!(admission.check(&post(), || true).is_none());
    assert!(admission.check(&post(), || false).is_some());
}

#[tokio::test]
async fn a_streamed_result_keeps_its_place_until_the_server_has_said_all() {
    struct Endless(Arc<Mutex<Option<Box<dyn Send>>>>);
    impl ResultStream for Endless {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
            Poll::Pending
        }
        fn upper_bound(&self) -> Option<u64> {
            None
        }
        fn keep(&mut self, room: Box<dyn Send>) {
            *self.0.lock() = Some(room);
        }
    }
    let admission = admission(1);
    let layer = ShedLayer {
        admission: Arc::clone(&admission),
    };
    let source = Arc::default();
    let mut service = layer.layer(service_fn(async |_| {
        let result = Box::new(Endless(Arc::clone(&source)));
        Ok::<_, Infallible>(Outcome::Arriving(result))
    }));
    let Ok(arriving) = service.call(traced()).await;
    assert!(matches!(arriving, Outcome::Arriving(_)));
    assert!(admission.check(&post(), || false).is_some());
    // Nobody takes what came, which is the client's affair.
    source.lock().take();
    assert!(admission.check(&post(), || false).is_none());
    drop(arriving);
}

#[tokio::test]
async fn a_large_answer_keeps_its_place_until_it_is_gone_and_a_small_one_does_not() {
    let admission = admission(1);
    let layer = ShedLayer {
        admission: Arc::clone(&admission),
    };
    for (size, keeps) in [(LARGE, false), (LARGE + 1, true)] {
        let mut service = layer.layer(service_fn(async |_| {
            Ok::<_, Infallible>(Outcome::Complete(Completed {
                result: vec![b' '; size].into(),
                is_error: false,
            }))
        }));
        let Ok(outcome) = service.call(traced()).await;
        assert_eq!(
            admission.check(&post(), || false).is_some(),
            keeps,
            "{size} bytes"
        );
        drop(outcome);
        assert!(admission.check(&post(), || false).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_room_for_an_answer_is_told_that_the_work_was_done() {
    let admission = admission(8);
    let layer = ShedLayer {
        admission: Arc::clone(&admission),
    };
    let mut service = layer.layer(service_fn(async |_| {
        Ok::<_, Infallible>(Outcome::InputRequired(vec![b' '; 40 * 1024 * 1024].into()))
    }));
    let Ok(first) = service.call(traced()).await;
    let Ok(second) = service.call(traced()).await;
    let Outcome::Failed(CallError::Fault(fault)) = second else {
        panic!("{second:?}");
    };
    assert_eq!(fault.reason, Reason::Overloaded);
    assert!(!fault.retryable && !fault.did_nothing());
    assert!(fault.message.contains("was done"), "{fault}");
    drop(first);
    let Ok(third) = service.call(traced()).await;
    assert!(matches!(third, Outcome::InputRequired(_)));
}

#[test]
fn a_principal_is_the_same_after_a_reload_and_no_other() {
    let principal = |id: &str| Principal::new(id);
    let of_a = PrincipalHash::of(&principal("key:a"));
    // Freed and made again: the next may lie where the last one lay.
    for other in ["key:b", "key:c", "key:d"] {
        assert_ne!(PrincipalHash::of(&Arc::new(principal(other))), of_a);
        assert_eq!(PrincipalHash::of(&Arc::new(principal("key:a"))), of_a);
    }
    assert!(of_a.has_share());
    assert_eq!(
        PrincipalHash::of(&Principal::anonymous()),
        PrincipalHash::ANYBODY
    );
}
