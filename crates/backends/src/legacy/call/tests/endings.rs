//! How a parked call ends that its client, or its session, leaves.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_cancels_once() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let answers = json!({"q1": accept("x")});
    let leg = gateway.come_back(&state, &answers);
    let joined = gateway.come_back(&state, &answers);
    assert_eq!(server.hears().await["id"], 1);
    drop(leg);
    assert!(server.hears_nothing().await, "one still waits");
    drop(joined);
    let told = server.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    assert!(server.hears_nothing().await);
    assert_eq!(server.session_is(), "given up");
    let message = error_of(gateway.resume(&state, &answers));
    assert!(message.contains("no longer waits"), "{message}");
    // What comes too late is nobody's.
    server.asks(2).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    server.answers(&id).await;
    assert!(server.hears_nothing().await);
    assert!(gateway.lot.is_empty());
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_back_cancels_at_the_deadline() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let parked = Instant::now();
    let told = server.hears().await;
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], id);
    assert_eq!(parked.elapsed(), TIMEOUT);
    error_of(gateway.resume(&state, &json!({})));
    assert!(gateway.lot.is_empty());
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_kept_is_said_to_be_lost() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let others = ["one", "another"];
    let _taken = others.map(|other| gateway.lot.keep(other, 30 * 1024 * 1024).expect("room"));
    let text = "x".repeat(5 * 1024 * 1024);
    server
        .say(json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "text": text}}))
        .await;
    while server.session_is().is_empty() {
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        let Ok(Resumed::Ended(ended)) = gateway.resume(&state, &json!({"q1": accept("x")})) else {
            panic!("it is not known what came of it");
        };
        let Err(Failed::Call(CallError::Fault(fault))) = *ended else {
            panic!("it was kept");
        };
        assert_eq!(fault.reason, Reason::AnswerTooLarge);
    }
    // A question that does not fit is refused.
    let mut other = gateway.server();
    let (_leg, _) = gateway.call(&mut other).await;
    let params = json!({"message": "x".repeat(5 * 1024 * 1024)});
    other
        .say(json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": params}))
        .await;
    assert_eq!(other.hears().await["error"]["code"], code::INTERNAL_ERROR);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_an_outcome_as_well() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    drop(server.said);
    while server.end.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*server.end.lock(), "retired");
    let Ok(Resumed::Ended(ended)) = gateway.resume(&state, &json!({"q1": accept("x")})) else {
        panic!("it is not known what came of it");
    };
    assert!(matches!(*ended, Err(Failed::Link(LinkError::Lost(_)))));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_abandoned_calls_leave_nothing() {
    const CALLS: usize = 10_000;
    let gateway = Gateway::with(ParkedCallsConfig {
        timeout: TIMEOUT,
        max: CALLS,
        max_per_principal: CALLS / 50,
    });
    let mut servers = Vec::with_capacity(CALLS);
    for number in 0..CALLS {
        let mut server = gateway.server();
        let principal = format!("p{}", number % 50);
        let leg = gateway.begin(&server, &call(&principal, &json!({})));
        server.hears().await;
        server.asks(number).await;
        asked(leg).await;
        servers.push(server);
    }
    assert_eq!(gateway.lot.len(), CALLS);
    tokio::time::sleep(TIMEOUT).await;
    for server in &mut servers {
        assert_eq!(server.hears().await["method"], "notifications/cancelled");
        assert_eq!(server.session_is(), "given up");
    }
    assert!(gateway.lot.is_empty());
    for server in &mut servers {
        server.mux.shut_down().await;
        assert!(server.heard.try_recv().is_err(), "told once");
    }
    gateway.tasks.close();
    gateway.tasks.wait().await;
}
