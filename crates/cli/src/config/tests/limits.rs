//! Limits and budgets: the examples of docs/limits.md, and what is said of mistakes.

use switchboard_policy::limits::config::IfStoreIsAway;

use super::{Place, repository};

#[test]
fn every_example_of_the_documentation_is_valid() {
    let page = std::fs::read_to_string(repository().join("docs/limits.md")).unwrap();
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(example, _)| example)
        .collect();
    assert!(examples.len() >= 6, "{}", examples.len());
    for example in examples {
        let config = Place::new().file("a.yaml", example).load().config;
        let count = config.limits.len() + config.budgets.len();
        assert!(count > 0, "nothing is limited by\n{example}");
    }
}

#[test]
fn limits_are_open_and_budgets_closed_by_default() {
    let text = "limits: [{ name: a, rate: 1/1s }]\nbudgets: [{ name: a, calls: 1, window: 1d }]\n";
    let config = Place::new().file("a.yaml", text).load().config;
    assert_eq!(config.limits[0].if_store_is_away, IfStoreIsAway::Open);
    assert_eq!(config.budgets[0].if_store_is_away, IfStoreIsAway::Closed);
}
