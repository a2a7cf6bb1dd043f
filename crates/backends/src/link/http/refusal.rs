//! What is learned of an answer whose status is an error.

use std::time::{Duration, SystemTime};

use ::http::header::RETRY_AFTER;
use ::http::{HeaderMap, Response as HttpResponse};
use switchboard_protocol::envelope::Message;

use super::collect::{Limit, collect};
use crate::config::duration;
use crate::link::LinkError;
use crate::link::pool::ResponseBody;

/// How much of the body of an error is read.
pub(super) const OF_ERROR: Limit = Limit {
    bytes: 64 * 1024,
    silence: None,
};

/// Reads what a server says of its refusal.
pub(super) async fn refused(answer: HttpResponse<ResponseBody>) -> LinkError {
    let status = answer.status().as_u16();
    let retry_after = retry_after(answer.headers());
    let error = match collect(answer.into_body(), OF_ERROR)
        .await
        .map(Message::parse)
    {
        Ok(Ok(Message::Response(response))) if response.error.is_some() => Some(Box::new(response)),
        _ => None,
    };
    LinkError::of_status(status, retry_after, error)
}

/// When the server wants to be asked again: a number of seconds or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(after.min(duration::LONGEST))
}
