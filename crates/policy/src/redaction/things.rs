//! What may stand at a place where an anchor does.

use super::anchors::{Anchor, anchor_of};
use super::named;
use super::secrets::{Form, written_otherwise};
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
}

impl Thing {
    /// Whether it stands at a place where one of its anchors does.
    pub(super) fn at(&self, text: &Text<'_>, place: usize) -> Attempt {
        match self {
            Self::Form(form) => form.at(text, place),
            Self::Token(token) => token.at(text, place),
            Self::Named(named) => named::named(text, place, named),
            Self::Shape(shape) => (shape.at)(text, place),
        }
    }

    /// With what it may begin.
    pub(super) fn anchors(&self) -> Vec<Anchor> {
        match self {
            Self::Form(form) => form.anchor().into_iter().collect(),
            Self::Token(token) => token.anchors(),
            Self::Named(named) => named
                .words
                .iter()
                .filter_map(|word| anchor_of(word.as_bytes()))
                .collect(),
            Self::Shape(shape) => (shape.anchors)()
                .iter()
                .filter_map(|text| anchor_of(text))
                .collect(),
        }
    }
}

impl Token {
    /// How it may begin, in four bytes, as programs escape it too; where the prefix is shorter, with each
    /// character that may follow.
    fn anchors(&self) -> Vec<Anchor> {
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
            let escaped: Vec<_> = written_otherwise(start)
                .into_iter()
                .map(String::into_bytes)
                .collect();
            anchors.extend(
                beginnings
                    .iter()
                    .chain(&escaped)
                    .filter_map(|text| anchor_of(text)),
            );
        }
        anchors
    }
}
