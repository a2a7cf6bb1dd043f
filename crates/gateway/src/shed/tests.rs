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
            request: Envelope::parse(text.into()).expect("a request"),
            method: switchboard_protocol::method::Method::ToolsCall,
            principal: Arc::new(Principal::anonymous()),
            version: Version::LATEST,
            client: None,
            peer: None,
            param_headers: None,
            log_level: None,
            sink: None,
            deadline: None,
            headers: http::HeaderMap::new(),
            takes_arriving: true,
        }),
        span: CallSpan::none(),
    }
}

fn in_flight(cap: usize) -> Arc<InFlight> {
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    Arc::new(InFlight::new(cap, Duration::from_secs(1), metrics))
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
    let in_flight = in_flight(2);
    let layer = ShedLayer {
        in_flight: Arc::clone(&in_flight),
    };
    let mut service = layer.layer(service_fn(|_| pending::<Result<Outcome, Infallible>>()));
    let (first, _second) = (service.call(traced()), service.call(traced()));
    let Ok(refused) = service.call(traced()).await;
    assert!(is_overload(&refused), "{refused:?}");

    let response = in_flight.check(&post(), || false).expect("an early answer");
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let get = Request::get("/mcp").body(Body::empty()).expect("a request");
    assert!(in_flight.check(&get, || false).is_none());

    drop(first);
    assert!(in_flight.check(&post(), || false).is_none());
    assert!(matches!(service.call(traced()), Either::Left(_)));
}

#[test]
fn one_principal_leaves_a_quarter_to_others() {
    let in_flight = in_flight(16);
    let fill = |owner| -> Vec<_> { std::iter::from_fn(|| in_flight.take(owner).ok()).collect() };
    let of_a = fill(Owner(1));
    assert_eq!(of_a.len(), 12);
    let refused = in_flight.take(Owner(1)).err().expect("no place");
    assert!(refused.did_nothing() && refused.message.contains("your own"));
    let of_b = fill(Owner(2));
    assert_eq!(of_b.len(), 4);
    drop((of_a, of_b));
    assert!(in_flight.crowd.lock().is_empty());
    // Where nobody needs a credential, all are one, and there is nobody to leave something to.
    assert_eq!(fill(Owner::ANYBODY).len(), 16);
}

#[tokio::test]
async fn what_comes_in_a_session_is_looked_at_though_there_is_no_place() {
    let in_flight = in_flight(1);
    let place = in_flight.take(Owner(1));
    assert!(place.is_ok());
    assert!(in_flight.check(&post(), || true).is_none());
    assert!(in_flight.check(&post(), || false).is_some());
}

#[tokio::test]
async fn a_streamed_result_keeps_its_place_until_the_server_has_said_all() {
    struct Endless(Arc<Mutex<Option<Box<dyn Send>>>>);
    impl ResultStream for Endless {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
            Poll::Pending
        }
        fn keep(&mut self, room: Box<dyn Send>) {
            *self.0.lock() = Some(room);
        }
    }
    let in_flight = in_flight(1);
    let layer = ShedLayer {
        in_flight: Arc::clone(&in_flight),
    };
    let source = Arc::default();
    let mut service = layer.layer(service_fn(async |_| {
        let result = Box::new(Endless(Arc::clone(&source)));
        Ok::<_, Infallible>(Outcome::Arriving(result))
    }));
    let Ok(arriving) = service.call(traced()).await;
    assert!(matches!(arriving, Outcome::Arriving(_)));
    assert!(in_flight.check(&post(), || false).is_some());
    // Nobody takes what came, which is the client's affair.
    source.lock().take();
    assert!(in_flight.check(&post(), || false).is_none());
    drop(arriving);
}

#[tokio::test]
async fn a_large_answer_keeps_its_place_until_it_is_gone_and_a_small_one_does_not() {
    let in_flight = in_flight(1);
    let layer = ShedLayer {
        in_flight: Arc::clone(&in_flight),
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
            in_flight.check(&post(), || false).is_some(),
            keeps,
            "{size} bytes"
        );
        drop(outcome);
        assert!(in_flight.check(&post(), || false).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_no_room_for_an_answer_is_told_that_the_work_was_done() {
    let in_flight = in_flight(8);
    let layer = ShedLayer {
        in_flight: Arc::clone(&in_flight),
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
