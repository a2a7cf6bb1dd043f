//! The tables of a report, in Markdown that reads well as plain text too.

use std::fmt::Write as _;

use super::results::{Measured, Results, Round};
use super::targets::Verdict;
use crate::rows::{Measure, ROWS, Row};

/// What one line of a table says, and its heads.
type Cells = Vec<String>;

/// Everything that was measured: a table for each group, and then the targets.
pub(crate) fn all(results: &Results) -> String {
    let machine = &results.machine;
    let settings = &results.settings;
    let mut text = format!(
        "{} · {} · {} cores · Linux {} · medians of {} rounds of {} small calls, fewer of larger ones\n",
        machine.date,
        machine.cpu,
        machine.cores,
        machine.kernel,
        settings.rounds,
        thousands(settings.calls as f64),
    );
    if !machine.optimised {
        text.push_str("\n**A debug build: these numbers say nothing.**\n");
    }
    let mut section = |title: &str, table: String| {
        if !table.is_empty() {
            // Writing into a `String` does not fail.
            let _ = write!(text, "\n### {title}\n\n{table}");
        }
    };
    section("Targets", targets(&results.targets));
    section("Small calls", loads(results, is_calls, SMALL_CALL));
    section("Large results", loads(results, is_results, LARGE_RESULT));
    section("All pages of tools/list", loads(results, is_list, LIST));
    section("At one rate", loads(results, is_rate, AT_RATE));
    section("Beside other gateways", loads(results, is_peers, PEER));
    section("Memory and start", figures(results));
    section("Not measured", absent(results));
    text
}

fn is_calls(measure: &Measure) -> bool {
    matches!(measure, Measure::Calls(_))
}

fn is_results(measure: &Measure) -> bool {
    matches!(measure, Measure::Results(_))
}

fn is_list(measure: &Measure) -> bool {
    matches!(measure, Measure::List(_))
}

fn is_rate(measure: &Measure) -> bool {
    matches!(measure, Measure::Rate)
}

fn is_peers(measure: &Measure) -> bool {
    matches!(measure, Measure::Peers(_))
}

