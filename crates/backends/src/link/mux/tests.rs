use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use switchboard_telemetry::Metrics;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::super::stdio::LineReader;
use super::super::{WRITE_DEADLINE, next_id};
use super::*;

mod large;

const MAX_LINE: usize = 8 * 1024;
const ROOMY: usize = 1024 * 1024;
/// A pipe that holds less than any request.
const NARROW: usize = 16;

type Answer = Result<Response, LinkError>;

struct PipeWriter(DuplexStream);

impl MessageWriter for PipeWriter {
    async fn write(&mut self, message: Bytes) -> Result<(), WriteError> {
        let line = [&message, &b"\n"[..]].concat();
        let written = self.0.write_all(&line).await;
        written.map_err(|_| WriteError::Broken)
    }
}

/// A channel with the far ends of its pipes.
struct Channel {
    mux: Mux,
    peer: Peer,
    metrics: Metrics,
    tasks: TaskTracker,
}

/// The server at the other side.
struct Peer {
    input: Lines<BufReader<DuplexStream>>,
    output: DuplexStream,
}

impl Channel {
    /// A channel whose pipe to the server holds `room` bytes.
    fn new(room: usize) -> Self {
        Self::owning(room, |stop| async move {
            stop.cancelled().await;
            // What is told to end is not gone at the same moment.
            tokio::task::yield_now().await;
            None
        })
    }

    fn owning<O, F>(room: usize, owned: O) -> Self
    where
        O: FnOnce(CancellationToken) -> F,
        F: Future<Output = Option<String>> + Send + 'static,
    {
        Self::of_lines(MAX_LINE, room, owned)
    }

    /// A channel whose lines to the gateway are at most so long.
    fn of_lines<O, F>(max_line: usize, room: usize, owned: O) -> Self
    where
        O: FnOnce(CancellationToken) -> F,
        F: Future<Output = Option<String>> + Send + 'static,
    {
        let (to_peer, input) = duplex(room);
        let (output, from_peer) = duplex(ROOMY);
        let metrics = Metrics::new().expect("metrics");
        let tasks = TaskTracker::new();
        let inbox = Arc::new(Inbox::new(metrics.backend("b"), tasks.clone()));
        let reader = LineReader::new(from_peer, max_line);
        let mux = Mux::start(reader, PipeWriter(to_peer), inbox, owned);
        let peer = Peer {
            input: BufReader::new(input).lines(),
            output,
        };
        Self {
            mux,
            peer,
            metrics,
            tasks,
        }
    }

    /// How many messages of a kind were ignored.
    fn ignored(&self, kind: IgnoredMessage) -> u64 {
        let kind = format!("kind=\"{}\"", kind.as_str());
        let text = self.metrics.render();
        let line = text.lines().find(|line| {
            line.starts_with("switchboard_backend_ignored_messages_total") && line.contains(&kind)
        });
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.expect("the metric").parse().expect("a count")
    }

    /// Ends the channel and checks that nothing of it is left.
    async fn end(self) {
        self.mux.shut_down().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Peer {
    async fn line(&mut self) -> String {
        let line = self.input.next_line().await.expect("read");
        line.expect("another line")
    }

    async fn say(&mut self, line: impl AsRef<[u8]>) {
        let line = [line.as_ref(), b"\n"].concat();
        self.output.write_all(&line).await.expect("written");
    }

    async fn answer(&mut self, id: u64) {
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"for\":{id}}}}}");
        self.say(answer).await;
    }
}

/// A request that was handed to its channel, as far as that goes without waiting.
struct Request {
    id: u64,
    body: String,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

impl Request {
    fn new(mux: &Mux) -> Self {
        let id = next_id();
        let out = Outgoing::for_test(id);
        let body = String::from_utf8(out.body.to_vec()).expect("text");
        let mux = mux.clone();
        let mut answer: Pin<Box<dyn Future<Output = Answer> + Send>> =
            Box::pin(async move { mux.request(out, Watch::deaf()).await });
        let mut context = Context::from_waker(Waker::noop());
        // Whatever is ready at once stays so: an error is made again when it is asked for.
        let first = answer.as_mut().poll(&mut context);
        if let Poll::Ready(first) = first {
            answer = Box::pin(std::future::ready(first));
        }
        Self { id, body, answer }
    }

