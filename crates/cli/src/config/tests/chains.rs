//! What takes the place of a tool, and which backend waits for which.

use super::Place;

const BACKENDS: &str = "backends:
  search: { url: \"http://a/\" }
  brave: { url: \"http://b/\", safe_tools: [\"web\"] }
";

#[test]
fn chains_are_read_with_their_maps() {
    let text = format!(
        r#"{BACKENDS}fallbacks:
  - tool: search__*
    try: [brave__web]
    when: [unavailable, timeout, limit, budget, error]
    only_safe: false
    map: {{ brave__web: {{ query: q, lang: {{ const: {{ a: [1, null] }} }} }} }}
equivalents:
  - tools: [search__a, brave__a]
    prefer: fastest
    costs: {{ search__a: 0.5, brave__a: 0 }}
"#
    );
    let config = Place::new().file("a.yaml", text).load().config;
    let fallback = &config.fallbacks[0];
    assert_eq!(fallback.targets, ["brave__web"]);
    assert_eq!(fallback.when.len(), 5);
    assert!(!fallback.only_safe);
    assert_eq!(fallback.map["brave__web"].len(), 2);
    assert_eq!(config.equivalents[0].costs["search__a"], 0.5);
}

#[test]
fn chains_that_cannot_work_are_mistakes() {
    let text = format!(
        r#"{BACKENDS}fallbacks:
  - tool: search__web
    when: [sometimes]
  - tool: search__web
    try: [brave__web]
    map: {{ brave__web: {{ query: 1, lang: {{ constant: en }} }} }}
equivalents:
  - tools: [search__web]
    costs: {{ search__web: -1 }}
"#
    );
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:5: fallbacks[0]: has no `try`; expected one
a.yaml:6: fallbacks[0].when[0]: is `sometimes`; expected one of `unavailable`, `timeout`, `limit`, `budget`, `error`
a.yaml:9: fallbacks[1].map.brave__web.query: is `1`; expected text or a table of keys: put it in quotes
a.yaml:9: fallbacks[1].map.brave__web.lang.constant: is not a known key; expected one of `const`
a.yaml:11: equivalents[0].tools: has 1 tools; expected 2 to 16
a.yaml:12: equivalents[0].costs.search__web: `-1` is too small; expected a number of at least 0
"#,
    );
}

#[test]
fn a_circle_of_dependencies_is_printed_and_a_wrong_name_comes_with_the_nearest() {
    let text = r#"backends:
  a: { command: a, depends_on: [b] }
  b: { command: b, depends_on: [c] }
  c: { command: c, depends_on: [b, databse] }
  database: { command: d }
"#;
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:3: backends.b.depends_on: is a circle: `b` → `c` → `b`; expected one that ends, or none of them could be started first
a.yaml:4: backends.c.depends_on: names `databse`, which is no backend; did you mean `database`?
"#,
    );
}

#[test]
fn a_tool_that_no_backend_can_have_is_a_mistake() {
    let text = format!(
        "{BACKENDS}fallbacks:\n  - {{ tool: search__web, try: [braev__web, brave__web] }}\n  - tool: serch__web\n    try:\n      - brave__web\n    map:\n      brave__wb: {{ a: b }}\n"
    );
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:5: fallbacks[0].try[0]: names `braev__web`, which is no backend's tool; did you mean `brave__…`?
a.yaml:6: fallbacks[1].tool: names `serch__web`, which is no backend's tool; did you mean `search__…`?
a.yaml:10: fallbacks[1].map.brave__wb: is not in `try`, which has `brave__web`; did you mean `brave__web`?
"#,
    );
}
