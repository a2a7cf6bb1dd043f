//! The JSON-RPC envelope over raw bytes (specification: `basic/index`, Messages).
//!
//! A message is parsed once, and only as far as the gateway decides by it: the envelope, the keys
//! of `params` that name a target or carry metadata, and the keys of `_meta`. Everything else
//! (`arguments`, `result`, extensions) is checked to be JSON and otherwise left as it came. At the
//! levels that decide anything, a key that stands twice or in another case is refused, and so is a
//! known string that is no text: two peers that read such a message differently are a hole.

use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;

use crate::json::{self, JsonError, Scanner, Span};
use crate::method::Method;

mod meta;

pub use meta::PreparedMeta;

/// The longest string id we accept, in bytes as written.
pub const MAX_ID_BYTES: usize = 1024;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON at all.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON, but not one JSON-RPC message. The text says what was wrong and what would be right.
    #[error("{0}")]
    Shape(Cow<'static, str>),
}

impl EnvelopeError {
    pub(crate) fn shape(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Shape(text.into())
    }
}

/// The keys that the gateway knows at one level.
pub(crate) trait Keys {
    /// Every key.
    const KEYS: &'static [&'static str];
    /// Which level this is, for messages.
    const LEVEL: &'static str;

    /// Where the place of a known key is kept.
    fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Span>>;

    /// Every known key's place.
    fn slots(&mut self) -> impl Iterator<Item = &mut Option<Span>>;
}

/// Declares the keys that the gateway knows at one level: a struct of spans, and how a key finds
/// its field.
macro_rules! known_keys {
    ($(#[$doc:meta])* $name:ident, $level:literal { $($(#[$field_doc:meta])* $field:ident = $key:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<Span>,)*
        }

        impl Keys for $name {
            const KEYS: &'static [&'static str] = &[$($key),*];
            const LEVEL: &'static str = $level;

            fn slot(&mut self, key: &[u8]) -> Option<&mut Option<Span>> {
                $(if key == $key.as_bytes() {
                    return Some(&mut self.$field);
                })*
                None
            }

            fn slots(&mut self) -> impl Iterator<Item = &mut Option<Span>> {
                [$(&mut self.$field),*].into_iter()
            }
        }
    };
}

known_keys! {
    /// The keys of `params` that name a target, carry state or metadata; absent ones are `None`.
    ParamKeys, "params" {
        /// Tool or prompt name.
        name = "name",
        /// Resource URI.
        uri = "uri",
        /// Tool or prompt arguments.
        arguments = "arguments",
        /// Pagination cursor.
        cursor = "cursor",
        /// Metadata.
        meta = "_meta",
        /// Opaque state of a multi round-trip request.
        request_state = "requestState",
        /// Answers to the server's questions.
        input_responses = "inputResponses",
        /// What a completion is for.
        reference = "ref",
        /// The filter of `subscriptions/listen`.
        notifications = "notifications",
        /// The token of a progress notification.
        progress_token = "progressToken",
        /// The value of a progress notification.
        progress = "progress",
        /// The severity of a log notification.
        level = "level",
        /// The request that a cancellation names.
        request_id = "requestId",
        /// The task that a request of the tasks extension is for.
        task_id = "taskId",
    }
}

impl ParamKeys {
    /// Whether the request goes on with one that was answered with `input_required`: it brings the
    /// answers, the server's state, or both (specification: `basic/patterns/mrtr`).
    #[must_use]
    pub fn is_continuation(&self) -> bool {
        self.request_state.is_some() || self.input_responses.is_some()
    }

    /// The name, URI or task of what a request of this method is for; `None` as well if the method names
    /// no target.
    #[must_use]
    pub fn target(&self, method: Method) -> Option<Span> {
        match method {
            Method::ToolsCall | Method::PromptsGet => self.name,
            Method::ResourcesRead | Method::SkillsGet | Method::DirectoryRead => self.uri,
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => self.task_id,
            _ => None,
        }
    }
}

