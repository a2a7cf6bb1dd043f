//! One token: used as long as it is valid, renewed before it expires, by one request at a time.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use switchboard_protocol::credentials::{Authorization, Blame, Credential, CredentialError, Found};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pause::Pause;

/// How long asking for a token may take, the looking up of where included.
const ASK_DEADLINE: Duration = Duration::from_secs(30);
/// How long a token is used of which is not said how long it is valid.
const UNTOLD_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// The longest that a token is used, whatever is said of it.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A token is renewed this long before it expires, or when it has a tenth of its time left.
const SKEW: Duration = Duration::from_secs(30);
/// How long nobody is asked again after a refusal that will not pass by itself.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// A token as it was given.
pub(super) struct Issued {
    pub(super) credential: Credential,
    /// How long it is valid, if that was said.
    pub(super) lifetime: Option<Duration>,
}

/// A request for a token that has not begun.
pub(super) struct Fetch {
    pub(super) asking: Pin<Box<dyn Future<Output = Result<Issued, CredentialError>> + Send>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

type Outcome = watch::Receiver<Option<Found>>;

/// A token and what is done about getting the next.
#[derive(Default)]
pub(super) struct Slot(Mutex<State>);

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// A request for one, under way.
    asking: Option<Outcome>,
    /// Why there was none the last time, and until when nobody is asked again.
    failure: Option<(CredentialError, Instant)>,
    pause: Pause,
    /// When the server refused a token last that was valid as far as is known.
    renewed: Option<Instant>,
    /// The scopes that are asked for beside the configured ones.
    extra: BTreeSet<String>,
    /// Until when no further ones are.
    no_wider_until: Option<Instant>,
}

struct Token {
    credential: Credential,
    renew_at: Instant,
    expires: Instant,
}

impl Token {
    fn new(issued: Issued, asked: Instant) -> Self {
        let lifetime = issued.lifetime.unwrap_or(UNTOLD_LIFETIME);
        let lifetime = lifetime.min(LONGEST_LIFETIME);
        Self {
            credential: issued.credential,
            renew_at: asked + lifetime - SKEW.min(lifetime / 10),
            expires: asked + lifetime,
        }
    }
}

impl Slot {
    /// The token. One that is about to expire is renewed beside the calls that use it.
    pub(super) fn get(self: &Arc<Self>, fetch: impl FnOnce(Vec<String>) -> Fetch) -> Authorization {
        let now = Instant::now();
        let mut state = self.0.lock();
        let failed = state.failure.as_ref();
        let failed = failed.filter(|(_, until)| now < *until);
        if let Some(token) = state.token.as_ref().filter(|token| now < token.expires) {
            let credential = token.credential.clone();
            if now >= token.renew_at && failed.is_none() && state.asking().is_none() {
                self.begin(&mut state, Vec::new(), fetch);
            }
            return Authorization::Known(Ok(credential));
        }
        if let Some((error, _)) = failed {
            return Authorization::Known(Err(error.clone()));
        }
        let outcome = match state.asking() {
            Some(outcome) => outcome.clone(),
            None => self.begin(&mut state, Vec::new(), fetch),
        };
        pending(outcome)
    }

    /// Another token than `used`, which the server refused; `None` if that was done a moment ago,
    /// and did not help.
    pub(super) fn renew(
        self: &Arc<Self>,
        used: &Credential,
        fetch: impl FnOnce(Vec<String>) -> Fetch,
    ) -> Option<Authorization> {
        let now = Instant::now();
        let mut state = self.0.lock();
        if let Some(other) = state.other_than(used, now) {
            return Some(other);
        }
        if let Some((error, _)) = state.failure.as_ref().filter(|(_, until)| now < *until) {
            return Some(Authorization::Known(Err(error.clone())));
        }
        if state.renewed.is_some_and(|at| now < at + COOL_DOWN) {
            return None;
        }
        state.renewed = Some(now);
        Some(pending(self.begin(&mut state, Vec::new(), fetch)))
    }

