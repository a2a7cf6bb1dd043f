//! Learning what a server offers: all pages of all lists, every item checked and kept as it was
//! written.

use crate::effects::Effects;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use switchboard_protocol::envelope::Response;
use switchboard_protocol::error::code;
use switchboard_protocol::json::{self, Span};
use switchboard_protocol::param_header::ParamHeaders;
use switchboard_protocol::splice::{for_each_item, for_each_member, member};

use crate::config::BackendConfig;
use crate::connect::{Connection, OWN_META};
use crate::legacy;
use crate::link::watch::Watch;
use crate::link::{LinkError, next_id};
use crate::list_memory::{Held, ListMemory};
use crate::lists::{Item, Lists, TaskSupport};
use crate::message;
use switchboard_protocol::pattern;

/// How many items of one kind a backend may have.
const MAX_ITEMS: usize = 100_000;
/// How many bytes the items of one list may have together.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How long all lists of a backend may take; what is read by then is kept.
const LEARN_DEADLINE: Duration = Duration::from_secs(60);
/// How many items that are left out are logged by name, each time a list is read.
const LOGGED: usize = 10;
/// How many pages a list may have.
const MAX_PAGES: usize = 10_000;
/// How long one page may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);

/// One kind of list.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    method: &'static str,
    /// Member of the result.
    items: &'static str,
    /// Member of an item that names it.
    key: &'static str,
    check: fn(&[u8]) -> Result<(), serde_json::Error>,
}

fn check<T: serde::de::DeserializeOwned>(raw: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<T>(raw).map(drop)
}

pub(crate) const TOOLS: Kind = Kind {
    method: "tools/list",
    items: "tools",
    key: "name",
    check: check::<rmcp::model::Tool>,
};
pub(crate) const PROMPTS: Kind = Kind {
    method: "prompts/list",
    items: "prompts",
    key: "name",
    check: check::<rmcp::model::Prompt>,
};
pub(crate) const RESOURCES: Kind = Kind {
    method: "resources/list",
    items: "resources",
    key: "uri",
    check: check::<rmcp::model::Resource>,
};
pub(crate) const TEMPLATES: Kind = Kind {
    method: "resources/templates/list",
    items: "resourceTemplates",
    key: "uriTemplate",
    check: check::<rmcp::model::ResourceTemplate>,
};
pub(crate) const SKILLS: Kind = Kind {
    method: "skills/list",
    items: "skills",
    key: "uri",
    check: check::<rmcp::model::Skill>,
};

/// How fresh, and for whom, the pages of a server's lists are.
struct Hints {
    ttl_ms: Option<u64>,
    public: bool,
    /// Whether a list was longer than is kept.
    cut: bool,
    /// When reading on takes too long.
    deadline: Instant,
    /// What the lists take of the backend's memory.
    held: Held,
}

/// The items of a list that are left out: the first ones are logged, the rest counted.
struct LeftOut<'a> {
    backend: &'a str,
    list: &'static str,
    count: usize,
}

impl LeftOut<'_> {
    fn note(&mut self, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= LOGGED {
            tracing::warn!(
                backend = self.backend,
                list = self.list,
                "an item is left out: {}",
                why()
            );
        }
    }
}

impl Drop for LeftOut<'_> {
    fn drop(&mut self) {
        if self.count > LOGGED {
            tracing::warn!(
                backend = self.backend,
                list = self.list,
                items = self.count,
                "items are left out"
            );
        }
    }
}

/// What a server wrote, cut to a length fit for a log.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}