known_keys! {
    /// The keys of `_meta` that the gateway reads or rewrites.
    MetaKeys, "params._meta" {
        /// Version of this request.
        protocol_version = "io.modelcontextprotocol/protocolVersion",
        /// Who the client says it is.
        client_info = "io.modelcontextprotocol/clientInfo",
        /// What the client can do.
        client_capabilities = "io.modelcontextprotocol/clientCapabilities",
        /// Minimum severity of logs wanted.
        log_level = "io.modelcontextprotocol/logLevel",
        /// The subscription that a notification belongs to.
        subscription_id = "io.modelcontextprotocol/subscriptionId",
        /// Opt-in to progress.
        progress_token = "progressToken",
        /// W3C trace context.
        traceparent = "traceparent",
        /// W3C trace state.
        tracestate = "tracestate",
        /// W3C baggage.
        baggage = "baggage",
        /// The longest that the client gives the call, in milliseconds.
        timeout_ms = "dev.switchboard/timeoutMs",
        /// The conversation that the call is part of, as the client says.
        conversation = "dev.switchboard/conversation",
    }
}

known_keys! {
    /// The envelope itself.
    EnvelopeKeys, "the message" {
        /// `"2.0"`.
        jsonrpc = "jsonrpc",
        /// Request id.
        id = "id",
        /// Method name.
        method = "method",
        /// Parameters.
        params = "params",
        /// Result of a response.
        result = "result",
        /// Error of a response.
        error = "error",
    }
}

/// The unknown keys seen at one level, to refuse a second one. Known ones are told apart by their
/// slots.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    keys: SmallVec<[Cow<'a, [u8]>; 8]>,
}

impl<'a> Seen<'a> {
    pub(crate) fn insert<K: Keys>(&mut self, name: Cow<'a, [u8]>) -> Result<(), EnvelopeError> {
        if K::KEYS.iter().any(|known| differs_by_case(known, &name)) {
            return Err(EnvelopeError::shape(format!(
                "the key {:?} of {} differs from a key of the protocol only by its case",
                shortened(&name),
                K::LEVEL
            )));
        }
        // Past a handful the check is left to `finish`, so that it never costs more than a sort.
        if self.keys.len() < 8 && self.keys.contains(&name) {
            return Err(Self::twice::<K>(&name));
        }
        self.keys.push(name);
        Ok(())
    }

    pub(crate) fn finish<K: Keys>(mut self) -> Result<(), EnvelopeError> {
        if self.keys.len() > 8 {
            self.keys.sort_unstable();
            if let Some(pair) = self.keys.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Self::twice::<K>(&pair[0]));
            }
        }
        Ok(())
    }

    pub(crate) fn twice<K: Keys>(name: &[u8]) -> EnvelopeError {
        EnvelopeError::shape(format!(
            "the key {:?} stands twice in {}",
            shortened(name),
            K::LEVEL
        ))
    }
}

/// Whether a reader that ignores case takes `name`, which is not `known`, for it.
///
/// Such readers fold Unicode (Go's `encoding/json` does): four characters outside of ASCII have an
/// ASCII letter as their other case, and every key of the protocol is ASCII.
fn differs_by_case(known: &str, name: &[u8]) -> bool {
    if name.is_ascii() {
        return known.as_bytes().eq_ignore_ascii_case(name);
    }
    let name = String::from_utf8_lossy(name);
    let folded = name.chars().map(|character| match character {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        other => other.to_ascii_lowercase(),
    });
    folded.eq(known.chars().map(|known| known.to_ascii_lowercase()))
}

/// As much of a key as a message quotes: how long it is was its writer's choice.
fn shortened(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&name[..name.len().min(64)])
}

known_keys! {
    /// The keys of a result that the gateway reads or rewrites.
    ResultKeys, "result" {
        /// `"complete"`, `"input_required"` or an extension's.
        result_type = "resultType",
        /// A task's identifier.
        task_id = "taskId",
        /// Whether a tool failed.
        is_error = "isError",
        /// Metadata.
        meta = "_meta",
        /// Opaque state of a multi round-trip request.
        request_state = "requestState",
        /// Content blocks of a tool's result.
        content = "content",
        /// Contents of a resource.
        contents = "contents",
        /// Messages of a prompt.
        messages = "messages",
        /// How long the result is fresh, in milliseconds.
        ttl_ms = "ttlMs",
        /// Who may cache it.
        cache_scope = "cacheScope",
        /// Where a list goes on.
        next_cursor = "nextCursor",
    }
}

known_keys! {
    /// The keys of an error object.
    ErrorKeys, "error" {
        /// Number that says what kind of error this is.
        code = "code",
        /// A sentence.
        message = "message",
        /// Anything.
        data = "data",
    }
}

/// A message of either kind.
#[derive(Clone, Debug)]
pub enum Message {
    /// A request or a notification.
    Request(Envelope),
    /// A result or an error.
    Response(Response),
}

