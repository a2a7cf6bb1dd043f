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

#[test]
fn a_bound_that_a_default_makes_impossible_names_both() {
    let fails = |kept_results: &str, expected: &str| {
        let text = format!("kept_results:\n  {kept_results}\n");
        Place::new().file("a.yaml", text).fails_with(expected);
    };
    fails(
        "per_principal: { bytes: 64MiB }",
        "a.yaml:2: kept_results.per_principal.bytes: is 64MiB, less than `kept_results.max_result`, which is \
         128MiB by default; expected `kept_results.max_result: 64MiB` or less beside it, or at least 128MiB here",
    );
    fails(
        "per_principal: { results: 2000 }",
        "a.yaml:2: kept_results.per_principal.results: is 2000, more than `kept_results.total.results`, which is \
         1000 by default; expected at most 1000 here, or `kept_results.total.results: 2000` or more beside it",
    );
    fails(
        "total: { results: 50 }",
        "a.yaml:2: kept_results.total.results: is 50, less than `kept_results.per_principal.results`, which is \
         100 by default; expected `kept_results.per_principal.results: 50` or less beside it, or at least 100 here",
    );
    fails(
        "max_result: 2MiB\n  per_principal: { bytes: 1MiB }",
        "a.yaml:2: kept_results.max_result: is 2MiB, more than `kept_results.per_principal.bytes`, which is 1MiB; \
         expected at most 1MiB here, or `kept_results.per_principal.bytes: 2MiB` or more beside it",
    );
    // All that is in the way is told at once.
    fails(
        "total: { bytes: 64MiB }",
        r#"
a.yaml:2: kept_results.total.bytes: is 64MiB, less than `kept_results.max_result`, which is 128MiB by default; expected `kept_results.max_result: 64MiB` or less beside it, or at least 128MiB here
a.yaml:2: kept_results.total.bytes: is 64MiB, less than `kept_results.per_principal.bytes`, which is 512MiB by default; expected `kept_results.per_principal.bytes: 64MiB` or less beside it, or at least 512MiB here
"#,
    );
}