    /// Waits for the answer and checks that it is this request's.
    async fn expect_answer(self) {
        let response = self.answer.await.expect("answered");
        let own = format!("{{\"for\":{}}}", self.id);
        assert_eq!(
            response.slice(response.result.expect("a result")),
            own.as_bytes()
        );
    }
}

fn is_cancellation(line: &str) -> bool {
    line.contains("\"notifications/cancelled\"")
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let mut channel = Channel::new(ROOMY);
    let requests = [(); 3].map(|()| Request::new(&channel.mux));
    for request in &requests {
        assert_eq!(channel.peer.line().await, request.body);
    }
    for request in requests.iter().rev() {
        channel.peer.answer(request.id).await;
    }
    for request in requests {
        request.expect_answer().await;
    }
    channel.end().await;
}

#[tokio::test]
async fn answers_that_nobody_waits_for_are_counted() {
    let mut channel = Channel::new(ROOMY);
    let (first, second) = (Request::new(&channel.mux), Request::new(&channel.mux));
    let doubled = first.id;
    channel.peer.answer(doubled).await;
    channel.peer.answer(doubled).await;
    channel.peer.answer(u64::MAX).await;
    for id in [format!("\"{}\"", second.id), format!("-{}", second.id)] {
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}");
        channel.peer.say(answer).await;
    }
    for id in ["\"id\":null,", ""] {
        let error = format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{{\"code\":-32700}}}}");
        channel.peer.say(error).await;
    }
    channel.peer.answer(second.id).await;
    first.expect_answer().await;
    second.expect_answer().await;
    assert_eq!(channel.ignored(IgnoredMessage::UnknownId), 6);
    channel.end().await;
}

#[tokio::test]
async fn what_is_no_message_is_counted_and_hurts_nobody() {
    let mut channel = Channel::new(ROOMY);
    let request = Request::new(&channel.mux);
    for noise in [
        &b"Server listening on stdio"[..],
        b"[]",
        b"{\"jsonrpc\":\"2.0\",\"id\":1.0,\"result\":{}}",
        b"{\"jsonrpc\":\"2.0\",\"id\":null,\"result\":{}}",
    ] {
        channel.peer.say(noise).await;
    }
    channel.peer.say(b"\xff\xfe").await;
    channel.peer.answer(request.id).await;
    request.expect_answer().await;
    assert_eq!(channel.ignored(IgnoredMessage::Banner), 4);
    assert_eq!(channel.ignored(IgnoredMessage::InvalidUtf8), 1);
    channel.end().await;
}

#[tokio::test]
async fn requests_of_the_server_are_answered_only_in_the_legacy_era() {
    let mut channel = Channel::new(ROOMY);
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    let list = r#"{"jsonrpc":"2.0","id":-0,"method":"roots/list"}"#;
    channel.peer.say(ping).await;
    channel.peer.say(list).await;
    let request = Request::new(&channel.mux);
    assert_eq!(channel.peer.line().await, request.body);
    channel.peer.answer(request.id).await;
    request.expect_answer().await;

    channel.mux.speak_legacy(None);
    channel.peer.say(ping).await;
    let pong = r#"{"jsonrpc":"2.0","id":"p","result":{}}"#;
    assert_eq!(channel.peer.line().await, pong);
    channel.peer.say(list).await;
    let refusal = channel.peer.line().await;
    let start = r#"{"jsonrpc":"2.0","id":-0,"error":{"code":-32601,"#;
    assert!(refusal.starts_with(start), "{refusal}");
    assert_eq!(channel.ignored(IgnoredMessage::UnexpectedRequest), 2);
    channel.end().await;
}

#[tokio::test]
async fn an_oversize_answer_fails_only_its_own_request() {
    let mut channel = Channel::new(ROOMY);
    let requests = [(); 3].map(|()| Request::new(&channel.mux));
    for _ in &requests {
        channel.peer.line().await;
    }
    let [early, late, other] = requests;
    let filling = "x".repeat(3 * MAX_LINE);

    // The id in front: told before the line has ended.
    let begun = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":\"{filling}",
        early.id
    );
    channel
        .peer
        .output
        .write_all(begun.as_bytes())
        .await
        .expect("written");
    assert!(matches!(early.answer.await, Err(LinkError::TooLarge)));
    assert_eq!(channel.ignored(IgnoredMessage::Oversize), 1);
    channel.peer.say("\"}").await;

    let behind = format!(
        "{{\"jsonrpc\":\"2.0\",\"result\":{{\"id\":0,\"a\":\"{filling}\"}},\"id\":{}}}",
        late.id
    );
    channel.peer.say(behind).await;
    assert!(matches!(late.answer.await, Err(LinkError::TooLarge)));

