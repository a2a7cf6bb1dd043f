//! Schemas of tools, in the form that clients of 2025-11-25 and older take: an object schema at the
//! root, whose `properties` are objects and whose `required` are strings. 2026-07-28 allows every
//! keyword of JSON Schema 2020-12 beside, and any type at the root of `outputSchema`.

use switchboard_protocol::json::{JsonError, Scanner, Span, as_str, quoted};
use switchboard_protocol::splice::{Splice, for_each_item, for_each_member, member};

use super::edit::{self, Edit, is_object};

/// How deep branches of `anyOf` and the like are looked into.
const MAX_BRANCH_DEPTH: usize = 8;

/// `inputSchema`; `None` if it may stay as it is.
pub(super) fn input(raw: &[u8]) -> Option<Vec<u8>> {
    if !is_object(raw) {
        return Some(b"{\"type\":\"object\"}".to_vec());
    }
    object_schema(raw)
}

/// `outputSchema`. One of another type is wrapped as results are, `{"result": …}`; one that may or
/// may not be an object takes both forms, since only the result tells.
pub(super) fn output(raw: &[u8]) -> Edit<'static> {
    if !is_object(raw) {
        return Edit::Drop;
    }
    match shape(raw, 0) {
        Shape::Object => object_schema(raw).into(),
        Shape::Other => Edit::Value(
            wrapped(
                raw,
                "#/properties/result",
                b"\"type\":\"object\",\"required\":[\"result\"],\"properties\":{\"result\":",
            )
            .into(),
        ),
        Shape::Either => Edit::Value(
            wrapped(
                raw,
                "#/$defs/output",
                b"\"type\":\"object\",\"anyOf\":[{\"$ref\":\"#/$defs/output\"},{\"required\":[\"result\"],\"properties\":{\"result\":{\"$ref\":\"#/$defs/output\"}}}],\"$defs\":{\"output\":",
            )
            .into(),
        ),
    }
}

/// A schema within another one, at `pointer`; `front` is what stands before it, and leaves two
/// objects open.
fn wrapped(raw: &[u8], pointer: &str, front: &[u8]) -> Vec<u8> {
    let mut out = vec![b'{'];
    // Only the root of a document says which dialect it is written in.
    let dialect = member(raw, "$schema").filter(|dialect| dialect.first() == Some(&b'"'));
    if let Some(dialect) = dialect {
        out.extend_from_slice(b"\"$schema\":");
        out.extend_from_slice(dialect);
        out.push(b',');
    }
    out.extend_from_slice(front);
    let inner = edit::object(raw, b"", |key, _| match key {
        "$schema" => Edit::Drop,
        _ => Edit::Keep,
    });
    let inner = inner.as_deref().unwrap_or(raw);
    out.extend_from_slice(&moved(inner, pointer));
    out.extend_from_slice(b"}}");
    out
}

/// What is known of the values that a schema allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Object,
    Other,
    Either,
}

impl Shape {
    fn of_value(raw: &[u8]) -> Self {
        if is_object(raw) {
            Self::Object
        } else {
            Self::Other
        }
    }

    /// What is known if any one of several may be the one.
    fn any(shapes: impl IntoIterator<Item = Self>) -> Self {
        let mut shapes = shapes.into_iter();
        let first = shapes.next().unwrap_or(Self::Either);
        shapes.fold(
            first,
            |known, next| {
                if known == next { known } else { Self::Either }
            },
        )
    }
}

fn shape(raw: &[u8], depth: usize) -> Shape {
    let mut known = Shape::Either;
    let mut settle = |found: Shape| {
        if known == Shape::Either {
            known = found;
        }
    };
    for_each_member(raw, |key, _, value| match key {
        "type" => settle(shape_of_types(value)),
        "const" => settle(Shape::of_value(value)),
        "enum" => settle(Shape::any(items(value).map(Shape::of_value))),
        "anyOf" | "oneOf" if depth < MAX_BRANCH_DEPTH => {
            settle(Shape::any(
                items(value).map(|branch| shape(branch, depth + 1)),
            ));
        }
        "allOf" if depth < MAX_BRANCH_DEPTH => {
            items(value).for_each(|branch| settle(shape(branch, depth + 1)));
        }
        _ => {}
    });
    known
}

fn shape_of_types(value: &[u8]) -> Shape {
    let one = |name: &[u8]| match as_str(name).as_deref() {
        Some("object") => Shape::Object,
        _ => Shape::Other,
    };
    if value.first() == Some(&b'[') {
        Shape::any(items(value).map(one))
    } else {
        one(value)
    }
}

