//! The table in docs/security.md.

use std::collections::BTreeMap;

use switchboard_tests::tools;

use crate::cells::{Cell, Method, Policy, reason};

const BEGIN: &str = "<!-- policy coverage:begin -->\n";
const END: &str = "<!-- policy coverage:end -->";
const SHOWN: &str = "✓";

/// Compares the table of the documentation with what was shown, or writes it. What was shown once has
/// to be shown for ever: not even writing takes a mark away.
pub(crate) fn compare(shown: &[Cell]) {
    let path = tools::repository().join("docs/security.md");
    let document = std::fs::read_to_string(&path).expect("the documentation");
    let (before, rest) = document.split_once(BEGIN).expect("the table begins");
    let (written, after) = rest.split_once(END).expect("the table ends");
    let table = table(shown);
    let lost = lost(written, &table);
    assert!(lost.is_empty(), "shown before, and not any more: {lost:?}");
    if std::env::var_os("UPDATE").is_some() {
        let document = format!("{before}{BEGIN}{table}{END}{after}");
        std::fs::write(&path, document).expect("the documentation can be written");
    } else {
        assert_eq!(
            written, table,
            "the table of docs/security.md is out of date: run again with UPDATE=1"
        );
    }
}

/// The marks of a table, by row and column.
fn marks(table: &str) -> BTreeMap<(String, String), bool> {
    let mut lines = table.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let columns = lines.next().map(cells).unwrap_or_default();
    lines
        .skip(1)
        .flat_map(|line| {
            let row = cells(line);
            let name = row.first().cloned().unwrap_or_default();
            let marks = columns.iter().zip(row).skip(1);
            let marks = marks.map(move |(column, mark)| {
                ((name.clone(), column.clone()), mark.starts_with(SHOWN))
            });
            marks.collect::<Vec<_>>()
        })
        .collect()
}

/// What the written table has shown and the new one does not.
fn lost(written: &str, table: &str) -> Vec<(String, String)> {
    let now = marks(table);
    let before = marks(written).into_iter().filter(|(_, shown)| *shown);
    before
        .map(|(at, _)| at)
        .filter(|at| now.get(at) != Some(&true))
        .collect()
}

fn table(shown: &[Cell]) -> String {
    let columns: Vec<(Policy, bool)> = Policy::ALL
        .into_iter()
        .flat_map(|policy| [(policy, true), (policy, false)])
        .collect();
    let mut text = String::from("| method |");
    for (policy, is_modern) in &columns {
        let era = if *is_modern { "modern" } else { "legacy" };
        text += &format!(" {}, {era} |", policy.title());
    }
    text += "\n|---|";
    text += &"---|".repeat(columns.len());
    text += "\n";
    let mut notes: Vec<&str> = Vec::new();
    for method in Method::ALL {
        text += &format!("| {} |", method.title());
        for &(policy, is_modern) in &columns {
            let cell = Cell {
                method,
                policy,
                is_modern,
            };
            let mark = match reason(cell) {
                _ if shown.contains(&cell) => SHOWN.to_owned(),
                None => String::new(),
                Some(reason) => {
                    let known = notes.iter().position(|note| *note == reason);
                    let index = known.unwrap_or_else(|| {
                        notes.push(reason);
                        notes.len() - 1
                    });
                    format!("[{}]", index + 1)
                }
            };
            text += &format!(" {mark} |");
        }
        text += "\n";
    }
    text += "\n";
    for (index, note) in notes.iter().enumerate() {
        text += &format!("[{}] {note}.  \n", index + 1);
    }
    text
}

#[test]
fn a_mark_that_is_gone_is_noticed() {
    let table = |mark: &str| format!("| method | a | b |\n|---|---|---|\n| x | ✓ | {mark} |\n");
    assert!(lost(&table("[1]"), &table("✓")).is_empty());
    let gone = lost(&table("✓"), &table("[1]"));
    assert_eq!(gone, [("x".to_owned(), "b".to_owned())]);
    assert_eq!(lost(&table("✓"), "").len(), 2);
}
