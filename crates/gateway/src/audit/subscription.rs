//! Subscriptions in the audit: who asked to be told of what, and what was said to it. They are no
//! calls, so they do not come through the call stack.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use switchboard_orchestrator::hub::ListenError;
use switchboard_protocol::call::Principal;
use switchboard_protocol::error::code;

use super::arguments::public_uri;
use super::event::Event;
use super::queue::AuditLog;

/// The most things that are named in a record; the longest URI is cut later.
const MAX_NAMED: usize = 32;

/// A subscription that was asked for.
pub(crate) struct SubscriptionEvent {
    /// When it was asked for.
    pub(super) at: SystemTime,
    /// `subscriptions/listen` or `resources/subscribe`.
    pub(super) method: &'static str,
    pub(super) principal: Arc<Principal>,
    pub(super) profile: Option<Arc<str>>,
    /// The revision of MCP that the client speaks.
    pub(super) protocol: Option<&'static str>,
    /// The name of the legacy session.
    pub(super) session: Option<Box<str>>,
    pub(super) peer: Option<IpAddr>,
    pub(super) watches: Named,
    pub(super) hidden: Named,
    pub(super) end: SubscriptionEnd,
}

/// Who asks for a subscription, and how.
pub(crate) struct Subscriber<'s> {
    /// `subscriptions/listen` or `resources/subscribe`.
    pub(crate) method: &'static str,
    pub(crate) principal: &'s Arc<Principal>,
    pub(crate) profile: Option<&'s Arc<str>>,
    /// The revision of MCP that the client speaks, if that is known.
    pub(crate) protocol: Option<&'static str>,
    /// The name of the legacy session.
    pub(crate) session: Option<&'s str>,
    pub(crate) peer: Option<IpAddr>,
}

/// Some of what is watched, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(super) names: Vec<String>,
    /// Whether there is more.
    pub(super) is_cut: bool,
}

impl Named {
    /// These lists, where they are wanted.
    pub(crate) fn lists(lists: [(&str, bool); 3]) -> Self {
        let named = lists.into_iter().filter(|(_, is_wanted)| *is_wanted);
        Self::default().and(named.map(|(name, _)| name.to_owned()))
    }

    /// With these URIs as well, as far as there is room.
    pub(crate) fn and_uris<'u>(self, uris: impl IntoIterator<Item = &'u str>) -> Self {
        self.and(uris.into_iter().map(public_uri))
    }

    fn and(mut self, more: impl IntoIterator<Item = String>) -> Self {
        let mut more = more.into_iter();
        let room = MAX_NAMED.saturating_sub(self.names.len());
        self.names.extend(more.by_ref().take(room));
        self.is_cut |= more.next().is_some();
        self
    }

    fn size(&self) -> usize {
        self.names.iter().map(String::len).sum()
    }
}

/// What was said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionEnd {
    /// It is there.
    Open,
    /// It is answered as if it were there: what it names is hidden from its caller.
    Hidden,
    /// What was asked for cannot be.
    Invalid,
    /// The principal has its share.
    ShareFull,
    /// There is no room for anybody, or the gateway ends.
    Unavailable,
}

impl From<ListenError> for SubscriptionEnd {
    fn from(error: ListenError) -> Self {
        match error {
            ListenError::TooManyUris | ListenError::UriTooLong => Self::Invalid,
            ListenError::ShareFull => Self::ShareFull,
            ListenError::Full | ListenError::Closed => Self::Unavailable,
        }
    }
}

impl SubscriptionEnd {
    /// The outcome, the code and the reason of the record.
    pub(super) const fn words(self) -> (&'static str, Option<i64>, Option<&'static str>) {
        match self {
            Self::Open => ("ok", None, None),
            Self::Hidden => ("refused", Some(403), Some("denied")),
            Self::Invalid => ("invalid", Some(code::INVALID_PARAMS), None),
            Self::ShareFull => ("refused", Some(429), Some("too_many_subscriptions")),
            Self::Unavailable => ("failed", Some(503), Some("too_many_subscriptions")),
        }
    }
}

impl SubscriptionEvent {
    /// How much memory its texts take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.watches.size() + self.hidden.size()
    }
}

impl AuditLog {
    /// Notes a subscription that was asked for: of what, what of it is hidden from the subscriber, and
    /// what was said to it.
    pub(crate) fn subscribed(
        &self,
        subscriber: &Subscriber<'_>,
        watches: Named,
        hidden: Named,
        end: SubscriptionEnd,
    ) {
        if !self.includes_calls() {
            return;
        }
        self.push(Event::Subscription(Box::new(SubscriptionEvent {
            at: SystemTime::now(),
            method: subscriber.method,
            principal: Arc::clone(subscriber.principal),
            profile: subscriber.profile.cloned(),
            protocol: subscriber.protocol,
            session: subscriber.session.map(Into::into),
            peer: subscriber.peer,
            watches,
            hidden,
            end,
        })));
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAMED, Named};

    #[test]
    fn what_is_named_is_bounded_and_without_secrets() {
        let lists = Named::lists([("tools", true), ("prompts", false), ("resources", true)]);
        let named = lists.and_uris(["a:1"]);
        assert_eq!(named.names, ["tools", "resources", "a:1"]);
        assert!(!named.is_cut);
        let uri = "https://user:secret@host/path?token=secret";
        let many = Named::default().and_uris(std::iter::repeat_n(uri, 1000));
        assert_eq!(many.names.len(), MAX_NAMED);
        assert!(many.is_cut);
        assert_eq!(many.names[0], "https://host/path?…");
    }
}
