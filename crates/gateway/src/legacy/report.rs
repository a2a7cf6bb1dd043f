//! The sessions as operators see them: who holds them, and nothing that opens one.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::Edge;
use super::session::{Session, Transport};
use super::sessions::Sessions;
use crate::admin::{OpenSessions, SessionReport};
use crate::audit::session_digest;

/// The longest name of a client that is told, in characters.
const MAX_NAME: usize = 128;

impl OpenSessions for Edge {
    fn list(&self, most: usize) -> (Vec<SessionReport>, usize) {
        let all = self.inner.sessions.all();
        let now = Instant::now();
        let reports = all.iter().take(most).map(|session| report(session, now));
        (reports.collect(), all.len())
    }

    fn end(&self, digest: &str) -> bool {
        let found = self.inner.sessions.of_digest(digest);
        // It may have ended of itself meanwhile, which is the same to whoever asked.
        found.inspect(|session| self.inner.end(session)).is_some()
    }
}

impl Sessions {
    /// All of them, the oldest first.
    fn all(&self) -> Vec<Arc<Session>> {
        let mut all = self.snapshot();
        all.sort_by_key(|session| session.began());
        all
    }

    fn of_digest(&self, digest: &str) -> Option<Arc<Session>> {
        let mut all = self.snapshot().into_iter();
        all.find(|session| session_digest(session.name()) == digest)
    }
}

fn report(session: &Session, now: Instant) -> SessionReport {
    let client = session.agreed().and_then(|agreed| {
        let info = agreed.identity.client_info.as_deref()?;
        let info: Value = serde_json::from_slice(info).ok()?;
        let name = info["name"].as_str()?;
        Some(name.chars().take(MAX_NAME).collect())
    });
    SessionReport {
        digest: session_digest(session.name()),
        principal: session.principal().id.clone(),
        client,
        protocol: session.version().as_str(),
        transport: match session.transport() {
            Transport::Streamable => "streamable_http",
            Transport::HttpSse => "http_sse",
        },
        age_seconds: (now - session.began()).as_secs(),
    }
}
