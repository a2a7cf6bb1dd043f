//! Cached results: the examples of docs/cache.md, and what is said of mistakes.

use super::{Place, repository, warnings};

#[test]
fn every_example_of_the_documentation_is_valid() {
    let page = std::fs::read_to_string(repository().join("docs/cache.md")).unwrap();
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(example, _)| example)
        .collect();
    assert!(examples.len() >= 2, "{}", examples.len());
    for example in examples {
        let example = example.replace(
            "${SWITCHBOARD_SEALING_KEY}",
            "9d1f0c7a5b3e8d2c4f6a7b8c9d0e1f2a",
        );
        let config = Place::new().file("a.yaml", &example).load().config;
        assert!(config.backends["near"].cache.is_some(), "{example}");
        assert_eq!(config.problems(), [], "{example}");
    }
}

#[test]
fn nobody_shares_what_is_for_one_alone() {
    let backend = |more: &str| {
        format!(
            "backends: {{ a: {{ url: \"https://a.example\", cache: {{ shared: true }}, {more} }} }}\n"
        )
    };
    let refused = |text: &str| Place::new().file("a.yaml", text).errors();
    for more in [
        "sessions: per_principal",
        "sessions: per_client",
        "sessions: per_client, oauth: { grant: token_exchange, client_id: a, client_secret: b }",
    ] {
        let error = refused(&backend(more));
        assert!(error.contains("cache.shared"), "{error}");
    }
}

#[test]
fn a_redis_needs_an_address_and_a_key() {
    let text = "cache: { store: redis }\nbackends: { files: { command: npx } }\n";
    let errors = Place::new().file("a.yaml", text).errors();
    for expected in ["cache.store", "store.redis", "server.sealing_keys"] {
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn a_mark_that_has_no_effect_is_told_of() {
    let text =
        "backends: { a: { command: npx, cache: { tools: [search, send_mail, \"*_delete\"] } } }\n";
    let loaded = Place::new().file("a.yaml", text).load();
    let warnings = warnings(&loaded);
    assert!(warnings.contains("`send_mail`"), "{warnings}");
    assert!(warnings.contains("`*_delete`"), "{warnings}");
    assert!(!warnings.contains("`search`"), "{warnings}");
}
