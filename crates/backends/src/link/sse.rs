//! Server-sent events, read incrementally (WHATWG HTML, section 9.2.6), with a bound on an event.

use bytes::{Bytes, BytesMut};

/// What a line of data counts beside its length: what keeping it costs, so that a limit in bytes holds
/// for empty lines as well.
const LINE_COST: usize = 32;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The event's name; empty for the default, `message`.
    pub(crate) name: String,
    /// Its data.
    pub(crate) data: Bytes,
}

/// The event is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Turns chunks into events.
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// How much of the buffer was searched for a line's end already.
    searched: usize,
    /// Whether a line feed at the start of the buffer belongs to the carriage return before.
    after_cr: bool,
    started: bool,
    name: String,
    data: Vec<Bytes>,
    data_bytes: usize,
    limit: usize,
}

impl Decoder {
    /// `limit` is the largest event in bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            after_cr: false,
            started: false,
            name: String::new(),
            data: Vec::new(),
            data_bytes: 0,
            limit,
        }
    }

    /// Adds what was read.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole event, if there is one.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>, TooLarge> {
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(&line);
            if self.data_bytes > self.limit {
                return Err(TooLarge);
            }
        }
        if self.buffer.len() + self.data_bytes > self.limit {
            return Err(TooLarge);
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Option<Bytes> {
        if !self.started && self.buffer.len() >= 3 {
            self.started = true;
            if self.buffer.starts_with(b"\xef\xbb\xbf") {
                let _ = self.buffer.split_to(3);
            }
        }
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                let _ = self.buffer.split_to(1);
            }
        }
        let Some(at) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + at;
        self.searched = 0;
        let mut line = self.buffer.split_to(end + 1);
        self.after_cr = line[end] == b'\r';
        line.truncate(end);
        Some(line.freeze())
    }

    fn field(&mut self, line: &Bytes) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(0) => return,
            Some(colon) => {
                let skip = usize::from(line.get(colon + 1) == Some(&b' '));
                (&line[..colon], line.slice(colon + 1 + skip..))
            }
            None => (&line[..], Bytes::new()),
        };
        match name {
            b"data" => {
                self.data_bytes += value.len() + LINE_COST;
                self.data.push(value);
            }
            b"event" => self.name = String::from_utf8_lossy(&value).into_owned(),
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        self.data_bytes = 0;
        let data = match data.len() {
            0 => return None,
            1 => data.swap_remove(0),
            _ => data.join(&b'\n').into(),
        };
        Some(Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(chunks: &[&[u8]], limit: usize) -> Result<Vec<(String, Bytes)>, TooLarge> {
        let mut decoder = Decoder::new(limit);
        let mut events = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(event) = decoder.next_event()? {
                events.push((event.name, event.data));
            }
        }
        Ok(events)
    }

    fn event(name: &str, data: &str) -> (String, Bytes) {
        (name.to_owned(), Bytes::copy_from_slice(data.as_bytes()))
    }

    #[test]
    fn reads_every_form_of_line_end_and_field() {
        let text = b"\xef\xbb\xbf: hello\r\nevent: endpoint\r\ndata: /a\r\n\r\nid: 1\nretry: 5\ndata:x\ndata: y\n\nevent: lost\n\ndata\r\rdata: z\n\n";
        let events = decode(&[text], 1000).expect("small");
        assert_eq!(
            events,
            [
                event("endpoint", "/a"),
                event("", "x\ny"),
                event("", ""),
                event("", "z")
            ]
        );
    }

    #[test]
    fn an_endless_event_is_refused() {
        assert_eq!(decode(&[b"data: ", &[b'x'; 200]], 100), Err(TooLarge));
        assert_eq!(
            decode(&[b"data: xxxxxxxxxx\n", b"data: xxxxxxxxxx\n"], 20),
            Err(TooLarge)
        );
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(text in "(data: ?[a-z]{0,3}(\r\n|\n|\r)|(\r\n|\n|\r)|event: [a-z](\n|\r\n)){0,20}", cut in 0usize..40) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let whole = decode(&[bytes], 10_000);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&decode(&[&bytes[..cut], &bytes[cut..]], 10_000), &whole);
            prop_assert_eq!(&decode(&single, 10_000), &whole);
        }
    }
}
