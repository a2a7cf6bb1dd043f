//! An event stream that outlives its connection (2025-11-25 `basic/transports`, Resumability and
//! Redelivery).
//!
//! Whoever has something to say writes it into an [`EventLog`], whether or not somebody reads. One
//! connection at a time reads it, a [`Reader`]; what it has read is kept for a while, so that the
//! next one can begin where it broke off.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use switchboard_protocol::call::{Payload, Sink};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use super::attended::Attended;
use crate::edge::stream::{COMMENT, SILENCE, event};

#[cfg(test)]
mod tests;

/// How many events of one stream wait for their reader, or are kept once it has read them.
pub(super) const MAX_EVENTS: usize = 256;
/// How many bytes of them.
pub(super) const MAX_BYTES: usize = 1024 * 1024;
/// How many bytes all streams together keep; beyond that nothing is kept for a reader that comes
/// back, and notifications are dropped.
const MAX_MEMORY: usize = 64 * 1024 * 1024;
/// The longest notification for which there is room though all streams together keep too much, on a
/// stream whose reader waits for it: nobody's questions go unasked because others do not read.
const MAX_PROMPT: usize = 16 * 1024;
/// What a client that has read nothing yet is told to wait before it comes back.
const RETRY_MS: u32 = 1_000;

/// The bytes that all streams keep.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<AtomicUsize>);

impl Memory {
    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_MEMORY
    }
}

/// How a stream writes its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Whether it begins with an event that has an id and no data (2025-11-25 and newer).
    pub(super) primes: bool,
    /// Whether its events have ids, and are kept for a reader that comes back.
    pub(super) resumes: bool,
    /// Whether every event says that it is a message, as HTTP+SSE does.
    pub(super) named: bool,
}

/// Why a stream cannot be read on from where it broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CannotResume {
    /// The place was never reached.
    #[error("Last-Event-ID names an event that was never sent")]
    Never,
    /// More was sent since than is kept.
    #[error(
        "Last-Event-ID lies too far back: the events after it are no longer kept; make the request again"
    )]
    TooFarBack,
}

/// A stream of messages to one client.
pub(super) struct EventLog {
    number: u64,
    form: Form,
    memory: Memory,
    state: Mutex<State>,
    /// A connection began to read, or none does any more.
    readers_changed: Notify,
}

#[derive(Default)]
struct State {
    /// The event at the front has the number `first`.
    events: VecDeque<Event>,
    first: u64,
    /// Events before this one were given to a connection.
    sent: u64,
    unsent_bytes: usize,
    bytes: usize,
    /// Whether this is an event stream for good; before, it may still become a JSON answer.
    is_stream: bool,
    /// Answers that are there while it may still become a JSON answer.
    answers: Vec<Payload>,
    /// How many answers are still to come.
    expected: usize,
    /// Nothing follows.
    is_ended: bool,
    /// The end was read.
    is_delivered: bool,
    /// Which connection may read: an older one ends.
    reader: u64,
    /// Whether a connection reads.
    is_read: bool,
    waker: Option<Waker>,
}

struct Event {
    chunks: VecDeque<Bytes>,
    size: usize,
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn unsent(&self) -> usize {
        (self.next() - self.sent) as usize
    }

    /// All answers, once they are there with nothing beside them; none once this is a stream.
    fn poll_answers(&mut self) -> Poll<Option<Vec<Payload>>> {
        if self.is_stream {
            return Poll::Ready(None);
        }
        if !self.is_ended {
            return Poll::Pending;
        }
        self.is_delivered = true;
        Poll::Ready(Some(std::mem::take(&mut self.answers)))
    }

    fn is_behind(&self) -> bool {
        self.unsent() >= MAX_EVENTS || self.unsent_bytes >= MAX_BYTES
    }
}

impl EventLog {
    /// A stream that carries this many answers and then ends.
    pub(super) fn for_answers(
        number: u64,
        form: Form,
        memory: Memory,
        expected: usize,
    ) -> Arc<Self> {
        Self::new(
            number,
            form,
            memory,
            State {
                expected,
                ..State::default()
            },
        )
    }

