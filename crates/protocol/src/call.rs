//! A call and its outcome, as data: the language that everything behind the edges speaks.

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use crate::capabilities::ClientCapabilities;
use crate::credentials::SubjectToken;
use crate::delivery::Redactor;
use crate::envelope::Envelope;
use crate::error::CallError;
use crate::extension;
use crate::method::{LogLevel, Method};
use crate::policy::Memo;
use crate::size::Size;
use crate::trail::Trail;
use crate::version::Version;

const ANONYMOUS: &str = "anonymous";

/// On whose behalf a call is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// A stable name, unique among principals; `anonymous` where nobody needs a credential.
    pub id: String,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// The OAuth client that it calls through, if its credential names one: what a client says of
    /// itself is no proof.
    pub client: Option<String>,
    /// What its credential says of it, if that is a token with claims.
    pub claims: Option<Arc<serde_json::Map<String, serde_json::Value>>>,
    /// The profiles that its credential is for; `None`: all, and the endpoint without one.
    pub profiles: Option<Vec<String>>,
    /// What the policy in force has worked out about it.
    pub memo: Memo,
}

impl Principal {
    /// The principal of every caller where no credential is asked for.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS)
    }

    /// A principal of this name that belongs to nothing, and whose credential says nothing more.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }

    /// Whether it is that of every caller.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.id == ANONYMOUS
    }
}

/// Where notifications that belong to a call go: to the response stream of whoever made it.
pub trait Sink: Send + Sync {
    /// Takes one complete JSON-RPC notification, or answers `false` if there is no room or nobody
    /// listens. Never blocks: whoever reads for many calls cannot wait for one.
    fn offer(&self, notification: Bytes) -> bool;

    /// Whether this progress is more than any before, whoever told it: the caller is told no other
    /// (specification: `basic/patterns/progress`), though a call may be made again elsewhere.
    fn rises(&self, _progress: f64) -> bool {
        true
    }
}

/// The highest progress that a caller was told of.
#[derive(Debug)]
pub struct HighestProgress(AtomicU64);

impl Default for HighestProgress {
    fn default() -> Self {
        Self(AtomicU64::new(f64::NEG_INFINITY.to_bits()))
    }
}

impl HighestProgress {
    /// Takes note of a value; whether it is higher than all before.
    pub fn rises(&self, value: f64) -> bool {
        let higher = |known: u64| (value > f64::from_bits(known)).then(|| value.to_bits());
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, higher)
            .is_ok()
    }
}

/// The session of a legacy client, as far as what stands behind the edges may reach it: to relay
/// what a server asks or says outside of any call.
pub trait ClientSession: Send + Sync {
    /// Tells it from every other session of this process.
    fn id(&self) -> &str;

    /// Sends the client a request; `params` is a JSON object. Resolves to the whole result object,
    /// or to the whole error object (`Err`): the client's own, or one that says that it is gone or
    /// never declared the capability. Bounded in time by the session.
    fn request(
        &self,
        method: &str,
        params: Option<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Bytes, Bytes>> + Send>>;

    /// Sends the client a notification, or answers `false` if there is no room. Never blocks.
    fn notify(&self, notification: Bytes) -> bool;

    /// Takes secrets out of what this backend has it asked or told, which is for whoever relays it to do.
    /// `None`: nothing is looked for.
    fn redactor(&self, backend: &str) -> Option<Arc<dyn Redactor>>;
}

/// One request on its way through the stacks, whoever made it.
#[derive(Clone)]
pub struct Call {
    /// The request in modern form, parsed once.
    pub request: Envelope,
    /// Its method.
    pub method: Method,
    /// On whose behalf.
    pub principal: Arc<Principal>,
    /// The profile that it came to; `None`: the endpoint without one.
    pub profile: Option<Arc<str>>,
    /// The version that the client speaks. The request is in modern form whatever it is.
    pub version: Version,
    /// The session that the client holds, if it is a legacy one.
    pub client: Option<Arc<dyn ClientSession>>,
    /// Where the client is, if it is known.
    pub peer: Option<IpAddr>,
    /// The `Mcp-Param-*` headers that came with it; `None` if it did not come over HTTP and so has
    /// none to check.
    pub param_headers: Option<HeaderMap>,
    /// The headers of the request that it came in, to decide by: no server is ever sent any. Empty if
    /// it did not come in one of its own.
    pub headers: HeaderMap,
    /// Minimum severity of logs wanted; `None`: no logs.
    pub log_level: Option<LogLevel>,
    /// Where progress and logs go; `None` if the caller wants neither.
    pub sink: Option<Arc<dyn Sink>>,
    /// When an answer is too late.
    pub deadline: Option<Deadline>,
    /// Whether the caller takes [`Outcome::Arriving`]; else every result is collected first.
    pub takes_arriving: bool,
    /// Where is noted what becomes of it, if somebody wants to know.
    pub trail: Option<Arc<Trail>>,
    /// What the caller proved itself with, if that is a token, and some backend exchanges it for
    /// another.
    pub subject_token: Option<Arc<SubjectToken>>,
    /// What is added to its result behind everything that bounds it, which leaves as much room.
    pub reserved: Size,
}

/// When an answer to a call is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Then.
    pub at: Instant,
    /// Whether that is the client's wish, so that to miss it says nothing of the server.
    pub is_clients: bool,
}

