//! What may stand at a place where an anchor does.

use super::named;
use super::secrets::{Form, written};
use super::shapes::Shape;
use super::text::Text;
use super::token::{Attempt, Part, Token};
use super::tokens::Named;

/// Something that begins with an anchor.
pub(super) enum Thing {
    Form(Form),
    Token(&'static Token),
    Named(&'static Named),
    Shape(Shape),
    /// An escape in the place of one of the first four letters: what it stands in is found through it.
    Escape,
}

/// How an escape of JSON begins that stands for one of the first 256 characters.
pub(super) const ESCAPE: [u8; 4] = *b"\\u00";

impl Thing {
    /// Whether it stands at a place where one of its anchors does.
    pub(super) fn at(&self, text: &Text<'_>, place: usize) -> Attempt {
        match self {
            Self::Form(form) => form.at(text, place),
            Self::Token(token) => token.at(text, place),
            Self::Named(named) => named::named(text, place, named),
            Self::Shape(shape) => (shape.at)(text, place),
            Self::Escape => Attempt::No,
        }
    }

    /// With what it may begin.
    pub(super) fn anchors(&self) -> Vec<[u8; 4]> {
        let first = |text: &[u8]| text.first_chunk::<4>().copied();
        match self {
            Self::Form(form) => form.anchor().into_iter().collect(),
            Self::Token(token) => token.anchors(),
            Self::Named(named) => named
                .words
                .iter()
                .filter_map(|word| first(word.as_bytes()))
                .collect(),
            Self::Shape(shape) => (shape.anchors)()
                .iter()
                .filter_map(|text| first(text))
                .collect(),
            Self::Escape => vec![ESCAPE],
        }
    }
}

impl Token {
    /// How it may begin, in four bytes, as programs escape it too; where the prefix is shorter, with each
    /// character that may follow.
    fn anchors(&self) -> Vec<[u8; 4]> {
        let mut anchors = Vec::new();
        for start in self.starts {
            let mut beginnings = vec![start.as_bytes().to_vec()];
            while let Some(short) = beginnings.iter().position(|beginning| beginning.len() < 4) {
                let short = beginnings.swap_remove(short);
                if let Some(Part::Run(class, ..)) = self.rest.first() {
                    let longer = class.iter().map(|byte| [&short[..], &[byte]].concat());
                    beginnings.extend(longer);
                }
            }
            let escaped: Vec<_> = written(start).into_iter().map(String::into_bytes).collect();
            anchors.extend(
                beginnings
                    .iter()
                    .chain(&escaped)
                    .filter_map(|text| text.first_chunk::<4>().copied()),
            );
        }
        anchors
    }
}
