use std::sync::mpsc::{self, Receiver, SyncSender};

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const BOUND: Duration = Duration::from_secs(30);

/// Gives each piece of the log to the test, and may be made to wait before it takes the first.
struct Out {
    text: SyncSender<Vec<u8>>,
    start: Receiver<()>,
}

impl Write for Out {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // An error means that the test let go, and then nothing waits any more.
        let _ = self.start.recv();
        let _ = self.text.send(text.to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue, what comes out of it, and the sender that lets it go when dropped.
fn queue() -> (LogQueue, Receiver<Vec<u8>>, SyncSender<()>) {
    let (text, written) = mpsc::sync_channel(64);
    let (go, start) = mpsc::sync_channel(64);
    let queue = LogQueue::start(Out { text, start }, false).expect("a thread can be started");
    (queue, written, go)
}

/// The log that `run` leaves in this format.
fn log_of(format: LogFormat, level: &str, run: impl FnOnce()) -> String {
    let (queue, written, go) = queue();
    drop(go);
    let config = LogConfig {
        format,
        level: level.to_owned(),
    };
    let layer = layer(&config, queue.clone()).expect("the filter is valid");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run);
    queue.close(BOUND);
    let text: Vec<u8> = written.try_iter().flatten().collect();
    String::from_utf8(text).expect("the log is UTF-8")
}

#[test]
fn foreign_text_stays_one_line_and_steers_no_terminal() {
    let nasty = "one\r\ntwo\u{1b}[31m\u{9b}2J\u{202e}\u{2028}\0end é";
    let run = || {
        tracing::info!(shown = %nasty, quoted = nasty, "{nasty}");
    };
    let human = log_of(LogFormat::Human, "info", run);
    let line = human.trim_end_matches('\n');
    assert!(!line.chars().any(is_unsafe), "{line:?}");
    assert!(line.contains(r"one\r\ntwo\u{1b}[31m"), "{line}");
    assert_eq!(line.matches("end é").count(), 3, "{line}");

    let json = log_of(LogFormat::Json, "info", run);
    assert_eq!(json.lines().count(), 1, "{json}");
    let event: serde_json::Value = serde_json::from_str(&json).expect("a JSON object");
    assert_eq!(event["message"], nasty);
    assert_eq!(event["level"], "INFO");
}

#[test]
fn spans_of_calls_and_lower_levels_are_not_logged() {
    let log = log_of(LogFormat::Human, "info", || {
        let _span = tracing::info_span!(target: CALL_TARGET, "call", tool = "hidden").entered();
        tracing::info!(target: CALL_TARGET, "not this");
        tracing::debug!("nor this");
        tracing::info!("but this");
    });
    assert!(log.contains("but this"), "{log}");
    for absent in ["hidden", "not this", "nor this"] {
        assert!(!log.contains(absent), "{log}");
    }
}

#[test]
fn the_level_of_the_filter_is_the_level_of_the_process() {
    let (queue, _written, _go) = queue();
    let config = LogConfig::default();
    let layer = layer::<tracing_subscriber::Registry>(&config, queue).expect("a valid filter");
    assert_eq!(layer.max_level_hint(), Some(LevelFilter::INFO));
}

#[test]
fn a_line_never_waits_and_what_does_not_fit_is_counted() {
    let (queue, written, go) = queue();
    let line = [b'x'; 1024 * 1024];
    for _ in 0..10 {
        (&queue).write_all(&line).expect("never fails");
    }
    // Up to one batch is with the writer, up to one more waits.
    let dropped = queue.dropped();
    assert!((2..=6).contains(&dropped), "{dropped}");

    drop(go);
    queue.close(BOUND);
    let bytes: usize = written.try_iter().map(|text| text.len()).sum();
    assert_eq!(bytes, (10 - dropped as usize) * line.len());

    (&queue).write_all(b"late").expect("never fails");
    assert_eq!(queue.dropped(), dropped + 1);
}

#[test]
fn closing_waits_no_longer_than_its_bound() {
    let (queue, _written, _go) = queue();
    (&queue).write_all(b"stuck").expect("never fails");
    queue.close(Duration::from_millis(10));
}
