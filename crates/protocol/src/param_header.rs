//! `x-mcp-header`: tool parameters that are mirrored into `Mcp-Param-*` headers.
//!
//! "Streamable HTTP: Custom Headers from Tool Parameters" of 2026-07-28. A tool with an annotation
//! that breaks the rules there is left out of the list; the others' values are read from the
//! arguments at their exact path.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::header::{self, HeaderError};
use crate::json::JsonError;

mod arguments;
mod schema;
#[cfg(test)]
mod tests;

use arguments::Argument;

/// The parameters of one tool that are mirrored into headers. Most tools have none, and then
/// nothing is allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamHeaders {
    /// In the order of the schema's keys, sorted; [`Node::header`] points into it.
    names: Vec<HeaderName>,
    root: Node,
}

/// One step of the paths to the annotated parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    header: Option<usize>,
    /// Sorted by name.
    children: Vec<(Box<str>, Node)>,
}

/// Why a tool's `x-mcp-header` annotations make its definition invalid. `at` is a JSON pointer into
/// the `inputSchema`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnotation {
    /// The schema that holds an annotation is not JSON, or nested deeper than 128 levels.
    #[error("the inputSchema is not readable JSON")]
    Unreadable,
    /// The annotation is not a string.
    #[error("x-mcp-header at {at:?} is not a string")]
    NotString {
        /// Where.
        at: String,
    },
    /// The annotation is the empty string.
    #[error("x-mcp-header at {at:?} is empty")]
    Empty {
        /// Where.
        at: String,
    },
    /// The annotation is no token of RFC 9110, or too long for the name of a header.
    #[error("x-mcp-header at {at:?} is not usable as part of an HTTP header name")]
    NotToken {
        /// Where.
        at: String,
    },
    /// Another annotation has the same name, but for case.
    #[error("x-mcp-header at {at:?} repeats the name of another")]
    Repeated {
        /// Where the second one is.
        at: String,
    },
    /// The parameter is not declared as integer, string or boolean.
    #[error(
        "x-mcp-header at {at:?} is on a parameter that is not an integer, a string or a boolean"
    )]
    NotPrimitive {
        /// Where.
        at: String,
    },
    /// The annotation is not on a property that the schema's root reaches through `properties`
    /// alone.
    #[error("x-mcp-header at {at:?} is not on a statically reachable property")]
    Unreachable {
        /// Where.
        at: String,
    },
}

/// Why no header can mirror an argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// The arguments are not JSON.
    #[error("the arguments are not readable JSON")]
    Unreadable(#[from] JsonError),
    /// A key on the way to a mirrored parameter stands twice in one object, so readers may disagree
    /// on the value.
    #[error("the argument {key:?} is given twice")]
    Repeated {
        /// The key, as the tool's schema spells it.
        key: Box<str>,
    },
    /// The value is an object, an array, a number that is not an integer of at most 53 bits, or a
    /// text with a lone surrogate.
    #[error(
        "the argument for the header {header} is not a string, a boolean or an integer in the safe range"
    )]
    Unsuitable {
        /// The header that would have mirrored it.
        header: HeaderName,
    },
}

/// How the `Mcp-Param-*` headers of a request contradict its arguments: error −32020, status 400.
/// No message quotes a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderMismatch {
    /// The argument has a value and the header is not there.
    #[error("Header mismatch: {header} is missing")]
    Missing {
        /// The header.
        header: HeaderName,
    },
    /// The header is there and the argument is absent or null.
    #[error("Header mismatch: {header} is present without a value in the body")]
    Unexpected {
        /// The header.
        header: HeaderName,
    },
    /// The header is there more than once, so intermediaries may have read another value.
    #[error("Header mismatch: {header} is repeated")]
    Repeated {
        /// The header.
        header: HeaderName,
    },
    /// Header and argument are not the same.
    #[error("Header mismatch: {header} does not match the value in the body")]
    Differs {
        /// The header.
        header: HeaderName,
    },
    /// The header's value cannot be read.
    #[error("Header mismatch: {header} cannot be read: {error}")]
    Malformed {
        /// The header.
        header: HeaderName,
        /// Why.
        error: HeaderError,
    },
    /// The argument is nothing that a header can carry.
    #[error("Header mismatch: {0}")]
    Argument(#[from] ArgumentError),
}

