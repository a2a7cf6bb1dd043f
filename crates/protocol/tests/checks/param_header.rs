//! Input: an `inputSchema`, a line end, `arguments`.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use switchboard_protocol::header::{PARAM_PREFIX, decode_value};
use switchboard_protocol::param_header::{HeaderMismatch, ParamHeaders};

/// The annotated parameters: the header of each, and the keys that lead to it.
type Annotated = BTreeMap<String, Vec<String>>;

pub(super) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let schema = parts.next().unwrap_or_default();
    let arguments = parts.next();
    let Ok(headers) = ParamHeaders::from_schema(schema) else {
        return;
    };
    let mut annotated = Annotated::new();
    if let Ok(schema) = serde_json::from_slice(schema) {
        find_annotated(&schema, &mut Vec::new(), &mut annotated);
    }
    let mut names: Vec<&str> = headers.names().iter().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert!(names.iter().copied().eq(annotated.keys()));
    assert_eq!(headers.is_empty(), names.is_empty());

    let Ok(extracted) = headers.extract(arguments) else {
        let validated = headers.validate(&HeaderMap::new(), arguments);
        assert!(matches!(validated, Err(HeaderMismatch::Argument(_))));
        return;
    };
    check_values(&annotated, arguments, &extracted);
    check_validation(&headers, arguments, &extracted);
}

/// Finds the annotations that `properties` alone lead to; others make a schema invalid.
fn find_annotated(schema: &Value, path: &mut Vec<String>, found: &mut Annotated) {
    if let Value::String(name) = &schema["x-mcp-header"] {
        found.insert(
            format!("{PARAM_PREFIX}{name}").to_ascii_lowercase(),
            path.clone(),
        );
    }
    let properties = schema["properties"].as_object();
    for (name, property) in properties.into_iter().flatten() {
        path.push(name.clone());
        find_annotated(property, path, found);
        path.pop();
    }
}

/// Checks that the headers are the values of the arguments.
fn check_values(
    annotated: &Annotated,
    arguments: Option<&[u8]>,
    extracted: &[(HeaderName, HeaderValue)],
) {
    let arguments = match arguments.map(serde_json::from_slice::<Value>) {
        None => Value::Null,
        Some(Ok(arguments)) => arguments,
        // More than serde_json reads: a number beyond all floats, or nested too deep.
        Some(Err(_)) => return,
    };
    for (name, path) in annotated {
        let value = path.iter().fold(&arguments, |value, key| {
            value
                .as_object()
                .and_then(|object| object.get(key))
                .unwrap_or(&Value::Null)
        });
        let header = extracted.iter().find(|(header, _)| header.as_str() == name);
        let text = header.map(|(_, header)| decode_value(header).expect("readable"));
        let text = text.as_deref();
        match value {
            Value::Null => assert_eq!(text, None),
            Value::Bool(value) => assert_eq!(text, Some(value.to_string().as_str())),
            Value::String(value) => assert_eq!(text, Some(value.as_str())),
            Value::Number(value) => {
                let header = text.and_then(|text| text.parse::<i64>().ok());
                assert_eq!(header.map(|header| header as f64), value.as_f64());
                assert!(header.is_some_and(|header| header.unsigned_abs() < 1 << 53));
            }
            Value::Array(_) | Value::Object(_) => panic!("{value} has the header {text:?}"),
        }
    }
}

/// Checks that the headers are valid as they are and in no other way.
fn check_validation(
    headers: &ParamHeaders,
    arguments: Option<&[u8]>,
    extracted: &[(HeaderName, HeaderValue)],
) {
    let validate = |map: &HeaderMap| headers.validate(map, arguments);
    let map: HeaderMap = extracted.iter().cloned().collect();
    assert_eq!(map.len(), extracted.len());
    assert_eq!(validate(&map), Ok(()));
    for header in headers.names() {
        let header = header.clone();
        let mut other = map.clone();
        if map.contains_key(&header) {
            other.append(header.clone(), map[&header].clone());
            let error = HeaderMismatch::Repeated {
                header: header.clone(),
            };
            assert_eq!(validate(&other), Err(error));
            other.insert(header.clone(), HeaderValue::from_static("=?base64?AP8=?="));
            assert!(validate(&other).is_err());
            other.remove(&header);
            assert_eq!(validate(&other), Err(HeaderMismatch::Missing { header }));
        } else {
            other.insert(header.clone(), HeaderValue::from_static(""));
            assert_eq!(validate(&other), Err(HeaderMismatch::Unexpected { header }));
        }
    }
}