    /// A stream that does not end by itself.
    pub(super) fn open_ended(number: u64, form: Form, memory: Memory) -> Arc<Self> {
        Self::new(
            number,
            form,
            memory,
            State {
                expected: usize::MAX,
                is_stream: true,
                ..State::default()
            },
        )
    }

    fn new(number: u64, form: Form, memory: Memory, state: State) -> Arc<Self> {
        Arc::new(Self {
            number,
            form,
            memory,
            state: Mutex::new(state),
            readers_changed: Notify::new(),
        })
    }

    /// Tells it from the other streams of its session.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Writes the answer to a request. The stream ends with the last one, and one that carries all
    /// answers of its session ends before its time if its reader is too far behind.
    pub(super) fn answer(&self, message: Payload) {
        self.change(|log, state| {
            if !log.form.resumes && state.is_behind() && log.memory.is_full() {
                log.cut(state);
            } else if state.is_ended {
                // Nobody reads it any more.
            } else if state.is_stream {
                log.append(state, message);
            } else {
                state.answers.push(message);
            }
            Self::expect_one_less(state);
        });
    }

    /// Notes that a request will have no answer, for its client took it back.
    pub(super) fn withdraw(&self) {
        self.change(|_, state| Self::expect_one_less(state));
    }

    /// Ends the stream, and lets go of what was not read.
    fn cut(&self, state: &mut State) {
        state.is_ended = true;
        // Where the reader is.
        state.first = state.sent;
        state.events.clear();
        self.memory.0.fetch_sub(state.bytes, Ordering::Relaxed);
        state.bytes = 0;
        state.unsent_bytes = 0;
    }

    /// Whether so much waits for the reader that nothing more should be begun whose answer it has
    /// to read as well.
    pub(super) fn is_behind(&self) -> bool {
        self.state.lock().is_behind()
    }

    /// Ends the stream: what was written is still read.
    pub(super) fn end(&self) {
        self.change(|_, state| state.is_ended = true);
    }

    /// Has the reader look again.
    pub(super) fn wake(&self) {
        self.change(|_, _| {});
    }

    fn expect_one_less(state: &mut State) {
        if state.expected != usize::MAX {
            state.expected = state.expected.saturating_sub(1);
            state.is_ended |= state.expected == 0;
        }
    }

