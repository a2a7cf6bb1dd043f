//! What holds for every input, whoever wrote it.
//!
//! Each check takes any bytes and panics where a promise of the crate is broken. `corpus.rs` runs
//! them on the seeds in `cargo test`, the targets in `fuzz` search for an input that breaks one.

mod envelope;
mod header_value;
mod members;
mod param_header;
mod passage;
mod splice;
mod token;
mod uri_template;

/// A check with its name, which is the name of its fuzz target and of the folder of its seeds.
pub struct Check {
    /// The name.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub run: fn(&[u8]),
}

/// A message is accepted by exactly the rules of the envelope, and every span is where it should
/// be.
pub const ENVELOPE: Check = Check {
    name: "envelope",
    run: envelope::check,
};
/// What a text survives on its way through a header.
pub const HEADER_VALUE: Check = Check {
    name: "header_value",
    run: header_value::check,
};
/// The headers of a call are those that its schema and arguments ask for, and only those are valid.
pub const PARAM_HEADER: Check = Check {
    name: "param_header",
    run: param_header::check,
};
/// A result that arrives in pieces becomes what the collected one would, or is refused as that is.
pub const PASSAGE: Check = Check {
    name: "passage",
    run: passage::check,
};
/// A rewritten object is valid JSON in which only the members named have changed.
pub const SPLICE: Check = Check {
    name: "splice",
    run: splice::check,
};
/// Only a token as it was made opens.
pub const TOKEN: Check = Check {
    name: "token",
    run: token::check,
};
/// A template matches its own expansions.
pub const URI_TEMPLATE: Check = Check {
    name: "uri_template",
    run: uri_template::check,
};

/// Every check.
pub const ALL: [&Check; 7] = [
    &ENVELOPE,
    &HEADER_VALUE,
    &PARAM_HEADER,
    &PASSAGE,
    &SPLICE,
    &TOKEN,
    &URI_TEMPLATE,
];
