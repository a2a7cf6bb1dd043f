//! The part of a document that `compare` writes.

use std::fs;
use std::path::Path;

use crate::Failure;

const BEGIN: &str = "<!-- compare:begin -->";
const END: &str = "<!-- compare:end -->";

/// Puts `text` between the marks of the document at `path`, and leaves the rest as it is.
///
/// # Errors
/// If the file cannot be read or written, or has no marks.
pub(crate) fn rewrite(path: &Path, text: &str) -> Result<(), Failure> {
    let old = fs::read_to_string(path).map_err(Failure::at("cannot read the document"))?;
    let new = between_marks(&old, text)
        .ok_or_else(|| Failure(format!("the document has no {BEGIN} before {END}")))?;
    fs::write(path, new).map_err(Failure::at("cannot write the document"))
}

fn between_marks(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        text.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_rewritten() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nAfter.\n");
        let new = between_marks(&document, "new\n").unwrap();
        assert_eq!(
            new,
            format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter.\n")
        );
        assert_eq!(between_marks("no marks", "new"), None);
        assert_eq!(between_marks(&format!("{END}{BEGIN}"), "new"), None);
    }
}
