//! The results of reading what is kept, as JSON.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use switchboard_protocol::OWN_META_PREFIX;
use switchboard_protocol::call::{Completed, Outcome};
use switchboard_protocol::json::write_str;

use super::SCHEME;
use super::outline::thousands;
use super::parts::Part;
use super::read::{Page, Read};
use super::search::Found;
use super::store::{Content, Entry};

/// The most that is said of what parts there are, in bytes.
pub(super) const MAX_PARTS_BYTES: usize = 2048;

/// The result of `resources/read`. Nobody may keep it: whether it may be read is asked each time.
pub(super) fn of_resource(entry: &Entry, uri: &str, total: u64, read: &Read) -> Outcome {
    let mut out = br#"{"resultType":"complete","contents":[{"uri":"#.to_vec();
    write_str(&mut out, uri);
    out.extend_from_slice(br#","mimeType":"#);
    write_content(entry, total, read, &mut out);
    out.extend_from_slice(br#"}],"ttlMs":0,"cacheScope":"private","#);
    write_meta(entry, total, read, &mut out);
    completed(out, false)
}

/// The result of the tool: what was read, and for a model how to read on.
pub(super) fn of_tool(entry: &Entry, id: &str, total: u64, read: &Read) -> Outcome {
    let mut out = br#"{"resultType":"complete","content":["#.to_vec();
    match read {
        Read::Binary(_) => {
            out.extend_from_slice(br#"{"type":"resource","resource":{"uri":"#);
            write_str(&mut out, &format!("{SCHEME}{id}"));
            out.extend_from_slice(br#","mimeType":"#);
            write_content(entry, total, read, &mut out);
            out.extend_from_slice(b"}}");
        }
        Read::Text(page) => write_text(&page.content, &mut out),
        Read::Found(found) => write_text(&listing(found, total), &mut out),
    }
    let place = match read {
        Read::Text(page) => Some(place(page, total)),
        Read::Binary(page) => Some(place(page, total)),
        Read::Found(_) => None,
    };
    if let Some(place) = place {
        out.push(b',');
        write_text(&place, &mut out);
    }
    out.extend_from_slice(b"],");
    write_meta(entry, total, read, &mut out);
    completed(out, false)
}

/// The result of the tool for arguments that are wrong.
pub(super) fn wrong(message: &str) -> Outcome {
    let mut out = br#"{"resultType":"complete","content":["#.to_vec();
    write_text(message, &mut out);
    out.extend_from_slice(br#"],"isError":true}"#);
    completed(out, true)
}

fn completed(result: Vec<u8>, is_error: bool) -> Outcome {
    Outcome::Complete(Completed {
        result: result.into(),
        is_error,
    })
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"text","text":"#);
    write_str(out, text);
    out.push(b'}');
}

/// The media type, and the text or the blob.
fn write_content(entry: &Entry, total: u64, read: &Read, out: &mut Vec<u8>) {
    let media_type = match &entry.content {
        Content::Text(_) => "text/plain",
        Content::Binary(media_type) => media_type,
    };
    write_str(out, media_type);
    match read {
        Read::Text(page) => {
            out.extend_from_slice(br#","text":"#);
            write_str(out, &page.content);
        }
        Read::Found(found) => {
            out.extend_from_slice(br#","text":"#);
            write_str(out, &listing(found, total));
        }
        Read::Binary(page) => {
            out.extend_from_slice(br#","blob":""#);
            out.extend_from_slice(STANDARD.encode(&page.content).as_bytes());
            out.push(b'"');
        }
    }
}

/// `_meta`, and the end of the result.
fn write_meta(entry: &Entry, total: u64, read: &Read, out: &mut Vec<u8>) {
    let mut meta = Map::new();
    meta.insert("total".into(), total.into());
    let range = match read {
        Read::Text(page) => Some((page.offset, page.length, page.has_parts)),
        Read::Binary(page) => Some((page.offset, page.length, false)),
        Read::Found(_) => None,
    };
    if let Some((offset, length, has_parts)) = range {
        meta.insert("offset".into(), offset.into());
        meta.insert("length".into(), length.into());
        if offset + length < total {
            meta.insert("nextOffset".into(), (offset + length).into());
        }
        if let (Content::Text(parts), true) = (&entry.content, has_parts) {
            meta.insert("parts".into(), listed(parts));
        }
    }
    if let Read::Found(found) = read {
        let matches = found.matches.iter();
        let matches = matches.map(|it| json!([it.offset, it.length, it.line]));
        // An array each, since there may be many.
        meta.insert("matches".into(), Value::Array(matches.collect()));
        meta.insert("searchedTo".into(), found.until.into());
        meta.insert("hasMore".into(), found.has_more.into());
        if let Some(next) = found.next {
            meta.insert("nextOffset".into(), next.into());
        }
    }
    let meta = format!(
        r#""_meta":{{"{OWN_META_PREFIX}result":{}}}}}"#,
        Value::Object(meta)
    );
    out.extend_from_slice(meta.as_bytes());
}

/// The parts, the first of them if there are too many.
fn listed(parts: &[Part]) -> Value {
    let mut all = Vec::new();
    let mut bytes = 0;
    for part in parts {
        let mut entry = json!({
            "kind": part.kind.word(),
            "offset": part.offset,
            "length": part.length,
        });
        if let Some(media_type) = &part.media_type {
            entry["mimeType"] = media_type.as_str().into();
        }
        if let Some(uri) = &part.uri {
            entry["uri"] = uri.as_str().into();
        }
        bytes += entry.to_string().len() + 1;
        if bytes > MAX_PARTS_BYTES {
            break;
        }
        all.push(entry);
    }
    Value::Array(all)
}

/// Where a page is, and how to read on.
fn place<T>(page: &Page<T>, total: u64) -> String {
    let (from, to) = (page.offset, page.offset + page.length);
    let range = format!("Bytes {from} to {to} of {total}.");
    match to < total {
        true => format!("{range} Read on with offset {to}."),
        false => format!("{range} This is the end."),
    }
}

/// What was found, for a model.
fn listing(found: &Found, total: u64) -> String {
    let mut out = String::new();
    for it in &found.matches {
        let _ = writeln!(out, "line {}, byte {}: {}", it.line, it.offset, it.excerpt);
    }
    let count = match found.matches.len() {
        0 => "No match".to_owned(),
        1 => "1 match".to_owned(),
        many => format!("{} matches", thousands(many as u64)),
    };
    let _ = write!(out, "{count} up to byte {} of {total}.", found.until);
    if found.has_more {
        out.push_str(" There are more.");
    }
    if let Some(next) = found.next {
        let _ = write!(out, " Search on with offset {next}.");
    }
    out
}
