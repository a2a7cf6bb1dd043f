//! All sources as one value, by figment, and beside it where every key was last said.

use std::collections::BTreeMap;

use figment::value::{Dict, Map, Num, Tag, Value as FigmentValue};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::Value as Json;

use super::document::Document;
use super::finding::Finding;
use super::node::{Node, Path, Value};

/// Lays the documents over each other, later ones on top: tables key by key, anything else whole.
///
/// # Errors
///
/// None is known: what could not be a value has been taken out before.
pub(super) fn merge(documents: &[Document]) -> Result<Json, String> {
    documents
        .iter()
        .fold(Figment::new(), |figment, document| {
            figment.merge(Layer(document))
        })
        .extract()
        .map_err(|error| error.to_string())
}

/// A document as one layer of figment's.
struct Layer<'a>(&'a Document);

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(dict(&self.0.root)))
    }
}

fn dict(node: &Node) -> Dict {
    let entries = node.entries().iter();
    entries
        .map(|entry| (entry.key.clone(), value(&entry.node)))
        .collect()
}

fn value(node: &Node) -> FigmentValue {
    let tag = Tag::Default;
    match &node.value {
        Value::Null | Value::Broken => FigmentValue::from(figment::value::Empty::Unit),
        Value::Bool(value) => FigmentValue::Bool(tag, *value),
        Value::Number(number) => FigmentValue::Num(tag, num(number)),
        Value::Text(text) => FigmentValue::String(tag, text.clone()),
        Value::List(items) => FigmentValue::Array(tag, items.iter().map(value).collect()),
        Value::Table(_) => FigmentValue::Dict(tag, dict(node)),
    }
}

fn num(number: &serde_json::Number) -> Num {
    match (number.as_i64(), number.as_u64()) {
        (Some(value), _) => Num::I64(value),
        (_, Some(value)) => Num::U64(value),
        _ => Num::F64(number.as_f64().unwrap_or(f64::NAN)),
    }
}

/// Where every key was last said.
#[derive(Debug)]
pub(crate) struct Index {
    /// The names of the documents.
    documents: Vec<String>,
    places: BTreeMap<Vec<String>, Place>,
}

#[derive(Debug)]
struct Place {
    document: usize,
    line: usize,
    path: Path,
    /// Whether its text, or a part of it, came from a variable or a file.
    is_expanded: bool,
}

impl Index {
    pub(super) fn of(documents: &[Document]) -> Self {
        let mut places = BTreeMap::new();
        for (document, source) in documents.iter().enumerate() {
            note(&source.root, document, &Path::default(), &mut places);
        }
        let documents = documents.iter().map(|document| document.name.clone());
        Self {
            documents: documents.collect(),
            places,
        }
    }

    /// Whether the text of this key, or a part of it, came from a variable or a file, and so may be a
    /// secret.
    pub(crate) fn is_expanded(&self, key: &[String]) -> bool {
        let whole = (1..=key.len()).map(|length| &key[..length]);
        let mut places = whole.filter_map(|key| self.places.get(key));
        places.any(|place| place.is_expanded)
    }

    /// A finding about `key`, placed where it was last said; where it is not there at all, at
    /// the nearest table or list around its place.
    pub(crate) fn finding(&self, key: &[String], message: String) -> Finding {
        let around = (0..=key.len()).rev();
        let place = around
            .filter_map(|length| self.places.get(&key[..length]))
            .next();
        let Some(place) = place else {
            let path = Path {
                keys: key.to_vec(),
                written: key.to_vec(),
            };
            return Finding {
                file: self.documents.first().cloned().unwrap_or_default(),
                line: None,
                key: path.shown(),
                message,
            };
        };
        let mut path = place.path.clone();
        path.written.extend_from_slice(&key[path.written.len()..]);
        Finding {
            file: self.documents[place.document].clone(),
            line: (place.line > 0).then_some(place.line),
            key: path.shown(),
            message,
        }
    }
}

fn note(node: &Node, document: usize, path: &Path, places: &mut BTreeMap<Vec<String>, Place>) {
    let mut add = |path: Path, line: usize, node: &Node| {
        note(node, document, &path, places);
        let place = Place {
            document,
            line,
            path: path.clone(),
            is_expanded: node.expanded,
        };
        places.insert(path.keys, place);
    };
    match &node.value {
        Value::Table(entries) => {
            for entry in entries {
                add(path.entry(entry), entry.line, &entry.node);
            }
        }
        // Of lists the last file's is taken whole.
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                add(path.item(at), item.line, item);
            }
        }
        _ => {}
    }
}