impl std::fmt::Debug for Call {
    // Without arguments and metadata: those are the caller's, and not for a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("principal", &self.principal.id)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// Has it end by then, unless it is to end earlier anyway.
    pub fn end_by(&mut self, deadline: Deadline) {
        if self.deadline.is_none_or(|known| deadline.at < known.at) {
            self.deadline = Some(deadline);
        }
    }

    /// A call whose caller takes a whole result and nothing beside it: no session, no headers, no
    /// notifications, no deadline.
    #[must_use]
    pub fn new(
        request: Envelope,
        method: Method,
        principal: Arc<Principal>,
        version: Version,
    ) -> Self {
        Self {
            request,
            method,
            principal,
            profile: None,
            version,
            client: None,
            peer: None,
            param_headers: None,
            headers: HeaderMap::new(),
            log_level: None,
            sink: None,
            deadline: None,
            takes_arriving: false,
            trail: None,
            subject_token: None,
            reserved: Size::default(),
        }
    }

    /// The tool, prompt or resource that the call names, escapes resolved.
    #[must_use]
    pub fn target(&self) -> Option<Cow<'_, str>> {
        self.request.text(self.request.params.target(self.method))
    }

    /// What the client of this call may be asked.
    #[must_use]
    pub fn client_capabilities(&self) -> ClientCapabilities {
        let declared = self.request.meta.client_capabilities;
        declared.map_or_else(ClientCapabilities::default, |span| {
            ClientCapabilities::parse(self.request.slice(span))
        })
    }

    /// Whether the client of this call declared the extension of this identifier.
    #[must_use]
    pub fn declares(&self, extension: &str) -> bool {
        let declared = self.request.meta.client_capabilities;
        declared.is_some_and(|span| extension::is_declared(self.request.slice(span), extension))
    }

    /// `arguments`, as they came.
    #[must_use]
    pub fn arguments(&self) -> Option<&[u8]> {
        self.request
            .params
            .arguments
            .map(|span| self.request.slice(span))
    }
}

/// A piece of JSON as a short chain of slices, most of which share the memory of what a backend
/// sent.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    segments: SmallVec<[Bytes; 3]>,
}

impl Payload {
    /// Adds a slice at the end.
    pub fn push(&mut self, segment: impl Into<Bytes>) {
        let segment = segment.into();
        if !segment.is_empty() {
            self.segments.push(segment);
        }
    }

    /// The slices in order.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The slices in order, given away.
    pub fn into_segments(self) -> impl Iterator<Item = Bytes> {
        self.segments.into_iter()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// All of it in one piece: the very same memory where it is one slice already.
    #[must_use]
    pub fn into_contiguous(mut self) -> Bytes {
        if self.segments.len() == 1
            && let Some(only) = self.segments.pop()
        {
            return only;
        }
        self.segments.concat().into()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(bytes);
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

/// A complete result that is still on its way. Dropping it cancels the call.
pub trait ResultStream: Send {
    /// What comes next. Nothing is read ahead: whoever takes slowly is sent slowly.
    ///
    /// # Errors
    /// What was handed on is no whole result, and the rest will not come: whoever it was handed on
    /// to has to be shown that it breaks off. Not to be polled again, nor after [`Piece::End`].
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, CallError>>;

    /// Drops this as soon as nothing more comes from the server, also if nobody takes what came
    /// before: what the call took of the gateway's room.
    fn keep(&mut self, room: Box<dyn Send>);

    /// The most bytes that it has from here on; `None`: that is not known, or somebody else waits until it is
    /// read, so that it cannot be handed to a client that reads slowly.
    fn upper_bound(&self) -> Option<u64>;

    /// Nothing of it will be taken any more, though its caller stays: it is too large, and whoever
    /// makes the same call will find the same.
    fn cut_off(&mut self) {}
}

/// A piece of a [`ResultStream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next bytes of the result object, at least one.
    Bytes(Bytes),
    /// The result was whole, and so was the response that it came in.
    End {
        /// Whether it says `isError: true`.
        is_error: bool,
    },
}

/// How a call ended.
pub enum Outcome {
    /// A result.
    Complete(Completed),
    /// A large result, of which the beginning is there: only for [`Call::takes_arriving`].
    Arriving(Box<dyn ResultStream>),
    /// The server needs input first (`resultType: "input_required"`); the client retries with it.
    InputRequired(Payload),
    /// No result.
    Failed(CallError),
}

/// A complete result.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The result object.
    pub result: Payload,
    /// Whether it says `isError: true`.
    pub is_error: bool,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Complete(completed) => f.debug_tuple("Complete").field(completed).finish(),
            Self::Arriving(_) => f.write_str("Arriving"),
            Self::InputRequired(result) => f.debug_tuple("InputRequired").field(result).finish(),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}
