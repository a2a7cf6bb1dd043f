//! Redaction: what is said of mistakes, and of what has no effect.

use super::{Place, warnings};

fn warned(redaction: &str) -> String {
    let text = format!("redaction:\n  {redaction}\n");
    warnings(&Place::new().file("a.yaml", text).load())
}

#[test]
fn exceptions_from_nothing_have_no_effect() {
    assert_eq!(
        warned("tokens: false\n  except: [jwt]"),
        "a.yaml:3: redaction.except: has no effect beside `tokens: false`, with which no tokens are looked for; \
         expected `tokens: true` to look for all others, or no `except`"
    );
    assert_eq!(
        warned("tokens: [github_token, npm_token]\n  except: [jwt, npm_token, age_key]"),
        "a.yaml:3: redaction.except: has no effect for `age_key`, `jwt`, which the list of `tokens` does not have; \
         expected types that it has"
    );
    for fine in [
        "except: [jwt]",
        "tokens: true\n  except: [jwt]",
        "tokens: [jwt, npm_token]\n  except: [jwt]",
        "tokens: false",
    ] {
        assert_eq!(warned(fine), "", "{fine}");
    }
}

#[test]
fn a_pattern_has_a_name_of_its_own() {
    let text = r#"redaction:
  patterns:
    - { name: github_token, regex: "a" }
    - { name: secret, regex: "b" }
    - { name: Employee, regex: "c" }
    - { name: secret_of_ours, regex: "d" }
"#;
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:3: redaction.patterns[0].name: `github_token` is the name of a type of tokens; expected 1 to 64 of the characters `a-z 0-9 _`, neither `secret` nor the name of a type of tokens
a.yaml:4: redaction.patterns[1].name: `secret` is the name of secrets of the configuration; expected 1 to 64 of the characters `a-z 0-9 _`, neither `secret` nor the name of a type of tokens
a.yaml:5: redaction.patterns[2].name: `Employee` is not the name of a pattern; expected 1 to 64 of the characters `a-z 0-9 _`, neither `secret` nor the name of a type of tokens
"#,
    );
}

#[test]
fn an_empty_secret_is_told_of() {
    let text = "redaction:\n  secrets:\n    - \"${UNSET:-}\"\n    - \"of-the-deployment-77e0\"\n    - \"\"\n";
    let loaded = Place::new().file("a.yaml", text).load();
    let left_out = loaded.config.secrets_left_out();
    let said: Vec<String> = left_out.iter().map(ToString::to_string).collect();
    let of = |index: usize| {
        format!(
            "redaction.secrets[{index}]: is empty, so nothing is looked for in what comes back; expected a value, \
             or no such entry"
        )
    };
    assert_eq!(said, [of(0), of(2)]);
}
