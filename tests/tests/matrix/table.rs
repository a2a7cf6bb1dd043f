//! The table in the README.

use std::collections::BTreeSet;

use switchboard_tests::tools;

use crate::features::Feature;
use crate::servers::Transport;
use crate::{Cell, exceptions, is_modern, possible};

const BEGIN: &str = "<!-- matrix:begin -->\n";
const END: &str = "<!-- matrix:end -->";

/// A column: the era of the client, the era of the server, and the transport to the server.
type Column = (bool, bool, Transport);

fn columns() -> Vec<Column> {
    let mut columns = Vec::new();
    for client in [true, false] {
        for server in [true, false] {
            for transport in [Transport::Http, Transport::Stdio] {
                columns.push((client, server, transport));
            }
        }
    }
    columns
}

/// Compares the README's table with what was tried and held, or writes it.
pub(crate) fn compare(held: &[Cell]) {
    let path = tools::repository().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let (before, rest) = readme.split_once(BEGIN).expect("the table begins");
    let (written, after) = rest.split_once(END).expect("the table ends");
    let table = table(held);
    if std::env::var_os("UPDATE").is_some() {
        let readme = format!("{before}{BEGIN}{table}{END}{after}");
        std::fs::write(&path, readme).expect("the README can be written");
    } else {
        assert_eq!(
            written, table,
            "the README's matrix is out of date: run again with UPDATE=1"
        );
    }
}

fn table(held: &[Cell]) -> String {
    let era = |modern: bool| if modern { "modern" } else { "legacy" };
    let mut text = String::from("| client → server |");
    for (client, server, transport) in columns() {
        let transport = match transport {
            Transport::Http => "HTTP",
            Transport::Stdio => "stdio",
        };
        text += &format!(" {} → {}, {transport} |", era(client), era(server));
    }
    text += "\n|---|";
    text += &"---|".repeat(columns().len());
    text += "\n";
    let mut notes: Vec<String> = Vec::new();
    for feature in Feature::ALL {
        text += &format!("| {} |", feature.title());
        for column in columns() {
            text += &format!(" {} |", entry(feature, column, held, &mut notes));
        }
        text += "\n";
    }
    text += "\n";
    for (index, note) in notes.iter().enumerate() {
        text += &format!("[{}] {note}.  \n", index + 1);
    }
    let possible = possible();
    let left_out: BTreeSet<&str> = possible.iter().filter_map(exceptions::reason).collect();
    let left_out = left_out
        .into_iter()
        .filter(|reason| !notes.iter().any(|note| note == reason));
    text += "\nNot every SDK is in every cell: ";
    text += &left_out.collect::<Vec<_>>().join("; ");
    text += ".\n";
    text
}

/// ✓ if it was tried, for then it held, with the number of what is to be said of it; else the
/// numbers of the reasons.
fn entry(feature: Feature, column: Column, held: &[Cell], notes: &mut Vec<String>) -> String {
    let is_here = |cell: &Cell| {
        let backend = cell.backend;
        let here = (
            is_modern(cell.client),
            backend.is_modern(),
            backend.transport,
        );
        cell.feature == feature && here == column
    };
    let mut marks = Vec::new();
    let mut reasons = BTreeSet::new();
    if held.iter().any(is_here) {
        marks.push("✓".to_owned());
        reasons.extend(exceptions::remark(feature, column.0, column.1));
    } else {
        reasons.extend(
            possible()
                .iter()
                .filter(|cell| is_here(cell))
                .filter_map(exceptions::reason),
        );
    }
    for reason in reasons {
        let known = notes.iter().position(|note| note == reason);
        let index = known.unwrap_or_else(|| {
            notes.push(reason.to_owned());
            notes.len() - 1
        });
        marks.push(format!("[{}]", index + 1));
    }
    marks.join(" ")
}
