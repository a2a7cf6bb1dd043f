//! The results of lists, as bytes.

use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};
use switchboard_backends::lists::Item;
use switchboard_backends::status::{Stage, State};
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::json::{Span, write_str};
use switchboard_protocol::splice::Splice;

use super::build::Entry;
use super::resources::{Resources, ui_resource};
use super::skills::address_skill;
use super::{InvalidCursor, List, Snapshot, SnapshotSettings, Source};
use crate::clock::rfc3339;
use crate::profiles::Profile;

/// What all results have in common.
pub(super) struct Frame {
    /// `ttlMs` and `cacheScope`.
    pub(super) caching: String,
    /// The members of `_meta` that say who answers.
    pub(super) server_meta: String,
    /// The member of `_meta` that says what is missing, if anything is.
    missing_meta: Option<String>,
    /// The member of `_meta` of a list of tools that says that there are too many.
    too_many_meta: Option<String>,
}

impl Frame {
    /// That of what is seen of these sources; `is_private` if others see something else.
    pub(super) fn new(sources: &[&Source], is_private: bool, settings: &SnapshotSettings) -> Self {
        let is_private = is_private
            || sources.iter().any(|source| {
                source.shaped_by_credential || source.lists.as_ref().is_some_and(|l| !l.public)
            });
        let scope = if is_private { "private" } else { "public" };
        let hints = sources.iter().map(|source| match &source.lists {
            // A client would cache the hole.
            _ if !source.is_whole() => 0,
            Some(lists) => lists.ttl_ms.unwrap_or(settings.default_ttl_ms),
            None => 0,
        });
        let ttl = hints.min().unwrap_or(settings.default_ttl_ms);
        let server = json!({ "name": "switchboard", "version": settings.server_version });
        let missing: Vec<_> = sources
            .iter()
            .filter_map(|source| absence(source))
            .collect();
        Self {
            caching: format!("\"ttlMs\":{ttl},\"cacheScope\":\"{scope}\""),
            server_meta: format!("\"io.modelcontextprotocol/serverInfo\":{server}"),
            missing_meta: (!missing.is_empty()).then(|| {
                let missing = serde_json::Value::from(missing);
                format!("\"{OWN_META_PREFIX}backends\":{missing}")
            }),
            too_many_meta: None,
        }
    }
}

impl Frame {
    /// Says that there are more tools than this profile wants, if there are.
    pub(super) fn limit_tools(&mut self, profile: &Profile, tools: usize) {
        let limit = profile.tool_limit().filter(|limit| tools > *limit);
        self.too_many_meta = limit.map(|limit| {
            format!("\"{OWN_META_PREFIX}tool_limit\":{{\"limit\":{limit},\"tools\":{tools}}}")
        });
    }
}

/// What clients are told of a backend that is not fully there.
fn absence(source: &Source) -> Option<serde_json::Value> {
    if source.is_whole() {
        return None;
    }
    let status = &source.status;
    let lists = source.lists.as_ref();
    let (state, stage, reason, action) =
        match (status.state, lists.and_then(|l| l.missing.as_deref())) {
            (State::Ready | State::Degraded, Some(missing)) => (
                State::Unavailable,
                Stage::Listing,
                missing,
                "look for this backend in the gateway's log",
            ),
            (State::Ready | State::Degraded, None) if source.hidden => {
                let settling = "it answers again, and is listed when it has been well for a while";
                (State::Starting, Stage::Listing, settling, "")
            }
            (State::Ready | State::Degraded, None) => {
                let reading = "its lists are being read";
                (State::Starting, Stage::Listing, reading, "")
            }
            (state, _) => (state, status.stage, &*status.reason, state.action()),
        };
    Some(json!({
        "name": &*source.name,
        "state": state.as_str(),
        "reason": reason,
        "stage": stage.as_str(),
        "since": rfc3339(status.since),
        "action": action,
    }))
}

/// The tools as they are listed, those that `is_listed`.
pub(super) fn tool_items(
    snapshot: &Snapshot,
    is_listed: impl Fn(&Entry) -> bool,
    profile: Option<&Profile>,
) -> Vec<Vec<u8>> {
    let entries = snapshot.tools.entries().iter();
    entries
        .filter(|entry| is_listed(entry))
        .map(|entry| {
            let mut edits = Splice::new();
            match profile {
                None => edit_name(entry, &entry.exposed, &mut edits),
                Some(profile) => {
                    let names = snapshot.spellings_of(entry);
                    let name = profile.listed_as(&names).unwrap_or(&entry.exposed);
                    edit_name(entry, name, &mut edits);
                    profile.edit_tool(&names, &entry.item.raw, &mut edits);
                }
            }
            let resources = &snapshot.resources;
            let ui = ui_resource(&entry.item)
                .and_then(|uri| resources.ui_listed_as(entry.source, &entry.backend, &uri));
            if let (Some(span), Some(uri)) = (entry.item.ui_resource, ui) {
                edits.replace(span, quoted(&uri));
            }
            spliced(&entry.item, edits)
        })
        .collect()
}