    channel.peer.answer(other.id).await;
    other.expect_answer().await;
    assert_eq!(channel.ignored(IgnoredMessage::UnknownId), 0);
    assert_eq!(channel.ignored(IgnoredMessage::Oversize), 2);
    channel.end().await;
}

#[tokio::test]
async fn an_oversize_line_without_an_id_is_the_only_requests() {
    let mut channel = Channel::new(ROOMY);
    let only = Request::new(&channel.mux);
    channel.peer.line().await;
    let filling = "x".repeat(3 * MAX_LINE);
    channel
        .peer
        .say(format!("{{\"jsonrpc\":\"2.0\",\"result\":\"{filling}\"}}"))
        .await;
    assert!(matches!(only.answer.await, Err(LinkError::TooLarge)));
    channel.end().await;
}

#[tokio::test]
async fn an_oversize_line_that_is_no_message_answers_nobody() {
    let mut channel = Channel::new(ROOMY);
    let only = Request::new(&channel.mux);
    channel.peer.line().await;
    channel.peer.say("x".repeat(3 * MAX_LINE)).await;
    channel.peer.answer(only.id).await;
    only.expect_answer().await;
    assert_eq!(channel.ignored(IgnoredMessage::Oversize), 1);
    channel.end().await;
}

#[tokio::test]
async fn a_request_that_was_sent_is_cancelled_once() {
    let mut channel = Channel::new(ROOMY);
    let (dropped, answered) = (Request::new(&channel.mux), Request::new(&channel.mux));
    channel.peer.line().await;
    channel.peer.line().await;
    let id = dropped.id;
    drop(dropped);
    let cancelled = channel.peer.line().await;
    assert!(is_cancellation(&cancelled), "{cancelled}");
    assert!(
        cancelled.contains(&format!("\"requestId\":{id},")),
        "{cancelled}"
    );

    // One that has its answer is not cancelled, nor is the first one again.
    channel.peer.answer(answered.id).await;
    answered.expect_answer().await;
    let last = Request::new(&channel.mux);
    assert_eq!(channel.peer.line().await, last.body);
    channel.peer.answer(id).await;
    channel.peer.answer(last.id).await;
    last.expect_answer().await;
    assert_eq!(channel.ignored(IgnoredMessage::UnknownId), 1);
    channel.end().await;
}

#[tokio::test]
async fn a_request_that_was_not_sent_never_is() {
    let mut channel = Channel::new(NARROW);
    let blocking = Request::new(&channel.mux);
    tokio::task::yield_now().await;
    let waiting = Request::new(&channel.mux);
    drop(waiting);
    let last = Request::new(&channel.mux);
    assert_eq!(channel.peer.line().await, blocking.body);
    assert_eq!(channel.peer.line().await, last.body);
    // Dropped while it was written: the server has it.
    drop(last);
    assert!(is_cancellation(&channel.peer.line().await));
    channel.peer.answer(blocking.id).await;
    blocking.expect_answer().await;
    channel.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_blocks_only_itself() {
    let began = Instant::now();
    let stalled = Channel::new(NARROW);
    let begun = Request::new(&stalled.mux);
    tokio::task::yield_now().await;
    let queued = Request::new(&stalled.mux);

    let mut healthy = Channel::new(ROOMY);
    let request = Request::new(&healthy.mux);
    healthy.peer.line().await;
    healthy.peer.answer(request.id).await;
    request.expect_answer().await;
    assert_eq!(began.elapsed(), Duration::ZERO);

    assert!(matches!(begun.answer.await, Err(LinkError::Lost(_))));
    assert!(matches!(queued.answer.await, Err(LinkError::NotSent(_))));
    assert!(began.elapsed() >= WRITE_DEADLINE && began.elapsed() < 2 * WRITE_DEADLINE);
    let late = Request::new(&stalled.mux);
    assert!(matches!(late.answer.await, Err(LinkError::NotSent(_))));
    stalled.end().await;
    healthy.end().await;
}

#[tokio::test]
async fn the_end_of_a_channel_tells_what_was_sent() {
    let mut channel = Channel::owning(NARROW, |stop| async move {
        stop.cancelled().await;
        Some("its process ended with exit code 3".to_owned())
    });
    let sent = Request::new(&channel.mux);
    assert_eq!(channel.peer.line().await, sent.body);
    let begun = Request::new(&channel.mux);
    tokio::task::yield_now().await;
    let queued = Request::new(&channel.mux);
    channel.peer.output.shutdown().await.expect("closed");
    let reason = channel.mux.closed().await;
    assert_eq!(reason, "its process ended with exit code 3");
    for (request, is_lost) in [(sent, true), (begun, true), (queued, false)] {
        match request.answer.await {
            Err(LinkError::Lost(why)) => assert!(is_lost && why == reason, "{why}"),
            Err(LinkError::NotSent(why)) => assert!(!is_lost && why == reason, "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        channel.mux.notify(Bytes::new()).await,
        Err(LinkError::NotSent(_))
    ));
    channel.end().await;
}

#[tokio::test]
async fn what_a_server_wrote_before_it_ended_still_counts() {
    let (ended, has_ended) = oneshot::channel::<()>();
    let mut channel = Channel::owning(ROOMY, |_| async move {
        let _ = has_ended.await;
        Some("its process ended".to_owned())
    });
    let request = Request::new(&channel.mux);
    channel.peer.line().await;
    let _ = ended.send(());
    channel.peer.answer(request.id).await;
    request.expect_answer().await;
    channel.peer.output.shutdown().await.expect("closed");
    assert_eq!(channel.mux.closed().await, "its process ended");
    channel.end().await;
}

#[tokio::test]
async fn requests_that_wait_are_bounded() {
    let channel = Channel::new(NARROW);
    let waiting: Vec<Request> = (0..MAX_PENDING)
        .map(|_| Request::new(&channel.mux))
        .collect();
    let one_more = Request::new(&channel.mux);
    assert!(matches!(one_more.answer.await, Err(LinkError::Full)));
    drop(waiting);
    let again = Request::new(&channel.mux);
    drop(channel.mux.stop_guard());
    assert!(matches!(again.answer.await, Err(LinkError::NotSent(_))));
    channel.end().await;
}
