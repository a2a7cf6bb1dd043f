//! Forms of elicitation for clients of 2025-06-18: titles of options stand in `enumNames`, and a
//! choice of several, which that version has no field for, is one box to tick for each option.

use std::collections::{HashMap, HashSet};

use switchboard_protocol::json::{as_str, quoted, write_str};
use switchboard_protocol::splice::{for_each_item, for_each_member, member};

use super::edit::{self, Edit};

/// How much of a field's name or title is repeated for each of its options, in bytes.
const MAX_LABEL: usize = 64;

/// One option of a choice.
struct Choice {
    value: String,
    title: Option<String>,
}

/// A field with a choice of several options.
struct MultiSelect<'a> {
    name: String,
    schema: &'a [u8],
    /// The field that each option becomes, and its value.
    boxes: Vec<(String, Choice)>,
}

/// A `requestedSchema` of 2026-07-28 as one of 2025-06-18; `None` if it is one already. Keywords
/// that the older version does not define, such as `default`, stay: it forbids none.
pub(super) fn legacy_schema(raw: &[u8]) -> Option<Vec<u8>> {
    let several = multi_selects(raw);
    edit::object(raw, b"", |key, value| match key {
        "properties" => properties(value, &several).into(),
        "required" if !several.is_empty() => Edit::Value(required(value, &several).into()),
        _ => Edit::Keep,
    })
}

/// What a client wrote into a form made by [`legacy_schema`], as an answer to the form that the
/// server sent, `schema`; `None` if it is one already.
pub(super) fn modern_content(schema: &[u8], raw: &[u8]) -> Option<Vec<u8>> {
    let several = multi_selects(schema);
    if several.is_empty() {
        return None;
    }
    let mut boxes: HashMap<&str, (usize, &str)> = HashMap::new();
    for (index, field) in several.iter().enumerate() {
        for (key, choice) in &field.boxes {
            boxes.insert(key, (index, &choice.value));
        }
    }
    let mut ticked: Vec<Option<Vec<&str>>> = vec![None; several.len()];
    for_each_member(raw, |key, _, value| {
        if let Some((index, option)) = boxes.get(key) {
            let chosen = ticked[*index].get_or_insert_default();
            if value == b"true" {
                chosen.push(option);
            }
        }
    });
    let mut extra = Vec::new();
    for (field, chosen) in several.iter().zip(ticked) {
        let Some(chosen) = chosen else { continue };
        if !extra.is_empty() {
            extra.push(b',');
        }
        write_str(&mut extra, &field.name);
        extra.push(b':');
        write_strings(&mut extra, chosen);
    }
    edit::object(raw, &extra, |key, _| {
        if boxes.contains_key(key) {
            Edit::Drop
        } else {
            Edit::Keep
        }
    })
}

/// The fields with a choice of several, with a name for each option that no other field has.
fn multi_selects(schema: &[u8]) -> Vec<MultiSelect<'_>> {
    let Some(properties) = member(schema, "properties") else {
        return Vec::new();
    };
    let mut taken = HashSet::new();
    let mut several: Vec<(String, &[u8], Vec<Choice>)> = Vec::new();
    for_each_member(properties, |name, _, value| {
        taken.insert(name.to_owned());
        if member(value, "type").and_then(as_str).as_deref() == Some("array")
            && let Some(options) = member(value, "items").and_then(choices)
        {
            several.push((name.to_owned(), value, options));
        }
    });
    let mut count = 0;
    several
        .into_iter()
        .map(|(name, schema, options)| {
            let boxes = options.into_iter().map(|choice| {
                let base = format!("{}: {}", shortened(&name), choice.value);
                let mut key = base.clone();
                while !taken.insert(key.clone()) {
                    count += 1;
                    key = format!("{base} #{count}");
                }
                (key, choice)
            });
            MultiSelect {
                boxes: boxes.collect(),
                name,
                schema,
            }
        })
        .collect()
}

