//! Requests that show a credential which is fetched, and renewed where the server refuses it.

use std::sync::Arc;

use ::http::header::AUTHORIZATION;
use ::http::{Request, Response as HttpResponse, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use switchboard_protocol::credentials::{CredentialError, Credentials, OnBehalf, Refusal};

use super::HttpLink;
use super::collect::collect;
use crate::credentials::challenge::Challenge;
use crate::link::LinkError;
use crate::link::http::OF_ERROR;
use crate::link::pool::ResponseBody;

impl HttpLink {
    /// Sends the request with its credential; once more with another one if the server refuses that,
    /// which it does before anything else (specification: `basic/authorization`, Access Token Usage).
    pub(super) async fn send_authorized(
        &self,
        credentials: &Arc<dyn Credentials>,
        mut request: Request<Full<Bytes>>,
        caller: Option<Arc<OnBehalf>>,
    ) -> Result<HttpResponse<ResponseBody>, LinkError> {
        let caller = caller.as_deref();
        let found = credentials.authorize(caller).found().await;
        let credential = found.map_err(no_credential)?;
        let mut again = copy(&request);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, credential.value().clone());
        let answer = self.send_bare(request).await?;
        let refusal = match answer.status() {
            StatusCode::UNAUTHORIZED => None,
            StatusCode::FORBIDDEN => match missing_scope(&answer) {
                Some(scope) => Some(scope),
                None => return Ok(answer),
            },
            _ => return Ok(answer),
        };
        let refusal = refusal
            .as_deref()
            .map_or(Refusal::Invalid, Refusal::InsufficientScope);
        let Some(other) = credentials.replace(caller, &credential, refusal) else {
            return Ok(answer);
        };
        // Read, so that the connection can be used again.
        let _ = collect(answer.into_body(), OF_ERROR).await;
        let other = other.found().await.map_err(no_credential)?;
        let headers = again.headers_mut();
        headers.insert(AUTHORIZATION, other.value().clone());
        self.send_bare(again).await
    }
}

/// The scopes that a server says to lack.
fn missing_scope<B>(answer: &HttpResponse<B>) -> Option<String> {
    let challenge = Challenge::of(answer.headers());
    let is_scope = challenge.error.as_deref() == Some("insufficient_scope");
    challenge.scope.filter(|_| is_scope)
}

fn copy(request: &Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn no_credential(error: CredentialError) -> LinkError {
    LinkError::NoCredential(Box::new(error))
}