impl Message {
    /// Parses one message strictly.
    ///
    /// # Errors
    /// [`EnvelopeError::Json`] if the bytes are not JSON, [`EnvelopeError::Shape`] if they are not
    /// one JSON-RPC message.
    pub fn parse(raw: Bytes) -> Result<Self, EnvelopeError> {
        let mut scanner = Scanner::new(&raw)?;
        let mut parser = Parser::default();
        match scanner.peek() {
            Some(b'{') => parser.read(&mut scanner)?,
            other => {
                scanner.value()?;
                scanner.end()?;
                return Err(EnvelopeError::shape(match other {
                    Some(b'[') => {
                        "batches are not part of this protocol version: send one message a request"
                    }
                    _ => "a message is a JSON object",
                }));
            }
        }
        scanner.end()?;
        parser.check(&raw)?;
        Ok(parser.finish(raw))
    }
}

/// A request or notification, parsed once. Spans point into [`Envelope::raw`].
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The message as received.
    pub raw: Bytes,
    /// Its own keys.
    pub keys: EnvelopeKeys,
    /// The keys of `params`, all `None` if there are none.
    pub params: ParamKeys,
    /// The keys of `params._meta`, all `None` if there are none.
    pub meta: MetaKeys,
    /// Whether `params._meta` has keys that begin with `dev.switchboard/`.
    pub has_own_meta: bool,
    /// How many keys `params._meta` has, known and unknown.
    pub meta_members: usize,
    /// `params.ref`.
    pub reference: Option<Reference>,
}

/// A result or error, parsed once. Spans point into [`Response::raw`].
#[derive(Clone, Debug)]
pub struct Response {
    /// The message as received.
    pub raw: Bytes,
    /// The id as a span; an error may have none.
    pub id: Option<Span>,
    /// The whole result, or `None` if this is an error.
    pub result: Option<Span>,
    /// The keys of the result.
    pub keys: ResultKeys,
    /// The whole error object.
    pub error: Option<Span>,
    /// The keys of the error.
    pub error_keys: ErrorKeys,
}

known_keys! {
    /// `params.ref` of `completion/complete`.
    Reference, "params.ref" {
        /// `"ref/prompt"` or `"ref/resource"`.
        kind = "type",
        /// The prompt's name.
        name = "name",
        /// The resource's URI or URI template.
        uri = "uri",
    }
}

#[derive(Default)]
struct Parser {
    keys: EnvelopeKeys,
    params: ParamKeys,
    meta: MetaKeys,
    has_own_meta: bool,
    meta_members: usize,
    reference: Option<Reference>,
    result: ResultKeys,
    error: ErrorKeys,
}

impl Parser {
    fn read(&mut self, scanner: &mut Scanner<'_>) -> Result<(), EnvelopeError> {
        let mut keys = EnvelopeKeys::default();
        object(scanner, &mut keys, |scanner, name| {
            let is_object = scanner.peek() == Some(b'{');
            match name {
                b"params" if is_object => self.read_params(scanner),
                b"result" if is_object => answer_object(scanner, &mut self.result),
                b"error" if is_object => answer_object(scanner, &mut self.error),
                _ => Ok(scanner.value()?),
            }
        })?;
        self.keys = keys;
        Ok(())
    }

    fn read_params(&mut self, scanner: &mut Scanner<'_>) -> Result<Span, EnvelopeError> {
        let mut params = ParamKeys::default();
        let span = object(scanner, &mut params, |scanner, name| {
            let is_object = scanner.peek() == Some(b'{');
            match name {
                b"_meta" if is_object => self.read_meta(scanner),
                b"ref" if is_object => {
                    let reference = self.reference.insert(Reference::default());
                    object(scanner, reference, |scanner, _| Ok(scanner.value()?))
                }
                _ => Ok(scanner.value()?),
            }
        })?;
        self.params = params;
        Ok(span)
    }

    fn read_meta(&mut self, scanner: &mut Scanner<'_>) -> Result<Span, EnvelopeError> {
        let (mut has_own, mut members) = (false, 0);
        let span = object(scanner, &mut self.meta, |scanner, name| {
            members += 1;
            has_own |= name.starts_with(crate::OWN_META_PREFIX.as_bytes());
            Ok(scanner.value()?)
        })?;
        self.has_own_meta = has_own;
        self.meta_members = members;
        Ok(span)
    }

