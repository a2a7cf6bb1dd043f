//! What a check against a schema costs at most: references can be written so that it doubles with each.

use std::collections::HashMap;

use serde_json::Value;

/// The name of the schema itself among its definitions.
const ROOT: &str = "";
/// The most that a schema may cost, in bytes of schemas without references.
const MAX_COST: usize = 256 * 1024;

/// Keywords whose schemas are for the value itself, or for parts of it that others are for as well.
const IN_PLACE: [&str; 14] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
    "patternProperties",
    "propertyNames",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// How many bytes of schemas each part of a value is checked against at most; `None`: nobody can say, or far too
/// many.
pub(super) fn cost_of(schema: &Value) -> Option<usize> {
    let schemas = Schemas::of(schema)?;
    match schemas.expanded() {
        Some(cost) => (cost <= MAX_COST).then_some(cost),
        None => schemas.recursive(),
    }
}

/// A schema and its definitions, by how they are referred to.
struct Schemas<'s>(HashMap<&'s str, Definition<'s>>);

struct Definition<'s> {
    /// What it has beside definitions.
    members: Vec<(&'s str, &'s Value)>,
    /// In bytes.
    length: usize,
    /// Whatever it refers to.
    references: Vec<&'s str>,
}

impl<'s> Schemas<'s> {
    /// `None`: something refers elsewhere, or in a way that is not followed.
    fn of(schema: &'s Value) -> Option<Self> {
        let mut schemas = HashMap::new();
        let mut root = Vec::new();
        for (key, value) in schema.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("$defs" | "definitions", Value::Object(definitions)) => {
                    for (name, definition) in definitions {
                        let members = match definition {
                            Value::Object(members) => {
                                members.iter().map(|(key, value)| (&**key, value)).collect()
                            }
                            _ => Vec::new(),
                        };
                        schemas.insert(&**name, Definition::of(members)?);
                    }
                }
                ("$id" | "$schema", _) => {}
                (key, value) => root.push((key, value)),
            }
        }
        schemas.insert(ROOT, Definition::of(root)?);
        let is_known = |name: &&str| schemas.contains_key(*name);
        let mut all = schemas.values().flat_map(|it| &it.references);
        all.all(is_known).then_some(Self(schemas))
    }

    /// The length with each reference replaced by what it leads to; `None`: it has no end.
    fn expanded(&self) -> Option<usize> {
        self.sum_of(
            ROOT,
            &|it| (it.length, it.references.clone()),
            &mut HashMap::new(),
        )
    }

    /// The length of all schemas, where references lead back: if each part of a value is checked by way of one
    /// reference alone, and none leads back to itself on the same value.
    fn recursive(&self) -> Option<usize> {
        let in_place = |it: &Definition<'s>| (0, in_place_references(&it.members));
        for (name, definition) in &self.0 {
            if !leads_one_way(&definition.members) {
                return None;
            }
            self.sum_of(name, &in_place, &mut HashMap::new())?;
        }
        Some(self.0.values().map(|it| it.length).sum())
    }

    /// The lengths of a definition and of all that it leads to, each as often as it does; `None`: that has no
    /// end.
    fn sum_of<'a>(
        &'a self,
        name: &'a str,
        of: &dyn Fn(&'a Definition<'s>) -> (usize, Vec<&'s str>),
        known: &mut HashMap<&'a str, Option<usize>>,
    ) -> Option<usize>
    where
        's: 'a,
    {
        if let Some(sum) = known.get(name) {
            return *sum;
        }
        // Until it is known, it leads back.
        known.insert(name, None);
        let (mut sum, references) = of(self.0.get(name)?);
        for reference in references {
            sum = sum.saturating_add(self.sum_of(reference, of, known)?);
        }
        known.insert(name, Some(sum));
        Some(sum)
    }
}

impl<'s> Definition<'s> {
    fn of(members: Vec<(&'s str, &'s Value)>) -> Option<Self> {
        let mut references = Vec::new();
        for (key, value) in &members {
            refer(key, value, &mut references)?;
        }
        let length = members.iter().map(|(_, value)| value.to_string().len());
        Some(Self {
            // No check is for nothing.
            length: length.sum::<usize>() + 1,
            members,
            references,
        })
    }
}

/// Adds what a member refers to; `None`: elsewhere, or in a way that is not followed.
fn refer<'s>(key: &str, value: &'s Value, references: &mut Vec<&'s str>) -> Option<()> {
    match (key, value) {
        ("$ref", Value::String(target)) => references.push(name_of(target)?),
        (
            "$dynamicRef" | "$recursiveRef" | "$id" | "$anchor" | "$dynamicAnchor",
            Value::String(_),
        ) => return None,
        (_, Value::Object(members)) => {
            for (key, value) in members {
                refer(key, value, references)?;
            }
        }
        (_, Value::Array(items)) => {
            for item in items {
                refer("", item, references)?;
            }
        }
        _ => {}
    }
    Some(())
}

