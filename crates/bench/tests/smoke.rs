//! The program itself, over real sockets and processes, with nothing said about time.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchboard-bench"))
        .args([
            "compare",
            "--calls",
            "64",
            "--connections",
            "4",
            "--rounds",
            "2",
        ])
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn measures_what_starts_and_names_what_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let json = dir.path().join("report.json");
    let missing = dir.path().join("missing");
    let output = compare(&[
        "--json",
        json.to_str().expect("a path"),
        "--switchboard",
        missing.to_str().expect("a path"),
    ]);
    let table = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}{errors}");
    assert!(
        table.contains("not measured: switchboard: cannot start"),
        "{table}"
    );

    let report: Value = serde_json::from_slice(&fs::read(json).expect("a report")).expect("JSON");
    let measured = report["subjects"].as_array().expect("a list");
    for name in ["direct", "floor"] {
        let subject = measured
            .iter()
            .find(|subject| subject["subject"] == name)
            .unwrap_or_else(|| panic!("{name} is missing: {table}"));
        assert_eq!(subject["rounds"].as_array().map(Vec::len), Some(2));
        assert!(
            subject["median"]["cpu_us_per_call"].as_f64() > Some(0.0),
            "{subject}"
        );
        assert!(subject["peak_rss_bytes"].as_u64() > Some(0), "{subject}");
    }
}

#[test]
fn the_gate_fails_where_there_is_nothing_to_compare() {
    let dir = tempfile::tempdir().expect("a folder");
    let missing = dir.path().join("missing");
    let output = compare(&[
        "--max-ratio",
        "2.2",
        "--switchboard",
        missing.to_str().expect("a path"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("were not both measured"));
}
