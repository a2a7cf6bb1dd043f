use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn matches(template: &str, uri: &str) -> bool {
    UriTemplate::parse(template)
        .unwrap_or_else(|error| panic!("{template}: {error}"))
        .matches(uri)
}

#[test]
fn a_template_without_variables_matches_itself() {
    let template = "file:///a/b.txt?c#d";
    assert!(matches(template, template));
    assert!(!matches(template, "file:///a/b.txt?c#"));
    assert!(!matches(template, "file:///a/b.txt?c#de"));
    assert!(!matches(template, ""));
    assert!(matches("", ""));
    assert!(!matches("", "a"));
}

/// Expansions that RFC 6570 gives as examples in its sections 1.2 and 3.2.
#[test]
fn expansions_match_their_template() {
    for (template, expansions) in [
        ("{var}", &["value", ""][..]),
        ("{hello}", &["Hello%20World%21"]),
        ("{half}", &["50%25"]),
        ("O{empty}X", &["OX"]),
        ("{x,y}", &["1024,768"]),
        ("?{x,empty}", &["?1024,", "?1024"]),
        ("{var:3}", &["val"]),
        ("{list}", &["red,green,blue"]),
        ("{list*}", &["red,green,blue"]),
        ("{keys*}", &["semi=%3B,dot=.,comma=%2C"]),
        ("{+var}", &["value"]),
        ("{+base}index", &["http://example.com/home/index"]),
        ("here?ref={+path}", &["here?ref=/foo/bar"]),
        ("{+x,hello,y}", &["1024,Hello%20World!,768"]),
        ("{+path:6}/here", &["/foo/b/here"]),
        ("{#path,x}/here", &["#/foo/bar,1024/here"]),
        ("X{#var}", &["X#value", "X"]),
        ("{#keys*}", &["#semi=;,dot=.,comma=,"]),
        ("X{.var}", &["X.value", "X", "X."]),
        ("www{.dom*}", &["www.example.com"]),
        ("{/who,who}", &["/fred/fred", "/fred", ""]),
        ("{/var,x}/here", &["/value/1024/here", "/here"]),
        ("{/list*,path:4}", &["/red/green/blue/%2Ffoo"]),
        ("{;x,y}", &[";x=1024;y=768", ";x=1024", ""]),
        ("{;x,y,empty}", &[";x=1024;y=768;empty"]),
        ("{;list*}", &[";list=red;list=green;list=blue"]),
        ("{?x,y}", &["?x=1024&y=768", "?y=768&x=1024", "?y=768", ""]),
        ("{?x,y,empty}", &["?x=1024&y=768&empty="]),
        ("{?keys*}", &["?semi=%3B&dot=.&comma=%2C"]),
        ("?fixed=yes{&x}", &["?fixed=yes&x=1024", "?fixed=yes"]),
        ("{&var:3,list*}", &["&var=val&list=red&list=green"]),
    ] {
        for uri in expansions {
            assert!(matches(template, uri), "{template} {uri}");
        }
    }
}

#[test]
fn other_uris_do_not_match() {
    for (template, uri) in [
        ("db://{table}", "db://a/b"),
        ("db://{table}", "db:/a"),
        ("db://{table}", "DB://a"),
        ("db://{table}/rows", "db://a/rows/1"),
        ("db://{table}", "db://a?b"),
        ("db://{table}", "db://a#b"),
        ("X{.a}", "Xa"),
        ("X{#a}", "Xa"),
        ("{/a}/end", "/a/b/end"),
        ("{/a,b}", "/a/b/c"),
        ("{/a}", "a"),
        ("q{?a,b}", "q?c=1"),
        ("q{?a,b}", "q?a=1&c=1"),
        ("q{?a,b}", "q?a=1&"),
        ("q{?a,b}", "q?"),
        ("q{?a,b}", "q&a=1"),
        ("q{?a}", "q?ab=1"),
        ("q{?a}", "q?a=1#x"),
        ("q?x=1{&a}", "q?x=1?a=1"),
        ("q{;a}", "q;b=1"),
        ("q{;a}", "q;a=1/"),
    ] {
        assert!(!matches(template, uri), "{template} {uri}");
    }
}

#[test]
fn uris_written_by_hand_match() {
    assert!(matches("users://{id}/mail", "users://ada@example.com/mail"));
    assert!(matches("city://{name}", "city://São Paulo"));
    assert!(matches("file:///{+path}", "file:///a/b c/ü.txt"));
    assert!(matches("x://{user-id}", "x://1"));
    assert!(matches("x://q{?path}", "x://q?path=/a/b?c"));
    assert!(matches("x://{ a , b }", "x://1,2"));
}

#[test]
fn a_literal_outside_ascii_matches_in_both_forms() {
    for uri in ["x://größe/1", "x://gr%C3%B6%c3%9fe/1", "x://grö%C3%9Fe/1"] {
        assert!(matches("x://größe/{n}", uri), "{uri}");
    }
    assert!(!matches("x://größe/{n}", "x://gr%C3%B6se/1"));
    assert!(!matches("x://größe/{n}", "x://gr%C3e/1"));
}

