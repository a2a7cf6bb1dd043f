//! One fault each: what the caller is told of it, that the server did the work no more than once and
//! was told once that nobody waits, and that the same server's other callers notice nothing.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_testkit::client::{Answer, Client, call};
use switchboard_testkit::fake::Era;
use switchboard_testkit::fault::{Counts, Fault, FaultServer};
use switchboard_tests::front::{Front, assert_fault};
use switchboard_tests::waiting::until;
use tokio::time::{Instant, sleep};

const ERAS: [Era; 2] = [Era::Modern, Era::Legacy];
/// The timeout of the backend.
const TIMEOUT: Duration = Duration::from_millis(700);
/// Well above the timeout and what a busy machine needs, and well below every other deadline.
const PROMPT: Duration = Duration::from_secs(8);

/// A server and a gateway in front of it.
struct Case {
    era: Era,
    server: FaultServer,
    front: Front,
}

/// What a caller is told of a failure.
#[derive(Clone, Copy, Debug)]
struct Told {
    code: u64,
    reason: &'static str,
    outcome: &'static str,
    retryable: bool,
}

const TIMED_OUT: Told = unknown(504, "timeout");
const LOST: Told = unknown(502, "connection_lost");
const INVALID: Told = unknown(502, "invalid_answer");

const fn unknown(code: u64, reason: &'static str) -> Told {
    Told {
        code,
        reason,
        outcome: "unknown",
        retryable: false,
    }
}

impl Case {
    async fn of(era: Era) -> Self {
        let server = FaultServer::start("bad", era).await;
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        // One attempt each, however many failed before: what is told of one is what is asked here.
        let never = 1_000_000;
        let bad = json!({
            "url": server.url(),
            "timeout": timeout,
            "retry": { "max_attempts": 1 },
            "breaker": { "consecutive_failures": never, "min_calls": never },
        });
        let front = Front::of(json!({ "bad": bad })).await;
        front.wait_until("bad", true).await;
        Self { era, server, front }
    }

    /// Calls the tool that is neither safe nor idempotent, with this fault, while others call the
    /// same server without one.
    async fn strike(&self, key: &str, events: bool, fault: Fault) -> Answer {
        let arguments = json!({ "key": key, "events": events, "fault": fault });
        let began = Instant::now();
        let answer = tokio::select! {
            answer = self.front.client.call("bad__write", arguments) => answer,
            () = others(&self.front, key) => unreachable!("the others go on"),
        };
        let took = began.elapsed();
        assert!(took < PROMPT, "{fault:?} took {took:?}: {}", answer.raw);
        answer
    }

    /// Strikes, and checks what the caller is told and how often the tool was executed.
    async fn tells(&self, fault: Fault, told: Told) {
        for events in [false, true] {
            let key = format!("{fault:?} {:?} {events}", self.era);
            let answer = self.strike(&key, events, fault).await;
            assert_told(&answer, &key, told);
            let counts = self.counts(&key);
            assert_eq!(counts.received, 1, "{key}");
            assert_eq!(counts.executed, u32::from(fault.executes()), "{key}");
            self.works(&key).await;
        }
    }

    /// Strikes with a fault that lasts until the call is given up, and checks that the server is
    /// told so once, in the way of its era.
    async fn times_out(&self, fault: Fault) {
        self.tells(fault, TIMED_OUT).await;
        for events in [false, true] {
            let key = format!("{fault:?} {:?} {events}", self.era);
            self.is_cancelled_once(&key).await;
        }
    }

    async fn is_cancelled_once(&self, key: &str) {
        until(&format!("{key} is cancelled"), async || {
            let is_over = self.server.in_flight() == 0;
            let was_told = self.era == Era::Modern || self.counts(key).cancelled > 0;
            (is_over && was_told).then_some(())
        })
        .await;
        let counts = self.counts(key);
        let expected = Counts {
            received: 1,
            executed: 1,
            hung_up: 1,
            cancelled: u32::from(self.era == Era::Legacy),
            ..Counts::default()
        };
        assert_eq!(counts, expected, "{key}");
    }

    /// Calls without a fault.
    async fn works(&self, after: &str) {
        let key = format!("after {after}");
        let answer = self
            .front
            .client
            .call("bad__write", json!({ "key": key }))
            .await;
        assert_ok(&answer, &key);
        assert_eq!(self.counts(&key).executed, 1, "{key}");
    }

