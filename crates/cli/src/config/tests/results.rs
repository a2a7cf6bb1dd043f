//! What comes back: the examples of docs/results.md, and what is said of mistakes.

use super::{Place, repository, warnings};

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

#[test]
fn the_example_of_the_documentation_stands_by_itself() {
    let page = std::fs::read_to_string(repository().join("docs/results.md")).unwrap();
    let example = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|it| it.split_once("```"));
    let (example, _) = example.expect("an example");
    let loaded = Place::new().file("a.yaml", example).load();
    assert_eq!(warnings(&loaded), "");
    assert_eq!(loaded.config.unmatched_result_caps(), []);
    assert!(!loaded.config.backends.is_empty());
}

#[test]
fn a_slip_in_a_size_is_told_with_what_was_meant() {
    let text = r#"cache: { max_entry: 64KB }
kept_results: { max_result: 10 mb, in_memory: 64k, per_principal: { bytes: much } }
result_caps:
  - { max_bytes: 64kib }
  - { max_bytes: "65536" }
  - { max_bytes: "${SIZE}" }
  - { max_bytes: 64 KiB }
  - { max_bytes: 1MB }
  - { max_bytes: 0KB }
budgets: [{ name: a, window: 1d, bytes: 1G }]
audit: { file: { path: a.jsonl, rotate: { size: 100m } } }
backends: { a: { command: npx, limits: { memory: 2g, file_size: 12k } } }
"#;
    Place::new().file("a.yaml", text).env("SIZE", "64k").fails_with(
        r#"
a.yaml:1: cache.max_entry: `64KB` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, from 1 to 64MiB; did you mean `64KiB`?
a.yaml:2: kept_results.max_result: `10 mb` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1; did you mean `10MiB`?
a.yaml:2: kept_results.in_memory: `64k` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1; did you mean `64KiB`?
a.yaml:2: kept_results.per_principal.bytes: `much` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1
a.yaml:4: result_caps[0].max_bytes: `64kib` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1; did you mean `64KiB`?
a.yaml:5: result_caps[1].max_bytes: `65536` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1; did you mean `65536B`?
a.yaml:6: result_caps[2].max_bytes: the value is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1
a.yaml:9: result_caps[5].max_bytes: `0KB` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1
a.yaml:10: budgets[0].bytes: `1G` is not a size; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1; did you mean `1GiB`?
a.yaml:11: audit.file.rotate.size: `100m` is not a size; expected a size such as `512MiB` or `2GiB`, or a number of bytes, at least 1 MiB; did you mean `100MiB`?
a.yaml:12: backends.a.limits.memory: `2g` is not a size; expected a size such as `512MiB` or `2GiB`, or a number of bytes, at least 1 MiB, or `none`; did you mean `2GiB`?
a.yaml:12: backends.a.limits.file_size: `12k` is not a size; expected a size such as `512MiB` or `2GiB`, or a number of bytes, at least 1 MiB, or `none`
"#,
    );
}

#[test]
fn a_size_may_have_a_space_and_units_of_1000_or_1024() {
    let text = "result_caps: [{ max_bytes: 64 KiB }, { max_bytes: 64kB }, { max_bytes: 65536 }]\n";
    let config = Place::new().file("a.yaml", text).load().config;
    let sizes = config.result_caps.iter().map(|cap| cap.max_bytes);
    let sizes: Vec<_> = sizes.flatten().collect();
    assert_eq!(sizes, [65_536, 64_000, 65_536]);
}
