//! Rules of who may do what.

use super::{Place, repository};

const BACKEND: &str = "backends: { files: { url: \"http://a/\" } }\n";

#[test]
fn every_example_of_the_documentation_is_a_configuration() {
    let page = std::fs::read_to_string(repository().join("docs/access.md")).unwrap();
    let blocks: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("```")?.0))
        .collect();
    assert!(blocks.len() >= 5, "{}", blocks.len());
    for block in blocks {
        let loaded = Place::new()
            .file("a.yaml", format!("{BACKEND}{block}"))
            .load();
        let access = loaded.config.access.unwrap();
        assert!(!access.rules.is_empty(), "{block}");
    }
}

#[test]
fn mistakes_in_rules_are_told_with_their_lines() {
    let text = format!(
        r#"{BACKEND}access:
  default: alow
  rules:
    - name: a
      effect: allow
      users: []
      tools: ["!x", "ok_*", "a|b"]
      when: "args.path.startswith('/srv')"
    - name: b
      effect: deny
      claims: {{ level: [1, true, x], other: [[1]] }}
      user: [x]
    - name: a
      effect: deny
      when: |
        args.path ==
          nothing
    - effect: allow
"#
    );
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:3: access.default: is `alow`; expected one of `allow`, `deny`; did you mean `allow`?
a.yaml:12: access.rules[1].claims.other[0]: is a list; expected text or `true` or `false` or a number
a.yaml:13: access.rules[1].user: is not a known key; did you mean `users`?
a.yaml:14: access.rules[2].name: is the same as that of access.rules[0]; expected a different one for each
a.yaml:19: access.rules[3]: has no `name`; expected one
"#,
    );
    let text = format!(
        r#"{BACKEND}access:
  rules:
    - name: a
      effect: allow
      users: []
      tools: ["!x", "ok_*"]
    - name: c
      effect: deny
      when: |
        args.path ==
          nothing
"#
    );
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:6: access.rules[0].users: is empty, which matches nobody and nothing; leave it out
a.yaml:7: access.rules[0].tools[0]: `!x` is a negation, which patterns have none of; expected a rule of its own with `effect: deny`
a.yaml:10: access.rules[1].when: of the rule `c` is wrong at line 2, column 3: there is no variable `nothing`; expected one of `args`, `principal`, `claims`, `tool`, `name`, `backend`, `profile`
"#,
    );
}

#[test]
fn values_of_claims_keep_their_types() {
    let text = format!(
        "{BACKEND}access: {{ rules: [{{ name: a, effect: allow, claims: {{ c: [1, true, x] }} }}] }}\n"
    );
    let access = Place::new()
        .file("a.yaml", text)
        .load()
        .config
        .access
        .unwrap();
    let claims = access.rules[0].claims.as_ref().unwrap();
    assert_eq!(
        serde_json::json!(claims["c"]),
        serde_json::json!([1, true, "x"])
    );
}
