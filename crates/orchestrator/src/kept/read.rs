//! Reading of what is kept, as a resource or with the gateway's own tool.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use switchboard_protocol::call::{Call, Outcome};
use switchboard_protocol::delivery::Terms;
use switchboard_protocol::error::{CallError, Fault, ProtocolError, Reason};
use switchboard_protocol::method::Method;
use switchboard_protocol::policy::{Target, TargetKind};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::body::Body;
use super::request::{Request, What};
use super::search::{Found, search};
use super::store::{Content, Entry};
use super::{Kept, SCHEME, answer};
use crate::catalogue::Snapshot;
use crate::orchestrator::Inner;
use crate::resolve::not_found;

/// How much of a text is read where nobody says how much, in bytes.
const PAGE: u64 = 32 * 1024;
/// The most that is read at once where no cap says less, in bytes.
pub(super) const MAX_PAGE: usize = 256 * 1024;
/// What an answer has beside what was read, in bytes.
const ENVELOPE: u64 = 1024;
/// The least that is read, however small the cap: else nobody would ever come to the end.
const LEAST: u64 = 256;
/// How long a request waits for a permit to read a file.
const PERMIT_WITHIN: Duration = Duration::from_secs(10);

/// How much an answer may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// In bytes of JSON.
    bytes: u64,
    /// In quarters of estimated tokens.
    quarters: u64,
}

impl Limit {
    fn of(terms: Option<Terms>) -> Self {
        let cap = terms.and_then(|terms| terms.cap);
        let within = |of: Option<u64>, beside: u64, least: u64| {
            of.map_or(u64::MAX, |of| of.saturating_sub(beside).max(least))
        };
        let bytes = within(cap.and_then(|cap| cap.bytes), ENVELOPE, LEAST);
        let tokens = within(cap.and_then(|cap| cap.tokens), ENVELOPE / 4, LEAST / 4);
        Self {
            bytes: bytes.min(2 * MAX_PAGE as u64),
            quarters: tokens.saturating_mul(4),
        }
    }

    /// Without any cap.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::of(None)
    }

    /// What a character costs, in bytes of JSON and in quarters of tokens.
    fn cost(character: char) -> (u64, u64) {
        match character {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => (2, 2),
            '\0'..'\u{20}' => (6, 6),
            character if character.is_ascii() => (1, 1),
            character => (character.len_utf8() as u64, 4),
        }
    }

    /// How much of a text there is room for, in bytes of it.
    pub(super) fn fit(&self, text: &str) -> usize {
        let mut left = *self;
        for (at, character) in text.char_indices() {
            let (bytes, quarters) = Self::cost(character);
            if bytes > left.bytes || quarters > left.quarters {
                return at;
            }
            left.bytes -= bytes;
            left.quarters -= quarters;
        }
        text.len()
    }

    /// What a text costs, as [`Limit::cost`].
    fn costs(text: &str) -> (u64, u64) {
        let costs = text.chars().map(Self::cost);
        costs.fold((0, 0), |all, it| (all.0 + it.0, all.1 + it.1))
    }

    /// Takes the room of this text, and of so much beside it.
    pub(super) fn take(&mut self, text: &str, beside: usize) {
        let (bytes, quarters) = Self::costs(text);
        self.bytes = self.bytes.saturating_sub(bytes + beside as u64);
        self.quarters = self.quarters.saturating_sub(quarters + beside as u64);
    }

    /// How many of such texts there is room for, each with so much beside it.
    pub(super) fn lines(&self, text: &str, beside: usize) -> usize {
        let (bytes, quarters) = Self::costs(text);
        let of_bytes = self.bytes / (bytes + beside as u64).max(1);
        let of_quarters = self.quarters / (quarters + beside as u64).max(1);
        usize::try_from(of_bytes.min(of_quarters)).unwrap_or(usize::MAX)
    }

    /// What each of so many has of the room, without so much beside it.
    pub(super) fn share(&self, of: usize, beside: usize) -> Self {
        let share = |all: u64| (all / of.max(1) as u64).saturating_sub(beside as u64);
        Self {
            bytes: share(self.bytes),
            quarters: share(self.quarters),
        }
    }

    /// How many bytes of something that is no text there is room for.
    fn binary(&self) -> u64 {
        let of_tokens = self.quarters / 4 * 3;
        self.bytes.min(of_tokens).min(MAX_PAGE as u64)
    }

    /// Whether there is room for what helps and nobody needs, and what is left then.
    fn without(&self, bytes: u64) -> Option<Self> {
        let least = 4 * bytes;
        (self.bytes >= least && self.quarters >= least).then(|| Self {
            bytes: self.bytes - bytes,
            quarters: self.quarters - bytes,
        })
    }
}

