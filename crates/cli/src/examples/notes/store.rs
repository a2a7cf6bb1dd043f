//! The notes themselves: a bounded collection in memory that remembers what changed in it.

use std::collections::{BTreeMap, HashMap};

use crate::examples::table::Refusal;

/// The most notes kept at once.
pub(super) const MAX_NOTES: usize = 1_000;
/// The largest note, in bytes of its title and text together.
pub(super) const MAX_NOTE_BYTES: usize = 16 * 1024;
/// The longest title, in characters.
const MAX_TITLE_CHARS: usize = 120;
/// Shorter words say nothing about a note.
const MIN_TOPIC_CHARS: usize = 4;
/// What a hit in the title counts for, as against one in the text.
const TITLE_WEIGHT: usize = 5;

const FIRST_NOTES: [(&str, &str); 3] = [
    (
        "What Switchboard is",
        "Switchboard is one MCP address for a team. Clients connect to it alone; behind it stand many servers, remote \
         ones and local processes, such as the one that keeps this note. Add your own under `backends` in the \
         configuration, or hand it the `mcpServers` file of a client as it is.",
    ),
    (
        "How tools are named",
        "A tool is called `{prefix}__{name}`, where the prefix is the name of its backend unless `prefix` says \
         otherwise: this scratchpad's `add_note` is `notes__add_note` if its backend is called `notes`. Names depend \
         on the configuration alone, never on which servers are up.",
    ),
    (
        "What to do when a server is missing",
        "A backend that is down never empties a list in silence. Every list names it in \
         `_meta[\"dev.switchboard/backends\"]` with its state, the reason, since when, and what to do. `switchboard \
         check --connect` starts every backend once and reports what each of them offers.",
    ),
];

/// One note.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Note {
    /// Never given to another note, not even after this one is gone.
    pub(super) id: u64,
    pub(super) title: String,
    pub(super) text: String,
}

/// Something that happened to a note, by its id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Added(u64),
    Updated(u64),
    Deleted(u64),
}

impl Change {
    pub(super) fn id(self) -> u64 {
        match self {
            Self::Added(id) | Self::Updated(id) | Self::Deleted(id) => id,
        }
    }

    /// Whether the list of notes is another one now.
    pub(super) fn alters_list(self) -> bool {
        !matches!(self, Self::Updated(_))
    }
}

/// At most [`MAX_NOTES`] notes of at most [`MAX_NOTE_BYTES`] each.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: BTreeMap<u64, Note>,
    last_id: u64,
    change: Option<Change>,
}

impl Notes {
    /// The notes that every scratchpad starts with.
    pub(super) fn first() -> Self {
        let notes = FIRST_NOTES.into_iter().zip(1..).map(|((title, text), id)| {
            let (title, text) = (title.to_owned(), text.to_owned());
            (id, Note { id, title, text })
        });
        Self {
            notes: notes.collect(),
            last_id: FIRST_NOTES.len() as u64,
            change: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.notes.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<&Note> {
        self.notes.get(&id)
    }

    /// All notes, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Note> {
        self.notes.values().rev()
    }

    /// The change made by the latest operation, once.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        self.change.take()
    }

    /// Adds a note; without a title its first line becomes that.
    pub(super) fn add(&mut self, title: Option<String>, text: String) -> Result<&Note, Refusal> {
        if self.notes.len() >= MAX_NOTES {
            return Err(format!(
                "The scratchpad is full: it holds {MAX_NOTES} notes. Delete one that nobody needs."
            )
            .into());
        }
        let title = title.unwrap_or_else(|| text.trim().lines().next().unwrap_or("").to_owned());
        let title: String = title.trim().chars().take(MAX_TITLE_CHARS).collect();
        if title.is_empty() {
            return Err("A note needs a title or a text.".into());
        }
        check_size(title.len() + text.len())?;
        let id = self.last_id + 1;
        self.last_id = id;
        self.change = Some(Change::Added(id));
        Ok(self.notes.entry(id).or_insert(Note { id, title, text }))
    }

    /// Appends a paragraph to a note.
    pub(super) fn append(&mut self, id: u64, text: &str) -> Result<&Note, Refusal> {
        const BREAK: &str = "\n\n";
        let note = self
            .notes
            .get_mut(&id)
            .ok_or_else(|| format!("There is no note {id}."))?;
        check_size(note.title.len() + note.text.len() + BREAK.len() + text.len())?;
        note.text.push_str(BREAK);
        note.text.push_str(text);
        self.change = Some(Change::Updated(id));
        Ok(note)
    }

    /// Deletes a note and says whether there was one.
    pub(super) fn delete(&mut self, id: u64) -> bool {
        let deleted = self.notes.remove(&id).is_some();
        if deleted {
            self.change = Some(Change::Deleted(id));
        }
        deleted
    }

    /// The notes that contain every word of `query` in any case, the best match first, then the
    /// newest.
    pub(super) fn search(&self, query: &str) -> Vec<&Note> {
        let words = lowercase_words(query);
        let mut hits: Vec<_> = self
            .newest_first()
            .filter_map(|note| Some((score(note, &words)?, note)))
            .collect();
        hits.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        hits.into_iter().map(|(_, note)| note).collect()
    }