/// The prompts as they are listed, those that `is_listed`.
pub(super) fn prompt_items(
    snapshot: &Snapshot,
    is_listed: impl Fn(&Entry) -> bool,
) -> Vec<Vec<u8>> {
    let entries = snapshot.prompts.entries().iter();
    entries
        .filter(|entry| is_listed(entry))
        .map(|entry| {
            let mut edits = Splice::new();
            edit_name(entry, &entry.exposed, &mut edits);
            spliced(&entry.item, edits)
        })
        .collect()
}

fn edit_name(entry: &Entry, name: &str, edits: &mut Splice<'_>) {
    if *name != entry.item.key {
        edits.replace(entry.item.key_span, quoted(name));
    }
}

/// The resources or templates as they are listed, of those that are `shown` by source and URI.
pub(super) fn addressed_items(
    list: List,
    sources: &[Source],
    resources: &Resources,
    shown: impl Fn(usize, &str) -> bool,
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (index, source) in visible(sources) {
        let Some(lists) = &source.lists else { continue };
        for item in list.items(lists).iter().filter(|it| shown(index, &it.key)) {
            let mut edits = Splice::new();
            if let Some(address) = resources.listed_as(list, &source.name, &item.key) {
                edits.replace(item.key_span, quoted(&address));
            }
            all.push(spliced(item, edits));
        }
    }
    all
}

/// The skills as they are listed, of those that are `shown` by source and URI.
pub(super) fn skill_items(
    sources: &[Source],
    resources: &Resources,
    shown: impl Fn(usize, &str) -> bool,
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (index, source) in visible(sources) {
        let skills = source.lists.iter().flat_map(|lists| &lists.skills);
        for item in skills.filter(|item| shown(index, &item.key)) {
            let mut edits = Splice::new();
            if !resources.skill_leads_to(index, &item.key) {
                address_skill(&source.name, &item.raw, &item.raw, &mut edits);
            }
            all.push(spliced(item, edits));
        }
    }
    all
}

/// The sources whose resources are listed, with their indices.
fn visible(sources: &[Source]) -> impl Iterator<Item = (usize, &Source)> {
    let all = sources.iter().enumerate();
    all.filter(|(_, source)| !source.hidden)
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_str(&mut out, text);
    out
}

fn spliced(item: &Item, edits: Splice<'_>) -> Vec<u8> {
    // No message is too long for one.
    let Some(whole) = Span::of_all(&item.raw) else {
        return item.raw.to_vec();
    };
    let mut out = Vec::with_capacity(item.raw.len() + 32);
    edits.apply(&item.raw, whole, &mut out);
    out
}

/// One list, cut into pages.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Of the items, not of what the results say beside them.
    digest: [u8; 32],
    first: Bytes,
    /// Each with the cursor that leads to it.
    others: Vec<(String, Bytes)>,
}

impl Pages {
    pub(super) fn build(list: List, items: &[Vec<u8>], page_size: usize, frame: &Frame) -> Self {
        let digest = digest(items);
        let page_size = page_size.max(1);
        let count = items.len().div_ceil(page_size).max(1);
        let page = |index: usize| {
            let start = index * page_size;
            let items = &items[start..items.len().min(start + page_size)];
            let next = (index + 1 < count).then(|| cursor(&digest, index + 1));
            result(list, items, next.as_deref(), frame)
        };
        Self {
            first: page(0),
            others: (1..count)
                .map(|index| (cursor(&digest, index), page(index)))
                .collect(),
            digest,
        }
    }

    pub(super) fn get(&self, cursor: Option<&str>) -> Result<&Bytes, InvalidCursor> {
        let Some(cursor) = cursor else {
            return Ok(&self.first);
        };
        let mut others = self.others.iter();
        others
            .find(|(own, _)| own == cursor)
            .map(|(_, page)| page)
            .ok_or(InvalidCursor)
    }

    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Of all pages, in bytes.
    pub(super) fn len(&self) -> usize {
        let others: usize = self.others.iter().map(|(_, page)| page.len()).sum();
        self.first.len() + others
    }
}

fn digest(items: &[Vec<u8>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for item in items {
        hash.update((item.len() as u64).to_le_bytes());
        hash.update(item);
    }
    hash.finalize().into()
}

/// A cursor holds as long as the items are the same, on every replica and across restarts.
fn cursor(digest: &[u8; 32], page: usize) -> String {
    let mut text = format!("{page}.");
    for byte in &digest[..8] {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn result(list: List, items: &[Vec<u8>], next: Option<&str>, frame: &Frame) -> Bytes {
    let mut out = format!("{{\"resultType\":\"complete\",\"{}\":[", list.key()).into_bytes();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.extend_from_slice(b"],");
    if let Some(next) = next {
        out.extend_from_slice(format!("\"nextCursor\":\"{next}\",").as_bytes());
    }
    out.extend_from_slice(
        format!("{},\"_meta\":{{{}", frame.caching, frame.server_meta).as_bytes(),
    );
    let too_many = frame.too_many_meta.as_ref();
    let too_many = too_many.filter(|_| list == List::Tools);
    for member in frame.missing_meta.iter().chain(too_many) {
        out.push(b',');
        out.extend_from_slice(member.as_bytes());
    }
    out.extend_from_slice(b"}}");
    out.into()
}
