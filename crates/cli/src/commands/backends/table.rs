//! The backends as a table for people.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Instant;

use super::admin::{Backend, Endpoint, Process};
use crate::commands::client::visible;

const COLUMNS: [&str; 11] = [
    "NAME",
    "STATE",
    "TRANSPORT",
    "PID",
    "UP",
    "MEMORY",
    "CPU",
    "RESTARTS",
    "CALLS",
    "QUEUE",
    "REASON",
];
/// Which of them are numbers, and so to the right.
const RIGHT: [bool; 11] = [
    false, false, false, true, true, true, true, true, true, true, false,
];

type Row = [String; 11];

/// Draws tables, and remembers of the last one what the processes had used by then.
#[derive(Default)]
pub(super) struct Table {
    /// When it was drawn, and the CPU seconds by process.
    last: Option<(Instant, HashMap<u32, f64>)>,
}

impl Table {
    /// A line for each backend; below it one for each of its endpoints or processes where there are
    /// several. `CPU` is what they used since the table was drawn last, or else since they started.
    pub(super) fn draw(&mut self, backends: &[Backend]) -> String {
        let now = Instant::now();
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        for backend in backends {
            rows.extend(self.rows(backend, now));
        }
        let used = backends.iter().flat_map(Backend::processes);
        let used = used.map(|process| (process.pid, process.cpu_seconds));
        self.last = Some((now, used.collect()));
        if backends.is_empty() {
            return "There are no backends.\n".to_owned();
        }
        align(&rows)
    }

    fn rows(&self, backend: &Backend, now: Instant) -> Vec<Row> {
        let processes: Vec<&Process> = backend.processes().collect();
        let waiting: u64 = processes.iter().map(|process| process.write_queue).sum();
        let [pid, up, memory, cpu] = self.used(&processes, now);
        let mut rows = vec![[
            visible(&backend.name),
            visible(&backend.state),
            visible(&backend.transport),
            pid,
            up,
            memory,
            cpu,
            backend.restarts.to_string(),
            backend.in_flight.to_string(),
            (backend.queued + waiting).to_string(),
            one_line(&backend.reason),
        ]];
        for endpoint in &backend.endpoints {
            if backend.endpoints.len() > 1 {
                rows.push(self.endpoint(endpoint, now));
            }
            if endpoint.processes.len() > 1 {
                let each = endpoint.processes.iter();
                rows.extend(each.map(|process| self.process(process, now)));
            }
        }
        rows
    }

    fn endpoint(&self, endpoint: &Endpoint, now: Instant) -> Row {
        let processes: Vec<&Process> = endpoint.processes.iter().collect();
        let waiting: u64 = processes.iter().map(|process| process.write_queue).sum();
        let [pid, up, memory, cpu] = self.used(&processes, now);
        let label = endpoint.label.as_deref().unwrap_or("-");
        [
            format!("  {}", visible(label)),
            visible(&endpoint.state),
            String::new(),
            pid,
            up,
            memory,
            cpu,
            String::new(),
            endpoint.in_flight.to_string(),
            waiting.to_string(),
            one_line(&endpoint.reason),
        ]
    }

    fn process(&self, process: &Process, now: Instant) -> Row {
        let [pid, up, memory, cpu] = self.used(&[process], now);
        let mut row = Row::default();
        row[0] = format!("    {}", visible(&process.kind));
        [row[3], row[4], row[5], row[6]] = [pid, up, memory, cpu];
        row[9] = process.write_queue.to_string();
        row
    }

    /// The process that has the lists, how long it has run, and what all of these use.
    fn used(&self, processes: &[&Process], now: Instant) -> [String; 4] {
        let Some(first) = processes.first() else {
            return ["-", "-", "-", "-"].map(str::to_owned);
        };
        let memory = processes
            .iter()
            .map(|process| process.resident_memory_bytes);
        let cpu: f64 = processes
            .iter()
            .map(|process| self.share(process, now))
            .sum();
        [
            first.pid.to_string(),
            duration(first.uptime_seconds),
            bytes(memory.sum()),
            format!("{:.1} %", cpu * 100.0),
        ]
    }

    /// How much of one core it used.
    fn share(&self, process: &Process, now: Instant) -> f64 {
        let since = self.last.as_ref().and_then(|(at, used)| {
            let before = used
                .get(&process.pid)
                .filter(|before| **before <= process.cpu_seconds)?;
            Some((
                process.cpu_seconds - before,
                now.duration_since(*at).as_secs_f64(),
            ))
        });
        let (used, time) = since.unwrap_or((process.cpu_seconds, process.uptime_seconds));
        if time > 0.0 { used / time } else { 0.0 }
    }
}

/// A reason may have several lines; a table has not.
fn one_line(text: &str) -> String {
    visible(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn align(rows: &[Row]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = widths[at];
            let _ = match RIGHT[at] {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:width$}  "),
            };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn bytes(count: u64) -> String {
    let mebibytes = count as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 {
        format!("{mebibytes:.1} MiB")
    } else {
        format!("{:.1} GiB", mebibytes / 1024.0)
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn backends() -> Vec<Backend> {
        let process = |pid: u32, kind: &str, cpu: f64| {
            json!({
                "pid": pid, "kind": kind, "uptime_seconds": 100.0, "write_queue": 1,
                "resident_memory_bytes": 3 << 20, "cpu_seconds": cpu,
            })
        };
        let backends = json!([
            {
                "name": "files", "transport": "stdio", "state": "ready", "reason": "",
                "in_flight": 2, "queued": 0, "restarts": 1,
                "endpoints": [{
                    "label": null, "state": "ready", "reason": "", "in_flight": 2,
                    "processes": [process(7, "main", 10.0), process(8, "session", 5.0)],
                }],
            },
            {
                "name": "far\u{1b}[2J", "transport": "HTTP", "state": "unavailable",
                "reason": "no connection:\nrefused", "in_flight": 0, "queued": 0, "restarts": 0,
                "endpoints": [],
            },
        ]);
        serde_json::from_value(backends).expect("valid")
    }

    #[test]
    fn a_backend_is_a_line_and_its_processes_are_below() {
        let expected = "\
NAME         STATE        TRANSPORT  PID     UP   MEMORY     CPU  RESTARTS  CALLS  QUEUE  REASON
files        ready        stdio        7  1m40s  6.0 MiB  15.0 %         1      2      2
    main                               7  1m40s  3.0 MiB  10.0 %                       1
    session                            8  1m40s  3.0 MiB   5.0 %                       1
far\u{fffd}[2J      unavailable  HTTP         -      -        -       -         0      0      0  no connection: refused
";
        assert_eq!(Table::default().draw(&backends()), expected);
        assert_eq!(Table::default().draw(&[]), "There are no backends.\n");
    }

    #[test]
    fn the_second_table_shows_what_was_used_since_the_first() {
        let mut table = Table::default();
        table.draw(&backends());
        let second = table.draw(&backends());
        assert!(second.contains(" 0.0 %"), "{second}");
        assert!(!second.contains("15.0 %"), "{second}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(duration(59.9), "59s");
        assert_eq!(duration(3_725.0), "1h02m");
        assert_eq!(duration(90_000.0), "1d01h");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
    }
}
