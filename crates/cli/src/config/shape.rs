//! Reading the JSON Schema that the types of the configuration carry.

use serde_json::Value as Json;

use super::formats;

/// The schema of the whole configuration.
pub(super) fn schema() -> Json {
    schemars::schema_for!(switchboard_gateway::config::Config).to_value()
}

/// A schema with its references followed and without the alternative `null`.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    root: &'a Json,
    /// The place of use, which may describe and default what it refers to.
    outer: &'a Json,
    inner: &'a Json,
    /// Whether nothing at all is a value too.
    pub(super) nullable: bool,
}

impl<'a> Shape<'a> {
    pub(super) fn root(root: &'a Json) -> Self {
        Self::of(root, root)
    }

    fn of(root: &'a Json, outer: &'a Json) -> Self {
        let mut inner = outer;
        let mut nullable = false;
        loop {
            if let Some(name) = inner["$ref"].as_str() {
                let name = name.rsplit('/').next().unwrap_or(name);
                inner = &root["$defs"][name];
            } else if let Some(alternatives) = inner["anyOf"].as_array() {
                let some = |schema: &&Json| schema["type"] != "null";
                nullable |= !alternatives.iter().all(|schema| some(&schema));
                inner = alternatives.iter().find(some).unwrap_or(&Json::Null);
            } else {
                nullable |= names(&inner["type"]).any(|name| name == "null");
                return Self {
                    root,
                    outer,
                    inner,
                    nullable,
                };
            }
        }
    }

    /// A keyword, of the place of use first.
    pub(super) fn keyword(&self, keyword: &str) -> &'a Json {
        match &self.outer[keyword] {
            Json::Null => &self.inner[keyword],
            value => value,
        }
    }

    /// The types that a value may have, beside `null`.
    pub(super) fn types(&self) -> impl Iterator<Item = &'a str> {
        names(&self.inner["type"]).filter(|name| *name != "null")
    }

    /// The only texts that are allowed, with their descriptions.
    pub(super) fn choices(&self) -> Vec<(&'a str, &'a str)> {
        let described = self.inner["oneOf"].as_array().into_iter().flatten();
        let described = described.filter_map(|choice| {
            let description = choice["description"].as_str().unwrap_or("");
            Some((choice["const"].as_str()?, description))
        });
        let plain = names(&self.inner["enum"]).map(|name| (name, ""));
        described.chain(plain).collect()
    }

    /// The keys that are known by name.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'a str, Shape<'a>)> {
        let root = self.root;
        let properties = self.inner["properties"].as_object().into_iter().flatten();
        properties.map(move |(key, schema)| (key.as_str(), Shape::of(root, schema)))
    }

    pub(super) fn required(&self) -> impl Iterator<Item = &'a str> {
        names(&self.inner["required"])
    }

    /// What the values of a table have in common whose keys are the user's.
    pub(super) fn values(&self) -> Option<Shape<'a>> {
        let schema = &self.inner["additionalProperties"];
        schema.is_object().then(|| Self::of(self.root, schema))
    }

    pub(super) fn items(&self) -> Option<Shape<'a>> {
        let schema = self.keyword("items");
        schema.is_object().then(|| Self::of(self.root, schema))
    }
}

/// The texts of a keyword that is one text or a list of them.
pub(super) fn names(schema: &Json) -> impl Iterator<Item = &str> {
    let one = schema.as_str().into_iter();
    one.chain(
        schema
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str),
    )
}

/// What a value should be.
pub(super) fn expected(shape: Shape<'_>) -> String {
    let format = shape.keyword("format").as_str().and_then(formats::format);
    if let Some(format) = format {
        return format.expected.to_owned();
    }
    let types: Vec<&str> = shape.types().map(type_name).collect();
    let mut expected = types.join(" or ");
    if shape.keyword("minLength").as_u64() > Some(0) {
        expected.push_str(" of at least one character");
    }
    match (shape.keyword("minimum"), shape.keyword("maximum")) {
        (Json::Null, Json::Null) => {}
        (minimum, Json::Null) => expected.push_str(&format!(" of at least {minimum}")),
        (Json::Null, maximum) => expected.push_str(&format!(" of at most {maximum}")),
        (minimum, maximum) => expected.push_str(&format!(" from {minimum} to {maximum}")),
    }
    expected
}

/// What people call a type of JSON Schema.
fn type_name(name: &str) -> &str {
    match name {
        "array" => "a list",
        "boolean" => "`true` or `false`",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "a table of keys",
        "string" => "text",
        other => other,
    }
}