    /// The words of the notes that begin with `prefix`, the most frequent first.
    pub(super) fn topics(&self, prefix: &str) -> Vec<String> {
        let prefix = prefix.to_lowercase();
        let mut counts: HashMap<String, usize> = HashMap::new();
        for note in self.notes.values() {
            let text = format!("{} {}", note.title, note.text).to_lowercase();
            let words = text.split(|c: char| !c.is_alphanumeric());
            let topics = words.filter(|word| word.chars().count() >= MIN_TOPIC_CHARS);
            for word in topics.filter(|word| word.starts_with(&prefix)) {
                *counts.entry(word.to_owned()).or_default() += 1;
            }
        }
        let mut topics: Vec<_> = counts.into_iter().collect();
        topics.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        topics.into_iter().map(|(word, _)| word).collect()
    }
}

/// The first line of a note that contains a word of `query`, for showing why it was found.
pub(super) fn excerpt(note: &Note, query: &str) -> String {
    const MAX_CHARS: usize = 200;
    let words = lowercase_words(query);
    let line = note.text.lines().find(|line| {
        let line = line.to_lowercase();
        words.iter().any(|word| line.contains(word))
    });
    let line = line.or_else(|| note.text.lines().next()).unwrap_or("");
    line.chars().take(MAX_CHARS).collect()
}

fn lowercase_words(query: &str) -> Vec<String> {
    query.split_whitespace().map(str::to_lowercase).collect()
}

/// How often the words stand in the note; none if one of them is missing.
fn score(note: &Note, words: &[String]) -> Option<usize> {
    let (title, text) = (note.title.to_lowercase(), note.text.to_lowercase());
    let mut total = 0;
    for word in words {
        match title.matches(word).count() * TITLE_WEIGHT + text.matches(word).count() {
            0 => return None,
            count => total += count,
        }
    }
    Some(total)
}

fn check_size(bytes: usize) -> Result<(), Refusal> {
    if bytes <= MAX_NOTE_BYTES {
        return Ok(());
    }
    Err(format!("The note would have {bytes} bytes; {MAX_NOTE_BYTES} is the limit.").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<'a>(notes: impl IntoIterator<Item = &'a Note>) -> Vec<u64> {
        notes.into_iter().map(|note| note.id).collect()
    }

    #[test]
    fn every_operation_records_its_change() {
        let mut notes = Notes::first();
        assert_eq!(notes.take_change(), None);
        let added = notes.add(None, "First line\nmore".to_owned()).cloned();
        assert_eq!(
            added.map(|note| (note.id, note.title)),
            Ok((4, "First line".to_owned()))
        );
        assert_eq!(notes.take_change(), Some(Change::Added(4)));
        assert_eq!(
            notes.append(4, "again").map(|note| note.text.as_str()),
            Ok("First line\nmore\n\nagain")
        );
        assert_eq!(notes.take_change(), Some(Change::Updated(4)));
        assert!(notes.delete(4) && !notes.delete(4));
        assert_eq!(notes.take_change(), Some(Change::Deleted(4)));
        assert_eq!(notes.take_change(), None);
        let next = notes.add(None, "another".to_owned()).map(|note| note.id);
        assert_eq!(next, Ok(5), "an id is never given twice");
        assert_eq!(ids(notes.newest_first()), [5, 3, 2, 1]);
    }

    #[test]
    fn count_and_size_are_bounded() {
        let mut notes = Notes::default();
        let title = || Some("t".to_owned());
        let full = "x".repeat(MAX_NOTE_BYTES - 1);
        assert!(notes.add(title(), full.clone()).is_ok());
        let refused = Err("The note would have 16385 bytes; 16384 is the limit.".into());
        assert_eq!(notes.add(title(), full + "x"), refused);
        assert_eq!(
            notes.append(1, ""),
            Err("The note would have 16386 bytes; 16384 is the limit.".into())
        );
        assert_eq!(
            notes.add(None, " \n".to_owned()),
            Err("A note needs a title or a text.".into())
        );
        for _ in 1..MAX_NOTES {
            notes.add(title(), String::new()).expect("room for a note");
        }
        let Err(Refusal(text)) = notes.add(title(), String::new()) else {
            panic!("more than {MAX_NOTES} notes");
        };
        assert!(text.starts_with("The scratchpad is full"), "{text}");
    }

    #[test]
    fn search_wants_all_words_and_prefers_titles() {
        let mut notes = Notes::default();
        for (title, text) in [
            ("Lunch", "soup on MONDAY"),
            ("Monday", "nothing"),
            ("Release", "tuesday"),
        ] {
            notes
                .add(Some(title.to_owned()), text.to_owned())
                .expect("room for a note");
        }
        assert_eq!(ids(notes.search("monday")), [2, 1]);
        assert_eq!(ids(notes.search("Soup monday")), [1]);
        assert_eq!(ids(notes.search("soup tuesday")), [0_u64; 0]);
        assert_eq!(excerpt(&notes.notes[&1], "monday"), "soup on MONDAY");
    }

    #[test]
    fn topics_are_the_frequent_words_first() {
        let mut notes = Notes::default();
        for text in [
            "deploy the gateway",
            "deployment: deploy twice",
            "a day off",
        ] {
            notes.add(None, text.to_owned()).expect("room for a note");
        }
        assert_eq!(notes.topics("De"), ["deploy", "deployment"]);
        assert_eq!(notes.topics("da"), [""; 0], "short words are no topics");
    }
}
