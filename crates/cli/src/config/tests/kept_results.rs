//! Kept results: the example of docs/kept-results.md, and what is said of mistakes.

use switchboard_orchestrator::config::kept_results::KeptResultsConfig;

use super::{Place, repository};

#[test]
fn the_example_of_the_documentation_says_the_defaults() {
    let page = std::fs::read_to_string(repository().join("docs/kept-results.md")).unwrap();
    let example = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|it| it.split_once("```"));
    let (example, _) = example.expect("an example");
    let config = Place::new().file("a.yaml", example).load().config;
    assert_eq!(config.kept_results, Some(KeptResultsConfig::default()));
}

#[test]
fn the_folder_is_meant_from_that_of_the_file() {
    let place = Place::new().file("a.yaml", "kept_results: { dir: results }");
    let config = place.load().config;
    let dir = config.kept_results.and_then(|it| it.dir).expect("a folder");
    assert!(dir.is_absolute() && dir.ends_with("results"), "{dir:?}");
}