    /// A token with more scopes than `used`; `None` if it has them, or they were refused a moment ago.
    pub(super) fn widen(
        self: &Arc<Self>,
        used: &Credential,
        mut wanted: Vec<String>,
        fetch: impl FnOnce(Vec<String>) -> Fetch,
    ) -> Option<Authorization> {
        let now = Instant::now();
        let mut state = self.0.lock();
        wanted.retain(|scope| !state.extra.contains(scope));
        if wanted.is_empty() {
            return state.other_than(used, now);
        }
        if state.no_wider_until.is_some_and(|until| now < until) || state.asking().is_some() {
            return None;
        }
        Some(pending(self.begin(&mut state, wanted, fetch)))
    }

    /// Asks again at the next call, whatever was refused.
    pub(super) fn forgive(&self) {
        let mut state = self.0.lock();
        state.failure = None;
        state.renewed = None;
        state.no_wider_until = None;
        state.pause = Pause::default();
    }

    /// Asks, in a task of its own: whoever waits may go away.
    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        wider: Vec<String>,
        fetch: impl FnOnce(Vec<String>) -> Fetch,
    ) -> Outcome {
        let (sender, outcome) = watch::channel(None);
        let scopes = state.extra.iter().chain(&wider).cloned().collect();
        let Fetch {
            asking,
            tasks,
            stop,
        } = fetch(scopes);
        let slot = Arc::clone(self);
        let asked = Instant::now();
        tasks.spawn(async move {
            let answer = stop.run_until_cancelled_owned(timeout(ASK_DEADLINE, asking));
            let answer = match answer.await {
                Some(Ok(answer)) => answer,
                Some(Err(_)) => Err(passing("it takes too long to get a token for it")),
                None => Err(passing("the gateway lets go of it")),
            };
            sender.send_replace(Some(slot.answered(answer, asked, wider)));
        });
        state.asking = Some(outcome.clone());
        outcome
    }

    fn answered(
        &self,
        answer: Result<Issued, CredentialError>,
        asked: Instant,
        wider: Vec<String>,
    ) -> Found {
        let now = Instant::now();
        let mut state = self.0.lock();
        state.asking = None;
        match answer {
            Ok(issued) => {
                let credential = issued.credential.clone();
                state.token = Some(Token::new(issued, asked));
                state.failure = None;
                state.pause = Pause::default();
                state.extra.extend(wider);
                Ok(credential)
            }
            // What was there before is as good as it was.
            Err(error) if !wider.is_empty() => {
                state.no_wider_until = Some(now + COOL_DOWN);
                Err(error)
            }
            Err(error) => {
                let pause = match error.blame {
                    Blame::Passing => state.pause.next(),
                    Blame::Operator | Blame::Caller => {
                        state.token = None;
                        COOL_DOWN
                    }
                };
                state.failure = Some((error.clone(), now + pause));
                Err(error)
            }
        }
    }
}

impl State {
    /// The request for a token that is under way: one whose task is gone without an answer is not.
    fn asking(&self) -> Option<&Outcome> {
        let is_under_way = |it: &&Outcome| it.has_changed().is_ok() || it.borrow().is_some();
        self.asking.as_ref().filter(is_under_way)
    }

    /// A token that is not the used one: there already, or on its way.
    fn other_than(&self, used: &Credential, now: Instant) -> Option<Authorization> {
        let token = self.token.as_ref().filter(|token| now < token.expires);
        match (token, self.asking()) {
            (Some(token), _) if token.credential != *used => {
                Some(Authorization::Known(Ok(token.credential.clone())))
            }
            (_, Some(outcome)) => Some(pending(outcome.clone())),
            _ => None,
        }
    }
}

fn passing(reason: &'static str) -> CredentialError {
    CredentialError {
        blame: Blame::Passing,
        reason: Arc::from(reason),
        cause: None,
    }
}

fn pending(mut outcome: Outcome) -> Authorization {
    Authorization::Pending(Box::pin(async move {
        let found = outcome.wait_for(Option::is_some).await;
        let found = found.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(passing("the gateway lets go of it")))
    }))
}

#[cfg(test)]
mod tests;