/// Reads everything that the server declared.
///
/// # Errors
/// The first list that could not be read, if none could; otherwise what is missing is told in the
/// lists.
pub(crate) async fn learn(
    backend: &str,
    config: &BackendConfig,
    connection: &Connection,
    memory: &ListMemory,
) -> Result<(Lists, Held), LinkError> {
    let features = connection.server.features;
    let mut hints = Hints {
        ttl_ms: None,
        public: true,
        cut: false,
        held: memory.begin(),
        deadline: Instant::now() + LEARN_DEADLINE,
    };
    let mut failed = Vec::new();
    let mut read = async |kind: Kind, declared: bool| -> Vec<Item> {
        if !declared {
            return Vec::new();
        }
        match read_list(backend, connection, kind, &mut hints).await {
            Ok(items) => items,
            Err(error) => {
                failed.push((kind.method, error));
                Vec::new()
            }
        }
    };
    let mut tools = read(TOOLS, features.tools).await;
    let prompts = read(PROMPTS, features.prompts).await;
    let resources = read(RESOURCES, features.resources).await;
    let templates = read(TEMPLATES, features.resources).await;
    let skills = read(SKILLS, connection.server.has_skills()).await;
    let mut left_out = Vec::new();
    tools.retain(|tool| {
        let is_shown = is_shown(&tool.key, &config.include_tools, &config.exclude_tools);
        if !is_shown {
            left_out.push(tool.key.clone());
        }
        is_shown
    });
    let nothing = [&tools, &prompts, &resources, &templates, &skills]
        .iter()
        .all(|items| items.is_empty());
    let methods = failed
        .iter()
        .map(|(method, _)| *method)
        .collect::<Vec<_>>()
        .join(", ");
    match failed.into_iter().next() {
        Some((_, error)) if nothing => return Err(error),
        _ => {}
    }
    let lists = Lists {
        server: Arc::clone(&connection.server),
        tools,
        left_out,
        prompts,
        resources,
        templates,
        skills,
        ttl_ms: hints.ttl_ms,
        public: hints.public,
        missing: match (methods.is_empty(), hints.cut) {
            (false, _) => Some(format!("it does not answer {methods}")),
            (true, true) => Some("it lists more than the gateway keeps".to_owned()),
            (true, false) => None,
        },
    };
    Ok((lists, hints.held))
}

async fn read_list(
    backend: &str,
    connection: &Connection,
    kind: Kind,
    hints: &mut Hints,
) -> Result<Vec<Item>, LinkError> {
    let mut items = Vec::new();
    let (mut seen, mut kept_bytes, mut is_full) = (0, 0, false);
    let mut left_out = LeftOut {
        backend,
        list: kind.method,
        count: 0,
    };
    let mut keys = HashSet::new();
    let mut cursor: Option<Vec<u8>> = None;
    let mut cursors = HashSet::new();
    for _ in 0..MAX_PAGES {
        let response = page(connection, kind, cursor.as_deref()).await?;
        let Some(result) = response.result else {
            // Declared, and yet not there: nothing to list.
            if response.error_code() == Some(code::METHOD_NOT_FOUND) {
                return Ok(items);
            }
            return Err(LinkError::Invalid(format!(
                "error {}",
                response.error_code().unwrap_or_default()
            )));
        };
        let result_raw = response.raw.slice(result.range());
        hints.take(&response);
        let list = member(&result_raw, kind.items)
            .ok_or_else(|| LinkError::Invalid(format!("a list without {:?}", kind.items)))?;
        let list = result_raw.slice_ref(list);
        for_each_item(&list, |span| {
            seen += 1;
            if seen > MAX_ITEMS || kept_bytes > MAX_BYTES || is_full {
                return;
            }
            let raw = if kind.method == TOOLS.method && !connection.wire.version.is_modern() {
                legacy::modern_tool(span.of(&list))
            } else {
                Cow::Borrowed(span.of(&list))
            };
            match item(kind, without_nulls(&raw)) {
                Ok(item) if !keys.contains(&item.key) && !hints.held.grow(item.raw.len()) => {
                    is_full = true;
                }
                Ok(mut item) if keys.insert(item.key.clone()) => {
                    if kind.method == TOOLS.method && connection.server.features.tasks {
                        item.task_support = TaskSupport::of_tool(span.of(&list));
                    }
                    kept_bytes += item.raw.len();
                    items.push(item);
                }
                Ok(item) => left_out.note(|| format!("{:?} is listed twice", shortened(&item.key))),
                Err(error) => left_out.note(|| shortened(&error).to_owned()),
            }
        });
        let next = response
            .keys
            .next_cursor
            .map(|span| response.slice(span).to_vec());
        match next {
            Some(next)
                if next.first() == Some(&b'"')
                    && seen < MAX_ITEMS
                    && kept_bytes < MAX_BYTES
                    && !is_full
                    && Instant::now() < hints.deadline
                    && cursors.insert(next.clone()) =>
            {
                cursor = Some(next);
            }
            // A server whose cursors lead nowhere new, or that has more than can be kept.
            Some(next) if next.first() == Some(&b'"') => break,
            _ if is_full => break,
            _ => return Ok(items),
        }
    }
    tracing::warn!(
        backend,
        list = kind.method,
        items = items.len(),
        "the list is cut: it has no end, or more than the gateway keeps"
    );
    hints.cut = true;
    Ok(items)
}

