//! A content block, as far as it may name a resource.

use smallvec::SmallVec;
use std::ops::Range;

use super::Role;
use crate::json;

/// What kind of block it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its `type` has not been read.
    #[default]
    Unknown,
    /// A `resource_link`: its `uri` leads to a resource.
    Link,
    /// A `resource`: the `uri` of its `resource` does.
    Embedded,
    /// Whatever its form says.
    Any,
    /// It names no resource.
    Other,
}

impl Kind {
    /// The kind that this `type`, a JSON value, stands for.
    pub(super) fn of(value: &[u8]) -> Self {
        match json::as_str(value).as_deref() {
            Some("resource_link") => Self::Link,
            Some("resource") => Self::Embedded,
            _ => Self::Other,
        }
    }

    /// The same, or `other` if it is unknown.
    pub(super) fn or(self, other: Self) -> Self {
        if self == Self::Unknown { other } else { self }
    }
}

/// What is known of a block. Of a key that stands twice the first one counts, as everywhere below
/// the result.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// The URIs in what is held back of it, each with the kind that makes it lead to a resource.
    pub(super) uris: SmallVec<[(Kind, Range<usize>); 2]>,
    has_content: bool,
    has_type: bool,
    has_uri: bool,
    has_resource: bool,
    has_inner_uri: bool,
}

impl Block {
    /// Whether a URI of a block of this kind may lead to a resource.
    pub(super) fn may_be(&self, kind: Kind) -> bool {
        matches!(self.kind, Kind::Unknown | Kind::Any) || self.kind == kind
    }

    /// Whether the message that the block is in has no other `content` before this.
    pub(super) fn begins_content(&mut self) -> bool {
        !std::mem::replace(&mut self.has_content, true)
    }

    pub(super) fn role(&mut self, key: &[u8]) -> Role {
        let (has, role) = match key {
            b"type" => (&mut self.has_type, Role::Type),
            b"uri" => (&mut self.has_uri, Role::Uri),
            b"resource" => (&mut self.has_resource, Role::Resource),
            _ => return Role::Other,
        };
        if std::mem::replace(has, true) {
            Role::Other
        } else {
            role
        }
    }

    pub(super) fn role_in_resource(&mut self, key: &[u8]) -> Role {
        if key == b"uri" && !std::mem::replace(&mut self.has_inner_uri, true) {
            Role::Uri
        } else {
            Role::Other
        }
    }
}
