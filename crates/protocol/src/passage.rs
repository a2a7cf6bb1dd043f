//! The passage of a large result: checked, edited and handed on while it arrives.
//!
//! [`Passage`] takes a response chunk by chunk and gives the result in it, with what has to be
//! changed about it changed. It accepts what [`crate::envelope::Message`] accepts and gives what
//! the collected response would have become, with these differences: members that the server left
//! out are added at the end of the result, and a response is [refused](Refusal::Unusual) that
//! cannot be judged before its content has passed.
//!
//! At most [`MAX_HELD`] bytes are held back until it is known what becomes of them.

use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::ops::Range;

use crate::envelope::{EnvelopeError, EnvelopeKeys, Keys, ResultKeys, Seen, number};
use crate::json::{self, ChunkScanner, Event, JsonError, Span};
use crate::method::Method;

mod block;
mod parts;
#[cfg(test)]
mod tests;

use self::block::{Block, Kind};
pub use self::parts::Parts;

/// How many bytes are held back, besides the chunk that is read, until it is known what becomes of
/// them.
pub const MAX_HELD: usize = 64 * 1024;
/// The largest `_meta` of a result, which is held as a whole since it is edited as a whole.
pub const MAX_META: usize = 1024 * 1024;

/// The most bytes of the members that are added where a server left them out.
const MAX_ADDED: u64 = 128;

/// What is changed about a result on its way to the client.
pub trait Edit {
    /// What takes the place of a URI that leads to a resource; `None`: it stays.
    fn uri(&self, uri: &str) -> Option<String>;

    /// What takes the place of the result's `_meta`, a JSON value; `None`: it stays.
    fn meta(&self, meta: &Bytes) -> Option<Vec<u8>>;

    /// The most bytes that a result of this length has once it is changed.
    fn upper_bound(&self, length: u64) -> u64;
}

/// Why a response does not pass, or not any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no JSON-RPC response.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It answers another request.
    #[error("it answered another request")]
    OtherId,
    /// It may be one, but not one that can be handed on before it was read as a whole.
    #[error("{0}")]
    Unusual(&'static str),
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        Self::Envelope(error.into())
    }
}

