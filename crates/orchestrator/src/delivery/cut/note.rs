//! What a cut result says about itself.

use std::fmt::Write as _;

use switchboard_protocol::json;
use switchboard_protocol::method::Method;
use switchboard_protocol::size::Size;

use super::{Cut, LostStructured};
use crate::kept::{KeptResult, NoRoom};

/// The key of `_meta` under which a result says that it was cut.
const KEY: &str = "dev.switchboard/truncated";
/// The longest shape that is told, in bytes.
const MAX_SHAPE: usize = 512;

/// What is said where structured content is missing; the longer one takes the most room.
const NONE_FITS: &str = " Its structured content is missing too, since no valid part of it fits.";
const NOT_CHECKED: &str = " Its structured content is missing too: no part of it can be checked.";
const NOT_READ: &str = " Its structured content is missing too, since it could not be read.";
const _: () = assert!(NOT_READ.len() <= NONE_FITS.len() && NOT_CHECKED.len() <= NONE_FITS.len());

/// Where what is missing of a result went.
#[derive(Clone, Debug)]
pub(crate) enum Rest {
    /// Nowhere.
    Lost,
    /// There was no room to keep it.
    NoRoom,
    /// It is kept; `is_whole`: all of the result is.
    Kept {
        /// Where.
        result: KeptResult,
        /// Whether all of it came.
        is_whole: bool,
    },
}

impl Rest {
    /// What comes of keeping it.
    pub(crate) fn of(kept: Result<KeptResult, NoRoom>, is_whole: bool) -> Self {
        match kept {
            Ok(result) => Self::Kept { result, is_whole },
            Err(NoRoom) => Self::NoRoom,
        }
    }
}

/// What is known of a cut result in the end.
pub(super) struct Note {
    pub(super) kept_bytes: u64,
    pub(super) left_out: u64,
}

/// What is said, at which length.
pub(super) struct Notice<'a> {
    cut: &'a Cut<'a>,
    /// Whether there is room for words, and for a link and the shape.
    has_words: bool,
    has_details: bool,
}

impl<'a> Notice<'a> {
    /// The one that says most and leaves room for the result.
    pub(super) fn fitting(cut: &'a Cut<'a>, most: Size) -> Self {
        let notice = |has_words, has_details| Self {
            cut,
            has_words,
            has_details,
        };
        for (details, share) in [(true, 2), (false, 1)] {
            let notice = notice(true, details);
            if notice.most().is_within(most.part(share)) {
                return notice;
            }
        }
        notice(false, false)
    }

    /// The most room that it, and all else that is in every cut result, may take.
    pub(super) fn most(&self) -> Size {
        let note = Note {
            kept_bytes: u64::MAX,
            left_out: u64::MAX,
        };
        let around = "{\"messages\":[],\"isError\":true,,\"_meta\":{,}}";
        let missing = self.cut.method.missing_members(false, true, false);
        let items = self
            .items(Some(LostStructured::NoneFits), false)
            .into_iter();
        let items = items.map(|item| Size::of_text(&item) + Size::of_text(b","));
        let texts = [around, missing, &*self.member(&note)];
        let texts = texts.iter().map(|text| Size::of_text(text.as_bytes()));
        items.chain(texts).sum()
    }

    /// The member of `_meta`.
    pub(super) fn member(&self, note: &Note) -> String {
        let cut = self.cut;
        let number = |number: Option<u64>| number.map_or("null".to_owned(), |it| it.to_string());
        let mut text = format!(
            "\"{KEY}\":{{\"keptBytes\":{},\"totalBytes\":{},\"leftOut\":{},\"maxBytes\":{},\"maxTokens\":{}",
            note.kept_bytes,
            number(cut.total),
            note.left_out,
            number(cut.cap.bytes),
            number(cut.cap.tokens),
        );
        if let Rest::Kept { result, is_whole } = cut.rest {
            let uri = String::from_utf8_lossy(&json::quoted(&result.uri)).into_owned();
            let _ = write!(
                text,
                ",\"uri\":{uri},\"keptInAll\":{},\"isWhole\":{is_whole}",
                result.size
            );
        }
        text.push('}');
        text
    }

    /// What is added to the content, as blocks, messages or contents.
    pub(super) fn items(&self, lost: Option<LostStructured>, is_error: bool) -> Vec<Vec<u8>> {
        if !self.has_words {
            return Vec::new();
        }
        let words = json::quoted(&self.words(lost, is_error));
        let block = [b"{\"type\":\"text\",\"text\":", &*words, b"}"].concat();
        let mut items = Vec::new();
        match self.cut.method {
            Method::PromptsGet => {
                items.push(message(&block));
                items.extend(self.link().map(|link| message(&link)));
            }
            Method::ResourcesRead => {
                let uri = self.cut.uri.map(json::quoted);
                items.extend(uri.map(|uri| {
                    let plain = b",\"mimeType\":\"text/plain\",\"text\":";
                    [b"{\"uri\":", &*uri, plain, &words, b"}"].concat()
                }));
            }
            _ => {
                items.push(block);
                items.extend(self.link());
            }
        }
        items
    }

    fn link(&self) -> Option<Vec<u8>> {
        let Rest::Kept { result, .. } = self.cut.rest else {
            return None;
        };
        if !self.has_details || !self.cut.knows_links {
            return None;
        }
        let link = serde_json::json!({
            "type": "resource_link",
            "uri": result.uri,
            "name": "the whole result",
            "mimeType": result.media_type,
            "size": result.size,
        });
        Some(link.to_string().into_bytes())
    }

    /// For a model: what happened, and what it can do.
    fn words(&self, lost: Option<LostStructured>, is_error: bool) -> String {
        let cap = self.cut.cap;
        let mut text = format!("[The gateway cut this result, which is larger than {cap}. ");
        match self.cut.rest {
            Rest::Lost => text.push_str(
                "The rest is missing: call again with narrower arguments, a filter or a page to get it.",
            ),
            Rest::NoRoom => text.push_str(
                "The rest is missing, and there was no room to keep it: call again with narrower arguments, a filter or a page to get it.",
            ),
            Rest::Kept { result, is_whole } => {
                let what = match is_whole {
                    true => "All of it",
                    false => "What came of it before it broke off",
                };
                let _ = write!(
                    text,
                    "{what} ({} bytes) is kept for a while: read on in it as the resource {}, or with the tool {}.",
                    result.size, result.uri, result.tool
                );
                if self.has_details && !result.shape.is_empty() {
                    let _ = write!(text, " In it: {}.", shortened(&result.shape));
                }
            }
        }
        if self.cut.method == Method::ToolsCall && self.cut.total.is_none() && !is_error {
            text.push_str(" Its end was not read, so whether it is an error is not known.");
        }
        text.push_str(match lost {
            None => "",
            Some(LostStructured::NoneFits) => NONE_FITS,
            Some(LostStructured::NotChecked) => NOT_CHECKED,
            Some(LostStructured::NotRead) => NOT_READ,
        });
        text.push(']');
        text
    }
}

fn message(block: &[u8]) -> Vec<u8> {
    [b"{\"role\":\"user\",\"content\":", block, b"}"].concat()
}

fn shortened(shape: &str) -> &str {
    let mut end = shape.len().min(MAX_SHAPE);
    while !shape.is_char_boundary(end) {
        end -= 1;
    }
    &shape[..end]
}
