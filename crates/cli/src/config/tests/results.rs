//! What comes back: the examples of docs/results.md, and what is said of mistakes.

use super::{Place, repository};

#[test]
fn every_example_of_the_documentation_is_valid() {
    let page = std::fs::read_to_string(repository().join("docs/results.md")).unwrap();
    let examples = page.split("```yaml\n").skip(1);
    let examples = examples.filter_map(|rest| rest.split_once("```"));
    let mut count = 0;
    for (example, _) in examples {
        let config = Place::new().file("a.yaml", example).load().config;
        count += config.result_caps.len();
    }
    assert!(count >= 4, "{count}");
}
