//! Cached results: the examples of docs/cache.md, and what is said of mistakes.

use super::{BACKEND, Place, repository, warnings};

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

#[test]
fn one_result_has_a_bound_and_fits_into_the_cache() {
    let fails = |cache: &str, expected: &str| {
        let text = format!("cache:\n  {cache}\nbackends: {{ a: {{ command: npx }} }}\n");
        Place::new().file("a.yaml", text).fails_with(expected);
    };
    fails(
        "max_entry: 65MiB",
        "a.yaml:2: cache.max_entry: `65MiB` is more than 64MiB; expected a size such as `512KiB` or `10MiB`, or \
         a number of bytes, from 1 to 64MiB",
    );
    fails(
        "max_entry: 67108865",
        "a.yaml:2: cache.max_entry: `67108865` is too large; expected a size such as `512KiB` or `10MiB`, or a \
         number of bytes, from 1 to 64MiB",
    );
    fails(
        "max_entry: 2MiB\n  max_total: 1536KiB",
        "a.yaml:2: cache.max_entry: is 2MiB, more than `cache.max_total`, which is 1536KiB; expected at most \
         1536KiB here, or `cache.max_total: 2MiB` or more beside it",
    );
    fails(
        "max_total: 512KiB",
        "a.yaml:2: cache.max_total: is 512KiB, less than `cache.max_entry`, which is 1MiB by default; expected \
         `cache.max_entry: 512KiB` or less beside it, or at least 1MiB here",
    );
    let fits = |cache: &str| {
        let text = format!("cache: {{ {cache} }}\n{BACKEND}");
        Place::new().file("a.yaml", text).load();
    };
    fits("max_entry: 64MiB");
    fits("max_entry: 512KiB, max_total: 512KiB");
}

#[test]
fn a_redis_has_a_bound_of_its_own() {
    let text = "server: { sealing_keys: [\"9d1f0c7a5b3e8d2c4f6a7b8c9d0e1f2a\"] }\n\
                store: { redis: \"redis://127.0.0.1:6379\" }\n\
                cache: { store: redis, max_total: 1KiB }\n\
                backends: { files: { command: npx } }\n";
    Place::new().file("a.yaml", text).load();
}