/// What was read.
#[derive(Debug)]
pub(super) enum Read {
    /// A range of a text.
    Text(Page<String>),
    /// A range of something else.
    Binary(Page<Bytes>),
    /// Where a text is.
    Found(Found),
}

/// A range.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    /// Where it really begins.
    pub(super) offset: u64,
    /// How long it is.
    pub(super) length: u64,
    pub(super) content: T,
    /// Whether there is room to say what parts there are.
    pub(super) has_parts: bool,
}

impl Kept {
    /// Whether this call reads what is kept, or would if there were any.
    pub(crate) fn concerns(&self, call: &Call) -> bool {
        if !matches!(call.method, Method::ToolsCall | Method::ResourcesRead) {
            return false;
        }
        let terms = self.0.terms.load();
        let (Some(terms), Some(target)) = (&*terms, call.target()) else {
            return false;
        };
        match call.method {
            Method::ToolsCall => *target == *terms.tool,
            _ => target.starts_with(SCHEME),
        }
    }

    /// The address of the replica that keeps what this call reads, if it is not kept here.
    pub(crate) fn replica_of(&self, call: &Call) -> Option<Arc<str>> {
        let at = self.0.at.as_ref()?;
        let request = match call.method {
            Method::ToolsCall => Request::of_arguments(call.arguments()),
            _ => Request::of_uri(&call.target()?),
        };
        let id = request.ok()?.id;
        if self.find(&id, call).is_some() {
            return None;
        }
        at.replica_of(&call.principal.id, &id)
    }

    fn find(&self, id: &str, call: &Call) -> Option<Arc<Entry>> {
        self.0.entries.lock().find(id, call, Instant::now())
    }
}

impl Inner {
    /// Answers a call that reads what is kept.
    pub(crate) async fn read_kept(&self, call: &Call) -> Result<Outcome, CallError> {
        let uri = call.target().unwrap_or_default();
        let is_tool = call.method == Method::ToolsCall;
        let request = match is_tool {
            true => match Request::of_arguments(call.arguments()) {
                Ok(request) => request,
                // For a model to put right.
                Err(wrong) => return Ok(answer::wrong(&wrong)),
            },
            false => Request::of_uri(&uri).map_err(ProtocolError::invalid_params)?,
        };
        let snapshot = self.catalogue.load_full();
        let found = self.kept.find(&request.id, call);
        let Some(entry) =
            found.filter(|entry| is_shown(&snapshot, call, &entry.provenance.target()))
        else {
            let base = format!("{SCHEME}{}", request.id);
            return Err(not_found(if is_tool { &base } else { &uri }).into());
        };
        let is_binary = matches!(entry.content, Content::Binary(_));
        if is_binary && matches!(request.what, What::Search(_)) {
            let wrong = "It is no text: there is nothing to search in.";
            return match is_tool {
                true => Ok(answer::wrong(wrong)),
                false => Err(ProtocolError::invalid_params(wrong).into()),
            };
        }
        let limit = Limit::of(snapshot.policy().terms(call, &entry.provenance.target()));
        let total = entry.body.len();
        let read = self.read_body(&entry, request.what, limit, call).await?;
        Ok(match is_tool {
            true => answer::of_tool(&entry, &request.id, total, &read),
            false => answer::of_resource(&entry, &uri, total, &read),
        })
    }