/// Whether a response of which this is the beginning can be handed on while it arrives: what is
/// known of it makes it a complete result, and it is in the middle of a member that may be large.
///
/// # Errors
/// [`Refusal::Envelope`] or [`Refusal::OtherId`] if it is no answer to the request of this id.
pub fn may_pass(beginning: &Bytes, id: u64, method: Method) -> Result<bool, Refusal> {
    let mut passage = Passage::new(id, method, Unedited);
    match passage.push(beginning, &mut Parts::default()) {
        Ok(()) => Ok(passage.in_large_member),
        Err(Refusal::Unusual(_)) => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// As [`may_pass`], where answers to several requests come the same way: the beginning has to say that
/// this one answers the request of this id. One whose id stands behind the result may answer any.
pub fn may_pass_by_id(beginning: &Bytes, id: u64, method: Method) -> bool {
    let mut passage = Passage::new(id, method, Unedited);
    let read = passage.push(beginning, &mut Parts::default());
    read.is_ok() && passage.in_large_member && passage.envelope.id.is_some()
}

/// Changes nothing.
struct Unedited;

impl Edit for Unedited {
    fn uri(&self, _: &str) -> Option<String> {
        None
    }

    fn meta(&self, _: &Bytes) -> Option<Vec<u8>> {
        None
    }

    fn upper_bound(&self, length: u64) -> u64 {
        length
    }
}

/// A response on its way through.
#[derive(Debug)]
pub struct Passage<E> {
    id: u64,
    method: Method,
    edit: E,
    scanner: ChunkScanner,
    place: Place,
    /// What the value that is read, or the key before it, is.
    role: Role,
    /// The keys seen, to refuse a second one. Their spans say nothing.
    envelope: EnvelopeKeys,
    others: Seen<'static>,
    others_bytes: usize,
    result: ResultKeys,
    result_is_empty: bool,
    in_large_member: bool,
    is_version: bool,
    is_error: bool,
    block: Block,
    /// A copy of the value that is read, where that decides something.
    copied: Option<Vec<u8>>,
    copied_from: usize,
    /// What is held back of the result.
    held: Option<Vec<u8>>,
    /// Where a URI begins in what is held back, while one is read.
    uri_at: Option<usize>,
    /// Up to where the chunk was handed on, held back or dropped.
    passed: usize,
}

/// The container that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Envelope,
    Result,
    Blocks,
    Messages,
    Message,
    Block,
    Resource,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Message,
    Id,
    Version,
    Result,
    ResultType,
    IsError,
    Meta,
    Blocks,
    Messages,
    /// An item of `content`, or of `messages`.
    Item,
    /// The `content` of a message.
    Block,
    Type,
    Uri,
    Resource,
    Other,
}

/// Stands in the slot of a key that was seen.
const SEEN: Span = Span::new(0, 0);

impl<E: Edit> Passage<E> {
    /// The passage of the response to the request of this id and method.
    pub fn new(id: u64, method: Method, edit: E) -> Self {
        Self {
            id,
            method,
            edit,
            scanner: ChunkScanner::default(),
            place: Place::Start,
            role: Role::Message,
            envelope: EnvelopeKeys::default(),
            others: Seen::default(),
            others_bytes: 0,
            result: ResultKeys::default(),
            result_is_empty: true,
            in_large_member: false,
            is_version: false,
            is_error: false,
            block: Block::default(),
            copied: None,
            copied_from: 0,
            held: None,
            uri_at: None,
            passed: 0,
        }
    }

    /// Reads the next chunk; what can be handed on of the result goes to `out`, sharing the memory
    /// of the chunk.
    ///
    /// # Errors
    /// Once it has failed it is of no more use.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Parts) -> Result<(), Refusal> {
        self.scanner.begin(chunk)?;
        self.passed = 0;
        self.copied_from = 0;
        loop {
            match self.scanner.next(chunk)? {
                Event::More => break,
                Event::Key => self.key()?,
                Event::Value(first) => self.value(first, chunk, out)?,
                Event::End => self.end(chunk, out)?,
                Event::Closed => self.closed(chunk, out)?,
            }
        }
        self.pass(chunk, out);
        self.copy(chunk);
        self.keep_bounds(out)
    }

    /// The most bytes that are handed on of a response of which so many are to come.
    pub fn upper_bound(&self, length: u64) -> u64 {
        self.edit.upper_bound(length).saturating_add(MAX_ADDED)
    }

    /// Whether the result says `isError: true`, as far as it was read.
    pub fn is_error(&self) -> bool {
        self.is_error
    }

    /// The response has ended.
    ///
    /// # Errors
    /// If it was not whole.
    pub fn finish(&mut self) -> Result<(), Refusal> {
        self.scanner.finish()?;
        std::mem::take(&mut self.others).finish::<EnvelopeKeys>()?;
        let missing = match (self.is_version, self.envelope.id, self.envelope.result) {
            (false, ..) => "a message needs \"jsonrpc\": \"2.0\"",
            (_, None, _) => "a result needs the \"id\" of its request",
            (_, _, None) => "it has no result",
            _ => return Ok(()),
        };
        Err(EnvelopeError::shape(missing).into())
    }

    fn key(&mut self) -> Result<(), Refusal> {
        let written = self.scanner.key();
        let has_escapes = memchr::memchr(b'\\', written).is_some();
        let name = if has_escapes {
            Cow::Owned(json::unescape(written).into_owned().into_bytes())
        } else {
            Cow::Borrowed(written)
        };
        self.role = match self.place {
            Place::Envelope => match enter(&mut self.envelope, &name)? {
                true => envelope_role(&name)?,
                false => {
                    self.others_bytes += name.len() + size_of::<Cow<'_, [u8]>>();
                    let name = Cow::Owned(name.into_owned());
                    self.others.insert::<EnvelopeKeys>(name)?;
                    Role::Other
                }
            },
            Place::Result => {
                self.result_is_empty = false;
                enter(&mut self.result, &name)?;
                let is_large = [
                    &b"content"[..],
                    b"contents",
                    b"messages",
                    b"structuredContent",
                ];
                self.in_large_member = is_large.contains(&&*name);
                result_role(self.method, &name)
            }
            Place::Message if *name == *b"content" && self.block.begins_content() => Role::Block,
            Place::Block => self.block.role(&name),
            Place::Resource => self.block.role_in_resource(&name),
            _ => Role::Other,
        };
        Ok(())
    }

    fn value(&mut self, first: u8, chunk: &Bytes, out: &mut Parts) -> Result<(), Refusal> {
        if matches!(self.place, Place::Blocks | Place::Messages) {
            self.role = Role::Item;
        }
        let entered = match (self.role, first, self.place) {
            (Role::Message, b'{', _) => Some(Place::Envelope),
            (Role::Message, ..) => {
                return Err(Refusal::Unusual("a message is a JSON object"));
            }
            (Role::Result, b'{', _) => {
                self.passed = self.scanner.position();
                Some(Place::Result)
            }
            (Role::Result, ..) => return Err(Refusal::Unusual("\"result\" is an object")),
            (Role::Blocks, b'[', _) => Some(Place::Blocks),
            (Role::Messages, b'[', _) => Some(Place::Messages),
            (Role::Item, b'{', Place::Messages) => {
                self.block = Block::default();
                Some(Place::Message)
            }
            (Role::Item, b'{', _) => {
                self.block = Block::default();
                Some(Place::Block)
            }
            (Role::Block, b'{', _) => Some(Place::Block),
            (Role::Resource, b'{', _) => Some(Place::Resource),
            (Role::Meta, ..) => {
                self.hold(chunk, out);
                None
            }
            (Role::Uri, ..) => {
                if self.block.may_be(self.kind_of_uri()) {
                    self.hold(chunk, out);
                    self.uri_at = self.held.as_ref().map(Vec::len);
                }
                None
            }
            (Role::Id | Role::Version | Role::ResultType | Role::IsError | Role::Type, ..) => {
                self.copied = Some(Vec::new());
                self.copied_from = self.scanner.position();
                None
            }
            (Role::Other | Role::Item | Role::Blocks | Role::Messages, ..)
            | (Role::Block | Role::Resource, ..) => None,
        };
        if let Some(place) = entered {
            self.place = place;
            self.scanner.enter();
        }
        Ok(())
    }

    /// A value that was not entered has ended.
    fn end(&mut self, chunk: &Bytes, out: &mut Parts) -> Result<(), Refusal> {
        self.copy(chunk);
        let copied = self.copied.take().unwrap_or_default();
        match self.role {
            Role::Version => self.is_version = copied == b"\"2.0\"",
            Role::Id if number(&copied) != Some(self.id) => return Err(Refusal::OtherId),
            Role::ResultType if json::as_str(&copied).as_deref() != Some("complete") => {
                return Err(Refusal::Unusual("its resultType is not \"complete\""));
            }
            Role::IsError => self.is_error = copied == b"true",
            Role::Type => {
                self.block.kind = Kind::of(&copied);
                self.pass(chunk, out);
                self.release(out);
            }
            Role::Uri => self.end_of_uri(chunk, out),
            Role::Meta => {
                self.pass(chunk, out);
                let meta = Bytes::from(self.held.take().unwrap_or_default());
                match self.edit.meta(&meta) {
                    Some(edited) => out.push(edited.into()),
                    None => out.push(meta),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn closed(&mut self, chunk: &Bytes, out: &mut Parts) -> Result<(), Refusal> {
        self.place = match self.place {
            Place::Start | Place::Envelope => Place::Start,
            Place::Result => {
                self.pass_until(self.scanner.position() - 1, chunk, out);
                self.add_missing(out);
                out.push(Bytes::from_static(b"}"));
                Place::Envelope
            }
            Place::Blocks | Place::Messages => Place::Result,
            Place::Message => Place::Messages,
            Place::Block => {
                self.pass(chunk, out);
                self.block.kind = self.block.kind.or(Kind::Other);
                self.release(out);
                match self.method {
                    Method::PromptsGet => Place::Message,
                    _ => Place::Blocks,
                }
            }
            Place::Resource => Place::Block,
        };
        Ok(())
    }

    fn add_missing(&self, out: &mut Parts) {
        let (has_type, has_ttl) = (
            self.result.result_type.is_some(),
            self.result.ttl_ms.is_some(),
        );
        let missing = self.method.missing_members(has_type, true, has_ttl);
        if !missing.is_empty() && !self.result_is_empty {
            out.push(Bytes::from_static(b","));
        }
        out.push(Bytes::from_static(missing.as_bytes()));
    }

    fn end_of_uri(&mut self, chunk: &Bytes, out: &mut Parts) {
        self.pass(chunk, out);
        let (Some(start), Some(held)) = (self.uri_at.take(), &self.held) else {
            return;
        };
        let kind = self.kind_of_uri();
        self.block.uris.push((kind, start..held.len()));
        self.release(out);
    }

    fn kind_of_uri(&self) -> Kind {
        match self.place {
            Place::Resource => Kind::Embedded,
            _ => Kind::Link,
        }
    }

    /// From here on the result is held back.
    fn hold(&mut self, chunk: &Bytes, out: &mut Parts) {
        self.pass(chunk, out);
        self.held.get_or_insert_default();
    }

    /// Hands on what is held back, unless it is not known yet what kind of block it belongs to.
    fn release(&mut self, out: &mut Parts) {
        let uris = match self.block.kind {
            Kind::Unknown => return,
            _ => std::mem::take(&mut self.block.uris),
        };
        let Some(held) = self.held.take() else {
            return;
        };
        let edits: SmallVec<[(Range<usize>, String); 2]> = uris
            .into_iter()
            .filter(|(kind, _)| self.block.may_be(*kind))
            .filter_map(|(_, at)| {
                let uri = json::as_str(&held[at.clone()])?;
                Some((at, self.edit.uri(&uri)?))
            })
            .collect();
        let held = Bytes::from(held);
        let mut from = 0;
        for (at, uri) in edits {
            out.push(held.slice(from..at.start));
            out.push(json::quoted(&uri).into());
            from = at.end;
        }
        out.push(held.slice(from..));
    }

    /// Hands the chunk on up to the position, or holds it back.
    fn pass(&mut self, chunk: &Bytes, out: &mut Parts) {
        self.pass_until(self.scanner.position(), chunk, out);
    }

    fn pass_until(&mut self, until: usize, chunk: &Bytes, out: &mut Parts) {
        let from = std::mem::replace(&mut self.passed, until);
        match &mut self.held {
            _ if matches!(self.place, Place::Start | Place::Envelope) => {}
            Some(held) => held.extend_from_slice(&chunk[from..until]),
            None => out.push(chunk.slice(from..until)),
        }
    }

    /// Copies the chunk up to the position, if it is part of what decides something.
    fn copy(&mut self, chunk: &Bytes) {
        if let Some(copied) = &mut self.copied {
            copied.extend_from_slice(&chunk[self.copied_from..self.scanner.position()]);
        }
    }

    fn keep_bounds(&mut self, out: &mut Parts) -> Result<(), Refusal> {
        let too_long = Err(Refusal::Unusual(
            "a key, or a value that decides something, is longer than 64 KiB",
        ));
        let copied = self.copied.as_ref().map_or(0, Vec::len);
        if copied.max(self.scanner.key().len()) > MAX_HELD {
            return too_long;
        }
        if self.others_bytes > MAX_HELD {
            return Err(Refusal::Unusual(
                "it has too many members beside the result",
            ));
        }
        let held = self.held.as_ref().map_or(0, Vec::len);
        match (self.role, self.uri_at) {
            (Role::Meta, _) if held > MAX_META => {
                Err(Refusal::Unusual("its _meta is longer than 1 MiB"))
            }
            (Role::Meta, _) => Ok(()),
            (_, Some(uri_at)) if held - uri_at > MAX_HELD => too_long,
            (_, None) if held > MAX_HELD => {
                // Its form says what it is: an address that leads home does no harm in a block of a
                // kind that nobody knows.
                self.block.kind = Kind::Any;
                self.release(out);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Notes a key of a level; answers whether it is a known one.
fn enter<K: Keys>(keys: &mut K, name: &[u8]) -> Result<bool, EnvelopeError> {
    match keys.slot(name).map(|slot| slot.replace(SEEN)) {
        None => Ok(false),
        Some(None) => Ok(true),
        Some(Some(_)) => Err(Seen::twice::<K>(name)),
    }
}

fn envelope_role(name: &[u8]) -> Result<Role, Refusal> {
    match name {
        b"jsonrpc" => Ok(Role::Version),
        b"id" => Ok(Role::Id),
        b"result" => Ok(Role::Result),
        _ => Err(Refusal::Unusual("it is no plain result")),
    }
}

fn result_role(method: Method, name: &[u8]) -> Role {
    match (name, method) {
        (b"resultType", _) => Role::ResultType,
        (b"isError", _) => Role::IsError,
        (b"_meta", _) => Role::Meta,
        (b"content", Method::ToolsCall) => Role::Blocks,
        (b"messages", Method::PromptsGet) => Role::Messages,
        _ => Role::Other,
    }
}
