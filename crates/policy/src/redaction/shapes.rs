//! What is told by more than how it begins: keys over many lines, tokens with structure, passwords in addresses.

use super::text::Text;
use super::token::Attempt;

mod address;
mod bot;
mod header;
pub(super) mod jwt;
mod key;

/// A way to recognise something at a place where one of its anchors stands.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The type.
    pub(super) name: &'static str,
    /// What it is recognised at; each of at least four bytes.
    pub(super) anchors: fn() -> Vec<Vec<u8>>,
    /// Whether there is one.
    pub(super) at: fn(&Text<'_>, usize) -> Attempt,
}

/// All of them.
pub(super) const ALL: &[Shape] = &[
    Shape {
        name: "private_key",
        anchors: || vec![b"PRIVATE".to_vec()],
        at: key::private_key,
    },
    Shape {
        name: "jwt",
        anchors: jwt::anchors,
        at: jwt::jwt,
    },
    Shape {
        name: "url_password",
        anchors: address::anchors,
        at: address::url_password,
    },
    Shape {
        name: "authorization_header",
        anchors: header::anchors,
        at: header::authorization_header,
    },
    Shape {
        name: "telegram_bot_token",
        anchors: bot::telegram_anchors,
        at: bot::telegram_bot_token,
    },
    Shape {
        name: "discord_bot_token",
        anchors: bot::discord_anchors,
        at: bot::discord_bot_token,
    },
];
