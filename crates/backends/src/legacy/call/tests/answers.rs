//! Questions, and the answers that clients bring back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_by_the_next_request() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks("r1").await;
    let (requests, state) = asked(leg).await;
    assert_eq!(
        requests["q1"],
        json!({"method": "elicitation/create", "params": {"message": "name?", "requestedSchema": {"type": "object"}}})
    );
    let leg = gateway.come_back(&state, &json!({"q1": accept("x"), "q9": 17}));
    assert_eq!(
        server.hears().await,
        json!({"jsonrpc": "2.0", "id": "r1", "result": accept("x")})
    );
    server.answers(&id).await;
    assert_eq!(result(leg.whole().await), json!({"content": []}));
    assert_eq!(server.session_is(), "answered");
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_at_about_the_same_time_is_asked_together() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    let began = Instant::now();
    server.asks(1).await;
    tokio::time::advance(Duration::from_millis(15)).await;
    server.asks(2).await;
    let (requests, state) = asked(leg).await;
    assert_eq!(began.elapsed(), GATHER);
    assert!(requests.keys().eq(["q1", "q2"]));
    server.asks(3).await;
    let leg = gateway.come_back(
        &state,
        &json!({"q1": accept("x"), "q2": accept("y"), "q3": accept("z")}),
    );
    assert_eq!(server.hears().await["id"], 1);
    assert_eq!(server.hears().await["id"], 2);
    // What nobody was asked yet nobody can have answered.
    let (requests, _) = asked(leg).await;
    assert!(requests.keys().eq(["q3"]));
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_answers_again_get_the_same_outcome_and_others_none() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, first) = asked(leg).await;
    let answers = json!({"q1": accept("x")});
    let leg = gateway.come_back(&first, &answers);
    // The response may be lost before it is there, or after.
    let joined = gateway.come_back(&first, &answers);
    assert_eq!(server.hears().await["id"], 1);
    server.asks(2).await;
    let (_, second) = asked(leg).await;
    assert_eq!(asked(joined).await.1, second);
    let Ok(Resumed::Ended(again)) = gateway.resume(&first, &answers) else {
        panic!("it is known what came of it");
    };
    assert_eq!(result(*again)["requestState"], *second);
    let leg = gateway.come_back(&second, &json!({"q2": accept("y")}));
    server.answers(&id).await;
    let outcome = result(leg.whole().await);
    tokio::time::advance(TIMEOUT - Duration::from_secs(1)).await;
    let Ok(Resumed::Ended(again)) = gateway.resume(
        &second,
        &json!({"q2": {"content": {"name": "y"}, "action": "accept"}}),
    ) else {
        panic!("it is known what came of it");
    };
    assert_eq!(result(*again), outcome);
    let message = error_of(gateway.resume(&second, &json!({"q2": accept("z")})));
    assert!(message.contains("other answers"), "{message}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let message = error_of(gateway.resume(&second, &json!({"q2": accept("y")})));
    assert!(message.contains("no longer waits"), "{message}");
    assert!(gateway.lot.is_empty());
    assert_eq!(server.hears().await["id"], 2);
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_wrong_form_takes_none() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    server.asks(2).await;
    let (_, state) = asked(leg).await;
    for wrong in [
        json!(17),
        json!({"action": "perhaps"}),
        json!({"action": "accept"}),
        json!(null),
    ] {
        let message = error_of(gateway.resume(&state, &json!({"q1": accept("x"), "q2": wrong})));
        assert!(
            message.starts_with("params.inputResponses.q2 is"),
            "{message}"
        );
    }
    let message = error_of(gateway.resume(&state, &json!([1])));
    assert_eq!(message, "params.inputResponses is an object");
    assert!(server.hears_nothing().await);
    let _leg = gateway.come_back(
        &state,
        &json!({"q1": accept("x"), "q2": {"action": "cancel"}}),
    );
    assert_eq!(server.hears().await["result"], accept("x"));
    assert_eq!(server.hears().await["result"], json!({"action": "cancel"}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_again() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    server.asks(2).await;
    let (_, first) = asked(leg).await;
    let (requests, second) = asked(gateway.come_back(&first, &json!({"q2": accept("x")}))).await;
    assert!(requests.keys().eq(["q1"]));
    assert_ne!(first, second);
    assert_eq!(server.hears().await["id"], 2);
    let (requests, _) = asked(gateway.come_back(&second, &json!({}))).await;
    assert!(requests.keys().eq(["q1"]));
    assert!(server.hears_nothing().await);
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_with_an_error_is_passed_on() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, _) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    let error = json!({"code": -1, "message": "no"});
    let _leg = gateway.come_back(&state, &json!({"q1": {"dev.switchboard/error": error}}));
    assert_eq!(
        server.hears().await,
        json!({"jsonrpc": "2.0", "id": 1, "error": error})
    );
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_for_the_client_whatever_it_answers() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    server.asks(1).await;
    let (_, state) = asked(leg).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    server.withdraws(1).await;
    server.answers(&id).await;
    while server.session_is().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.session_is(), "answered");
    let Ok(Resumed::Ended(ended)) = gateway.resume(&state, &json!({"q1": 17})) else {
        panic!("the server has answered");
    };
    assert_eq!(result(*ended), json!({"content": []}));
    assert!(server.hears_nothing().await);
    tokio::time::sleep(TIMEOUT).await;
    assert!(gateway.lot.is_empty());
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_withdrawn_question_is_dropped() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    // Before anybody was asked:
    server.asks("gone").await;
    server.withdraws("gone").await;
    server.asks(1).await;
    server.asks(2).await;
    let (requests, state) = asked(leg).await;
    assert!(requests.keys().eq(["q2", "q3"]));
    // While nobody is there:
    server.withdraws(2).await;
    server.withdraws("never asked").await;
    let leg = gateway.come_back(&state, &json!({"q2": accept("x"), "q3": accept("y")}));
    assert_eq!(server.hears().await["id"], 1);
    assert!(server.hears_nothing().await);
    server.answers(&id).await;
    assert_eq!(result(leg.whole().await), json!({"content": []}));
    gateway.ends().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_client_did_not_declare_is_refused_at_once() {
    let gateway = Gateway::new();
    let mut server = gateway.server();
    let (leg, id) = gateway.call(&mut server).await;
    for (method, params) in [
        ("sampling/createMessage", json!({"messages": []})),
        ("roots/list", json!({})),
        (
            "elicitation/create",
            json!({"mode": "url", "url": "https://a/"}),
        ),
        ("tools/call", json!({})),
    ] {
        server
            .say(json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params}))
            .await;
        let refusal = server.hears().await;
        assert_eq!(refusal["id"], 5);
        assert_eq!(refusal["error"]["code"], code::METHOD_NOT_FOUND, "{method}");
    }
    server
        .say(json!({"jsonrpc": "2.0", "id": 6, "method": "ping"}))
        .await;
    assert_eq!(server.hears().await["result"], json!({}));
    server.answers(&id).await;
    assert_eq!(result(leg.whole().await), json!({"content": []}));
    // After its answer it can ask nobody.
    server.asks(7).await;
    assert_eq!(
        server.hears().await["error"]["code"],
        code::METHOD_NOT_FOUND
    );
    assert!(gateway.lot.is_empty());
    gateway.ends().await;
}