    /// Waking runs foreign code, so it is done with nothing locked.
    fn change<T>(&self, change: impl FnOnce(&Self, &mut State) -> T) -> T {
        let (changed, waker) = {
            let mut state = self.state.lock();
            (change(self, &mut state), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        changed
    }

    fn begin_stream(&self, state: &mut State) {
        if state.is_stream {
            return;
        }
        state.is_stream = true;
        if self.form.primes {
            self.prime(state);
        }
        for answer in std::mem::take(&mut state.answers) {
            self.append(state, answer);
        }
    }

    fn prime(&self, state: &mut State) {
        let text = format!(
            "id: {}\nretry: {RETRY_MS}\ndata: \n\n",
            self.id_of(state.next())
        );
        self.append_chunks(state, VecDeque::from([Bytes::from(text)]));
    }

    /// What `Last-Event-ID` says of this event. No two streams of a session share a number.
    fn id_of(&self, event: u64) -> String {
        format!("{}-{event}", self.number)
    }

    fn append(&self, state: &mut State, message: Payload) {
        let mut chunks = VecDeque::new();
        let mut head = String::new();
        if self.form.resumes {
            head = format!("id: {}\n", self.id_of(state.next()));
        }
        if self.form.named {
            head.push_str("event: message\n");
        }
        event(message, &mut chunks);
        if !head.is_empty() {
            chunks.push_front(head.into());
        }
        self.append_chunks(state, chunks);
    }

    fn append_chunks(&self, state: &mut State, chunks: VecDeque<Bytes>) {
        let size = chunks.iter().map(Bytes::len).sum();
        state.events.push_back(Event { chunks, size });
        state.bytes += size;
        state.unsent_bytes += size;
        self.memory.0.fetch_add(size, Ordering::Relaxed);
        self.forget(state);
    }

    /// Lets go of events that were read, as far as there is no room for them.
    fn forget(&self, state: &mut State) {
        while state.first < state.sent
            && (!self.form.resumes
                || state.bytes > MAX_BYTES
                || state.events.len() > MAX_EVENTS
                || self.memory.is_full())
            && let Some(event) = state.events.pop_front()
        {
            state.first += 1;
            state.bytes -= event.size;
            self.memory.0.fetch_sub(event.size, Ordering::Relaxed);
        }
    }

    /// Begins to read, in the place of whoever read before: from the first event that nobody has
    /// read.
    pub(super) fn read(self: &Arc<Self>) -> Reader {
        let (generation, next) = self.change(|_, state| {
            state.reader += 1;
            state.is_read = true;
            (state.reader, state.sent)
        });
        self.reader(generation, next)
    }

    /// As [`EventLog::read`], for a stream that does not end by itself: the reader is given a place
    /// to come back to before there is anything to read. What waits for it is such a place too.
    pub(super) fn read_primed(self: &Arc<Self>) -> Reader {
        let reader = self.read();
        if self.form.primes {
            self.change(|log, state| {
                if state.unsent() == 0 {
                    log.prime(state);
                }
            });
        }
        reader
    }

    /// Reads on behind the event of this number.
    pub(super) fn resume(self: &Arc<Self>, after: u64) -> Result<Reader, CannotResume> {
        let (generation, next) = self.change(|_, state| {
            let next = after.checked_add(1).filter(|next| *next <= state.next());
            let next = next.ok_or(CannotResume::Never)?;
            if next < state.first {
                return Err(CannotResume::TooFarBack);
            }
            state.reader += 1;
            state.is_read = true;
            state.sent = next;
            let read = (next - state.first) as usize;
            state.unsent_bytes = state.events.iter().skip(read).map(|event| event.size).sum();
            state.is_delivered = false;
            Ok((state.reader, next))
        })?;
        Ok(self.reader(generation, next))
    }

    fn reader(self: &Arc<Self>, generation: u64, next: u64) -> Reader {
        self.readers_changed.notify_waiters();
        Reader {
            log: Arc::clone(self),
            generation,
            next,
            ready: VecDeque::new(),
            is_ended: false,
            silence: Box::pin(sleep(SILENCE)),
        }
    }

    /// Resolves when nobody has read for so long.
    pub(super) async fn abandoned(&self, grace: Duration) {
        loop {
            self.until(|state| !state.is_read).await;
            tokio::select! {
                biased;
                () = self.until(|state| state.is_read) => {}
                () = sleep(grace) => return,
            }
        }
    }

    /// Resolves when nobody reads, and there is no memory to keep anything for one who comes back.
    /// That the memory is full is seen when the reader leaves.
    pub(super) async fn crowded_out(&self) {
        self.until(|state| !state.is_read && self.memory.is_full())
            .await;
    }

    /// Resolves when its end was read.
    pub(super) async fn delivered(&self) {
        self.until(|state| state.is_delivered).await;
    }

    /// Resolves when this is so; looks at once, and whenever a reader comes or goes.
    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            // Begins before the look, so that no change between look and wait is missed.
            let changed = self.readers_changed.notified();
            if is_so(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Whether a client may come back for what it has not read: it was given a place to come back
    /// to, and there is memory to keep the rest.
    pub(super) fn can_be_resumed(&self) -> bool {
        if !self.form.resumes {
            return false;
        }
        let state = self.state.lock();
        state.is_read || (state.sent > 0 && !self.memory.is_full())
    }

    /// Whether nothing more will be written.
    pub(super) fn is_ended(&self) -> bool {
        self.state.lock().is_ended
    }

    /// Whether all of it is a JSON answer, for good: there is nothing to come back to.
    pub(super) fn is_json(&self) -> bool {
        let state = self.state.lock();
        state.is_ended && !state.is_stream
    }

    /// Whether its end was read.
    pub(super) fn is_delivered(&self) -> bool {
        self.state.lock().is_delivered
    }

    fn detach(&self, generation: u64) {
        let is_last = {
            let mut state = self.state.lock();
            let is_last = state.reader == generation;
            state.is_read &= !is_last;
            is_last
        };
        if is_last {
            self.readers_changed.notify_waiters();
        }
    }
}

impl Sink for EventLog {
    fn offer(&self, notification: Bytes) -> bool {
        self.change(|log, state| {
            let size = notification.len();
            let is_awaited = state.is_read && state.unsent_bytes == 0 && size <= MAX_PROMPT;
            let has_room = state.unsent() < MAX_EVENTS
                && (state.unsent_bytes == 0 || state.unsent_bytes + size <= MAX_BYTES)
                && (is_awaited || !log.memory.is_full());
            if state.is_ended || !has_room {
                return false;
            }
            log.begin_stream(state);
            log.append(state, notification.into());
            true
        })
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let bytes = self.state.get_mut().bytes;
        self.memory.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A connection that reads a stream.
pub(super) struct Reader {
    log: Arc<EventLog>,
    generation: u64,
    next: u64,
    /// Bytes that wait to be sent.
    ready: VecDeque<Bytes>,
    is_ended: bool,
    silence: Pin<Box<Sleep>>,
}

/// What comes first.
pub(super) enum First {
    /// All answers, with nothing beside them.
    Answers(Vec<Payload>),
    /// A stream, which the reader reads.
    Stream(Reader),
}

impl Reader {
    /// Whether it reads this stream.
    pub(super) fn is_of(&self, log: &Arc<EventLog>) -> bool {
        Arc::ptr_eq(&self.log, log)
    }

    /// Waits until it is clear whether this is a JSON answer or an event stream, and drives the call
    /// meanwhile that is answered here, if it is nobody else's to drive.
    pub(super) async fn first(mut self, mut call: Option<Attended>) -> First {
        let answers = poll_fn(|context| {
            if let Some(call) = &mut call {
                // What the call writes itself is seen below, and need not wake who is awake.
                let waker = self.log.state.lock().waker.take();
                drop(waker);
                call.poll(context);
            }
            let mut state = self.log.state.lock();
            if let Poll::Ready(answers) = state.poll_answers() {
                return Poll::Ready(answers);
            }
            state.waker = Some(context.waker().clone());
            drop(state);
            ready!(self.silence.as_mut().poll(context));
            let mut state = self.log.state.lock();
            let answers = state.poll_answers();
            if answers.is_ready() {
                return answers;
            }
            // Intermediaries cut idle exchanges.
            self.log.begin_stream(&mut state);
            Poll::Ready(None)
        })
        .await;
        match answers {
            Some(answers) => First::Answers(answers),
            None => First::Stream(self),
        }
    }

    /// The next piece of the stream; `None` at its end, and when another connection reads it.
    pub(super) fn poll_bytes(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.silence.as_mut().reset(Instant::now() + SILENCE);
                return Poll::Ready(Some(bytes));
            }
            if self.is_ended {
                return Poll::Ready(None);
            }
            if !self.take(context) {
                ready!(self.silence.as_mut().poll(context));
                self.ready.push_back(Bytes::from_static(COMMENT));
            }
        }
    }

    /// Takes the next event, or finds the end; `false` if there is neither yet.
    fn take(&mut self, context: &Context<'_>) -> bool {
        let mut state = self.log.state.lock();
        if state.reader != self.generation {
            self.is_ended = true;
            let waker = state.waker.take();
            drop(state);
            // Whatever else is polled with the stream may have noted this reader last: the other
            // one notes itself again.
            if let Some(waker) = waker {
                waker.wake();
            }
            return true;
        }
        let at = (self.next - state.first) as usize;
        if let Some(event) = state.events.get(at) {
            let size = event.size;
            self.ready.extend(event.chunks.iter().cloned());
            self.next += 1;
            state.sent = self.next;
            state.unsent_bytes -= size;
            self.log.forget(&mut state);
            return true;
        }
        if state.is_ended {
            state.is_delivered = true;
            self.is_ended = true;
            return true;
        }
        state.waker = Some(context.waker().clone());
        false
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.log.detach(self.generation);
    }
}
