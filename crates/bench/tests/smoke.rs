//! The program itself, over real sockets and processes, with nothing said about time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const THIS: &str = env!("CARGO_BIN_EXE_switchboard-bench");

fn compare(arguments: &[&str], json: &Path) -> (Output, Value) {
    let output = Command::new(THIS)
        .args(["compare", "--quick", "--json"])
        .arg(json)
        .args(arguments)
        .output()
        .expect("the program starts");
    let report = fs::read(json).unwrap_or_default();
    (output, serde_json::from_slice(&report).unwrap_or_default())
}

fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr];
    parts.map(|part| String::from_utf8_lossy(part)).concat()
}

fn list<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().expect("a list")
}

/// The numbers of this row and subject; figures are Switchboard's.
fn numbers(report: &Value, row: &str, subject: &str) -> Vec<f64> {
    let figures = list(report, "figures").iter();
    let figures = figures.filter(|figure| figure["row"] == row && subject == "switchboard");
    let figures = figures.flat_map(|figure| list(figure, "values"));
    let rounds = list(report, "rows").iter();
    let rounds = rounds.filter(|rounds| rounds["row"] == row && rounds["subject"] == subject);
    let rounds = rounds.flat_map(|measured| list(measured, "rounds"));
    let rounds = rounds.map(|round| &round["cpu_us_per_call"]);
    figures.chain(rounds).filter_map(Value::as_f64).collect()
}

/// The workspace's own build, which the bench needs no more than nginx.
fn switchboard() -> Option<PathBuf> {
    let built = Path::new(THIS).with_file_name("switchboard");
    built.is_file().then_some(built)
}

#[test]
fn every_row_produces_its_numbers() {
    let Some(switchboard) = switchboard() else {
        println!("switchboard is not built: nothing to measure");
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let switchboard = switchboard.to_str().expect("a path");
    let json = dir.path().join("report.json");
    let (output, report) = compare(&["--switchboard", switchboard], &json);
    assert!(output.status.success(), "{}", text(&output));

    let rows = list(&report["settings"], "rows");
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows.iter().filter_map(Value::as_str) {
        let numbers = numbers(&report, row, "switchboard");
        assert!(!numbers.is_empty(), "{row} is missing: {}", text(&output));
        assert!(numbers.iter().all(|number| number.is_finite()), "{row}");
    }
    for subject in ["direct", "floor", "switchboard, all policies"] {
        for row in ["small", "result-1m", "rate"] {
            assert!(
                !numbers(&report, row, subject).is_empty(),
                "{row} {subject}"
            );
        }
    }
    for subject in ["switchboard, caps", "switchboard, redaction"] {
        for row in ["small", "result-1m"] {
            assert!(
                !numbers(&report, row, subject).is_empty(),
                "{row} {subject}"
            );
        }
    }
    for row in ["cached", "cached-server"] {
        assert!(
            !numbers(&report, row, "switchboard, cached").is_empty(),
            "{row}"
        );
    }
    for absent in list(&report, "not_measured") {
        let subject = absent["subject"].as_str().unwrap_or_default();
        let is_ours = subject.starts_with("switchboard") || ["direct", "floor"].contains(&subject);
        assert!(!is_ours, "{absent}");
    }
}

#[test]
fn what_does_not_start_is_named_and_fails_the_gate_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = dir.path().join("missing");
    let missing = ["--switchboard", missing.to_str().expect("a path")];
    let json = dir.path().join("report.json");
    let only = [missing[0], missing[1], "--only", "small,start"];
    let (output, report) = compare(&only, &json);
    assert!(output.status.success(), "{}", text(&output));
    assert!(!numbers(&report, "small", "direct").is_empty());
    let absent = list(&report, "not_measured");
    for row in ["small", "start"] {
        let of_row = absent.iter().find(|absent| absent["row"] == row);
        let reason = of_row.and_then(|absent| absent["reason"].as_str());
        assert!(
            reason.is_some_and(|why| why.contains("cannot start")),
            "{absent:?}"
        );
    }
    let (output, _) = compare(&[&only[..], &["--gate"]].concat(), &json);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn a_document_is_rewritten_between_its_marks() {
    let dir = tempfile::tempdir().expect("a folder");
    let document = dir.path().join("document.md");
    let marked = "Before.\n<!-- compare:begin -->\n<!-- compare:end -->\nAfter.\n";
    fs::write(&document, marked).expect("written");
    let arguments = ["--only", "small", "--markdown"];
    let path = document.to_str().expect("a path");
    let json = dir.path().join("report.json");
    let (output, _) = compare(&[&arguments[..], &[path]].concat(), &json);
    assert!(output.status.success(), "{}", text(&output));
    let written = fs::read_to_string(&document).expect("read");
    assert!(
        written.starts_with("Before.\n<!-- compare:begin -->\n"),
        "{written}"
    );
    assert!(
        written.ends_with("<!-- compare:end -->\nAfter.\n"),
        "{written}"
    );
    assert!(written.contains("| floor "), "{written}");
}
