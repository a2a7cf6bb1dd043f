//! The examples of pages are configurations.

use super::{Place, repository};

#[test]
fn the_examples_of_the_audit_page_load() {
    let page = std::fs::read_to_string(repository().join("docs/audit.md")).unwrap();
    let mut count = 0;
    for block in page.split("```yaml\n").skip(1) {
        let (example, _) = block.split_once("```").unwrap();
        let loaded = Place::new().file("switchboard.yaml", example).load();
        assert!(loaded.config.audit.is_some(), "{example}");
        count += 1;
    }
    assert!(count > 0);
}
