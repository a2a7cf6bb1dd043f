//! Keeping a server telling what changes.

use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use switchboard_protocol::error::code;
use switchboard_protocol::json::write_str;
use tokio::time::{Instant, sleep, sleep_until};

use crate::connect::{Connection, OWN_META};
use crate::endpoint::Inner;
use crate::legacy;
use crate::link::watch::Watch;
use crate::link::{error_code, next_id};
use crate::lists::Features;
use crate::message;
use crate::pause::Pause;

/// How long the stream before is read once a new one is acknowledged: for what is still on its way in it, and
/// for servers that acknowledge before they have noted whom to tell.
const OVERLAP: Duration = Duration::from_secs(1);

type Stream = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Keeps the server telling what changes: one `subscriptions/listen` stream for modern servers, a
/// subscription for each resource with legacy ones.
pub(super) struct Listening {
    inner: Arc<Inner>,
    connection: Arc<Connection>,
    watched: BTreeSet<Arc<str>>,
    /// Resolves to whether opening it again makes sense.
    stream: Option<(u64, Stream)>,
    is_acknowledged: bool,
    /// The stream before, so that nothing is missed in between. The inbox tells apart what both say.
    previous: Option<Stream>,
    /// When that is given up; none until the new one is acknowledged.
    previous_until: Option<Instant>,
    pause: Pause,
    opened: Instant,
}

impl Listening {
    pub(super) fn new(inner: Arc<Inner>, connection: Arc<Connection>) -> Self {
        let nothing_yet = connection.server.features.subscribe.then(BTreeSet::new);
        inner.watching.send_replace(nothing_yet);
        Self {
            inner,
            connection,
            watched: BTreeSet::new(),
            stream: None,
            is_acknowledged: false,
            previous: None,
            previous_until: None,
            pause: Pause::default(),
            opened: Instant::now(),
        }
    }

    /// Sets the resources to hear of.
    pub(super) async fn set(&mut self, uris: BTreeSet<Arc<str>>) {
        let features = self.connection.server.features;
        let uris = if features.subscribe {
            uris
        } else {
            BTreeSet::new()
        };
        if self.connection.wire.version.is_modern() {
            self.watched = uris;
            let stream = self.stream.take();
            // One that was not acknowledged may tell nothing yet: the one before it does.
            if self.is_acknowledged
                && let Some((id, stream)) = stream
            {
                self.previous = Some(stream);
                self.inner.inbox.begin_overlap(id);
            }
            self.previous_until = None;
            self.open(Duration::ZERO);
            return;
        }
        for (uri, subscribe) in uris
            .difference(&self.watched)
            .map(|uri| (uri, true))
            .chain(self.watched.difference(&uris).map(|uri| (uri, false)))
        {
            if let Err(error) = legacy::subscribe(&self.connection, uri, subscribe).await {
                tracing::debug!(subscribe, "a resource subscription failed: {error}");
            }
        }
        self.watched = uris;
        self.established();
    }

    fn open(&mut self, after: Duration) {
        let filter = filter(self.connection.server.features, &self.watched);
        self.is_acknowledged = false;
        if filter.is_empty() {
            return self.give_up_previous();
        }
        let id = next_id();
        let connection = Arc::clone(&self.connection);
        self.opened = Instant::now() + after;
        let stream = async move {
            sleep(after).await;
            let out = message::own(
                "subscriptions/listen",
                id,
                OWN_META,
                &format!("\"notifications\":{{{filter}}}"),
            );
            let end = connection
                .link
                .request(&connection.wire, out, Watch::subscription())
                .await;
            error_code(&end) != Some(code::METHOD_NOT_FOUND)
        };
        self.stream = Some((id, Box::pin(stream)));
    }

    /// The server acknowledged a stream. Whether something may have changed before that nobody was told of.
    pub(super) fn acknowledged(&mut self, id: Option<u64>) -> bool {
        if id.is_none() || id != self.stream.as_ref().map(|(id, _)| *id) || self.is_acknowledged {
            return false;
        }
        self.is_acknowledged = true;
        self.previous_until = Some(Instant::now() + OVERLAP);
        self.established();
        self.previous.is_none()
    }

    fn give_up_previous(&mut self) {
        self.previous = None;
        self.inner.inbox.end_overlap();
    }

    fn established(&self) {
        if self.connection.server.features.subscribe {
            self.inner.watching.send_replace(Some(self.watched.clone()));
        }
    }

    /// Resolves when the stream broke and is being opened again.
    pub(super) async fn broken(&mut self) {
        let again = loop {
            let Some((_, stream)) = &mut self.stream else {
                return pending().await;
            };
            let Some(previous) = &mut self.previous else {
                break stream.await;
            };
            let until = self.previous_until;
            let overlap = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                again = stream => break again,
                // Whatever it had to say, the new one says as well.
                _ = previous => self.give_up_previous(),
                () = overlap => self.give_up_previous(),
            }
        };
        self.stream = None;
        self.give_up_previous();
        if !again {
            return pending().await;
        }
        let after = self.pause.after(self.opened.elapsed());
        self.open(after);
    }
}

/// The members of the `notifications` filter; empty if the server has nothing to tell.
fn filter(features: Features, watched: &BTreeSet<Arc<str>>) -> String {
    let flags = [
        (features.tools_changed, "\"toolsListChanged\":true"),
        (features.prompts_changed, "\"promptsListChanged\":true"),
        (features.resources_changed, "\"resourcesListChanged\":true"),
    ];
    let mut members: Vec<String> = flags
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, member)| member.to_owned())
        .collect();
    if !watched.is_empty() {
        let uris = watched.iter().map(|uri| {
            let mut out = Vec::with_capacity(uri.len() + 2);
            write_str(&mut out, uri);
            String::from_utf8_lossy(&out).into_owned()
        });
        members.push(format!(
            "\"resourceSubscriptions\":[{}]",
            uris.collect::<Vec<_>>().join(",")
        ));
    }
    members.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_only_for_what_the_server_has() {
        assert_eq!(filter(Features::default(), &BTreeSet::new()), "");
        let features = Features {
            tools_changed: true,
            resources_changed: true,
            ..Features::default()
        };
        let watched = BTreeSet::from([Arc::from("a:\"b\"")]);
        assert_eq!(
            filter(features, &watched),
            r#""toolsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:\"b\""]"#
        );
    }
}
