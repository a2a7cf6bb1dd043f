//! The generated page.

use super::super::reference_markdown;
use super::repository;

#[test]
fn the_reference_is_what_the_schema_says() {
    let file = repository().join("docs/configuration.md");
    let page = reference_markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what the configuration's types say now; \
         `UPDATE=1 cargo test -p switchboard-cli reference` writes it anew"
    );
}

/// The first two cells of each row of a page's tables.
fn rows(page: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    page.lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let line = line.replace("\\|", " ");
            line.split('|')
                .skip(1)
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
}

#[test]
fn every_default_has_a_reason_in_the_operations_page() {
    let read = |name: &str| std::fs::read_to_string(repository().join(name)).unwrap();
    let operations = read("docs/operations.md");
    let explained: Vec<String> = rows(&operations).map(|row| row[0].clone()).collect();
    let reference = read("docs/configuration.md");
    // What is empty is nothing that was chosen.
    let chosen = rows(&reference).filter(|row| {
        row.len() > 2 && !matches!(&*row[2], "" | "default" | "---" | "`[]`" | "`{}`")
    });
    let unexplained: Vec<String> = chosen
        .map(|row| row[0].trim_matches('`').to_owned())
        .filter(|key| {
            let last = key.rsplit('.').next().unwrap_or(key);
            let (alone, inside) = (format!("`{last}`"), format!(".{last}`"));
            !explained
                .iter()
                .any(|cell| cell.contains(&alone) || cell.contains(&inside))
        })
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
