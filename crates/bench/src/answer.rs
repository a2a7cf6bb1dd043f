//! Reading answers, cheaply: small ones are parsed, of large ones the ends are looked at.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use crate::Failure;
use crate::script::Expected;
use crate::wire::{AnswerHead, MAX_MESSAGE_BYTES};

/// Bodies that are expected to be larger than this are not held, in bytes.
const HELD: usize = 64 * 1024;
/// How much is kept of either end of a body that is not held, in bytes.
const END: usize = 512;

/// Reads an answer and checks that it is the one to the request with this id.
///
/// # Errors
/// Says how it differs from what was expected.
pub(crate) async fn check(
    response: Response<Incoming>,
    id: u64,
    expected: Expected,
) -> Result<(), Failure> {
    let status = response.status();
    if status != StatusCode::OK {
        let body = collect(response).await?;
        return Err(Failure(format!("answered {status}: {}", excerpt(&body))));
    }
    match expected {
        Expected::Bytes(bytes) => {
            let ends = Ends::read(response).await?;
            if ends.length != bytes {
                return Err(Failure(format!("{} bytes, not {bytes}", ends.length)));
            }
            Ok(())
        }
        Expected::Result(at_least) if at_least > HELD => {
            Ends::read(response).await?.check(id, at_least)
        }
        Expected::Result(at_least) => {
            let message = message(response).await?;
            check_result(&message, id, at_least)
        }
    }
}

/// Reads the one message that an answer is, or the last one that its event stream has.
///
/// # Errors
/// If it breaks off or holds none.
pub(crate) async fn message(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let body = collect(response).await?;
    if !is_stream {
        return Ok(body);
    }
    last_data(&body)
        .map(|data| body.slice_ref(data))
        .ok_or_else(|| Failure(format!("an event stream without data: {}", excerpt(&body))))
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(response.into_body(), MAX_MESSAGE_BYTES)
        .collect()
        .await
        .map_err(Failure::at("an answer broke off"))?;
    Ok(body.to_bytes())
}

/// The last event's data, which every server that is measured writes on one line.
fn last_data(stream: &[u8]) -> Option<&[u8]> {
    stream
        .rsplit(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"data:"))
        .map(<[u8]>::trim_ascii)
}

fn check_result(message: &[u8], id: u64, at_least: usize) -> Result<(), Failure> {
    let answer: AnswerHead<'_> = serde_json::from_slice(message)
        .map_err(|error| Failure(format!("no response ({error}): {}", excerpt(message))))?;
    let is_ours = answer.id.get().parse() == Ok(id);
    let is_whole = answer.result.is_some() && message.len() >= at_least;
    if is_ours && is_whole {
        Ok(())
    } else {
        Err(Failure(format!(
            "request {id} was answered: {}",
            excerpt(message)
        )))
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}

/// The length of a body and how it begins and ends.
#[derive(Default)]
struct Ends {
    length: usize,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Ends {
    async fn read(response: Response<Incoming>) -> Result<Self, Failure> {
        let mut body = response.into_body();
        let mut ends = Self::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Failure::at("an answer broke off"))?;
            if let Some(data) = frame.data_ref() {
                ends.push(data);
            }
        }
        Ok(ends)
    }

    fn push(&mut self, data: &[u8]) {
        self.length += data.len();
        let missing = END.saturating_sub(self.first.len()).min(data.len());
        self.first.extend_from_slice(&data[..missing]);
        let kept = data.len().min(END);
        self.last.extend_from_slice(&data[data.len() - kept..]);
        let surplus = self.last.len().saturating_sub(END);
        self.last.drain(..surplus);
    }

    /// Whether it looks like the result for this id: the id stands at one end, by itself.
    fn check(&self, id: u64, at_least: usize) -> Result<(), Failure> {
        let [comma, brace] = [",", "}"].map(|after| format!(r#""id":{id}{after}"#));
        let has = |end: &[u8], text: &str| {
            end.windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        let is_ours = [&self.first, &self.last]
            .iter()
            .any(|end| has(end, &comma) || has(end, &brace));
        let has_result = has(&self.first, r#""result":{"#);
        if is_ours && has_result && self.length >= at_least {
            Ok(())
        } else {
            Err(Failure(format!(
                "request {id} was answered with {} bytes: {} … {}",
                self.length,
                excerpt(&self.first),
                excerpt(&self.last)
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_result_of_the_call_itself_passes() {
        let check = |body: &str| check_result(body.as_bytes(), 7, 10);
        assert!(check(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#).is_ok());
        assert!(check(r#"{"id":8,"result":{}}"#).is_err());
        assert!(check(r#"{"id":"7","result":{}}"#).is_err());
        assert!(check(r#"{"id":7,"error":{"code":-32602}}"#).is_err());
        assert!(check("data: {}").is_err());
        assert!(check_result(br#"{"id":7,"result":{}}"#, 7, 100).is_err());
    }

    #[test]
    fn the_last_event_is_the_answer() {
        let stream =
            b"id: 1\ndata: {\"a\":1}\n\n: still here\n\nevent: message\r\ndata:{\"b\":2}\r\n\r\n";
        assert_eq!(last_data(stream), Some(&b"{\"b\":2}"[..]));
        assert_eq!(last_data(b": nothing\n\n"), None);
    }

    #[test]
    fn the_ends_of_a_large_body_are_kept() {
        let mut ends = Ends::default();
        ends.push(br#"{"jsonrpc":"2.0","id":17,"result":{"#);
        for _ in 0..100 {
            ends.push(&[b'a'; 100]);
        }
        ends.push(b"}}");
        assert!(ends.check(17, 10_000).is_ok());
        assert!(ends.check(17, 20_000).is_err());
        assert!(ends.check(1, 10_000).is_err());
        assert!(ends.last.ends_with(b"a}}"));
        assert_eq!((ends.first.len(), ends.last.len()), (END, END));
    }
}
