//! Asking the client something in the middle of a call, as the legacy era does it: by requests of
//! the server's own on the call's stream. In the modern era rmcp refuses to send one, and
//! [`questions`](super::questions) asks instead.

#![expect(
    deprecated,
    reason = "sampling and roots are deprecated, and still in use"
)]

use futures_util::future::try_join_all;
use rmcp::model::{InputRequest, InputResponses};
use rmcp::service::ServiceError;
use serde_json::{Value, json};

use super::fixtures::Question;
use super::handler::{Context, declared};
use super::questions::undeclared;

/// Asks all of `question`, the requests of one round at once, and answers.
///
/// # Errors
///
/// A sentence: the client did not declare what a round needs, it refused a request, or it cancelled
/// the call.
pub(super) async fn ask(
    question: &Question,
    arguments: &Value,
    context: &Context,
) -> Result<String, String> {
    let capabilities = declared(context);
    let mut responses = InputResponses::new();
    for round in 0.. {
        let requests = question.requests(round, arguments, &capabilities);
        let Some(requests) = requests.map_err(|error| error.message.to_string())? else {
            break;
        };
        let mut missing = requests
            .values()
            .filter_map(|request| undeclared(request, &capabilities));
        if let Some((capability, _)) = missing.next() {
            return Err(format!("The client does not support {capability}"));
        }
        let asked = requests.into_iter().map(|(key, request)| async move {
            let response = send(request, context).await;
            response
                .map(|response| (key, response))
                .map_err(|error| format!("The client was asked in vain: {error}"))
        });
        responses = tokio::select! {
            responses = try_join_all(asked) => responses?.into_iter().collect(),
            () = context.ct.cancelled() => return Err("The call was cancelled".to_owned()),
        };
    }
    Ok(question.answer(Some(&responses)))
}

async fn send(request: InputRequest, context: &Context) -> Result<Value, ServiceError> {
    let peer = &context.peer;
    Ok(match request {
        InputRequest::CreateMessage(request) => json!(peer.create_message(request.params).await?),
        InputRequest::Elicitation(request) => json!(peer.create_elicitation(request.params).await?),
        InputRequest::ListRoots(_) => json!(peer.list_roots().await?),
        _ => return Err(ServiceError::UnexpectedResponse),
    })
}