    fn counts(&self, key: &str) -> Counts {
        self.server.journal().of(key)
    }

    async fn end(self) {
        self.front.gateway.stop().await;
    }
}

/// Calls the server again and again as another client, beside the call of this key.
async fn others(front: &Front, beside: &str) {
    let client = Client::new(front.gateway.url());
    for at in 0.. {
        let key = format!("{at} beside {beside}");
        let began = Instant::now();
        let answer = client.call("bad__read", json!({ "key": key })).await;
        assert_ok(&answer, &key);
        assert!(began.elapsed() < PROMPT, "{key}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn assert_ok(answer: &Answer, key: &str) {
    let content = &answer.result()["structuredContent"];
    assert_eq!(content["key"], key, "{}", answer.raw);
    assert_eq!(content["server"], "bad", "{}", answer.raw);
}

fn assert_told(answer: &Answer, case: &str, told: Told) {
    assert_fault(answer, told.code, "bad");
    let fault = answer.fault();
    assert_eq!(fault["reason"], told.reason, "{case}: {}", answer.raw);
    assert_eq!(fault["outcome"], told.outcome, "{case}: {}", answer.raw);
    assert_eq!(fault["retryable"], told.retryable, "{case}: {}", answer.raw);
}

async fn tells_in_both_eras(fault: Fault, told: Told) {
    for era in ERAS {
        let case = Case::of(era).await;
        case.tells(fault, told).await;
        case.end().await;
    }
}

#[tokio::test]
async fn a_late_answer_is_an_answer() {
    for era in ERAS {
        let case = Case::of(era).await;
        for events in [false, true] {
            let key = format!("late {events}");
            let answer = case.strike(&key, events, Fault::Latency(200)).await;
            assert_ok(&answer, &key);
            assert_eq!(case.counts(&key).executed, 1);
        }
        case.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_after_the_timeout_is_given_up_once() {
    for era in ERAS {
        let case = Case::of(era).await;
        case.times_out(Fault::Latency(60_000)).await;
        case.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up_once() {
    for era in ERAS {
        let case = Case::of(era).await;
        case.times_out(Fault::Hang).await;
        case.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_stalls_after_its_head_is_given_up_once() {
    for era in ERAS {
        let case = Case::of(era).await;
        case.times_out(Fault::StallAfterHead).await;
        case.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_stalls_is_given_up_before_its_time_where_that_is_configured() {
    let server = FaultServer::start("bad", Era::Modern).await;
    let bad = json!({
        "url": server.url(),
        "timeout": "1h",
        "stream_idle_timeout": "300ms",
        "retry": { "max_attempts": 1 },
    });
    let front = Front::of(json!({ "bad": bad })).await;
    front.wait_until("bad", true).await;
    for events in [false, true] {
        let arguments = json!({ "key": "k", "events": events, "fault": Fault::StallAfterHead });
        let answer = front.client.call("bad__write", arguments).await;
        assert_told(&answer, "stalled", TIMED_OUT);
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_time_that_a_server_asks_for_is_waited() {
    let server = FaultServer::start("bad", Era::Modern).await;
    let bad = json!({ "url": server.url(), "retry": { "max_attempts": 2, "base": "1ms" } });
    let front = Front::of(json!({ "bad": bad })).await;
    front.wait_until("bad", true).await;
    let began = Instant::now();
    let arguments = json!({ "key": "k", "fault": Fault::RetryAfter(1) });
    let answer = front.client.call("bad__write", arguments).await;
    assert_eq!(answer.fault()["reason"], "backend_limit", "{}", answer.raw);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.journal().of("k").received, 2);
    front.gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_drips_is_one_if_it_ends_in_time() {
    for era in ERAS {
        let case = Case::of(era).await;
        for events in [false, true] {
            let key = format!("drip {events}");
            let fault = Fault::Drip {
                bytes: 100,
                every_ms: 5,
            };
            assert_ok(&case.strike(&key, events, fault).await, &key);
        }
        let slow = Fault::Drip {
            bytes: 1,
            every_ms: 200,
        };
        case.times_out(slow).await;
        case.end().await;
    }
}

#[tokio::test]
async fn a_reset_before_the_answer_has_an_unknown_outcome() {
    tells_in_both_eras(Fault::ResetInHead(0), LOST).await;
    tells_in_both_eras(Fault::ResetUnexecuted, LOST).await;
}

#[tokio::test]
async fn a_reset_at_any_byte_has_an_unknown_outcome() {
    for era in ERAS {
        let case = Case::of(era).await;
        let inside = (0..90).map(Fault::ResetInHead);
        let inside = inside.chain((0..220).step_by(3).map(Fault::ResetInBody));
        for fault in inside {
            let key = format!("{fault:?}");
            let arguments = json!({ "key": key, "fault": fault });
            let answer = case.front.client.call("bad__write", arguments).await;
            assert_told(&answer, &key, LOST);
            let counts = case.counts(&key);
            assert_eq!((counts.received, counts.executed), (1, 1), "{key}");
        }
        case.works("resets").await;
        case.end().await;
    }
}

#[tokio::test]
async fn half_an_answer_has_an_unknown_outcome() {
    tells_in_both_eras(Fault::HalfBody, LOST).await;
    tells_in_both_eras(Fault::HalfChunked, LOST).await;
}

#[tokio::test]
async fn a_large_result_that_breaks_off_is_told_by_the_connection() {
    let case = Case::of(Era::Modern).await;
    for fault in [
        Fault::HalfBody,
        Fault::HalfChunked,
        Fault::ResetInBody(150_000),
    ] {
        let key = format!("{fault:?}");
        let arguments = json!({ "key": key, "size": 300_000, "fault": fault });
        let answer = case.front.client.call("bad__write", arguments).await;
        // Either it broke before anything was passed on, or what was passed on is no message.
        if !answer.response.is_null() {
            assert_told(&answer, &key, LOST);
        }
        assert_eq!(case.counts(&key).executed, 1, "{key}");
        case.works(&key).await;
    }
    case.end().await;
}

/// A large result of which a part has come when the backend's timeout ends, and most has not.
fn slow_and_large(key: &str) -> Value {
    let fault = Fault::Drip {
        bytes: 40_000,
        every_ms: 100,
    };
    json!({ "key": key, "size": 3_000_000, "fault": fault })
}

#[tokio::test]
async fn a_large_result_that_takes_too_long_breaks_off_and_is_given_up_once() {
    let case = Case::of(Era::Modern).await;
    let began = Instant::now();
    let client = &case.front.client;
    let answer = client.call("bad__write", slow_and_large("slow")).await;
    assert!(began.elapsed() < PROMPT, "took {:?}", began.elapsed());
    assert!(answer.response.is_null(), "{}", answer.raw.len());
    case.is_cancelled_once("slow").await;
    case.works("slow").await;
    case.end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_from_a_large_result_cancels_its_call_once() {
    let case = Case::of(Era::Modern).await;
    let client = Client::new(case.front.gateway.url());
    let message = call("bad__write", &slow_and_large("left"));
    let mut exchange = client.send(client.draft(&message)).await;
    let first = exchange.next_bytes().await;
    assert!(first.is_some_and(|bytes| bytes.is_ok()));
    drop(exchange);
    case.is_cancelled_once("left").await;
    case.works("left").await;
    case.end().await;
}

#[tokio::test]
async fn a_server_error_has_an_unknown_outcome() {
    for status in [500, 502, 504] {
        let fault = Fault::Status {
            status,
            json: false,
        };
        tells_in_both_eras(fault, unknown(502, "server_error")).await;
    }
}

#[tokio::test]
async fn an_unavailable_server_is_told_as_such() {
    let told = Told {
        code: 503,
        reason: "unavailable",
        outcome: "unknown",
        retryable: false,
    };
    let fault = Fault::Status {
        status: 503,
        json: false,
    };
    tells_in_both_eras(fault, told).await;
}

#[tokio::test]
async fn a_json_rpc_error_passes_whatever_status_it_has() {
    for era in ERAS {
        let case = Case::of(era).await;
        for status in [500, 502, 503, 504] {
            let fault = Fault::Status { status, json: true };
            let key = format!("{status}");
            let answer = case.strike(&key, false, fault).await;
            assert_eq!(answer.error_code(), Some(-32603), "{}", answer.raw);
            let message = &answer.response["error"]["message"];
            assert_eq!(*message, format!("it failed: {key}"), "{}", answer.raw);
            case.works(&key).await;
        }
        case.end().await;
    }
}

#[tokio::test]
async fn a_limit_of_the_server_is_told_as_such() {
    let told = Told {
        code: 429,
        reason: "backend_limit",
        outcome: "failed",
        retryable: true,
    };
    tells_in_both_eras(Fault::RetryAfter(1), told).await;
}

#[tokio::test]
async fn an_answer_to_another_request_is_none() {
    for era in ERAS {
        let case = Case::of(era).await;
        let told = |events: bool| if events { LOST } else { INVALID };
        for events in [false, true] {
            let key = format!("wrong id {events}");
            let answer = case.strike(&key, events, Fault::WrongId).await;
            assert_told(&answer, &key, told(events));
            case.works(&key).await;
        }
        case.end().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_none() {
    for era in ERAS {
        let case = Case::of(era).await;
        let told = |events: bool| if events { LOST } else { INVALID };
        for events in [false, true] {
            let key = format!("no JSON {events}");
            let answer = case.strike(&key, events, Fault::InvalidJson).await;
            assert_told(&answer, &key, told(events));
            case.works(&key).await;
        }
        case.end().await;
    }
}

#[tokio::test]
async fn a_page_of_html_is_no_answer() {
    tells_in_both_eras(Fault::WrongContentType, INVALID).await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call_once() {
    for era in ERAS {
        let case = Case::of(era).await;
        let arguments = json!({ "key": "given up", "fault": Fault::Hang });
        let calling = tokio::spawn({
            let client = case.front.client.clone();
            async move { client.call("bad__write", arguments).await }
        });
        until("the call is there", async || {
            (case.counts("given up").executed == 1).then_some(())
        })
        .await;
        calling.abort();
        case.is_cancelled_once("given up").await;
        case.works("given up").await;
        case.end().await;
    }
}

/// Calls as fast as it goes until the answer is a failure that the condition is met by, and checks
/// that none of the failures is told wrongly.
async fn call_until(case: &Case, name: &str, done: impl Fn(&Answer) -> bool) {
    let mut at = 0;
    until(name, async || {
        at += 1;
        let key = format!("{name} {at}");
        let arguments = json!({ "key": key });
        let answer = case.front.client.call("bad__write", arguments).await;
        let executed = case.counts(&key).executed;
        match answer.fault()["outcome"].as_str() {
            Some("not_sent") => assert_eq!(executed, 0, "{key}: {}", answer.raw),
            Some(_) => assert!(executed <= 1, "{key}: {}", answer.raw),
            None => assert_eq!(executed, 1, "{key}: {}", answer.raw),
        }
        done(&answer).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_comes_and_goes_is_told_honestly_and_used_again() {
    let is_success = |answer: &Answer| answer.result()["structuredContent"].is_object();
    let is_refused = |answer: &Answer| {
        let fault = answer.fault();
        fault["reason"] == "unavailable" && fault["outcome"] == "not_sent"
    };
    for era in ERAS {
        let case = Case::of(era).await;
        for round in 0..5 {
            // Where a process was, another one listens: what is idle is dead, and nothing is told.
            case.server.go_down().await;
            case.server.come_up().await;
            call_until(&case, &format!("{era:?} back at once {round}"), is_success).await;
            case.server.go_down().await;
            call_until(&case, &format!("{era:?} gone {round}"), is_refused).await;
            case.server.come_up().await;
            call_until(&case, &format!("{era:?} back {round}"), is_success).await;
        }
        case.end().await;
    }
}

#[tokio::test]
async fn calls_in_flight_when_a_server_goes_have_an_unknown_outcome() {
    for era in ERAS {
        let case = Case::of(era).await;
        let calls: Vec<_> = (0..10)
            .map(|at| {
                let client = case.front.client.clone();
                let arguments: Value = json!({ "key": at.to_string(), "ms": 60_000 });
                tokio::spawn(async move { client.call("bad__write", arguments).await })
            })
            .collect();
        until("all calls are there", async || {
            let executed = (0..10).all(|at| case.counts(&at.to_string()).executed == 1);
            executed.then_some(())
        })
        .await;
        case.server.go_down().await;
        for calling in calls {
            let answer = calling.await.expect("an answer");
            assert_told(&answer, "in flight", LOST);
        }
        for at in 0..10 {
            assert_eq!(case.counts(&at.to_string()).received, 1);
        }
        case.end().await;
    }
}
