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
fn queue(is_json: bool) -> (LogQueue, Receiver<Vec<u8>>, SyncSender<()>) {
    let (text, written) = mpsc::sync_channel(64);
    let (go, start) = mpsc::sync_channel(64);
    let queue = LogQueue::start(Out { text, start }, is_json).expect("a thread can be started");
    (queue, written, go)
}

/// The log that `run` leaves in this format.
fn log_of(format: LogFormat, level: &str, run: impl FnOnce()) -> String {
    let (queue, written, go) = queue(format == LogFormat::Json);
    drop(go);
    let config = LogConfig {
        format,
        level: level.to_owned(),
    };
    let (layer, _) = layer(&config, queue.clone()).expect("the filter is valid");
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
    let line = json.trim_end_matches('\n');
    assert!(!line.chars().any(is_unsafe), "{line:?}");
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
    let (queue, _written, _go) = queue(false);
    let config = LogConfig::default();
    let layer = layer::<tracing_subscriber::Registry>(&config, queue)
        .expect("a valid filter")
        .0;
    assert_eq!(layer.max_level_hint(), Some(LevelFilter::INFO));
}

#[test]
fn a_line_never_waits_and_what_does_not_fit_is_counted() {
    let (queue, written, go) = queue(false);
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
    let (queue, _written, _go) = queue(false);
    (&queue).write_all(b"stuck").expect("never fails");
    queue.close(Duration::from_millis(10));
}

#[test]
fn a_line_says_to_which_trace_it_belongs() {
    let trace = opentelemetry::trace::TraceId::from(0xab_u128);
    let run = || {
        tracing::info!("before");
        let _in_trace = current::InTrace::enter(trace);
        tracing::info!(x = 1, "within");
    };
    let human = log_of(LogFormat::Human, "info", run);
    let lines: Vec<&str> = human.lines().collect();
    assert!(!lines[0].contains("trace_id"), "{human}");
    assert!(
        lines[1].ends_with(&format!("within x=1 trace_id={trace}")),
        "{human}"
    );

    let json = log_of(LogFormat::Json, "info", run);
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    assert_eq!(lines[0]["trace_id"], serde_json::Value::Null);
    assert_eq!(lines[1]["trace_id"], trace.to_string());
    assert_eq!(
        (&lines[1]["message"], &lines[1]["x"]),
        (&"within".into(), &1.into())
    );
}

#[test]
fn what_is_logged_can_be_changed_while_it_is() {
    let (queue, written, go) = queue(false);
    drop(go);
    let config = LogConfig::default();
    let (layer, handle) = layer(&config, queue.clone()).expect("the filter is valid");
    let control = crate::log_control::LogControl::of(handle, &config.level);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        let log = || {
            tracing::debug!(target: "one", "of one");
            tracing::debug!(target: "two", "of two");
        };
        log();
        let wanted = "info,one=debug";
        let levels = control.set(Some(wanted)).expect("a filter");
        assert_eq!((&*levels.configured, &*levels.current), ("info", wanted));
        log();
        control.set(Some("nonsense=[")).expect_err("no filter");
        // What the configuration says is what it said before.
        control.configure("info").expect("a filter");
        assert_eq!(control.levels().current, wanted);
        log();
        control.set(None).expect("a filter");
        log();
        control.configure("debug").expect("a filter");
        log();
        assert_eq!(control.levels().current, "debug");
    });
    queue.close(BOUND);
    let text: Vec<u8> = written.try_iter().flatten().collect();
    let text = String::from_utf8(text).expect("the log is UTF-8");
    let found: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split(": ").last())
        .collect();
    assert_eq!(found, ["of one", "of one", "of one", "of two"]);
}
