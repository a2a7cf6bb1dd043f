//! The HTTP+SSE transport of 2024-11-05, deprecated: one event stream for everything that the
//! server says, a POST for everything that it is told.

use ::http::Uri;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use switchboard_protocol::version::Version;

use super::http::HttpLink;
use super::inbox::Inbox;
use super::mux::{Incoming, MessageReader, MessageWriter, Mux, WriteError};
use super::pool::ResponseBody;
use super::sse::Decoder;
use super::{LinkError, Wire};

/// How long the server may take to say where messages go.
const ENDPOINT_DEADLINE: Duration = Duration::from_secs(10);
/// How long one message may take to be posted: less than the channel's own deadline, which ends it.
const POST_DEADLINE: Duration = Duration::from_secs(8);

/// Opens the stream and waits for its first event, which says where messages go.
///
/// # Errors
/// If the server has no such stream, or names another origin.
pub(crate) async fn connect(link: &HttpLink, inbox: Arc<Inbox>) -> Result<Mux, LinkError> {
    let wire = Wire {
        version: Version::V2024_11_05,
        session: None,
    };
    let answer = link.get(&wire).await?;
    if !answer.status().is_success() {
        return Err(LinkError::of_status(answer.status().as_u16(), None, None));
    }
    let mut reader = EventReader {
        body: answer.into_body(),
        events: Decoder::new(link.max_message()),
    };
    let endpoint = tokio::time::timeout(ENDPOINT_DEADLINE, reader.endpoint())
        .await
        .map_err(|_| LinkError::Invalid("its event stream names no endpoint".to_owned()))??;
    let uri = same_origin(link.uri(), &endpoint).ok_or_else(|| {
        LinkError::Invalid("its event stream names an endpoint elsewhere".to_owned())
    })?;
    let writer = Poster {
        link: link.at(uri),
        wire,
    };
    // Nothing to own but the stream, which ends with its reader.
    Ok(Mux::start(reader, writer, inbox, |stop| async move {
        stop.cancelled().await;
        None
    }))
}

/// The endpoint as a URI of the same origin: a server may not send our credentials elsewhere.
fn same_origin(base: &Uri, endpoint: &str) -> Option<Uri> {
    let base = url::Url::parse(&base.to_string()).ok()?;
    let joined = base.join(endpoint).ok()?;
    if joined.origin() != base.origin() {
        return None;
    }
    joined.as_str().parse().ok()
}

struct EventReader {
    body: ResponseBody,
    events: Decoder,
}

impl EventReader {
    async fn event(&mut self) -> Result<Option<super::sse::Event>, LinkError> {
        loop {
            if let Some(event) = self.events.next_event().map_err(|_| LinkError::TooLarge)? {
                return Ok(Some(event));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.events.push(&data);
                    }
                }
                Some(Err(_)) => return Err(LinkError::Lost("its event stream broke".to_owned())),
                None => return Ok(None),
            }
        }
    }

    async fn endpoint(&mut self) -> Result<String, LinkError> {
        while let Some(event) = self.event().await? {
            if event.name == "endpoint" {
                return Ok(String::from_utf8_lossy(&event.data).into_owned());
            }
        }
        Err(LinkError::Invalid(
            "its event stream names no endpoint".to_owned(),
        ))
    }
}

impl MessageReader for EventReader {
    async fn read(&mut self) -> Result<Option<Incoming>, String> {
        loop {
            match self.event().await {
                Ok(Some(event)) if event.name.is_empty() || event.name == "message" => {
                    return Ok(Some(Incoming::Message(event.data)));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

struct Poster {
    link: HttpLink,
    wire: Wire,
}

impl MessageWriter for Poster {
    async fn write(&mut self, message: Bytes) -> Result<(), WriteError> {
        let posting = self.link.notify(&self.wire, message);
        match tokio::time::timeout(POST_DEADLINE, posting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(LinkError::NotSent(_) | LinkError::Unreachable(_))) => Err(WriteError::Broken),
            // What becomes of one message says nothing of the stream, on which others wait.
            Ok(Err(error)) => Err(WriteError::Refused(error)),
            Err(_) => Err(WriteError::Refused(LinkError::Lost(
                "the message was not taken".to_owned(),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_stays_at_its_origin() {
        let base: Uri = "http://one.example/a/sse?x=1".parse().expect("a URI");
        let at = |endpoint: &str| same_origin(&base, endpoint).map(|uri| uri.to_string());
        assert_eq!(
            at("/messages?s=1").as_deref(),
            Some("http://one.example/messages?s=1")
        );
        assert_eq!(
            at("messages").as_deref(),
            Some("http://one.example/a/messages")
        );
        assert_eq!(
            at("http://one.example/m").as_deref(),
            Some("http://one.example/m")
        );
        assert_eq!(at("http://two.example/m"), None);
        assert_eq!(at("//two.example/m"), None);
        assert_eq!(at("http://one.example:81/m"), None);
    }
}
