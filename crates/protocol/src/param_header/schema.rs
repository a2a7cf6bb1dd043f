//! From a tool's `inputSchema` to the paths of its annotated parameters.

use http::HeaderName;
use memchr::memmem;
use serde_json::{Map, Value};

use super::{InvalidAnnotation, Node, ParamHeaders};
use crate::header::PARAM_PREFIX;

/// The keyword.
const ANNOTATION: &str = "x-mcp-header";

pub(super) fn read(schema: &[u8]) -> Result<ParamHeaders, InvalidAnnotation> {
    if !may_be_annotated(schema) {
        return Ok(ParamHeaders::default());
    }
    let schema: Value =
        serde_json::from_slice(schema).map_err(|_| InvalidAnnotation::Unreadable)?;
    let mut reader = Reader {
        names: Vec::new(),
        path: Vec::new(),
    };
    let root = reader.schema(&schema, Place::Root)?;
    Ok(ParamHeaders {
        names: reader.names,
        root,
    })
}

/// Whether the keyword can occur: as it is, or hidden behind an escape. All its characters are
/// ASCII, and the only escapes that stand for those in it are `\u00..`.
fn may_be_annotated(schema: &[u8]) -> bool {
    memmem::find(schema, ANNOTATION.as_bytes()).is_some()
        || memmem::find(schema, br"\u00").is_some()
}

/// How a schema within the schema is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    /// Through `properties` alone.
    Property,
    Elsewhere,
}

impl Place {
    /// The place of the properties of a schema in this place.
    fn of_properties(self) -> Self {
        match self {
            Self::Root | Self::Property => Self::Property,
            Self::Elsewhere => Self::Elsewhere,
        }
    }
}

struct Reader<'s> {
    names: Vec<HeaderName>,
    path: Vec<&'s str>,
}

impl<'s> Reader<'s> {
    /// Reads a schema, or whatever stands in the place of one; recursion is bounded by the parser's
    /// depth.
    fn schema(&mut self, schema: &'s Value, place: Place) -> Result<Node, InvalidAnnotation> {
        let mut node = Node::default();
        match schema {
            Value::Object(keywords) => {
                if let Some(name) = keywords.get(ANNOTATION) {
                    node.header = Some(self.annotation(name, keywords, place)?);
                }
                for (keyword, value) in keywords {
                    self.path.push(keyword);
                    match keyword.as_str() {
                        // Data, not schemas.
                        ANNOTATION | "const" | "default" | "enum" | "examples" | "required"
                        | "dependentRequired" => {}
                        "properties" => {
                            node.children = self.named_schemas(value, place.of_properties())?;
                        }
                        "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
                        | "dependencies" => {
                            self.named_schemas(value, Place::Elsewhere)?;
                        }
                        _ => {
                            self.schema(value, Place::Elsewhere)?;
                        }
                    }
                    self.path.pop();
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.schema(item, Place::Elsewhere)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(node)
    }

    /// Reads an object whose keys are names, not keywords, and gives what leads to annotations.
    fn named_schemas(
        &mut self,
        schemas: &'s Value,
        place: Place,
    ) -> Result<Vec<(Box<str>, Node)>, InvalidAnnotation> {
        let Value::Object(schemas) = schemas else {
            self.schema(schemas, Place::Elsewhere)?;
            return Ok(Vec::new());
        };
        let mut nodes: Vec<(Box<str>, Node)> = Vec::new();
        for (name, schema) in schemas {
            self.path.push(name);
            let node = self.schema(schema, place)?;
            self.path.pop();
            if node != Node::default() {
                nodes.push((name.as_str().into(), node));
            }
        }
        nodes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(nodes)
    }

    /// Checks an annotation and gives the index of its header.
    fn annotation(
        &mut self,
        name: &Value,
        keywords: &Map<String, Value>,
        place: Place,
    ) -> Result<usize, InvalidAnnotation> {
        let at = || self.pointer();
        let Value::String(name) = name else {
            return Err(InvalidAnnotation::NotString { at: at() });
        };
        if name.is_empty() {
            return Err(InvalidAnnotation::Empty { at: at() });
        }
        if place != Place::Property {
            return Err(InvalidAnnotation::Unreachable { at: at() });
        }
        if !keywords.get("type").is_some_and(is_primitive) {
            return Err(InvalidAnnotation::NotPrimitive { at: at() });
        }
        // A header name of the `http` crate is exactly `1*tchar`, in lower case.
        let Ok(header) = HeaderName::from_bytes(format!("{PARAM_PREFIX}{name}").as_bytes()) else {
            return Err(InvalidAnnotation::NotToken { at: at() });
        };
        if self.names.contains(&header) {
            return Err(InvalidAnnotation::Repeated { at: at() });
        }
        self.names.push(header);
        Ok(self.names.len() - 1)
    }

    /// Where the reader is, as RFC 6901 writes it.
    fn pointer(&self) -> String {
        self.path.iter().fold(String::new(), |pointer, step| {
            pointer + "/" + &step.replace('~', "~0").replace('/', "~1")
        })
    }
}

/// Whether `type` admits only integers, strings, booleans and, beside at least one of these, null.
fn is_primitive(kind: &Value) -> bool {
    let is_one = |kind: &Value| matches!(kind.as_str(), Some("integer" | "string" | "boolean"));
    match kind {
        Value::Array(kinds) => {
            kinds.iter().any(is_one)
                && kinds
                    .iter()
                    .all(|kind| is_one(kind) || kind.as_str() == Some("null"))
        }
        kind => is_one(kind),
    }
}
