use super::*;
use crate::legacy::translate::ClientIdentity;

fn session(version: Version, capabilities: &str) -> Arc<Session> {
    let identity = ClientIdentity::new(version, None, capabilities.as_bytes());
    Session::new(Beginning {
        sealed_id: "id".into(),
        name: "test-1".into(),
        principal: Arc::new(Principal::anonymous()),
        profile: None,
        transport: Transport::Streamable,
        agreed: Some(Arc::new(Agreed::new(identity))),
        expires: Instant::now() + Duration::from_secs(3600),
        memory: Memory::default(),
        redactors: Arc::new(|_| None),
    })
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What a reader reads next, as text.
async fn next(reader: &mut Reader) -> String {
    let bytes = std::future::poll_fn(|context| reader.poll_bytes(context)).await;
    String::from_utf8(bytes.expect("more").to_vec()).expect("UTF-8")
}

#[tokio::test(start_paused = true)]
async fn an_answer_reaches_the_question_once() {
    let session = session(Version::V2025_06_18, r#"{"elicitation":{}}"#);
    let other = self::session(Version::V2025_06_18, r#"{"elicitation":{}}"#);
    let log = session.stream(1);
    let question = session.ask(&log, "roots/list", None).expect("room");
    let theirs = other
        .ask(&other.stream(1), "roots/list", None)
        .expect("room");
    assert!(!session.answered(999, Ok(bytes("{}"))), "never asked");
    let id = question.id();
    assert!(session.answered(id, Ok(bytes(r#"{"n":1}"#))));
    assert!(!session.answered(id, Ok(bytes(r#"{"n":2}"#))), "answered");
    assert_eq!(question.answer().await, Some(Ok(bytes(r#"{"n":1}"#))));
    // The other session's question has the same number and is still open.
    assert_eq!(theirs.id(), id);
    assert!(other.answered(id, Err(bytes("{}"))));
    assert_eq!(theirs.answer().await, Some(Err(bytes("{}"))));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_dropped_is_taken_back() {
    let session = session(Version::V2025_06_18, "{}");
    let log = session.stream(1);
    let mut reader = log.read();
    let question = session.ask(&log, "roots/list", None).expect("room");
    let id = question.id();
    drop(question);
    let mut text = String::new();
    while !text.contains("notifications/cancelled") {
        text.push_str(&next(&mut reader).await);
    }
    assert!(text.contains(&format!("\"requestId\":{id}")), "{text}");
    assert!(!session.answered(id, Ok(bytes("{}"))));
}

#[tokio::test(start_paused = true)]
async fn questions_end_with_their_session_and_are_bounded() {
    let session = session(Version::V2025_06_18, "{}");
    let mut open = Vec::new();
    while let Some(question) = session.ask(&session.stream(1), "roots/list", None) {
        open.push(question);
    }
    assert_eq!(open.len(), MAX_QUESTIONS);
    session.end();
    for question in open {
        assert_eq!(question.answer().await, None);
    }
    assert!(session.ask(&session.stream(1), "ping", None).is_none());
}

#[tokio::test(start_paused = true)]
async fn calls_are_bounded_and_known_by_their_id() {
    let session = session(Version::V2025_06_18, "{}");
    let log = session.stream(1);
    let first = session.begin_call(bytes("1"), &log).expect("room");
    let same = session.begin_call(bytes("1"), &session.stream(1));
    assert_eq!(same.err(), Some(Refused::SameId));
    let text = session.begin_call(bytes("\"1\""), &session.stream(1));
    assert!(text.is_ok(), "another id");
    session.cancel_call(b"2");
    session.cancel_call(b"1");
    first.cancelled().await;
    drop(first);
    session.forget_stream(&log);
    drop(text);
    let mut calls = Vec::new();
    for n in 0.. {
        match session.begin_call(bytes(&n.to_string()), &session.stream(1)) {
            Ok(call) => calls.push(call),
            Err(refused) => {
                assert_eq!(refused, Refused::TooMany);
                break;
            }
        }
    }
    // One stream is still kept for a client that may come back.
    assert_eq!(calls.len(), MAX_CALLS - 1);
    session.end();
    for call in &calls {
        call.cancelled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_streams_of_the_session_are_resumed() {
    let session = session(Version::V2025_11_25, "{}");
    let log = session.stream(1);
    let call = session.begin_call(bytes("1"), &log).expect("room");
    assert!(log.offer(bytes("{}")));
    let number = log.number();
    assert!(session.resume(&format!("{number}-0")).is_ok());
    let never = [
        format!("{number}-2"),
        format!("{}-0", number + 1),
        format!("-{number}-0"),
        format!("{number}-+0"),
        format!("{number}"),
        String::new(),
        "99999999999999999999-0".to_owned(),
    ];
    for id in never {
        let error = session.resume(&id).err();
        assert_eq!(error, Some(CannotResume::Never), "{id}");
    }
    drop(call);
    session.forget_stream(&log);
    let error = session.resume(&format!("{number}-0")).err();
    assert_eq!(error, Some(CannotResume::TooFarBack));
}

#[tokio::test(start_paused = true)]
async fn outside_of_calls_only_what_was_declared_is_asked() {
    let session = session(Version::V2025_11_25, r#"{"roots":{}}"#);
    let refused = ClientSession::request(&*session, "sampling/createMessage", None).await;
    let refused = refused.expect_err("not declared");
    assert!(refused.starts_with(br#"{"code":-32601,"#), "{refused:?}");
    let unreachable = ClientSession::request(&*session, "roots/list", None).await;
    unreachable.expect_err("no stream is open");

    let session = self::session(Version::V2025_11_25, r#"{"roots":{}}"#);
    let mut reader = session.outside().read();
    let asked = tokio::spawn(ClientSession::request(&*session, "roots/list", None));
    let mut text = String::new();
    while !text.contains("\"roots/list\"") {
        text.push_str(&next(&mut reader).await);
    }
    let id = text.split("\"id\":").nth(1).expect("an id");
    let id: String = id.chars().take_while(char::is_ascii_digit).collect();
    assert!(session.answered(id.parse().expect("a number"), Ok(bytes("{}"))));
    assert_eq!(asked.await.expect("no panic"), Ok(bytes("{}")));

    let unanswered = ClientSession::request(&*session, "ping", None).await;
    unanswered.expect_err("nobody answers");
}
