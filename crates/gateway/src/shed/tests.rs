use super::*;

use std::future::pending;

use switchboard_protocol::call::{Call, Principal};
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

    let response = admission.check(&post()).expect("an early answer");
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let get = Request::get("/mcp").body(Body::empty()).expect("a request");
    assert!(admission.check(&get).is_none());

    drop(first);
    assert!(admission.check(&post()).is_none());
    assert!(matches!(service.call(traced()), Either::Left(_)));
}

#[tokio::test]
async fn a_streamed_result_keeps_its_place_until_it_is_dropped() {
    struct Endless;
    impl ResultStream for Endless {
        fn poll_piece(&mut self, _: &mut Context<'_>) -> Poll<Result<Piece, CallError>> {
            Poll::Pending
        }
    }
    let admission = admission(1);
    let layer = ShedLayer {
        admission: Arc::clone(&admission),
    };
    let mut service = layer.layer(service_fn(async |_| {
        Ok::<_, Infallible>(Outcome::Arriving(Box::new(Endless)))
    }));
    let Ok(arriving) = service.call(traced()).await;
    assert!(matches!(arriving, Outcome::Arriving(_)));
    assert!(admission.check(&post()).is_some());
    drop(arriving);
    assert!(admission.check(&post()).is_none());
}