fn name_of(target: &str) -> Option<&str> {
    if target == "#" {
        return Some(ROOT);
    }
    let name = target
        .strip_prefix("#/$defs/")
        .or_else(|| target.strip_prefix("#/definitions/"))?;
    (!name.is_empty() && !name.contains(['/', '~', '%'])).then_some(name)
}

fn refers(key: &str, value: &Value) -> bool {
    let mut references = Vec::new();
    refer(key, value, &mut references).is_none() || !references.is_empty()
}

/// What is referred to for the same value.
fn in_place_references<'s>(members: &[(&'s str, &'s Value)]) -> Vec<&'s str> {
    let mut references = Vec::new();
    for (key, value) in members {
        if *key == "$ref" || IN_PLACE.contains(key) {
            // More than is for the same value, to be sure.
            let _ = refer(key, value, &mut references);
        }
    }
    references
}

/// Whether a part of a value is checked by way of one reference at most, in all schemas that are in this one.
fn leads_one_way(members: &[(&str, &Value)]) -> bool {
    let mut ways = 0;
    let mut has_parts = false;
    for (key, value) in members {
        match value {
            _ if !refers(key, value) => {}
            Value::Array(items) if IN_PLACE.contains(key) => {
                ways += items.iter().filter(|item| refers("", item)).count();
            }
            Value::Object(inner)
                if matches!(
                    *key,
                    "patternProperties" | "dependentSchemas" | "dependencies"
                ) =>
            {
                ways += inner
                    .iter()
                    .filter(|(key, value)| refers(key, value))
                    .count();
            }
            _ if *key == "$ref" || IN_PLACE.contains(key) => ways += 1,
            _ => has_parts = true,
        }
    }
    let inner = |value: &Value| match value {
        Value::Object(members) => leads_one_way(
            &members
                .iter()
                .map(|(key, value)| (&**key, value))
                .collect::<Vec<_>>(),
        ),
        _ => true,
    };
    ways + usize::from(has_parts) <= 1
        && members.iter().all(|(_, value)| match value {
            Value::Array(items) => items.iter().all(inner),
            value => inner(value),
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_and_recursive_models_are_bounded() {
        let nested = json!({
            "$defs": {
                "City": { "type": "object", "properties": { "name": { "type": "string" } } },
                "Address": { "type": "object", "properties": { "city": { "$ref": "#/$defs/City" } } },
                "Person": { "properties": {
                    "home": { "$ref": "#/$defs/Address" },
                    "work": { "anyOf": [{ "$ref": "#/$defs/Address" }, { "type": "null" }] },
                } },
            },
            "$ref": "#/$defs/Person",
        });
        let length = nested.to_string().len();
        assert!(cost_of(&nested).is_some_and(|cost| (100..2 * length).contains(&cost)));
        for recursive in [
            json!({
                "$defs": { "Node": { "properties": {
                    "name": { "type": "string" },
                    "children": { "type": "array", "items": { "$ref": "#/$defs/Node" } },
                } } },
                "$ref": "#/$defs/Node",
            }),
            json!({ "properties": { "next": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } } }),
            json!({ "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" } } }),
        ] {
            assert!(cost_of(&recursive).is_some(), "{recursive}");
        }
        assert_eq!(cost_of(&json!(true)), Some(1));
    }

    #[test]
    fn what_doubles_or_has_no_end_is_not() {
        let mut doubled = json!({ "$ref": "#/$defs/n0" });
        for n in 0..60 {
            let next = json!({ "$ref": format!("#/$defs/n{}", n + 1) });
            doubled["$defs"][format!("n{n}")] = json!({ "allOf": [next, next] });
        }
        doubled["$defs"]["n60"] = json!({ "type": "object" });
        let twice = json!({ "$ref": "#" });
        for schema in [
            doubled,
            json!({ "properties": { "a": { "allOf": [twice, twice] } } }),
            json!({ "properties": { "a": twice }, "allOf": [{ "properties": { "a": twice } }] }),
            json!({ "patternProperties": { "a": twice, "b": twice } }),
            json!({ "items": twice, "contains": twice }),
            json!({ "$ref": "#" }),
            json!({ "anyOf": [twice] }),
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "not": { "$ref": "#/$defs/a" } } }, "$ref": "#/$defs/a" }),
            json!({ "$ref": "https://example.com/schema" }),
            json!({ "$ref": "#/properties/a", "properties": { "a": {} } }),
            json!({ "$ref": "#/$defs/missing" }),
            json!({ "items": { "$dynamicRef": "#a" } }),
        ] {
            assert_eq!(cost_of(&schema), None, "{schema}");
        }
    }
}
