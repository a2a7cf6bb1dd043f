//! The bytes of an answer, and how a fault sends them.

use std::time::Duration;

use super::kind::Fault;

/// An answer as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) media_type: &'static str,
    /// A header beside the usual.
    pub(super) header: Option<(&'static str, String)>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn new(status: u16, media_type: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            media_type,
            header: None,
            body: body.into(),
        }
    }

    pub(super) fn json(body: impl Into<String>) -> Self {
        Self::new(200, "application/json", body)
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, "text/plain", "")
    }

    fn head(&self, framing: &str) -> Vec<u8> {
        let Self {
            status, media_type, ..
        } = self;
        let header = self.header.as_ref();
        let header = header.map_or(String::new(), |(name, value)| {
            format!("{name}: {value}\r\n")
        });
        format!("HTTP/1.1 {status} \r\nContent-Type: {media_type}\r\n{header}{framing}\r\n\r\n")
            .into_bytes()
    }
}

/// What is written on the connection, and when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) pause: Duration,
    pub(super) bytes: Vec<u8>,
    /// How many bytes at once, and the pause between them; all at once unless it is there.
    pub(super) drip: Option<(usize, Duration)>,
    pub(super) then: Then,
}

/// What follows the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request.
    Next,
    /// The connection is closed in good order.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing, until the client goes.
    Nothing,
}

impl Delivery {
    /// Sends the answer as this fault wants it.
    pub(super) fn of(reply: &Reply, fault: Option<Fault>) -> Self {
        let body = reply.body.as_bytes();
        let half = &body[..body.len() / 2];
        let head = reply.head(&format!("Content-Length: {}", body.len()));
        let mut delivery = Self {
            pause: fault.map_or(Duration::ZERO, Fault::delay),
            bytes: Vec::new(),
            drip: None,
            then: Then::Next,
        };
        (delivery.bytes, delivery.then) = match fault {
            Some(Fault::Hang) => (Vec::new(), Then::Nothing),
            Some(Fault::ResetUnexecuted) => (Vec::new(), Then::Reset),
            Some(Fault::ResetInHead(after)) => {
                (head[..after.min(head.len())].to_vec(), Then::Reset)
            }
            Some(Fault::ResetInBody(after)) => {
                let before = &body[..after.min(body.len().saturating_sub(1))];
                ([&head, before].concat(), Then::Reset)
            }
            Some(Fault::StallAfterHead) => (head, Then::Nothing),
            Some(Fault::HalfBody) => ([&head, half].concat(), Then::Close),
            Some(Fault::HalfChunked) => {
                let head = reply.head("Transfer-Encoding: chunked");
                let size = format!("{:x}\r\n", half.len()).into_bytes();
                ([&head, &size, half, b"\r\n"].concat(), Then::Close)
            }
            _ => ([&head, body].concat(), Then::Next),
        };
        if let Some(Fault::Drip { bytes, every_ms }) = fault {
            delivery.drip = Some((bytes.max(1), Duration::from_millis(every_ms)));
        }
        delivery
    }
}