    fn check(&self, raw: &[u8]) -> Result<(), EnvelopeError> {
        let starts_with = |span: Span, byte: u8| raw[span.start()] == byte;
        let EnvelopeKeys {
            jsonrpc,
            id,
            method,
            params,
            result,
            error,
        } = self.keys;
        if jsonrpc.map(|span| span.of(raw)) != Some(b"\"2.0\"") {
            return Err(EnvelopeError::shape("a message needs \"jsonrpc\": \"2.0\""));
        }
        if !id.is_none_or(|id| is_id(id.of(raw)) || (error.is_some() && id.of(raw) == b"null")) {
            return Err(EnvelopeError::shape(
                "an id is a string (at most 1 KiB) or an integer, never null",
            ));
        }
        let problem = match (method, result, error) {
            (Some(method), None, None) if !starts_with(method, b'"') => "\"method\" is a string",
            (Some(_), None, None) if params.is_some_and(|params| !starts_with(params, b'{')) => {
                "\"params\" is an object"
            }
            (Some(_), None, None) => return Ok(()),
            (None, Some(_), None) if id.is_none() => "a result needs the \"id\" of its request",
            (None, Some(result), None) if !starts_with(result, b'{') => "\"result\" is an object",
            (None, None, Some(error)) if !starts_with(error, b'{') => "\"error\" is an object",
            (None, Some(_), None) | (None, None, Some(_)) => return Ok(()),
            (None, None, None) => "a request needs \"method\"",
            _ => "a message has only one of \"method\", \"result\" and \"error\"",
        };
        Err(EnvelopeError::shape(problem))
    }

    fn finish(self, raw: Bytes) -> Message {
        if self.keys.method.is_none() {
            return Message::Response(Response {
                raw,
                id: self.keys.id,
                result: self.keys.result,
                keys: self.result,
                error: self.keys.error,
                error_keys: self.error,
            });
        }
        Message::Request(Envelope {
            raw,
            keys: self.keys,
            params: self.params,
            meta: self.meta,
            has_own_meta: self.has_own_meta,
            meta_members: self.meta_members,
            reference: self.reference,
        })
    }
}

/// Whether a scanned value with escapes is a string that stands for a text, or no string at all:
/// half of a surrogate pair is read by some as U+FFFD, by others as itself.
fn is_text(raw: &[u8]) -> bool {
    raw.first() != Some(&b'"') || serde_json::from_slice::<Cow<'_, str>>(raw).is_ok()
}

/// Whether this is an id: a string of at most [`MAX_ID_BYTES`] as written, or an integer.
#[must_use]
pub fn is_id(raw: &[u8]) -> bool {
    match raw.first() {
        Some(b'"') => raw.len() <= MAX_ID_BYTES,
        Some(b'-' | b'0'..=b'9') => {
            raw.len() <= 20 && !raw.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
        }
        _ => false,
    }
}

impl Envelope {
    /// Parses one request or notification strictly.
    ///
    /// # Errors
    /// As [`Message::parse`]; a response is refused as well.
    pub fn parse(raw: Bytes) -> Result<Self, EnvelopeError> {
        match Message::parse(raw)? {
            Message::Request(envelope) => Ok(envelope),
            Message::Response(_) => Err(EnvelopeError::shape(
                "a client sends requests and notifications, never responses",
            )),
        }
    }

    /// Whether an answer is expected.
    #[must_use]
    pub fn is_request(&self) -> bool {
        self.keys.id.is_some()
    }

    /// The bytes of a part of this message.
    #[must_use]
    pub fn slice(&self, span: Span) -> &[u8] {
        span.of(&self.raw)
    }

    /// A part of this message that shares its memory.
    #[must_use]
    pub fn bytes(&self, span: Span) -> Bytes {
        self.raw.slice(span.range())
    }

    /// The string at `span`, escapes resolved; `None` if there is no string.
    #[must_use]
    pub fn text(&self, span: Option<Span>) -> Option<Cow<'_, str>> {
        json::as_str(self.slice(span?))
    }

    /// The id as written.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.keys.id.map(|span| self.slice(span))
    }

    /// The id as written, sharing the memory of this message; empty for a notification.
    #[must_use]
    pub fn id_bytes(&self) -> Bytes {
        self.keys
            .id
            .map(|span| self.bytes(span))
            .unwrap_or_default()
    }

    /// The bytes of the string at `span`, as [`json::as_name`] has them.
    #[must_use]
    pub fn name(&self, span: Option<Span>) -> Option<Cow<'_, [u8]>> {
        json::as_name(self.slice(span?))
    }

    /// The bytes of the method's name.
    #[must_use]
    pub fn method_name(&self) -> Cow<'_, [u8]> {
        self.name(self.keys.method).unwrap_or_default()
    }

    /// The method's name.
    #[must_use]
    pub fn method(&self) -> Cow<'_, str> {
        self.text(self.keys.method).unwrap_or_default()
    }

    /// The number at `span`, if it is an unsigned integer: the form of every id and token that the
    /// gateway gives out.
    #[must_use]
    pub fn number(&self, span: Option<Span>) -> Option<u64> {
        number(self.slice(span?))
    }
}