async fn page(
    connection: &Connection,
    kind: Kind,
    cursor: Option<&[u8]>,
) -> Result<Response, LinkError> {
    let meta = if connection.wire.version.is_modern() {
        OWN_META
    } else {
        ""
    };
    let params = cursor
        .map(|cursor| format!("\"cursor\":{}", String::from_utf8_lossy(cursor)))
        .unwrap_or_default();
    let out = message::own(kind.method, next_id(), meta, &params);
    match tokio::time::timeout(
        PAGE_DEADLINE,
        connection
            .link
            .request(&connection.wire, out, Watch::deaf()),
    )
    .await
    {
        Ok(Err(LinkError::Status {
            error: Some(response),
            ..
        })) => Ok(*response),
        Ok(answer) => answer,
        Err(_) => Err(LinkError::Lost(format!("no answer to {}", kind.method))),
    }
}

impl Hints {
    fn take(&mut self, response: &Response) {
        let ttl = response
            .keys
            .ttl_ms
            .and_then(|span| std::str::from_utf8(response.slice(span)).ok()?.parse().ok());
        if let Some(ttl) = ttl {
            self.ttl_ms = Some(self.ttl_ms.map_or(ttl, |known| known.min(ttl)));
        }
        self.public &= response.text(response.keys.cache_scope).as_deref() == Some("public");
    }
}

/// Checks an item and finds what of it is rewritten later. One bad item makes some clients refuse
/// the whole list, so it is left out here.
pub(crate) fn item(kind: Kind, raw: Bytes) -> Result<Item, String> {
    (kind.check)(&raw).map_err(|error| error.to_string())?;
    let mut key = None;
    let mut ui_resource = None;
    let mut param_headers = ParamHeaders::default();
    let mut invalid = None;
    for_each_member(&raw, |name, _, value| match name {
        _ if name == kind.key => key = Some(Span::of_part(&raw, value)),
        "_meta" => {
            ui_resource = member(value, "ui")
                .and_then(|ui| member(ui, "resourceUri"))
                .map(|uri| Span::of_part(&raw, uri))
        }
        "inputSchema" => match ParamHeaders::from_schema(value) {
            Ok(headers) => param_headers = headers,
            Err(error) => invalid = Some(error.to_string()),
        },
        _ => {}
    });
    if let Some(error) = invalid {
        return Err(format!(
            "its x-mcp-header annotations are not valid: {error}"
        ));
    }
    let key_span = key.ok_or("it has no name")?;
    let key = json::as_str(key_span.of(&raw))
        .ok_or("its name is no string")?
        .into_owned();
    Ok(Item {
        key_span,
        ui_resource: ui_resource.filter(|span| raw[span.start()] == b'"'),
        param_headers: Arc::new(param_headers),
        task_support: None,
        effects: match kind.key {
            "name" => Effects::of_tool(&key, &raw),
            _ => Effects::default(),
        },
        key,
        raw,
    })
}

/// An item of a list without members that are `null`: no revision has such, some servers write what
/// is absent so, and some clients refuse the whole list for one. `raw` is copied, or one small item
/// would keep its whole page.
fn without_nulls(raw: &[u8]) -> Bytes {
    let mut any = false;
    for_each_member(raw, |_, _, value| any |= value == b"null");
    if !any {
        return Bytes::copy_from_slice(raw);
    }
    let mut out = vec![b'{'];
    for_each_member(raw, |_, member, value| {
        if value != b"null" {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(member);
        }
    });
    out.push(b'}');
    out.into()
}

/// Whether a tool of this name is shown.
fn is_shown(name: &str, include: &[String], exclude: &[String]) -> bool {
    let any = |patterns: &[String]| patterns.iter().any(|it| pattern::matches(it, name));
    (include.is_empty() || any(include)) && !any(exclude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excluded_is_not_shown_and_nothing_else_where_some_are_included() {
        let list = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        assert!(is_shown("a", &[], &[]));
        assert!(!is_shown("a", &list(&["b"]), &[]));
        assert!(!is_shown("a", &list(&["*"]), &list(&["a"])));
    }

    #[test]
    fn an_item_has_no_members_that_are_null() {
        let raw = br#"{"name":"a","title":null,"x":{"y":null},"description": null}"#;
        assert_eq!(without_nulls(raw), &br#"{"name":"a","x":{"y":null}}"#[..]);
        assert_eq!(without_nulls(b"{\"a\": 1}"), &b"{\"a\": 1}"[..]);
        assert_eq!(without_nulls(b"[null]"), &b"[null]"[..]);
    }
}
