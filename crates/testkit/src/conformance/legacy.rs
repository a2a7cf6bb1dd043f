//! The tools that ask the client something in the middle of a call, as the legacy era does it: by a
//! request of the server's own on the call's stream. In the modern era rmcp refuses to send one and
//! the tool fails; its counterparts there are the [`questions`](super::questions).

#![expect(
    deprecated,
    reason = "sampling and roots are deprecated, and still in use"
)]

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, ClientCapabilities, CreateMessageRequestParams, ElicitRequestParams,
    JsonObject, SamplingMessage,
};
use serde_json::{Value, json};

use super::fixtures::FIXTURES;
use super::handler::{Context, declared, failure, text};

/// `test_missing_capability`: answers those who declared sampling.
///
/// # Errors
///
/// −32021 for everyone else.
pub(super) fn needs_sampling(context: &Context) -> Result<CallToolResult, ErrorData> {
    if declared(context).sampling.is_none() {
        let sampling = ClientCapabilities::builder().enable_sampling().build();
        return Err(ErrorData::missing_required_client_capability(sampling));
    }
    Ok(text("The client can sample"))
}

/// `test_sampling`: has the client's model answer the prompt.
pub(super) async fn sample(arguments: &JsonObject, context: &Context) -> CallToolResult {
    if declared(context).sampling.is_none() {
        return failure("The client does not support sampling");
    }
    let prompt = arguments.get("prompt").and_then(Value::as_str);
    let message = SamplingMessage::user_text(prompt.unwrap_or_default());
    let request = CreateMessageRequestParams::new(vec![message], 100);
    match context.peer.create_message(request).await {
        Ok(result) => {
            let said = result.message.content.first();
            let said = said.and_then(|content| content.as_text());
            let said = said.map_or("", |content| content.text.as_str());
            text(format!("LLM response: {said}"))
        }
        Err(error) => failure(format!("Sampling failed: {error}")),
    }
}

/// `test_elicitation*`: has the client's user fill the form of the tool `name`.
pub(super) async fn elicit(
    name: &str,
    arguments: &JsonObject,
    context: &Context,
) -> CallToolResult {
    if declared(context).elicitation.is_none() {
        return failure("The client does not support elicitation");
    }
    let Some(mut form) = FIXTURES.forms.get(name).cloned() else {
        return failure("This tool has no form");
    };
    if let ElicitRequestParams::FormElicitationParams { message, .. } = &mut form
        && let Some(given) = arguments.get("message").and_then(Value::as_str)
    {
        given.clone_into(message);
    }
    let label = if name == "test_elicitation" {
        "User response"
    } else {
        "Elicitation completed"
    };
    match context.peer.create_elicitation(form).await {
        Ok(result) => {
            let said = json!(result);
            let action = said["action"].as_str().unwrap_or_default();
            text(format!(
                "{label}: action={action}, content={}",
                said["content"]
            ))
        }
        Err(error) => failure(format!("Elicitation failed: {error}")),
    }
}

/// `test_list_roots`: answers with the client's roots.
pub(super) async fn list_roots(context: &Context) -> CallToolResult {
    if declared(context).roots.is_none() {
        return failure("The client does not support roots");
    }
    match context.peer.list_roots().await {
        Ok(result) => CallToolResult::structured(json!({ "roots": result.roots })),
        Err(error) => failure(format!("Listing roots failed: {error}")),
    }
}
