//! HTTP/1.1 on one connection: requests in, bytes out.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::delivery::{Delivery, Then};
use super::{InFlight, Shared};

/// The most bytes of a request's head, and of what a client may send before it is answered.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most bytes of a request's body.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// A request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) verb: String,
    pub(super) path: String,
    pub(super) session: Option<String>,
    pub(super) body: Vec<u8>,
}

/// How the answer to a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All was sent that there was to send.
    Sent(Then),
    /// The client went before.
    HungUp,
}

/// Answers requests, one after the other, until either side ends the connection.
pub(super) async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffer = Vec::new();
    // Whoever sends what is no request is told nothing.
    while let Ok(Some(request)) = read_request(&mut stream, &mut buffer).await {
        let in_flight = InFlight::begin(&shared);
        let (delivery, running) = shared.answer(&request);
        let may_go = async {
            if running.is_some() {
                shared.released().await;
            }
        };
        let end = deliver(&mut stream, &mut buffer, may_go, &delivery).await;
        if let Some(running) = running {
            shared.ended(&running, end != End::HungUp);
        }
        drop(in_flight);
        match end {
            End::Sent(Then::Next) => {}
            End::Sent(Then::Reset) => {
                // Fails only if the connection is gone, which is what is wanted.
                let _ = stream.set_zero_linger();
                return;
            }
            End::Sent(Then::Close | Then::Nothing) | End::HungUp => return,
        }
    }
}

/// The next request; `None` if there are no more.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    loop {
        if let Some(request) = take_request(buffer)? {
            return Ok(Some(request));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Takes a request out of the buffer; `None` as long as it is not whole.
pub(super) fn take_request(buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if buffer.len() <= MAX_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(invalid("the head is too long")),
        Err(error) => return Err(invalid(&error.to_string())),
    };
    let header = |name: &str| {
        let found = parsed.headers.iter();
        let mut found = found.filter(|header| header.name.eq_ignore_ascii_case(name));
        let value = found.next().map(|header| header.value);
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let length = header("content-length").map_or(Ok(0), |length| length.parse::<usize>());
    let length = length.map_err(|_| invalid("Content-Length is no number"))?;
    if length > MAX_BODY_BYTES {
        return Err(invalid("the body is too long"));
    }
    if buffer.len() < head + length {
        return Ok(None);
    }
    let request = Request {
        verb: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        session: header("mcp-session-id"),
        body: buffer[head..head + length].to_vec(),
    };
    buffer.drain(..head + length);
    Ok(Some(request))
}

/// Sends an answer once it may go, as long as the client is there.
async fn deliver(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    may_go: impl Future<Output = ()>,
    delivery: &Delivery,
) -> End {
    let (mut read, mut write) = stream.split();
    tokio::select! {
        // What was sent to the end was not given up.
        biased;
        sent = async {
            may_go.await;
            send(&mut write, delivery).await
        } => sent.map_or(End::HungUp, End::Sent),
        () = until_gone(&mut read, buffer) => End::HungUp,
    }
}

async fn send(write: &mut (impl AsyncWrite + Unpin), delivery: &Delivery) -> io::Result<Then> {
    sleep(delivery.pause).await;
    match delivery.drip {
        None => write.write_all(&delivery.bytes).await?,
        Some((bytes, every)) => {
            for piece in delivery.bytes.chunks(bytes) {
                write.write_all(piece).await?;
                sleep(every).await;
            }
        }
    }
    if delivery.then == Then::Nothing {
        std::future::pending::<()>().await;
    }
    Ok(delivery.then)
}

/// Waits until the client closes the connection. What it sends meanwhile is kept for later.
async fn until_gone(read: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) {
    while buffer.len() <= MAX_HEAD_BYTES {
        if !matches!(read.read_buf(buffer).await, Ok(1..)) {
            return;
        }
    }
}
