//! The log: lines on standard error, written by a thread of its own.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::{MakeExt as _, RecordFields};
use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, reload};

use crate::config::{LogConfig, LogFormat};
use crate::redaction::{Outlet, redacted};
use crate::{CALL_TARGET, current};

/// Bytes of log that may wait for standard error.
const MAX_PENDING: usize = 4 * 1024 * 1024;

/// The layer that writes the log, and what changes its filter while it does.
///
/// # Errors
/// A filter that cannot be read.
pub(crate) fn layer<S>(
    config: &LogConfig,
    queue: LogQueue,
) -> Result<(LogLayer<S>, FilterHandle<S>), ParseError>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let no_calls = filter_fn(|metadata| metadata.target() != CALL_TARGET)
        // Without a hint of its own it would take away that of the other filter, which spares a
        // look at every event.
        .with_max_level_hint(LevelFilter::TRACE);
    // Asked once for each place that logs, and again when it is another: what is not logged costs no
    // look into it.
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(&config.level)?);
    let filter = filter.and(no_calls);
    let layer = tracing_subscriber::fmt::layer().with_writer(queue);
    let layer = match config.format {
        LogFormat::Human => layer
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .fmt_fields(WithTrace(debug_fn(write_field).delimited(" ")))
            .with_filter(filter)
            .boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .map_event_format(WithTrace)
            .with_filter(filter)
            .boxed(),
    };
    Ok((layer, handle))
}

/// The layer that writes the log.
pub(crate) type LogLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// What changes the filter of the log.
pub(crate) type FilterHandle<S> = reload::Handle<EnvFilter, S>;

/// Adds the trace of the call that a line is about.
struct WithTrace<F>(F);

/// In the form for people, behind the fields of the event.
impl<'w, F> FormatFields<'w> for WithTrace<F>
where
    F: for<'any> FormatFields<'any>,
{
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        match current::current() {
            Some(trace) => write!(writer, " trace_id={trace}"),
            None => Ok(()),
        }
    }
}

/// In JSON, as the last member.
impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = current::current() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        match line.trim_end().strip_suffix('}') {
            Some(members) => writeln!(writer, "{members},\"trace_id\":\"{trace}\"}}"),
            None => writer.write_str(&line),
        }
    }
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(Escaped(writer), "{value:?}"),
        // Where the event came from, which the formatter has said already.
        name if name.starts_with("log.") => Ok(()),
        name => write!(Escaped(writer), "{name}={value:?}"),
    }
}

/// Writes control characters, line breaks and marks that reorder text in their escaped form: a
/// message with foreign text in it stays one line and cannot steer a terminal.
struct Escaped<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(is_unsafe) {
            match piece.char_indices().next_back() {
                Some((at, last)) if is_unsafe(last) => {
                    self.0.write_str(&piece[..at])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// Lines of JSON, with what JSON may have in a string as it is, and a terminal would obey, in JSON's own
/// escaped form.
fn escaped_json(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_unsafe = |character: char| character != '\n' && is_unsafe(character);
    if !text.contains(is_unsafe) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        if is_unsafe(character) {
            // Outside of strings there is none. Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines on their way to the log. Writing to it never waits; a line that does not fit is dropped
/// and counted.
#[derive(Clone, Debug)]
pub(crate) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    writing: bool,
    closed: bool,
}

impl LogQueue {
    /// Starts the thread that writes to `out`, without secrets; it ends after [`LogQueue::close`].
    /// `is_json`: lines are JSON.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(out: impl Write + Send + 'static, is_json: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let queue = Self(Arc::clone(&shared));
        thread::Builder::new()
            .name("log".into())
            .spawn(move || shared.write_all_to(out, is_json))?;
        Ok(queue)
    }

    /// Lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Takes no more lines, and waits at most `bound` until those that it has are written.
    pub(crate) fn close(&self, bound: Duration) {
        let mut state = self.0.state.lock();
        state.closed = true;
        self.0.changed.notify_all();
        self.0.changed.wait_while_for(
            &mut state,
            |state| state.writing || !state.pending.is_empty(),
            bound,
        );
    }
}

impl Shared {
    fn write_all_to(&self, mut out: impl Write, is_json: bool) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.state.lock();
            self.changed.wait_while(&mut state, |state| {
                state.pending.is_empty() && !state.closed
            });
            if state.pending.is_empty() {
                return;
            }
            std::mem::swap(&mut batch, &mut state.pending);
            state.writing = true;
            drop(state);

            let text = String::from_utf8_lossy(&batch);
            let text = redacted(Outlet::Logs, &text, is_json);
            let text = match is_json {
                true => escaped_json(text),
                false => text,
            };
            // There is nowhere left to report that the log itself cannot be written.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            batch.clear();

            self.state.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.closed || state.pending.len() + line.len() > MAX_PENDING {
            drop(state);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            state.pending.extend_from_slice(line);
            drop(state);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a LogQueue;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests;
