//! A table of tools: one row holds what a tool says of itself and what it does.

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, CallToolResult, ContentBlock, JsonObject, ListToolsResult, Resource, Tool,
    ToolAnnotations,
};
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::RestrictFormats;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long, in milliseconds, a client may keep a list that never changes: an hour.
pub(super) const FOREVER_MS: u64 = 3_600_000;

/// A sentence for the model that called a tool: why it got no result.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal(pub(super) String);

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Refusal> for CallToolResult {
    fn from(Refusal(text): Refusal) -> Self {
        Self::error(vec![ContentBlock::text(text)])
    }
}

/// The result of a tool.
pub(super) trait Output: Serialize + JsonSchema {
    /// The resources that the result speaks of; they are linked after it.
    fn links(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// The result as both a structure and, for clients that know none, its text.
    fn into_result(self) -> CallToolResult
    where
        Self: Sized,
    {
        let value = match serde_json::to_value(&self) {
            Ok(value) => value,
            Err(error) => return Refusal(error.to_string()).into(),
        };
        let mut result = CallToolResult::structured(value);
        let links = self.links().into_iter().map(ContentBlock::resource_link);
        result.content.extend(links);
        result
    }
}

/// The definition of a tool whose schemas are those of its argument and result types.
pub(super) fn define<A: JsonSchema, O: Output>(
    name: &'static str,
    title: &str,
    description: &'static str,
    hints: ToolAnnotations,
) -> Tool {
    let input = schema::<A>(SchemaSettings::draft2020_12());
    let output = schema::<O>(SchemaSettings::draft2020_12().for_serialize());
    Tool::new(name, description, input)
        .with_title(title)
        .with_raw_output_schema(Arc::new(output))
        .with_annotations(hints)
}

/// The schema of a type, without what validators of other makers stumble over: `format`s that only
/// Rust knows, references, and the name of the Rust type.
fn schema<T: JsonSchema>(settings: SchemaSettings) -> JsonObject {
    let mut no_formats = RestrictFormats::default();
    no_formats.infer_from_meta_schema = false;
    let settings = settings
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(no_formats);
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    schema.remove("title");
    schema.remove("description");
    schema.as_object().cloned().unwrap_or_default()
}

/// Reads a tool's arguments.
pub(super) fn arguments<A: DeserializeOwned>(arguments: JsonObject) -> Result<A, Refusal> {
    serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Refusal(format!("The arguments do not fit: {error}.")))
}

/// The answer to a call of a tool that does not exist.
pub(super) fn unknown_tool(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Unknown tool: {name}"), None)
}

/// The list of `tools`, which is the same for everyone and as long as the server runs.
pub(super) fn list<'a>(tools: impl Iterator<Item = &'a Tool>) -> ListToolsResult {
    ListToolsResult::with_all_items(tools.cloned().collect())
        .with_ttl_ms(FOREVER_MS)
        .with_cache_scope(CacheScope::Public)
}

type Run<S> = Box<dyn Fn(&mut S, JsonObject) -> CallToolResult + Send + Sync>;

/// Tools that work on a state `S`, in the order in which they are listed.
pub(super) struct Table<S> {
    rows: Vec<(Tool, Run<S>)>,
}

impl<S: 'static> Table<S> {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a tool that `run`s at once, without waiting for anything.
    pub(super) fn row<A, O>(
        mut self,
        name: &'static str,
        title: &str,
        description: &'static str,
        hints: ToolAnnotations,
        run: impl Fn(&mut S, A) -> Result<O, Refusal> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Output,
    {
        let tool = define::<A, O>(name, title, description, hints);
        let run = move |state: &mut S, raw: JsonObject| {
            arguments(raw)
                .and_then(|arguments| run(state, arguments))
                .map_or_else(Into::into, Output::into_result)
        };
        self.rows.push((tool, Box::new(run)));
        self
    }

    pub(super) fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.rows.iter().map(|(tool, _)| tool)
    }

    /// Calls a tool.
    ///
    /// # Errors
    ///
    /// −32602 where no row has that name; everything else is a result that says so.
    pub(super) fn call(
        &self,
        state: &mut S,
        name: &str,
        arguments: JsonObject,
    ) -> Result<CallToolResult, ErrorData> {
        let row = self.rows.iter().find(|(tool, _)| tool.name == name);
        let (_, run) = row.ok_or_else(|| unknown_tool(name))?;
        Ok(run(state, arguments))
    }
}