/// The options of an enumeration, with titles (`oneOf`, `anyOf`) or without (`enum`); `None` if it
/// is none.
fn choices(schema: &[u8]) -> Option<Vec<Choice>> {
    let mut found = Vec::new();
    let mut all_are_texts = true;
    let titled = member(schema, "oneOf").or_else(|| member(schema, "anyOf"));
    let list = titled.or_else(|| member(schema, "enum"))?;
    for_each_item(list, |span| {
        let item = span.of(list);
        let (value, title) = match titled {
            Some(_) => (member(item, "const"), member(item, "title")),
            None => (Some(item), None),
        };
        match value.and_then(as_str) {
            Some(value) => found.push(Choice {
                value: value.into_owned(),
                title: title.and_then(as_str).map(|title| title.into_owned()),
            }),
            None => all_are_texts = false,
        }
    });
    (all_are_texts && !found.is_empty()).then_some(found)
}

fn properties(raw: &[u8], several: &[MultiSelect<'_>]) -> Option<Vec<u8>> {
    let mut fields = several.iter().peekable();
    let mut changes = false;
    let mut out = vec![b'{'];
    for_each_member(raw, |_, member, value| {
        let prefix = &member[..member.len() - value.len()];
        if out.len() > 1 {
            out.push(b',');
        }
        // In the order of the properties, so the next one is this one or none.
        if let Some(field) = fields.next_if(|field| std::ptr::eq(field.schema, value)) {
            changes = true;
            tick_boxes(field, &mut out);
        } else if let Some(changed) = single_select(value) {
            changes = true;
            out.extend_from_slice(prefix);
            out.extend_from_slice(&changed);
        } else {
            out.extend_from_slice(member);
        }
    });
    out.push(b'}');
    changes.then_some(out)
}

/// A choice of one option with titles.
fn single_select(raw: &[u8]) -> Option<Vec<u8>> {
    let is_string = member(raw, "type").and_then(as_str).as_deref() == Some("string");
    member(raw, "oneOf").filter(|_| is_string)?;
    let options = choices(raw)?;
    let mut extra = b"\"enum\":".to_vec();
    write_strings(&mut extra, options.iter().map(|option| &*option.value));
    extra.extend_from_slice(b",\"enumNames\":");
    let titles = options.iter().map(|option| option.title.as_ref());
    let names = titles
        .zip(&options)
        .map(|(title, option)| title.unwrap_or(&option.value));
    write_strings(&mut extra, names.map(String::as_str));
    edit::object(raw, &extra, |key, _| match key {
        "oneOf" | "enum" | "enumNames" => Edit::Drop,
        _ => Edit::Keep,
    })
}

fn tick_boxes(field: &MultiSelect<'_>, out: &mut Vec<u8>) {
    let text = |key| member(field.schema, key).and_then(as_str);
    let label = text("title").unwrap_or_else(|| field.name.as_str().into());
    let mut defaults = HashSet::new();
    if let Some(list) = member(field.schema, "default") {
        for_each_item(list, |span| {
            defaults.extend(as_str(span.of(list)).map(|value| value.into_owned()));
        });
    }
    for (index, (key, choice)) in field.boxes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_str(out, key);
        out.extend_from_slice(b":{\"type\":\"boolean\",\"title\":");
        let title = choice.title.as_ref().unwrap_or(&choice.value);
        write_str(out, &format!("{}: {title}", shortened(&label)));
        // Once is enough, and however many options there are it does not add up.
        if index == 0
            && let Some(description) = text("description")
        {
            out.extend_from_slice(b",\"description\":");
            out.extend_from_slice(&quoted(&description));
        }
        let is_default = defaults.contains(&choice.value);
        out.extend_from_slice(format!(",\"default\":{is_default}}}").as_bytes());
    }
}

/// `required` without the fields that are boxes now.
fn required(raw: &[u8], several: &[MultiSelect<'_>]) -> Vec<u8> {
    let gone: HashSet<&str> = several.iter().map(|field| &*field.name).collect();
    let mut kept = Vec::new();
    for_each_item(raw, |span| {
        kept.extend(as_str(span.of(raw)).filter(|name| !gone.contains(&**name)));
    });
    let mut out = Vec::new();
    write_strings(&mut out, kept.iter().map(|name| &**name));
    out
}

fn write_strings<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a str>) {
    out.push(b'[');
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_str(out, text);
    }
    out.push(b']');
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LABEL)]
}

#[cfg(test)]
mod tests;
