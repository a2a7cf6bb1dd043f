use super::*;
use futures_util::future::FutureExt;

const RESUMABLE: Form = Form {
    primes: true,
    resumes: true,
    named: false,
};

fn log(answers: usize) -> Arc<EventLog> {
    EventLog::for_answers(7, RESUMABLE, Memory::default(), answers)
}

fn message(text: &str) -> Payload {
    Bytes::copy_from_slice(text.as_bytes()).into()
}

fn text(payload: &Payload) -> String {
    String::from_utf8(payload.segments().concat()).expect("UTF-8")
}

/// All that can be read without waiting, and whether the end was reached.
fn read(reader: &mut Reader) -> (String, bool) {
    let mut out = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match reader.poll_bytes(&mut context) {
            Poll::Ready(Some(bytes)) => out.extend_from_slice(&bytes),
            end => {
                let out = String::from_utf8(out).expect("UTF-8");
                return (out, end.is_ready());
            }
        }
    }
}

fn first(reader: Reader) -> Option<First> {
    Box::pin(reader.first(None)).now_or_never()
}

#[tokio::test(start_paused = true)]
async fn an_answer_alone_is_json() {
    let log = log(2);
    let reader = log.read();
    log.answer(message("1"));
    log.answer(message("2"));
    let Some(First::Answers(answers)) = first(reader) else {
        panic!("a stream");
    };
    let answers: Vec<String> = answers.iter().map(text).collect();
    assert_eq!(answers, ["1", "2"]);
    assert!(log.is_delivered());
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_the_answer_makes_it_a_stream() {
    let log = log(1);
    let reader = log.read();
    assert!(log.offer(Bytes::from_static(b"{\"n\":\n1}")));
    log.answer(message("{}"));
    let Some(First::Stream(mut reader)) = first(reader) else {
        panic!("JSON");
    };
    let (text, is_ended) = read(&mut reader);
    assert_eq!(
        text,
        "id: 7-0\nretry: 1000\ndata: \n\nid: 7-1\ndata: {\"n\": 1}\n\nid: 7-2\ndata: {}\n\n"
    );
    assert!(is_ended && log.is_delivered());
}

#[tokio::test(start_paused = true)]
async fn silence_opens_the_stream_and_keeps_it_open() {
    let log = log(1);
    let began = Instant::now();
    let First::Stream(mut reader) = log.read().first(None).await else {
        panic!("JSON");
    };
    assert_eq!(began.elapsed(), SILENCE);
    let (text, _) = read(&mut reader);
    assert!(text.starts_with("id: 7-0\n"), "{text}");
    let comment = poll_fn(|context| reader.poll_bytes(context)).await;
    assert_eq!(comment.as_deref(), Some(COMMENT));
    assert_eq!(began.elapsed(), SILENCE * 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_resumes_behind_what_it_has_read() {
    let log = log(1);
    let mut reader = log.read();
    for n in 0..5 {
        assert!(log.offer(Bytes::from(format!("{n}"))));
    }
    let (text, _) = read(&mut reader);
    assert!(text.ends_with("id: 7-5\ndata: 4\n\n"), "{text}");
    drop(reader);
    log.answer(message("{}"));

    let mut again = log.resume(3).expect("kept");
    let (text, is_ended) = read(&mut again);
    assert_eq!(
        text,
        "id: 7-4\ndata: 3\n\nid: 7-5\ndata: 4\n\nid: 7-6\ndata: {}\n\n"
    );
    assert!(is_ended && log.is_delivered());
    let mut last = log.resume(6).expect("the last event");
    assert_eq!(read(&mut last), (String::new(), true));
    assert_eq!(log.resume(7).err(), Some(CannotResume::Never));
    assert_eq!(log.resume(u64::MAX).err(), Some(CannotResume::Never));
}

#[tokio::test(start_paused = true)]
async fn a_new_reader_takes_the_place_of_the_old_one() {
    let log = EventLog::open_ended(0, RESUMABLE, Memory::default());
    let mut old = log.read_primed();
    assert!(log.offer(Bytes::from_static(b"1")));
    assert_eq!(
        read(&mut old).0,
        "id: 0-0\nretry: 1000\ndata: \n\nid: 0-1\ndata: 1\n\n"
    );
    let mut new = log.read_primed();
    assert!(log.offer(Bytes::from_static(b"2")));
    assert_eq!(read(&mut old), (String::new(), true));
    assert_eq!(
        read(&mut new).0,
        "id: 0-2\nretry: 1000\ndata: \n\nid: 0-3\ndata: 2\n\n"
    );
    drop(old);
    assert!(log.state.lock().is_read, "the new one still reads");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_kept_within_bounds() {
    let memory = Memory::default();
    let log = EventLog::for_answers(7, RESUMABLE, memory.clone(), 1);
    let mut reader = log.read();
    for n in 0..MAX_EVENTS * 3 {
        assert!(log.offer(Bytes::from(format!("{n}"))));
        read(&mut reader);
    }
    assert_eq!(log.state.lock().events.len(), MAX_EVENTS);
    assert_eq!(log.resume(1).err(), Some(CannotResume::TooFarBack));
    assert!(log.resume(MAX_EVENTS as u64 * 3 - 2).is_ok());
    let large = Bytes::from(vec![b'1'; MAX_BYTES / 2]);
    reader = log.read();
    for _ in 0..5 {
        assert!(log.offer(large.clone()));
        read(&mut reader);
    }
    assert!(log.state.lock().bytes <= MAX_BYTES);
    drop((reader, log));
    assert_eq!(memory.0.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_dropped_beyond_the_bound_but_the_answer_is_not() {
    let log = log(1);
    let taken = (0..MAX_EVENTS * 2)
        .filter(|_| log.offer(Bytes::from_static(b"1")))
        .count();
    // The event that primes the stream is one of them.
    assert_eq!(taken, MAX_EVENTS - 1);
    log.answer(message("{}"));
    assert!(!log.offer(Bytes::from_static(b"late")));
    let (text, is_ended) = read(&mut log.read());
    assert!(is_ended && text.ends_with("data: {}\n\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_when_memory_is_full() {
    let memory = Memory(Arc::new(AtomicUsize::new(MAX_MEMORY + 1)));
    let log = EventLog::for_answers(7, RESUMABLE, memory, 1);
    assert!(!log.offer(Bytes::from_static(b"1")));
    let mut reader = log.read();
    log.answer(message("{}"));
    assert!(log.can_be_resumed(), "it is being read");
    let Some(First::Answers(_)) = first(log.read()) else {
        panic!("a stream");
    };
    read(&mut reader);
    drop(reader);
    assert!(!log.can_be_resumed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_abandoned_when_nobody_has_read_it_for_the_grace_time() {
    let grace = Duration::from_secs(30);
    let log = log(1);
    let began = Instant::now();
    log.abandoned(grace).await;
    assert_eq!(began.elapsed(), grace);

    let reader = log.read();
    let mut abandoned = Box::pin(log.abandoned(grace));
    tokio::time::timeout(grace * 10, &mut abandoned)
        .await
        .expect_err("somebody reads");
    drop(reader);
    tokio::time::timeout(grace / 2, &mut abandoned)
        .await
        .expect_err("not yet");
    let reader = log.read();
    tokio::time::timeout(grace * 2, &mut abandoned)
        .await
        .expect_err("it was resumed");
    drop(reader);
    let began = Instant::now();
    abandoned.await;
    assert_eq!(began.elapsed(), grace);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_ids_keeps_nothing_and_names_its_events() {
    let form = Form {
        primes: false,
        resumes: false,
        named: true,
    };
    let log = EventLog::open_ended(0, form, Memory::default());
    let mut reader = log.read();
    log.answer(message("{}"));
    assert_eq!(read(&mut reader).0, "event: message\ndata: {}\n\n");
    assert!(log.state.lock().events.is_empty());
    log.end();
    assert_eq!(read(&mut reader), (String::new(), true));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_taken_back_leaves_the_other_answers() {
    let log = log(2);
    let reader = log.read();
    log.withdraw();
    log.answer(message("2"));
    let Some(First::Answers(answers)) = first(reader) else {
        panic!("a stream");
    };
    assert_eq!(answers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_whole_session_is_cut_if_its_reader_is_too_far_behind() {
    let form = Form {
        primes: false,
        resumes: false,
        named: true,
    };
    let memory = Memory::default();
    let log = EventLog::open_ended(0, form, memory.clone());
    let mut reader = log.read();
    log.answer(message("1"));
    assert!(read(&mut reader).0.ends_with("data: 1\n\n"));
    let large = "x".repeat(MAX_BYTES);
    let mut answers = 0;
    while !log.is_ended() {
        log.answer(message(&large));
        assert!(log.is_ended() || log.is_behind());
        answers += 1;
    }
    assert!(answers <= MAX_MEMORY / MAX_BYTES + 2, "{answers}");
    assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    log.answer(message("late"));
    assert_eq!(read(&mut reader), (String::new(), true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_primed_once_for_readers_that_read_nothing() {
    let log = EventLog::open_ended(0, RESUMABLE, Memory::default());
    for _ in 0..10 {
        drop(log.read_primed());
    }
    let (text, _) = read(&mut log.read_primed());
    assert_eq!(text, "id: 0-0\nretry: 1000\ndata: \n\n");
}

#[tokio::test(start_paused = true)]
async fn who_reads_is_told_though_others_do_not_read() {
    let memory = Memory(Arc::new(AtomicUsize::new(MAX_MEMORY + 1)));
    let log = EventLog::for_answers(7, RESUMABLE, memory, 1);
    let _reader = log.read();
    assert!(!log.offer(Bytes::from(vec![b'x'; MAX_PROMPT + 1])));
    assert!(log.offer(Bytes::from_static(b"1")));
    assert!(!log.offer(Bytes::from_static(b"2")), "the first is unread");
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_a_reader_that_is_gone_when_memory_is_full() {
    let memory = Memory::default();
    let log = EventLog::for_answers(7, RESUMABLE, memory.clone(), 1);
    let reader = log.read();
    assert!(log.crowded_out().now_or_never().is_none());
    memory.0.store(MAX_MEMORY + 1, Ordering::Relaxed);
    assert!(log.crowded_out().now_or_never().is_none(), "it is read");
    let crowded_out = log.crowded_out();
    drop(reader);
    crowded_out.await;
}
