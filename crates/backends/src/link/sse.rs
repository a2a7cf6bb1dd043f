//! Server-sent events, read incrementally (WHATWG HTML, section 9.2.6), with a bound on an event.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::rest::Joined;

/// What a line of data counts beside its length: what keeping it costs, so that a limit in bytes holds
/// for empty lines as well.
const LINE_COST: usize = 32;
/// Data of at most this length is copied, since a part of the buffer keeps all that was read with it
/// in memory.
const COPIED: usize = 16 * 1024;
/// What follows a line of at least this length gets a buffer of its own.
const LONG_LINE: usize = 64 * 1024;
/// The longest id of an event that is kept, in bytes.
const MAX_ID: usize = 1024;

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
    /// The id that the event being read has so far, and the one of the last whole event.
    id: Option<Bytes>,
    last_id: Option<Bytes>,
    retry: Option<Duration>,
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
            id: None,
            last_id: None,
            retry: None,
        }
    }

    /// The id of the last whole event that had one, with data or without; none if that is longer
    /// than 1 KiB.
    pub(crate) fn last_id(&self) -> Option<&Bytes> {
        self.last_id.as_ref().filter(|id| !id.is_empty())
    }

    /// How long the server wants its clients to wait before they connect again.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Goes on with another connection: what is half read belongs to none.
    pub(crate) fn reconnect(&mut self) {
        *self = Self {
            id: self.last_id.clone(),
            last_id: self.last_id.take(),
            retry: self.retry,
            ..Self::new(self.limit)
        };
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

    /// The data of the event that is being read and how it goes on, if there is more than `least` bytes of it
    /// and no whole event before it. Takes nothing: whoever goes on with it has no use for the decoder.
    pub(crate) fn large(&self, least: usize) -> Option<(Bytes, Tail)> {
        let rest = &self.buffer[..];
        if self.data_bytes + rest.len() <= least {
            return None;
        }
        let line = match rest {
            [] => Line::Start(Vec::new()),
            // Which field it is, and where its value begins, is known from here on.
            [b'd', b'a', b't', b'a', b':', _, ..] => Line::Data,
            _ => return None,
        };
        let mut data = self.data.join(&b'\n');
        if line == Line::Data {
            if !self.data.is_empty() {
                data.push(b'\n');
            }
            let skip = usize::from(rest[DATA.len()] == b' ');
            data.extend_from_slice(&rest[DATA.len() + skip..]);
        }
        let tail = Tail {
            line,
            after_cr: self.after_cr,
        };
        Some((data.into(), tail))
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
        if end >= LONG_LINE {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
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
                self.data.push(if value.len() <= COPIED {
                    Bytes::copy_from_slice(&value)
                } else {
                    value
                });
            }
            b"event" => self.name = String::from_utf8_lossy(&value).into_owned(),
            b"id" if !value.contains(&0) => {
                let kept = value.len() <= MAX_ID;
                // Copied, for the slice would keep all that was read with it.
                self.id = kept.then(|| Bytes::copy_from_slice(&value));
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(&value)
                    .ok()
                    .and_then(|ms| ms.parse().ok());
                self.retry = ms.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
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

/// What the lines of data begin with.
const DATA: &[u8] = b"data:";

/// How an event goes on of which the beginning is known: only its data is of interest.
#[derive(Debug)]
pub(crate) struct Tail {
    line: Line,
    /// Whether a line feed belongs to the carriage return before.
    after_cr: bool,
}

/// Where in an event the next byte is.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// In the beginning of a line, which is not long enough yet to say what it is.
    Start(Vec<u8>),
    /// In data.
    Data,
    /// In another field, or a comment.
    Other,
    /// Behind the event.
    End,
}

impl Tail {
    /// The data in a chunk. What follows the event is dropped.
    pub(crate) fn read(&mut self, mut chunk: Bytes) -> Bytes {
        let mut data = Joined::default();
        while self.line != Line::End && !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && chunk[0] == b'\n' {
                chunk = chunk.slice(1..);
                continue;
            }
            match &mut self.line {
                Line::Start(line) if matches!(chunk[0], b'\n' | b'\r') => {
                    if line.is_empty() {
                        self.line = Line::End;
                    } else {
                        // A field without a value may be one without a colon.
                        if matches!(&line[..], DATA | b"data") {
                            data.push(Bytes::from_static(b"\n"));
                        }
                        line.clear();
                    }
                    self.after_cr = chunk[0] == b'\r';
                    chunk = chunk.slice(1..);
                }
                Line::Start(line) if line == DATA => {
                    data.push(Bytes::from_static(b"\n"));
                    self.line = Line::Data;
                    chunk = chunk.slice(usize::from(chunk[0] == b' ')..);
                }
                Line::Start(line) => {
                    line.push(chunk[0]);
                    chunk = chunk.slice(1..);
                    if !DATA.starts_with(line) {
                        self.line = Line::Other;
                    }
                }
                line => {
                    let end = memchr::memchr2(b'\n', b'\r', &chunk);
                    let part = chunk.split_to(end.unwrap_or(chunk.len()));
                    if *line == Line::Data {
                        data.push(part);
                    }
                    if end.is_some() {
                        self.after_cr = chunk[0] == b'\r';
                        chunk = chunk.slice(1..);
                        self.line = Line::Start(Vec::new());
                    }
                }
            }
        }
        data.into_bytes()
    }

    /// Whether the event has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.line == Line::End
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
    fn the_last_id_is_that_of_a_whole_event_and_survives_a_new_connection() {
        let mut decoder = Decoder::new(1000);
        let after = |decoder: &mut Decoder, text: &[u8]| {
            decoder.push(text);
            while decoder.next_event().expect("small").is_some() {}
            decoder.last_id().map(|id| id.to_vec())
        };
        assert_eq!(after(&mut decoder, b"data: x\n\n"), None);
        assert_eq!(
            after(&mut decoder, b"id: 7\nretry: 500\n\n"),
            Some(b"7".to_vec())
        );
        assert_eq!(decoder.retry(), Some(Duration::from_millis(500)));
        assert_eq!(
            after(&mut decoder, b"retry: soon\ndata: y\n\n"),
            Some(b"7".to_vec())
        );
        assert_eq!(after(&mut decoder, b"id: 8\ndata: ha"), Some(b"7".to_vec()));
        decoder.reconnect();
        assert_eq!(after(&mut decoder, b"data: z\n\n"), Some(b"7".to_vec()));
        assert_eq!(decoder.retry(), Some(Duration::from_millis(500)));
        assert_eq!(after(&mut decoder, b"id\n\n"), None);
        let long = [b"id: ", [b'x'; MAX_ID + 1].as_slice(), b"\n\n"].concat();
        assert_eq!(after(&mut decoder, &long), None);
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
        fn the_rest_of_an_event_is_what_was_not_read(
            lines in proptest::collection::vec("(data: ?|data|id: |:|datax:)[a-z ]{0,9}", 1..8),
            end in "\n|\r\n|\r",
            least in 0_usize..40,
            size in 1_usize..9,
        ) {
            let text = lines.join(&*end) + &end + &end + "data: next" + &end + &end;
            let mut decoder = Decoder::new(10_000);
            let mut chunks = text.as_bytes().chunks(size);
            let mut large = None;
            while large.is_none() && let Some(chunk) = chunks.next() {
                decoder.push(chunk);
                if decoder.next_event().expect("small").is_some() {
                    // It was over before it was large.
                    return Ok(());
                }
                large = decoder.large(least);
            }
            let (beginning, mut tail) = large.expect("large, or over");
            let mut data = beginning.to_vec();
            for chunk in chunks {
                data.extend_from_slice(&tail.read(Bytes::copy_from_slice(chunk)));
            }
            prop_assert!(tail.has_ended());
            let whole = decode(&[text.as_bytes()], 10_000).expect("small");
            prop_assert_eq!(String::from_utf8_lossy(&data), String::from_utf8_lossy(&whole[0].1));
        }

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
