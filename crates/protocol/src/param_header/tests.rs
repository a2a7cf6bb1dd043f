use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(schema: &Value) -> Result<ParamHeaders, InvalidAnnotation> {
    ParamHeaders::from_schema(schema.to_string().as_bytes())
}

fn annotated(kind: &Value, name: &Value) -> Value {
    json!({ "type": "object", "properties": { "p": { "type": kind, "x-mcp-header": name } } })
}

fn sql() -> ParamHeaders {
    read(&json!({
        "type": "object",
        "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "limit": { "type": "integer", "x-mcp-header": "Limit" },
            "dry": { "type": ["boolean", "null"], "x-mcp-header": "Dry-Run" },
            "query": { "type": "string" },
            "tenant": {
                "type": "object",
                "properties": { "id": { "type": "string", "x-mcp-header": "Tenant" } }
            }
        }
    }))
    .expect("a valid schema")
}

fn extract(arguments: &str) -> Result<Vec<(String, String)>, ArgumentError> {
    let mut headers: Vec<_> = sql()
        .extract(Some(arguments.as_bytes()))?
        .into_iter()
        .map(|(name, value)| {
            let value = value.to_str().expect("visible ASCII").to_owned();
            (name.to_string(), value)
        })
        .collect();
    headers.sort();
    Ok(headers)
}

fn validate(headers: &[(&'static str, &str)], arguments: &str) -> Result<(), HeaderMismatch> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        map.append(HeaderName::from_static(name), value);
    }
    sql().validate(&map, Some(arguments.as_bytes()))
}

const REGION: HeaderName = HeaderName::from_static("mcp-param-region");
const LIMIT: HeaderName = HeaderName::from_static("mcp-param-limit");

#[test]
fn schemas_without_annotations_are_not_even_parsed() {
    for schema in [
        "",
        "{",
        "{\"type\":\"object\"}",
        "\u{feff}",
        "{\"a\":\"\\n\\u4e16\"}",
    ] {
        let read = ParamHeaders::from_schema(schema.as_bytes()).expect("no annotation");
        assert!(read.is_empty());
        assert_eq!(read.extract(Some(b"not JSON")), Ok(Vec::new()));
        assert_eq!(read.validate(&HeaderMap::new(), None), Ok(()));
    }
}

#[test]
fn annotations_are_found_at_every_depth_of_properties() {
    let headers = sql();
    let mut names: Vec<_> = headers.names().iter().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "mcp-param-dry-run",
            "mcp-param-limit",
            "mcp-param-region",
            "mcp-param-tenant"
        ]
    );
}

#[test]
fn an_escape_does_not_hide_the_keyword() {
    let schema = r#"{"properties":{"p":{"type":"string","x\u002dmcp-header":"P"}}}"#;
    let headers = ParamHeaders::from_schema(schema.as_bytes()).expect("valid");
    assert_eq!(headers.names(), ["mcp-param-p"]);
    let schema = r#"{"properties":{"p":{"type":"string","\u0078-mcp-\u0068eader":""}}}"#;
    assert!(ParamHeaders::from_schema(schema.as_bytes()).is_err());
}

#[test]
fn names_must_be_tokens() {
    let at = || "/properties/p".to_owned();
    let string = json!("string");
    for name in [
        "My Region",
        "Region:Primary",
        "Région",
        "Region\t1",
        "a\r\nb",
        "a\0",
    ] {
        assert_eq!(
            read(&annotated(&string, &json!(name))),
            Err(InvalidAnnotation::NotToken { at: at() }),
            "{name:?}"
        );
    }
    assert_eq!(
        read(&annotated(&string, &json!(""))),
        Err(InvalidAnnotation::Empty { at: at() })
    );
    for name in [json!(null), json!(7), json!(["A"])] {
        assert_eq!(
            read(&annotated(&string, &name)),
            Err(InvalidAnnotation::NotString { at: at() })
        );
    }
    let every = "!#$%&'*+-.^_`|~09AZaz";
    assert!(read(&annotated(&string, &json!(every))).is_ok());
    assert!(read(&annotated(&string, &json!("Method"))).is_ok());
}

#[test]
fn only_primitive_types_may_be_annotated() {
    let name = json!("P");
    for kind in [
        json!("string"),
        json!("integer"),
        json!("boolean"),
        json!(["string"]),
        json!(["string", "null"]),
        json!(["integer", "string"]),
    ] {
        assert!(read(&annotated(&kind, &name)).is_ok(), "{kind}");
    }
    for kind in [
        json!("number"),
        json!("object"),
        json!("array"),
        json!("null"),
        json!(null),
        json!([]),
        json!(["null"]),
        json!(["string", "number"]),
        json!(["string", 1]),
    ] {
        assert_eq!(
            read(&annotated(&kind, &name)),
            Err(InvalidAnnotation::NotPrimitive {
                at: "/properties/p".to_owned()
            }),
            "{kind}"
        );
    }
    assert!(read(&json!({ "properties": { "p": { "x-mcp-header": "P" } } })).is_err());
}