    async fn read_body(
        &self,
        entry: &Entry,
        what: What,
        limit: Limit,
        call: &Call,
    ) -> Result<Read, CallError> {
        let is_binary = matches!(entry.content, Content::Binary(_));
        let body = entry.body.clone();
        let semaphore = match what {
            What::Range { .. } if body.is_in_memory() => {
                return read(&body, &what, is_binary, limit).map_err(|error| unavailable(&error));
            }
            What::Range { .. } => &self.kept.0.reading,
            What::Search(_) => &self.kept.0.searching,
        };
        let last = Instant::now() + PERMIT_WITHIN;
        let deadline = call.deadline.map(|deadline| Instant::from_std(deadline.at));
        let last = deadline.map_or(last, |deadline| deadline.min(last));
        let permit = semaphore.acquire(&entry.provenance.principal);
        let Ok(permit) = timeout_at(last, permit).await else {
            return Err(unreadable(Reason::Overloaded, "too much is being read"));
        };
        let reading = spawn_blocking(move || {
            let _permit = permit;
            read(&body, &what, is_binary, limit)
        });
        let read = reading.await;
        read.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &io::Error) -> CallError {
    unreadable(Reason::Unavailable, &error.to_string())
}

fn unreadable(reason: Reason, detail: &str) -> CallError {
    let message = "The kept result cannot be read right now: try again in a moment.";
    Fault::not_sent(reason, message).with_detail(detail).into()
}

/// Whether the caller may know of what the result is of, and that is still there.
fn is_shown(snapshot: &Snapshot, call: &Call, target: &Target<'_>) -> bool {
    if !is_there(snapshot, target) {
        return false;
    }
    let is_shown = snapshot.shows(&call.principal, call.profile.as_deref(), target);
    if !is_shown {
        snapshot.policy().hid(call, target);
    }
    is_shown
}

/// Whether there is still what a call was aimed at, as far as is known: a backend that is away may
/// still have it.
fn is_there(snapshot: &Snapshot, target: &Target<'_>) -> bool {
    let Some(source) = snapshot.source(target.backend) else {
        return false;
    };
    let entry = match target.kind {
        TargetKind::Tool => snapshot.tool(target.name),
        TargetKind::Prompt => snapshot.prompt(target.name),
        TargetKind::Resource => return true,
    };
    match (entry, &source.lists) {
        (Some(entry), _) => *entry.backend == *target.backend,
        (None, lists) => lists.is_none(),
    }
}

/// Reads. Not for a thread of a runtime, unless it is a range of what is in memory.
fn read(body: &Body, what: &What, is_binary: bool, limit: Limit) -> io::Result<Read> {
    match what {
        What::Search(wanted) => search(body, wanted, &limit).map(Read::Found),
        What::Range { offset, length } if is_binary => {
            let length = length.unwrap_or(u64::MAX).min(limit.binary()).max(1);
            let offset = (*offset).min(body.len());
            let content = body.read(offset, length as usize)?;
            Ok(Read::Binary(Page {
                offset,
                length: content.len() as u64,
                content,
                has_parts: false,
            }))
        }
        What::Range { offset, length } => {
            let length = length.unwrap_or(PAGE).min(MAX_PAGE as u64);
            page(body, *offset, length as usize, limit).map(Read::Text)
        }
    }
}

/// A range of a text: from the character that `offset` is in, and of whole characters, at least one.
pub(super) fn page(
    body: &Body,
    offset: u64,
    length: usize,
    limit: Limit,
) -> io::Result<Page<String>> {
    let is_inside = |byte: &u8| *byte & 0xc0 == 0x80;
    let offset = offset.min(body.len());
    let before = offset.min(3);
    let around = body.read(offset - before, length + 3 + before as usize)?;
    let mut start = before as usize;
    while start > 0 && around.get(start).is_some_and(is_inside) {
        start -= 1;
    }
    let mut end = (before as usize + length).min(around.len());
    while end > start && around.get(end).is_some_and(is_inside) {
        end -= 1;
    }
    // At least one character, however long.
    if end == start && start < around.len() {
        end += 1;
        while around.get(end).is_some_and(is_inside) {
            end += 1;
        }
    }
    let mut text = String::from_utf8_lossy(&around[start..end]).into_owned();
    let spare = limit.without(answer::MAX_PARTS_BYTES as u64);
    let has_parts = offset == 0 && spare.is_some();
    let limit = spare.filter(|_| has_parts).unwrap_or(limit);
    let first = text.chars().next().map_or(0, char::len_utf8);
    text.truncate(limit.fit(&text).max(first));
    Ok(Page {
        offset: offset - before + start as u64,
        length: text.len() as u64,
        content: text,
        has_parts,
    })
}
