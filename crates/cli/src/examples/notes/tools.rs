//! The tools of `notes`, and what their arguments and results look like.

use rmcp::model::{Resource, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::store::{self, Note, Notes};
use super::{note_resource, note_uri};
use crate::examples::table::{Output, Refusal, Table};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddNote {
    /// The text of the note, or the paragraph to append; plain text or Markdown.
    text: String,
    /// A short title; without one the first line of the text is taken.
    #[serde(default)]
    title: Option<String>,
    /// The id of a note to append the text to, instead of adding a new one.
    #[serde(default)]
    append_to: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListNotes {
    /// How many of the newest notes to pass over.
    #[serde(default)]
    offset: usize,
    /// How many notes to return, up to 100.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 100))]
    limit: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchNotes {
    /// Words that must all stand in a note, in any case and order.
    query: String,
    /// How many notes to return, up to 100.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 100))]
    limit: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeleteNote {
    /// The id of the note.
    id: u64,
}

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

#[derive(Serialize, JsonSchema)]
struct Summary {
    /// The id of the note, for `delete_note` and for appending.
    id: u64,
    /// The resource that has the whole text.
    uri: String,
    /// The title of the note.
    title: String,
    /// The size of its text in bytes.
    bytes: usize,
    /// The line that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    excerpt: Option<String>,
}

impl From<&Note> for Summary {
    fn from(note: &Note) -> Self {
        Self {
            id: note.id,
            uri: note_uri(note.id),
            title: note.title.clone(),
            bytes: note.text.len(),
            excerpt: None,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct Saved {
    /// The note as it is now.
    note: Summary,
    #[serde(skip)]
    resource: Resource,
}

impl Output for Saved {
    fn links(&self) -> Vec<Resource> {
        vec![self.resource.clone()]
    }
}

#[derive(Serialize, JsonSchema)]
struct Page {
    /// The notes.
    notes: Vec<Summary>,
    /// How many there are in all.
    total: usize,
}

impl Output for Page {}

#[derive(Serialize, JsonSchema)]
struct Deleted {
    /// Whether there was such a note.
    deleted: bool,
    /// How many notes are left.
    remaining: usize,
}

impl Output for Deleted {}

/// The table of the server's tools.
pub(super) fn table() -> Table<Notes> {
    let hints = || ToolAnnotations::new().open_world(false);
    let read_only = || hints().read_only(true).destructive(false).idempotent(true);
    Table::new()
        .row(
            "add_note",
            "Add a note",
            "Write a note on the team's scratchpad, or append a paragraph to one that is there.",
            hints()
                .read_only(false)
                .destructive(false)
                .idempotent(false),
            add_note,
        )
        .row(
            "list_notes",
            "List notes",
            "List the notes on the team's scratchpad, the newest first, without their texts.",
            read_only(),
            |notes, arguments| list_notes(notes, &arguments),
        )
        .row(
            "search_notes",
            "Search notes",
            "Find the notes that contain every word of a query.",
            read_only(),
            |notes, arguments| search_notes(notes, &arguments),
        )
        .row(
            "delete_note",
            "Delete a note",
            "Delete a note for everyone. Deleting one that is not there changes nothing.",
            hints().read_only(false).destructive(true).idempotent(true),
            |notes, arguments| delete_note(notes, &arguments),
        )
}

fn add_note(notes: &mut Notes, arguments: AddNote) -> Result<Saved, Refusal> {
    let AddNote {
        text,
        title,
        append_to,
    } = arguments;
    let note = match (append_to, title) {
        (None, title) => notes.add(title, text)?,
        (Some(id), None) => notes.append(id, &text)?,
        (Some(_), Some(_)) => return Err("Give either `title` or `append_to`, not both.".into()),
    };
    Ok(Saved {
        note: note.into(),
        resource: note_resource(note),
    })
}

fn list_notes(notes: &Notes, arguments: &ListNotes) -> Result<Page, Refusal> {
    let limit = arguments.limit.clamp(1, MAX_LIMIT);
    let page = notes.newest_first().skip(arguments.offset).take(limit);
    Ok(Page {
        notes: page.map(Summary::from).collect(),
        total: notes.len(),
    })
}

fn search_notes(notes: &Notes, arguments: &SearchNotes) -> Result<Page, Refusal> {
    let limit = arguments.limit.clamp(1, MAX_LIMIT);
    let found = notes.search(&arguments.query);
    let summarize = |note: &&Note| Summary {
        excerpt: Some(store::excerpt(note, &arguments.query)),
        ..Summary::from(*note)
    };
    Ok(Page {
        notes: found.iter().take(limit).map(summarize).collect(),
        total: found.len(),
    })
}

fn delete_note(notes: &mut Notes, arguments: &DeleteNote) -> Result<Deleted, Refusal> {
    Ok(Deleted {
        deleted: notes.delete(arguments.id),
        remaining: notes.len(),
    })
}