#[test]
fn names_are_unique_but_for_case() {
    for second in ["Region", "REGION"] {
        let schema = json!({ "properties": {
            "a": { "type": "string", "x-mcp-header": "Region" },
            "b": { "properties": { "c~/d": { "type": "string", "x-mcp-header": second } } }
        } });
        assert_eq!(
            read(&schema),
            Err(InvalidAnnotation::Repeated {
                at: "/properties/b/properties/c~0~1d".to_owned()
            })
        );
    }
}

#[test]
fn annotations_off_the_properties_chain_invalidate() {
    let leaf = json!({ "type": "string", "x-mcp-header": "P" });
    let with = json!({ "properties": { "p": leaf } });
    for schema in [
        leaf.clone(),
        json!({ "properties": { "a": { "items": leaf } } }),
        json!({ "properties": { "a": { "items": with } } }),
        json!({ "properties": { "a": { "prefixItems": [leaf] } } }),
        json!({ "oneOf": [with] }),
        json!({ "anyOf": [{}, with] }),
        json!({ "allOf": [with] }),
        json!({ "not": with }),
        json!({ "if": with }),
        json!({ "then": with }),
        json!({ "else": with }),
        json!({ "$defs": { "properties": leaf } }),
        json!({ "definitions": { "x": leaf }, "properties": { "a": { "$ref": "#/definitions/x" } } }),
        json!({ "additionalProperties": leaf }),
        json!({ "patternProperties": { "^a": leaf } }),
        json!({ "dependentSchemas": { "a": with } }),
        json!({ "unknownKeyword": { "deep": [leaf] } }),
        json!({ "properties": [leaf] }),
    ] {
        assert!(
            matches!(read(&schema), Err(InvalidAnnotation::Unreachable { .. })),
            "{schema}"
        );
    }
}

#[test]
fn the_word_as_data_is_no_annotation() {
    let schema = json!({
        "description": "x-mcp-header",
        "required": ["x-mcp-header"],
        "properties": {
            "x-mcp-header": { "type": "object", "default": { "x-mcp-header": 1 } },
            "a": { "const": { "x-mcp-header": 1 }, "enum": [{ "x-mcp-header": 1 }] }
        },
        "dependentRequired": { "x-mcp-header": ["a"] },
        "examples": [{ "x-mcp-header": "y" }]
    });
    assert_eq!(read(&schema), Ok(ParamHeaders::default()));
}

#[test]
fn unreadable_schemas_are_refused() {
    assert_eq!(
        ParamHeaders::from_schema(b"{\"x-mcp-header\":"),
        Err(InvalidAnnotation::Unreadable)
    );
    let deep = "{\"properties\":".repeat(200) + "{\"x-mcp-header\":\"A\"}" + &"}".repeat(200);
    assert_eq!(
        ParamHeaders::from_schema(deep.as_bytes()),
        Err(InvalidAnnotation::Unreadable)
    );
}

#[test]
fn values_are_taken_at_their_exact_path() {
    let arguments = r#" { "query": "x", "region": "us-west1", "limit": 42, "dry": false,
        "id": "top", "tenant": { "id": "M\u00fcller", "region": "inner" } } "#;
    assert_eq!(
        extract(arguments),
        Ok(vec![
            ("mcp-param-dry-run".to_owned(), "false".to_owned()),
            ("mcp-param-limit".to_owned(), "42".to_owned()),
            ("mcp-param-region".to_owned(), "us-west1".to_owned()),
            (
                "mcp-param-tenant".to_owned(),
                "=?base64?TcO8bGxlcg==?=".to_owned()
            ),
        ])
    );
}

