//! How much a server may ask, and how many calls may be parked.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_forever_is_stopped() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (mut leg, id) = gateway.call(&mut server).await;
    for round in 1..=MAX_ROUNDS {
        server.asks(round).await;
        let (requests, state) = asked(leg).await;
        let key = format!("q{round}");
        assert!(requests.keys().eq([&key]));
        leg = gateway.come_back(&state, &json!({key: accept("x")}));
        assert_eq!(server.hears().await["id"], round);
    }
    server.asks("once more").await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    server.answers(&id).await;
    assert_eq!(result(leg.whole().await), json!({"content": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_on_asking_is_given_up() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks("kept").await;
    for _ in 0..MAX_REFUSED {
        // The same id again is refused at once.
        server.asks("kept").await;
    }
    let Err(Failed::Call(CallError::Fault(fault))) = leg.whole().await else {
        panic!("it goes on");
    };
    assert_eq!(fault.reason, Reason::TooManyRounds);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_is_asked_no_more() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (mut leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    for _ in 1..=MAX_ROUNDS {
        let (_, state) = asked(leg).await;
        leg = gateway.come_back(&state, &json!({}));
    }
    let refusal = server.hears().await;
    assert_eq!(refusal["id"], 1);
    assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
    server.answers(&id).await;
    assert_eq!(result(leg.whole().await), json!({"content": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn open_questions_are_bounded_and_have_distinct_ids() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    for question in 0..MAX_OPEN {
        server.asks(question).await;
    }
    server.asks("too many").await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    let (requests, _) = asked(leg).await;
    assert_eq!(requests.len(), MAX_OPEN);
    server.withdraws(0).await;
    server.asks(1).await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    // What it leaves open when it answers it is told not to wait for.
    server.answers(&id).await;
    for question in 1..MAX_OPEN {
        let refusal = server.hears().await;
        assert_eq!(refusal["id"], question);
        assert_eq!(refusal["error"]["code"], code::INTERNAL_ERROR);
    }
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn places_are_bounded_for_each_principal_and_for_all() {
    let gateway = Gateway::with(ParkedCallsConfig {
        timeout: TIMEOUT,
        max: 3,
        max_per_principal: 2,
    });
    let mut waiting = Vec::new();
    let mut parked = Vec::new();
    for (principal, is_refused) in [
        ("alice", false),
        ("alice", false),
        ("alice", true),
        ("bob", false),
        ("carol", true),
    ] {
        let mut server = gateway.server();
        let leg = gateway.begin(&server, &call(principal, &json!({})));
        let id = server.hears().await["id"].clone();
        server.asks(1).await;
        if is_refused {
            assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
            // The call goes on without.
            server.answers(&id).await;
            assert_eq!(result(leg.whole().await), json!({"content": []}));
        } else {
            let (_, state) = asked(leg).await;
            let ticket = Ticket::parse(&state).expect("a ticket");
            let found = gateway.lot.find(ticket).expect("found");
            assert!(found.belongs_to("b", principal));
            assert!(!found.belongs_to("b", "mallory") && !found.belongs_to("other", principal));
            parked.push((server, state));
        }
    }
    // One that goes on gives its place to the next.
    let (mut server, state) = parked.swap_remove(0);
    waiting.push(gateway.come_back(&state, &json!({"q1": accept("x")})));
    assert_eq!(server.hears().await["id"], 1);
    let mut next = gateway.server();
    let (leg, _) = gateway.call(&mut next).await;
    next.asks(1).await;
    asked(leg).await;
    server.asks(2).await;
    assert_eq!(server.hears().await["error"]["code"], code::INTERNAL_ERROR);
    gateway.ends().await;
}