fn items(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut items = Vec::new();
    for_each_item(raw, |span| items.push(span.of(raw)));
    items.into_iter()
}

/// An object schema in the narrow form; `None` if it has it. Boolean subschemas become the objects
/// that mean the same; `required`, `properties` and `$schema` that no dialect allows go.
fn object_schema(raw: &[u8]) -> Option<Vec<u8>> {
    let extra: &[u8] = if member(raw, "type").is_some() {
        b""
    } else {
        b"\"type\":\"object\""
    };
    edit::object(raw, extra, |key, value| match key {
        "type" if as_str(value).as_deref() != Some("object") => {
            Edit::Value(b"\"object\""[..].into())
        }
        "properties" if is_object(value) => properties(value).into(),
        "properties" => Edit::Drop,
        "required" if !is_strings(value) => Edit::Drop,
        "$schema" if value.first() != Some(&b'"') => Edit::Drop,
        _ => Edit::Keep,
    })
}

fn properties(raw: &[u8]) -> Option<Vec<u8>> {
    edit::object(raw, b"", |_, value| match value {
        b"false" => Edit::Value(b"{\"not\":{}}"[..].into()),
        _ if is_object(value) => Edit::Keep,
        _ => Edit::Value(b"{}"[..].into()),
    })
}

fn is_strings(raw: &[u8]) -> bool {
    raw.first() == Some(&b'[') && items(raw).all(|item| item.first() == Some(&b'"'))
}

/// A schema whose references to itself lead to where it is now, `pointer` (JSON Schema 2020-12
/// core, 8.2).
fn moved(raw: &[u8], pointer: &str) -> Vec<u8> {
    let mut references = References {
        text: raw,
        found: Vec::new(),
    };
    let mut scanner = Scanner::over_utf8(raw);
    if references.schema(&mut scanner).is_err() {
        return raw.to_vec();
    }
    let mut splice = Splice::new();
    for (span, fragment) in references.found {
        splice.replace(span, quoted(&format!("{pointer}{fragment}")));
    }
    let mut out = Vec::with_capacity(raw.len());
    splice.apply(raw, Span::of_part(raw, raw), &mut out);
    out
}

/// The references from a schema to its own root.
struct References<'a> {
    text: &'a [u8],
    /// Where each is, and what follows the `#`.
    found: Vec<(Span, String)>,
}

impl References<'_> {
    /// Reads a value where a schema may stand.
    fn schema(&mut self, scanner: &mut Scanner<'_>) -> Result<(), JsonError> {
        let mut first = true;
        match scanner.peek() {
            Some(b'[') => {
                scanner.enter_array()?;
                while scanner.next_item(&mut first)? {
                    self.schema(scanner)?;
                }
            }
            Some(b'{') => {
                let before = self.found.len();
                let mut is_root_of_its_own = false;
                scanner.enter_object()?;
                while let Some(key) = scanner.next_key(&mut first)? {
                    is_root_of_its_own |= self.keyword(&key.text(), scanner)?;
                }
                // References are relative to the nearest `$id`.
                if is_root_of_its_own {
                    self.found.truncate(before);
                }
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    }

    /// Reads the value of a keyword; whether it makes the schema the root of its own references.
    fn keyword(&mut self, key: &str, scanner: &mut Scanner<'_>) -> Result<bool, JsonError> {
        match key {
            "$id" => {
                let id = as_str(scanner.value()?.of(self.text)).unwrap_or_default();
                return Ok(!id.is_empty() && !id.starts_with('#'));
            }
            "$ref" | "$dynamicRef" | "$recursiveRef" if scanner.peek() == Some(b'"') => {
                let span = scanner.string()?;
                let target = as_str(span.of(self.text)).unwrap_or_default();
                // An anchor's name does not change with its place.
                if let Some(fragment) = target.strip_prefix('#')
                    && (fragment.is_empty() || fragment.starts_with('/'))
                {
                    self.found.push((span, fragment.to_owned()));
                }
            }
            "const" | "enum" | "default" | "examples" => {
                scanner.value()?;
            }
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
            | "dependencies"
                if scanner.peek() == Some(b'{') =>
            {
                let mut first = true;
                scanner.enter_object()?;
                while scanner.next_key(&mut first)?.is_some() {
                    self.schema(scanner)?;
                }
            }
            _ => self.schema(scanner)?,
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
