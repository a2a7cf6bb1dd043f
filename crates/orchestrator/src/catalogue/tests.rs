use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_backends::lists::{Features, Found, Server};
use switchboard_protocol::json::{self as wire, Span};
use switchboard_protocol::splice;

use super::*;
use switchboard_backends::status::Stage;

mod chains;
mod lists;
mod naming;
mod profiles;
mod routing;
mod views;

/// An item as a server could write it: `{"KEY":"…","description":"as it is"}`.
fn item(key: &str, value: &str) -> Item {
    item_of(&json!({ key: value, "description": "as it is" }), key)
}

fn item_of(value: &Value, key: &str) -> Item {
    raw_item(&value.to_string(), key)
}

fn raw_item(raw: &str, key: &str) -> Item {
    let raw = raw.as_bytes();
    let span = |part: &[u8]| Span::of_part(raw, part);
    let member = splice::member(raw, key).unwrap();
    let ui = splice::member(raw, "_meta")
        .and_then(|meta| splice::member(meta, "ui"))
        .and_then(|ui| splice::member(ui, "resourceUri"));
    Item {
        key: wire::as_str(member).unwrap().into_owned(),
        key_span: span(member),
        ui_resource: ui.map(span),
        param_headers: Arc::default(),
        task_support: None,
        effects: switchboard_backends::effects::Effects::default(),
        raw: Bytes::copy_from_slice(raw),
    }
}

fn app(name: &str, ui: &str) -> Item {
    let meta = json!({ "ui": { "resourceUri": ui, "visibility": ["model"] } });
    item_of(&json!({ "name": name, "_meta": meta }), "name")
}

fn status(state: State) -> Status {
    Status {
        state,
        stage: Stage::Connecting,
        reason: if state == State::Ready {
            ""
        } else {
            "no answer"
        }
        .to_owned(),
        cause: None,
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
}

/// A backend that offers nothing yet.
fn backend(name: &str) -> Source {
    Source {
        name: name.into(),
        prefix: None,
        status: status(State::Ready),
        lists: Some(Arc::new(Lists {
            server: Arc::new(Server {
                version: Version::LATEST,
                instructions: None,
                extensions: Vec::new(),
                features: Features::default(),
                found: Found::Discovered,
            }),
            tools: Vec::new(),
            left_out: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            templates: Vec::new(),
            skills: Vec::new(),
            ttl_ms: None,
            public: true,
            missing: None,
        })),
        shaped_by_credential: false,
        hidden: false,
    }
}

/// A backend without a prefix.
fn plain(name: &str) -> Source {
    Source {
        prefix: Some(String::new()),
        ..backend(name)
    }
}

impl Source {
    fn with(mut self, change: impl FnOnce(&mut Lists)) -> Self {
        change(Arc::make_mut(self.lists.as_mut().unwrap()));
        self
    }

    fn tools(self, names: &[&str]) -> Self {
        let items = names.iter().map(|name| item("name", name));
        self.with(|lists| lists.tools.extend(items))
    }

    fn prompts(self, names: &[&str]) -> Self {
        let items = names.iter().map(|name| item("name", name));
        self.with(|lists| lists.prompts.extend(items))
    }

    fn resources(self, uris: &[&str]) -> Self {
        let items = uris.iter().map(|uri| item("uri", uri));
        self.with(|lists| lists.resources.extend(items))
    }

    fn templates(self, templates: &[&str]) -> Self {
        let items = templates.iter().map(|text| item("uriTemplate", text));
        self.with(|lists| lists.templates.extend(items))
    }

    /// As it is before it was ever reached.
    fn unlearned(mut self, state: State) -> Self {
        self.lists = None;
        self.status = status(state);
        self
    }
}

fn build(sources: &[Source]) -> Snapshot {
    Snapshot::build(
        &NamesConfig::default(),
        sources,
        &SnapshotSettings::new("1.2.3"),
    )
}

fn result(snapshot: &Snapshot, list: List) -> Value {
    serde_json::from_slice(snapshot.page(list, None).unwrap()).unwrap()
}

/// The keys of the items of the first page.
fn listed(snapshot: &Snapshot, list: List) -> Vec<String> {
    let key = match list {
        List::Tools | List::Prompts => "name",
        List::Resources | List::Skills => "uri",
        List::Templates => "uriTemplate",
    };
    result(snapshot, list)[list.key()]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item[key].as_str().unwrap().to_owned())
        .collect()
}

fn tool<'a>(snapshot: &'a Snapshot, exposed: &str) -> Option<(&'a str, &'a str)> {
    let entry = snapshot.tool(exposed)?;
    Some((&entry.backend, entry.original()))
}