#[test]
fn null_and_absent_values_have_no_header() {
    for arguments in [
        "{}",
        r#"{"region":null,"limit":null,"dry":null}"#,
        r#"{"tenant":{}}"#,
        r#"{"tenant":null}"#,
        r#"{"tenant":["id"]}"#,
        "null",
        "[]",
    ] {
        assert_eq!(extract(arguments), Ok(Vec::new()), "{arguments}");
    }
    assert_eq!(sql().extract(None), Ok(Vec::new()));
    assert_eq!(
        extract(r#"{"region":""}"#),
        Ok(vec![("mcp-param-region".to_owned(), String::new())])
    );
}

#[test]
fn integers_are_written_in_decimal() {
    for (json, header) in [
        ("0", "0"),
        ("-0", "0"),
        ("-7", "-7"),
        ("42.0", "42"),
        ("4.2e1", "42"),
        ("4200e-2", "42"),
        ("0.0e-5", "0"),
        ("0e9", "0"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991", "-9007199254740991"),
        ("9.007199254740991E+15", "9007199254740991"),
    ] {
        assert_eq!(
            extract(&format!("{{\"limit\":{json}}}")),
            Ok(vec![("mcp-param-limit".to_owned(), header.to_owned())]),
            "{json}"
        );
    }
}

#[test]
fn what_no_header_can_carry_is_refused() {
    for json in [
        "1.5",
        "1e-1",
        "9007199254740992",
        "-9007199254740992",
        "1e16",
        "1e999999999",
        "1e99999999999999999999",
        "123456789012345678901234567890",
        "{}",
        "[1]",
        r#""\ud800""#,
    ] {
        assert_eq!(
            extract(&format!("{{\"limit\":{json}}}")),
            Err(ArgumentError::Unsuitable { header: LIMIT }),
            "{json}"
        );
    }
}

#[test]
fn ambiguous_arguments_are_refused() {
    for (arguments, key) in [
        (r#"{"region":"a","region":"b"}"#, "region"),
        (r#"{"region":null,"r\u0065gion":"b"}"#, "region"),
        (r#"{"tenant":{"id":"a"},"tenant":{}}"#, "tenant"),
        (r#"{"tenant":{"id":"a","id":"a"}}"#, "id"),
    ] {
        assert_eq!(
            extract(arguments),
            Err(ArgumentError::Repeated { key: key.into() })
        );
    }
    assert_eq!(extract(r#"{"query":1,"query":2}"#), Ok(Vec::new()));
    for arguments in ["", "{", r#"{"region":"a"} x"#, r#"{"region":01}"#] {
        assert!(matches!(
            extract(arguments),
            Err(ArgumentError::Unreadable(_))
        ));
    }
}

#[test]
fn agreeing_headers_pass() {
    let arguments = r#"{"region":"us west","limit":42,"dry":true,"tenant":{"id":"ü"}}"#;
    for limit in ["42", "42.0", "4.2e1", "=?base64?NDI=?="] {
        let headers = [
            ("mcp-param-region", "us west"),
            ("mcp-param-limit", limit),
            ("mcp-param-dry-run", "true"),
            ("mcp-param-tenant", "=?base64?w7w=?="),
            ("mcp-param-stranger", "=?base64?!?="),
        ];
        assert_eq!(validate(&headers, arguments), Ok(()), "{limit}");
    }
    assert_eq!(validate(&[], "{}"), Ok(()));
    assert_eq!(validate(&[], r#"{"region":null}"#), Ok(()));
    assert_eq!(
        validate(
            &[("mcp-param-region", "=?base64?cg==?=")],
            r#"{"region":"r"}"#
        ),
        Ok(())
    );
}

#[test]
fn contradicting_headers_are_told_apart() {
    let value = r#"{"region":"r"}"#;
    let header = REGION;
    assert_eq!(
        validate(&[], value),
        Err(HeaderMismatch::Missing { header: REGION })
    );
    for arguments in ["{}", r#"{"region":null}"#, "null"] {
        assert_eq!(
            validate(&[("mcp-param-region", "r")], arguments),
            Err(HeaderMismatch::Unexpected { header: REGION })
        );
    }
    for sent in ["R", "", "r ", "=?BASE64?cg==?="] {
        assert_eq!(
            validate(&[("mcp-param-region", sent)], value),
            Err(HeaderMismatch::Differs { header: REGION })
        );
    }
    assert_eq!(
        validate(
            &[("mcp-param-region", "r"), ("mcp-param-region", "r")],
            value
        ),
        Err(HeaderMismatch::Repeated { header: REGION })
    );
    for (sent, error) in [
        ("=?base64?cg?=", HeaderError::InvalidBase64),
        ("ü", HeaderError::InvalidCharacter),
    ] {
        let header = header.clone();
        assert_eq!(
            validate(&[("mcp-param-region", sent)], value),
            Err(HeaderMismatch::Malformed { header, error })
        );
    }
    for sent in [
        "43",
        "042",
        "+42",
        "42 ",
        "0x2a",
        "forty-two",
        "",
        "\"42\"",
        "42,42",
    ] {
        assert_eq!(
            validate(&[("mcp-param-limit", sent)], r#"{"limit":42}"#),
            Err(HeaderMismatch::Differs { header: LIMIT }),
            "{sent:?}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_extracted_validates(region in ".*", limit in -MAX..=MAX, dry in any::<bool>()) {
        let arguments = json!({ "region": region, "limit": limit, "dry": dry }).to_string();
        let headers = sql();
        let sent: HeaderMap = headers
            .extract(Some(arguments.as_bytes()))
            .expect("primitive values")
            .into_iter()
            .collect();
        prop_assert_eq!(sent.len(), 3);
        prop_assert_eq!(headers.validate(&sent, Some(arguments.as_bytes())), Ok(()));
        let other = json!({ "region": region, "limit": limit, "dry": !dry }).to_string();
        prop_assert!(headers.validate(&sent, Some(other.as_bytes())).is_err());
    }

    #[test]
    fn any_schema_is_read_or_refused(
        text in r#"(\{|\}|"x-mcp-header":|"type":|"string"|"properties":|"p":|,|\[|\]|\\u0078){0,24}"#,
    ) {
        let _ = ParamHeaders::from_schema(text.as_bytes());
    }

    #[test]
    fn any_arguments_are_read_or_refused(
        text in r#"(\{|\}|"region":|"tenant":|"limit":|"id":|,|\[|1e|-|\.|[0-9]{1,20}|"\\ud800"|null){0,24}"#,
    ) {
        let _ = sql().extract(Some(text.as_bytes()));
        let _ = sql().validate(&HeaderMap::new(), Some(text.as_bytes()));
    }
}

const MAX: i64 = (1 << 53) - 1;