/// A column: its head, and what it says of a row and subject.
type Column = (&'static str, fn(&Results, &Row, &Measured) -> String);

const SMALL_CALL: &[Column] = &[
    ("CPU µs/call", |_, _, m| fixed(m.median.cpu_us_per_call)),
    ("× nginx", |results, _, m| times(results, m, "nginx")),
    ("× floor", |results, _, m| times(results, m, "floor")),
    ("× small", |results, _, m| {
        let small = results.ratio((m.row, &m.subject), ("small", &m.subject), cpu);
        optional(small.filter(|_| m.row != "small"))
    }),
    ("server's", |_, _, m| {
        let servers = m.median.servers_cpu_us_per_call;
        optional(Some(servers).filter(|servers| *servers > 0.0))
    }),
    ("calls/s", |_, _, m| thousands(m.median.calls_per_s)),
    ("p50 µs", |_, _, m| thousands(m.median.p50_us)),
    ("p99 µs", |_, _, m| thousands(m.median.p99_us)),
    ("p99.9 µs", |_, _, m| thousands(m.median.p999_us)),
    ("peak RSS", peak_rss),
    ("spread", |_, _, m| percent(m.cpu_spread)),
];

const LARGE_RESULT: &[Column] = &[
    ("CPU µs/call", |_, _, m| {
        thousands(m.median.cpu_us_per_call)
    }),
    ("CPU µs/MiB", |_, row, m| {
        thousands(m.median.cpu_us_per_call / mebibytes(row))
    }),
    ("× nginx", |results, _, m| times(results, m, "nginx")),
    ("× floor", |results, _, m| times(results, m, "floor")),
    ("MiB/s", |_, row, m| {
        thousands(m.median.calls_per_s * mebibytes(row))
    }),
    ("p50 µs", |_, _, m| thousands(m.median.p50_us)),
    ("p99 µs", |_, _, m| thousands(m.median.p99_us)),
    ("peak RSS", peak_rss),
    ("spread", |_, _, m| percent(m.cpu_spread)),
];

const LIST: &[Column] = &[
    ("CPU µs/pass", |_, _, m| fixed(m.median.cpu_us_per_call)),
    ("× nginx", |results, _, m| times(results, m, "nginx")),
    ("passes/s", |_, _, m| thousands(m.median.calls_per_s)),
    ("p50 µs", |_, _, m| thousands(m.median.p50_us)),
    ("p99 µs", |_, _, m| thousands(m.median.p99_us)),
    ("peak RSS", peak_rss),
    ("spread", |_, _, m| percent(m.cpu_spread)),
];

const AT_RATE: &[Column] = &[
    ("calls/s", |_, _, m| thousands(m.median.calls_per_s)),
    ("CPU µs/call", |_, _, m| fixed(m.median.cpu_us_per_call)),
    ("p50 µs", |_, _, m| thousands(m.median.p50_us)),
    ("p99 µs", |_, _, m| thousands(m.median.p99_us)),
    ("p99.9 µs", |_, _, m| thousands(m.median.p999_us)),
    ("added p50", |results, _, m| {
        added(results, m, |round| round.p50_us)
    }),
    ("added p99", |results, _, m| {
        added(results, m, |round| round.p99_us)
    }),
    ("added p99.9", |results, _, m| {
        added(results, m, |round| round.p999_us)
    }),
];

const PEER: &[Column] = &[
    ("CPU µs/call", |_, _, m| {
        thousands(m.median.cpu_us_per_call)
    }),
    ("calls/CPU-s", |_, _, m| {
        thousands(1e6 / m.median.cpu_us_per_call)
    }),
    ("× switchboard", |results, _, m| {
        times(results, m, "switchboard")
    }),
    ("calls/s", |_, _, m| thousands(m.median.calls_per_s)),
    ("p50 µs", |_, _, m| thousands(m.median.p50_us)),
    ("p99 µs", |_, _, m| thousands(m.median.p99_us)),
    ("peak RSS", peak_rss),
];

fn cpu(round: &Round) -> f64 {
    round.cpu_us_per_call
}

fn peak_rss(_: &Results, _: &Row, measured: &Measured) -> String {
    format!(
        "{:.1} MiB",
        measured.median.peak_rss_bytes / (1024.0 * 1024.0)
    )
}

/// How many times the CPU time of `other` in the same row. What is called direct is the backend's
/// own time, which is no measure of a gateway.
fn times(results: &Results, measured: &Measured, other: &str) -> String {
    let ratio = results.ratio(
        (measured.row, &measured.subject),
        (measured.row, other),
        cpu,
    );
    optional(ratio.filter(|_| measured.subject != "direct"))
}

fn added(results: &Results, measured: &Measured, part: fn(&Round) -> f64) -> String {
    let direct = (measured.row, "direct");
    let added = results.difference((measured.row, &measured.subject), direct, part);
    added.map_or_else(dash, thousands)
}

fn mebibytes(row: &Row) -> f64 {
    match row.measure {
        Measure::Results(calls) => calls.behind.fake.result_bytes as f64 / (1024.0 * 1024.0),
        _ => 1.0,
    }
}

/// The rows of one group, each subject on a line of its own.
fn loads(results: &Results, belongs: fn(&Measure) -> bool, columns: &[Column]) -> String {
    let mut lines: Vec<Cells> = Vec::new();
    for row in ROWS.iter().filter(|row| belongs(&row.measure)) {
        let of_row = results
            .rows
            .iter()
            .filter(|measured| measured.row == row.name);
        for (index, measured) in of_row.enumerate() {
            let label = match index {
                0 => format!("{} (`{}`)", row.about, row.name),
                _ => String::new(),
            };
            let mut cells = vec![label, measured.subject.clone()];
            cells.extend(columns.iter().map(|(_, cell)| cell(results, row, measured)));
            lines.push(cells);
        }
    }
    let heads = columns.iter().map(|(head, _)| *head);
    table(["row", "subject"].into_iter().chain(heads), &lines)
}

fn figures(results: &Results) -> String {
    let mut lines: Vec<Cells> = Vec::new();
    // The rate itself stands in the table of its own row.
    for row in ROWS.iter().filter(|row| !is_rate(&row.measure)) {
        for figure in results
            .figures
            .iter()
            .filter(|figure| figure.row == row.name)
        {
            lines.push(vec![
                format!("{} (`{}`)", row.about, row.name),
                figure.what.to_owned(),
                format!("{} {}", fixed(figure.median), figure.unit),
            ]);
        }
    }
    table(["row", "what", "median"].into_iter(), &lines)
}

fn absent(results: &Results) -> String {
    let lines: Vec<Cells> = results
        .not_measured
        .iter()
        .map(|absent| {
            let reason = absent.reason.replace('|', "\\|");
            vec![absent.row.to_owned(), absent.subject.clone(), reason]
        })
        .collect();
    table(["row", "subject", "why"].into_iter(), &lines)
}

fn targets(verdicts: &[Verdict]) -> String {
    let lines: Vec<Cells> = verdicts
        .iter()
        .map(|verdict| {
            let sign = if verdict.at_least { "≥" } else { "≤" };
            let met = match verdict.measured {
                None => "not measured",
                Some(_) if verdict.is_met() => "met",
                Some(_) => "**NOT**",
            };
            vec![
                verdict.what.clone(),
                format!("{sign} {} {}", verdict.limit, verdict.unit),
                optional(verdict.measured),
                met.to_owned(),
            ]
        })
        .collect();
    table(["what", "target", "measured", ""].into_iter(), &lines)
}

/// Lines below heads, each column as wide as its widest cell; nothing without lines.
fn table(heads: impl Iterator<Item = &'static str>, lines: &[Cells]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let heads: Cells = heads.map(str::to_owned).collect();
    let width = |column: usize| {
        let cells = lines.iter().chain([&heads]).map(|line| &line[column]);
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let mut push = |cells: &[String]| {
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing into a `String` does not fail.
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    };
    push(&heads);
    push(
        &widths
            .iter()
            .map(|width| "-".repeat(*width))
            .collect::<Vec<_>>(),
    );
    lines.iter().for_each(|line| push(line));
    text
}

fn dash() -> String {
    "-".to_owned()
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(dash, fixed)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// With as many digits as are worth reading.
fn fixed(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => thousands(value),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number, its thousands set apart.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(-1_234.0), "-1,234");
        assert_eq!(thousands(-0.2), "0");
        assert_eq!(fixed(12.34), "12.3");
        assert_eq!(fixed(1.234), "1.23");
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let lines = [vec!["µ".to_owned(), "long".to_owned()]];
        assert_eq!(
            table(["a", "b"].into_iter(), &lines),
            "| a | b    |\n| - | ---- |\n| µ | long |\n"
        );
        assert_eq!(table(["a"].into_iter(), &[]), "");
    }
}