impl ParamHeaders {
    /// Finds the annotated parameters in a tool's raw `inputSchema`. Cheap for a schema without
    /// any: it is searched for the keyword and parsed only where that may occur.
    ///
    /// A `type` that is a list counts as primitive if it names at least one of integer, string and
    /// boolean and beside them at most `null`: the specification says what a null does (no header),
    /// so a nullable parameter is no reason to lose the tool. A parameter without `type` is not
    /// primitive. `x-mcp-header` as the name of a property, or inside `const`, `default`, `enum`
    /// and `examples`, is data and no annotation.
    ///
    /// # Errors
    /// [`InvalidAnnotation`], the first one found: the tool is to be left out, with this as the
    /// reason in the log.
    pub fn from_schema(schema: &[u8]) -> Result<Self, InvalidAnnotation> {
        schema::read(schema)
    }

    /// Whether no parameter is mirrored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The headers that may be sent, each once.
    #[must_use]
    pub fn names(&self) -> &[HeaderName] {
        &self.names
    }

    /// The headers to send with a call of the tool, from the raw `arguments` of its parameters. A
    /// value that is null or absent has none. Whether a value suits the declared type is left to
    /// the server: only what no header can carry is refused.
    ///
    /// # Errors
    /// [`ArgumentError`]: the call cannot be sent with headers that agree with its body.
    pub fn extract(
        &self,
        arguments: Option<&[u8]>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ArgumentError> {
        let values = self.values(arguments)?;
        Ok(std::iter::zip(&self.names, values)
            .filter_map(|(name, value)| Some((name.clone(), value?.to_header())))
            .collect())
    }

    /// Checks the headers of a call of the tool against its raw `arguments`. Headers of other names
    /// are not looked at. Integers are compared as numbers, everything else exactly.
    ///
    /// # Errors
    /// [`HeaderMismatch`], the first one found.
    pub fn validate(
        &self,
        headers: &HeaderMap,
        arguments: Option<&[u8]>,
    ) -> Result<(), HeaderMismatch> {
        let values = self.values(arguments)?;
        std::iter::zip(&self.names, values)
            .try_for_each(|(name, value)| check(name, headers, value.as_ref()))
    }

    /// The argument for each of the names, `None` for null and absent.
    fn values<'a>(
        &self,
        arguments: Option<&'a [u8]>,
    ) -> Result<Vec<Option<Argument<'a>>>, ArgumentError> {
        match arguments {
            Some(bytes) if !self.is_empty() => arguments::read(&self.root, &self.names, bytes),
            _ => Ok(self.names.iter().map(|_| None).collect()),
        }
    }
}

/// The table of "Server Behavior for Custom Headers", for one header.
fn check(
    name: &HeaderName,
    headers: &HeaderMap,
    value: Option<&Argument<'_>>,
) -> Result<(), HeaderMismatch> {
    let header = name.clone();
    let mut sent = headers.get_all(name).iter();
    let (first, second) = (sent.next(), sent.next());
    match (first, value) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(HeaderMismatch::Missing { header }),
        (Some(_), None) => Err(HeaderMismatch::Unexpected { header }),
        (Some(_), Some(_)) if second.is_some() => Err(HeaderMismatch::Repeated { header }),
        (Some(sent), Some(value)) => match header::decode_value(sent) {
            Ok(text) if value.agrees_with(&text) => Ok(()),
            Ok(_) => Err(HeaderMismatch::Differs { header }),
            Err(error) => Err(HeaderMismatch::Malformed { header, error }),
        },
    }
}