impl Response {
    /// Parses one response strictly.
    ///
    /// # Errors
    /// As [`Message::parse`]; a request or notification is refused as well.
    pub fn parse(raw: Bytes) -> Result<Self, EnvelopeError> {
        match Message::parse(raw)? {
            Message::Response(response) => Ok(response),
            Message::Request(_) => Err(EnvelopeError::shape(
                "an answer has a result or an error, and no method",
            )),
        }
    }

    /// The bytes of a part of this message.
    #[must_use]
    pub fn slice(&self, span: Span) -> &[u8] {
        span.of(&self.raw)
    }

    /// The id, if it has the form that the gateway gives out.
    #[must_use]
    pub fn id_number(&self) -> Option<u64> {
        number(self.slice(self.id?))
    }

    /// The string at `span`, escapes resolved; `None` if there is no string.
    #[must_use]
    pub fn text(&self, span: Option<Span>) -> Option<Cow<'_, str>> {
        json::as_str(self.slice(span?))
    }

    /// Whether this is an error of a peer that could not read the id of what it answers.
    #[must_use]
    pub fn names_no_request(&self) -> bool {
        self.error.is_some() && self.id.is_none_or(|id| self.slice(id) == b"null")
    }

    /// Whether the result says `isError: true`: a tool that failed.
    #[must_use]
    pub fn is_tool_error(&self) -> bool {
        self.keys
            .is_error
            .is_some_and(|span| self.slice(span) == b"true")
    }

    /// The code of an error.
    #[must_use]
    pub fn error_code(&self) -> Option<i64> {
        std::str::from_utf8(self.slice(self.error_keys.code?))
            .ok()?
            .parse()
            .ok()
    }
}

pub(crate) fn number(raw: &[u8]) -> Option<u64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// Reads an object of a peer's answer: fills the slots of known keys, refuses only a known key that
/// stands twice.
fn answer_object<K: Keys>(scanner: &mut Scanner<'_>, keys: &mut K) -> Result<Span, EnvelopeError> {
    let start = begin(scanner)?;
    let mut first = true;
    while let Some(key) = scanner.next_key(&mut first)? {
        let span = scanner.value()?;
        let name = key.name();
        if keys
            .slot(&name)
            .is_some_and(|slot| slot.replace(span).is_some())
        {
            return Err(Seen::twice::<K>(&name));
        }
    }
    Ok(scanner.since(start))
}

fn begin(scanner: &mut Scanner<'_>) -> Result<usize, JsonError> {
    scanner.peek();
    let start = scanner.position();
    scanner.enter_object()?;
    Ok(start)
}

/// Reads an object whose keys decide something: `read` reads the value of each key, known keys find
/// their slot. Doubled and case-variant keys are refused, and known strings that are no text.
fn object<'a, K: Keys>(
    scanner: &mut Scanner<'a>,
    keys: &mut K,
    mut read: impl FnMut(&mut Scanner<'a>, &[u8]) -> Result<Span, EnvelopeError>,
) -> Result<Span, EnvelopeError> {
    let start = begin(scanner)?;
    let mut first = true;
    let mut seen = Seen::default();
    while let Some(key) = scanner.next_key(&mut first)? {
        let name = key.name();
        let span = read(scanner, &name)?;
        match keys.slot(&name).map(|slot| slot.replace(span)) {
            None => seen.insert::<K>(name)?,
            Some(None) if !scanner.has_escapes_since(span.start()) => {}
            Some(None) if is_text(span.of(scanner.bytes())) => {}
            Some(None) => {
                return Err(EnvelopeError::shape(format!(
                    "{:?} of {} has half of a surrogate pair",
                    shortened(&name),
                    K::LEVEL
                )));
            }
            Some(Some(_)) => return Err(Seen::twice::<K>(&name)),
        }
    }
    seen.finish::<K>()?;
    Ok(scanner.since(start))
}

#[cfg(test)]
mod tests;
