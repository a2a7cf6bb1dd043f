//! `switchboard audit`: searches what the gateway has noted.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::Value;
use switchboard_gateway::audit::query::{Filter, Found, Records, parse_outcome, parse_time};

use super::client::visible;
use super::{failed, load_only, misused};

/// The most records of one look for new ones: far more than are written between two.
const MOST_AT_ONCE: usize = 1_000_000;
/// How often is looked for new records.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Which records, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A configuration file, which is read only for where the records are (audit.sqlite, else
    /// audit.file), so that its other variables need not be set; as with `serve`.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A database or a file of records; then no configuration is read.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Only those of this principal, such as `key:ann`.
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// Only those of this tool, prompt or URI, also where another asked for stands in its place; `*`
    /// stands for any characters.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Only calls in which this backend was called.
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Only those that ended so: ok, tool_error, input_required, invalid, backend_error, refused,
    /// failed, cancelled.
    #[arg(long, value_name = "OUTCOME", value_parser = parse_outcome)]
    outcome: Option<String>,
    /// Only those since then: a duration such as `1h` ago, or a time such as 2026-11-29T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only those until then.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The most records that are printed, the newest.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Go on with those that are written from now on, until Ctrl-C.
    #[arg(long)]
    follow: bool,
    /// The form of what is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for people.
    #[default]
    Text,
    /// Records as they were written, one a line.
    Json,
}

/// Prints the records.
pub(crate) async fn run(options: Options) -> ExitCode {
    let path = match options
        .file
        .clone()
        .map_or_else(|| configured(&options), Ok)
    {
        Ok(path) => path,
        Err(message) => return misused(&message),
    };
    let mut filter = match filter(&options) {
        Ok(filter) => filter,
        Err(message) => return misused(&message),
    };
    let (follow, format) = (options.follow, options.format);
    // Reads files, which is nothing for a thread that others wait for.
    let ended = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&ended);
    let printing = tokio::task::spawn_blocking(move || -> Result<(), String> {
        let mut records = Records::open(&path).map_err(|error| error.to_string())?;
        loop {
            let found = records.next(&filter).map_err(|error| error.to_string())?;
            let is_read = print(&found, format);
            if !follow || !is_read || is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            // What is written meanwhile is printed whole.
            filter.limit = MOST_AT_ONCE;
            filter.most_looked_at = MOST_AT_ONCE;
            std::thread::park_timeout(LOOK_AGAIN);
        }
    });
    tokio::select! {
        printed = printing => match printed {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(message)) => failed(&message),
            Err(error) => failed(&error.to_string()),
        },
        _ = tokio::signal::ctrl_c() => {
            ended.store(true, Ordering::Relaxed);
            ExitCode::SUCCESS
        }
    }
}

/// Where the configuration has records written to.
fn configured(options: &Options) -> Result<PathBuf, String> {
    let loaded = load_only(
        &options.files,
        &[&["audit", "file", "path"], &["audit", "sqlite", "path"]],
    )
    .map_err(|errors| format!("{errors}\n(with --file no configuration is read)"))?;
    if !loaded.sections.contains("audit") {
        return Err(NO_AUDIT.to_owned());
    }
    let audit = loaded.config.audit.unwrap_or_default();
    let sqlite = audit.sqlite.map(|sqlite| sqlite.path);
    let file = audit.file.map(|file| file.path);
    sqlite.or(file).ok_or_else(|| {
        "the configuration has records written to standard output alone: add `audit.sqlite`"
            .to_owned()
    })
}

/// What to add where nothing is noted.
const NO_AUDIT: &str = "\
the configuration has no `audit`, so nothing is noted. Add for example:
    audit:
      sqlite: { path: audit.db }
and start the gateway again";

fn filter(options: &Options) -> Result<Filter, String> {
    let time = |flag: &str, text: &Option<String>| {
        let time = text.as_deref().map(|text| moment(flag, text));
        time.transpose()
    };
    Ok(Filter {
        principal: options.principal.clone(),
        tool: options.tool.clone(),
        backend: options.backend.clone(),
        outcome: options.outcome.clone(),
        since: time("--since", &options.since)?,
        until: time("--until", &options.until)?,
        limit: options.limit,
        ..Filter::default()
    })
}