#[test]
fn specificity_counts_literal_bytes() {
    let of = |template| {
        UriTemplate::parse(template)
            .expect("a template")
            .specificity()
    };
    assert_eq!(of("file:///{+path}"), 8);
    assert_eq!(of("file:///logs/{+path}.txt"), 17);
    assert_eq!(of("{+any}"), 0);
    assert!(of("a://{x}/edit") > of("a://{x}{/y}"));
}

#[test]
fn bad_templates_are_refused() {
    for (template, error) in [
        ("a{b", TemplateError::UnbalancedBrace { at: 1 }),
        ("a{b{c}", TemplateError::UnbalancedBrace { at: 1 }),
        ("a}b", TemplateError::UnbalancedBrace { at: 1 }),
        ("{a}}", TemplateError::UnbalancedBrace { at: 3 }),
        ("a{!b}", TemplateError::UnknownOperator { at: 2 }),
        ("{|b}", TemplateError::UnknownOperator { at: 1 }),
        ("{}", TemplateError::BadVariable { at: 0 }),
        ("a{?}", TemplateError::BadVariable { at: 1 }),
        ("{a,}", TemplateError::BadVariable { at: 0 }),
        ("{a:}", TemplateError::BadVariable { at: 0 }),
        ("{a:0}", TemplateError::BadVariable { at: 0 }),
        ("{a:x}", TemplateError::BadVariable { at: 0 }),
        ("{a**}", TemplateError::BadVariable { at: 0 }),
        ("{a b}", TemplateError::BadVariable { at: 0 }),
    ] {
        assert_eq!(
            UriTemplate::parse(template).err(),
            Some(error),
            "{template}"
        );
    }
    let long = "a".repeat(MAX_TEMPLATE_LEN);
    assert!(matches(&long, &long));
    assert_eq!(
        UriTemplate::parse(&(long + "a")).err(),
        Some(TemplateError::TooLong)
    );
}

#[test]
fn a_hostile_pair_takes_bounded_time() {
    let uri = "a".repeat(MAX_URI_LEN);
    let start = Instant::now();
    for template in [
        "{+a}".repeat(MAX_EXPRESSIONS) + "b",
        "{+a}".to_owned() + &"a".repeat(MAX_TEMPLATE_LEN - 5) + "b",
        "{a}a".repeat(MAX_EXPRESSIONS) + "b",
    ] {
        assert!(!matches(&template, &uri));
    }
    // Backtracking would take longer than the universe has been there.
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(!matches("{+a}", &(uri + "a")));
    let many = "{a}".repeat(MAX_EXPRESSIONS + 1);
    assert_eq!(
        UriTemplate::parse(&many).err(),
        Some(TemplateError::TooManyExpressions)
    );
}

proptest! {
    /// Each part is a piece of a template and one of its expansions.
    #[test]
    fn expansions_of_any_template_match(parts in proptest::collection::vec(part(), 0..5)) {
        let template: String = parts.iter().map(|(template, _)| template.as_str()).collect();
        let uri: String = parts.iter().map(|(_, expansion)| expansion.as_str()).collect();
        prop_assert!(matches(&template, &uri), "{} {}", template, uri);
    }

    #[test]
    fn any_text_is_a_template_or_refused(
        text in r"(\{|\}|[a-z]|[+#./;?&=,:*]|ü|[0-9]){0,32}",
        uri in r"([a-z]|[#./;?&=,]|ü|%){0,32}",
    ) {
        if let Ok(template) = UriTemplate::parse(&text) {
            let _ = template.matches(&uri);
        }
    }
}

fn part() -> impl Strategy<Value = (String, String)> {
    let value = "[a-zA-Z0-9._~-]{0,5}(%2F)?";
    prop_oneof![
        "[a-z/:.?#é]{0,6}".prop_map(|text| (text.clone(), text)),
        value.prop_map(|v| ("{var}".to_owned(), v)),
        (value, value).prop_map(|(a, b)| ("{a,b}".to_owned(), format!("{a},{b}"))),
        "[a-z/?#]{0,6}".prop_map(|v| ("{+var}".to_owned(), v)),
        "[a-z/?#]{0,6}".prop_map(|v| ("{#var}".to_owned(), format!("#{v}"))),
        (value, value).prop_map(|(a, b)| ("{.a,b}".to_owned(), format!(".{a}.{b}"))),
        (value, value).prop_map(|(a, b)| ("{/a,b}".to_owned(), format!("/{a}/{b}"))),
        (value, value).prop_map(|(a, b)| ("{/a*}".to_owned(), format!("/{a}/{b}"))),
        (value, value).prop_map(|(a, b)| ("{;a,b}".to_owned(), format!(";a={a};b={b}"))),
        (value, value).prop_map(|(a, b)| ("{?a,b}".to_owned(), format!("?a={a}&b={b}"))),
        (value, value).prop_map(|(a, b)| ("{&a*}".to_owned(), format!("&a={a}&a={b}"))),
        Just(("{?a}{&b}{#c}{.d}{/e}{;f}".to_owned(), String::new())),
    ]
}
