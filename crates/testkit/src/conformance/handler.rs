//! The MCP methods of the server, and the table of its tools.

// Logging, sampling and roots are deprecated in rmcp; clients of both eras still use them.
#![expect(
    deprecated,
    reason = "the server has to serve what the protocol still defines"
)]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
    CompleteRequestParams, CompleteResult, CompletionInfo, ContentBlock, GetPromptRequestParams,
    GetPromptResponse, GetPromptResult, Implementation, JsonObject, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    Prompt, PromptMessage, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Reference, ResourceContents, Role, ServerCapabilities, ServerConfig,
    SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::era::{Era, is_modern};
use super::fixtures::FIXTURES;
use super::questions::{Reply, Said};
use super::state::{Change, Session, Shared};
use super::{controls, legacy, reports};

/// How long a client may keep a list or a resource, in milliseconds.
const CACHE_TTL_MS: u64 = 60_000;
/// What comes before and after the variable of the one resource template.
const TEMPLATE_AFFIXES: (&str, &str) = ("test://template/", "/data");

/// The server as one session, or one modern request, sees it.
#[derive(Clone)]
pub(super) struct ConformanceServer {
    session: Arc<Session>,
    era: Era,
}

/// The context of a request, by a shorter name.
pub(super) type Context = RequestContext<RoleServer>;

impl ConformanceServer {
    /// A server for a new session.
    pub(super) fn new(shared: Arc<Shared>, era: Era) -> Self {
        Self {
            session: Arc::new(Session::new(shared)),
            era,
        }
    }

    /// The table of tools: questions, fixed answers, those with a behaviour of their own, and those
    /// that were added and echo.
    async fn answer_tool(
        &self,
        request: CallToolRequestParams,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let shared = &self.session.shared;
        let name = request.name.as_ref();
        if let Some(question) = FIXTURES.questions.get(name) {
            let arguments = json!(request.arguments);
            if !modern(context) {
                let answer = legacy::ask(question, &arguments, context).await;
                return Ok(answer.map_or_else(failure, text).into());
            }
            let said = Said {
                name,
                arguments: &arguments,
                responses: request.input_responses.as_ref(),
                state: request.request_state.as_deref(),
                capabilities: &declared(context),
            };
            return Ok(match question.reply(&shared.codec, &said)? {
                Reply::Ask(result) => result.into(),
                Reply::Answer(answer) => text(answer).into(),
            });
        }
        if let Some(content) = FIXTURES.answers.get(name) {
            return Ok(CallToolResult::success(content.clone()).into());
        }
        let arguments = request.arguments.unwrap_or_default();
        let result = match name {
            "test_error_handling" => {
                failure("This tool intentionally returns an error for testing")
            }
            "test_missing_capability" => needs_sampling(context)?,
            "test_reconnection" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                text("Answered after a pause")
            }
            "test_tool_with_logging" => reports::log_thrice(&self.session, context).await,
            "test_logging_tool" => reports::log_once(&self.session, context).await,
            "test_tool_with_progress" => reports::progress_thrice(context).await,
            "slow" => reports::slow(&self.session, &arguments, context).await?,
            "counters" => CallToolResult::structured(json!(shared.counts())),
            "add_tool" => controls::add_tool(shared, &arguments).await?,
            "remove_tool" => controls::remove_tool(shared, &arguments).await?,
            "touch_resource" => controls::touch_resource(shared, &arguments).await?,
            "test_trigger_tool_change" => controls::announce(shared, Change::Tools).await,
            "test_trigger_prompt_change" => controls::announce(shared, Change::Prompts).await,
            _ => CallToolResult::structured(Value::Object(arguments)),
        };
        Ok(result.into())
    }
}