/// A time, or so long ago, in milliseconds since 1970.
fn moment(flag: &str, text: &str) -> Result<u64, String> {
    if let Some(time) = parse_time(text) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        format!(
            "{flag}: `{text}` is neither a duration such as `1h` nor a time such as 2026-11-29T12:00:00Z"
        )
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now.unwrap_or_default().saturating_sub(ago);
    Ok(u64::try_from(then.as_millis()).unwrap_or(u64::MAX))
}

/// Prints records; whether anybody reads them.
fn print(found: &[Found], format: Format) -> bool {
    let mut text = String::new();
    for found in found {
        match format {
            Format::Json => text.push_str(&found.line),
            Format::Text => text.push_str(&described(&found.record)),
        }
        text.push('\n');
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

/// A record as a line for people.
fn described(record: &Value) -> String {
    let text = |key: &str| one_line(record[key].as_str().unwrap_or("-"));
    let mut line = format!(
        "{}  {}  {}  {}  {}",
        text("at"),
        text("principal"),
        record["method"]
            .as_str()
            .map_or_else(|| text("kind"), one_line),
        text("target"),
        text("outcome"),
    );
    if let Some(code) = record["code"].as_i64() {
        let _ = write!(line, " {code}");
    }
    if let Some(reason) = record["reason"].as_str() {
        let _ = write!(line, " ({})", one_line(reason));
    }
    if let Some(backend) = record["backend"].as_str() {
        let _ = write!(line, "  at {}", one_line(backend));
    }
    if let Some(ms) = record["ms"].as_f64() {
        let _ = write!(line, "  {ms:.1} ms");
    }
    if let Some(bytes) = record["result_bytes"].as_u64() {
        let _ = write!(line, "  {bytes} B");
    }
    let items = |key: &str| record[key].as_array().into_iter().flatten();
    for decision in items("decisions").filter(|decision| decision["decision"] != "allowed") {
        let part = |key: &str| one_line(decision[key].as_str().unwrap_or("-"));
        let _ = write!(
            line,
            "  [{} {}: {}]",
            part("policy"),
            part("rule"),
            part("decision")
        );
    }
    for attempt in items("attempts").filter(|attempt| attempt["reason"].is_string()) {
        let part = |key: &str| one_line(attempt[key].as_str().unwrap_or("-"));
        let _ = write!(line, "  [{}: {}]", part("backend"), part("reason"));
    }
    line
}

/// What somebody else wrote, without what a terminal would obey, on one line.
fn one_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_record_is_one_line_that_no_terminal_obeys() {
        let record = json!({
            "at": "2026-11-29T12:00:00.000Z", "kind": "call", "principal": "key:ann",
            "method": "tools/call", "target": "a\n\u{1b}[31mb", "outcome": "refused", "code": 429,
            "reason": "rate_limited", "backend": "x", "ms": 1.25, "result_bytes": 7,
            "decisions": [
                { "policy": "access", "rule": "all", "decision": "allowed" },
                { "policy": "rate", "rule": "slow", "decision": "denied" },
            ],
            "attempts": [{ "backend": "y", "target": "t", "reason": "timeout", "ms": 1 }],
        });
        assert_eq!(
            described(&record),
            "2026-11-29T12:00:00.000Z  key:ann  tools/call  a\u{fffd}\u{fffd}[31mb  refused 429 \
             (rate_limited)  at x  1.2 ms  7 B  [rate slow: denied]  [y: timeout]"
        );
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        assert_eq!(moment("--since", "1970-01-01T00:00:01Z"), Ok(1000));
        assert!(moment("--since", "1h").is_ok_and(|time| time > 1_700_000_000_000));
        let error = moment("--since", "yesterday").expect_err("no time");
        assert!(error.contains("`yesterday`"), "{error}");
    }
}
