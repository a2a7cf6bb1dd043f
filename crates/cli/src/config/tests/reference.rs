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