impl ServerHandler for ConformanceServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_completions()
            .enable_logging()
            .build();
        let newest = self.era.versions().last().cloned().unwrap_or_default();
        ServerConfig::new(capabilities)
            .with_protocol_version(newest)
            .with_server_info(Implementation::new(
                "switchboard-conformance-server",
                env!("CARGO_PKG_VERSION"),
            ))
            .with_instructions("A server for tests; see its tools.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.era.versions()
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        // A session beyond the bound works, but hears of no changes; a notification has no answer
        // to say so in.
        let _ = self.session.listen(context.peer);
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        if modern(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        self.session.set_log_level(request.level);
        Ok(())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.session.shared.tool(name)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.session.shared.tools())
            .with_ttl_ms(CACHE_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let shared = &self.session.shared;
        if shared.tool(&request.name).is_none() {
            let message = format!("Unknown tool: {}", request.name);
            return Err(ErrorData::invalid_params(message, None));
        }
        let guard = (request.name != "counters").then(|| shared.begin_call());
        let response = self.answer_tool(request, &context).await;
        if let Some(guard) = guard
            && !context.ct.is_cancelled()
        {
            guard.answered();
        }
        response
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let questions = FIXTURES
            .prompt_questions
            .iter()
            .map(|(name, question)| Prompt::new(name, Some(&question.description), None));
        let prompts = FIXTURES
            .prompts
            .iter()
            .map(|prompt| prompt.definition.clone())
            .chain(questions)
            .collect();
        Ok(ListPromptsResult::with_all_items(prompts)
            .with_ttl_ms(CACHE_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let name = request.name.as_str();
        if let Some(question) = FIXTURES.prompt_questions.get(name) {
            let arguments = json!(request.arguments);
            if !modern(&context) {
                let answer = legacy::ask(question, &arguments, &context).await;
                let answer = answer.map_err(|error| ErrorData::internal_error(error, None))?;
                return Ok(prompt_of(answer).into());
            }
            let said = Said {
                name,
                arguments: &arguments,
                responses: request.input_responses.as_ref(),
                state: request.request_state.as_deref(),
                capabilities: &declared(&context),
            };
            return Ok(match question.reply(&self.session.shared.codec, &said)? {
                Reply::Ask(result) => result.into(),
                Reply::Answer(answer) => prompt_of(answer).into(),
            });
        }
        let Some(prompt) = FIXTURES
            .prompts
            .iter()
            .find(|prompt| prompt.definition.name == name)
        else {
            let message = format!("Unknown prompt: {name}");
            return Err(ErrorData::invalid_params(message, None));
        };
        let arguments = json!(request.arguments.unwrap_or_default());
        let messages = prompt
            .messages(&arguments)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(GetPromptResult::new(messages).into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = FIXTURES.resources.iter();
        let resources = resources.map(|resource| resource.definition.clone());
        Ok(ListResourcesResult::with_all_items(resources.collect())
            .with_ttl_ms(CACHE_TTL_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(
            ListResourceTemplatesResult::with_all_items(FIXTURES.templates.clone())
                .with_ttl_ms(CACHE_TTL_MS)
                .with_cache_scope(CacheScope::Public),
        )
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let fixture = FIXTURES
            .resources
            .iter()
            .find(|resource| resource.definition.uri == uri)
            .map(|resource| resource.contents());
        let Some(contents) = fixture.or_else(|| template_contents(uri)) else {
            // rmcp turns the code into the one of the client's version.
            return Err(ErrorData::resource_not_found(
                "Resource not found",
                Some(json!({ "uri": uri })),
            ));
        };
        Ok(ReadResourceResult::new(vec![contents])
            .with_ttl_ms(CACHE_TTL_MS)
            .with_cache_scope(CacheScope::Public)
            .into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        self.session.subscribe(context.peer, request.uri)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.session.unsubscribe(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let _guard = self.session.shared.listen(context.sink().clone())?;
        context.cancelled().await;
        Ok(())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let known = match &request.r#ref {
            Reference::Prompt(prompt) => FIXTURES.completions.prompt.get(&prompt.name),
            Reference::Resource(resource) => FIXTURES.completions.resource.get(&resource.uri),
            _ => None,
        };
        let values: Vec<String> = known
            .and_then(|arguments| arguments.get(&request.argument.name))
            .into_iter()
            .flatten()
            .filter(|value| value.starts_with(&request.argument.value))
            .cloned()
            .collect();
        let completion = CompletionInfo::with_all_values(values)
            .map_err(|error| ErrorData::internal_error(error, None))?;
        Ok(CompleteResult::new(completion))
    }
}

fn template_contents(uri: &str) -> Option<ResourceContents> {
    let (prefix, suffix) = TEMPLATE_AFFIXES;
    let id = uri.strip_prefix(prefix)?.strip_suffix(suffix)?;
    let body = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
    Some(ResourceContents::text(body.to_string(), uri).with_mime_type("application/json"))
}

/// Whether the request is of the modern era.
pub(super) fn modern(context: &Context) -> bool {
    context
        .protocol_version()
        .is_some_and(|version| is_modern(version.as_str()))
}

/// What the client declared: on this request in the modern era, at `initialize` in the legacy one.
pub(super) fn declared(context: &Context) -> ClientCapabilities {
    context.client_capabilities().unwrap_or_default()
}

/// `test_missing_capability`: answers those who declared sampling.
///
/// # Errors
///
/// −32021 for everyone else, in both eras: an older server may use the code as one of its own.
fn needs_sampling(context: &Context) -> Result<CallToolResult, ErrorData> {
    if declared(context).sampling.is_none() {
        let sampling = ClientCapabilities::builder().enable_sampling().build();
        return Err(ErrorData::missing_required_client_capability(sampling));
    }
    Ok(text("The client can sample"))
}

fn prompt_of(answer: String) -> GetPromptResult {
    GetPromptResult::new(vec![PromptMessage::new_text(Role::User, answer)])
}

/// A result of one text.
pub(super) fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// A failed result of one text.
pub(super) fn failure(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// The string argument `name`.
///
/// # Errors
///
/// −32602 where it is missing or no string.
pub(super) fn string_argument<'a>(
    arguments: &'a JsonObject,
    name: &str,
) -> Result<&'a str, ErrorData> {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| ErrorData::invalid_params(format!("{name} must be a string"), None))
}
