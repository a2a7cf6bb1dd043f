use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::*;

/// What is answered to the request of this number.
type Answers = Box<dyn FnMut(usize) -> Result<u64, Blame> + Send>;

/// Whoever gives out tokens: how often it was asked, and what it answers.
struct Giver {
    asked: Arc<AtomicUsize>,
    answers: Arc<Mutex<Answers>>,
    /// As many may be answered as there are permits.
    gate: Arc<Semaphore>,
    tasks: TaskTracker,
    scopes: Arc<Mutex<Vec<String>>>,
}

impl Giver {
    /// One that answers the n-th question with a token of so many seconds.
    fn new(answers: impl FnMut(usize) -> Result<u64, Blame> + Send + 'static) -> Self {
        Self {
            asked: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
            gate: Arc::new(Semaphore::new(1000)),
            tasks: TaskTracker::new(),
            scopes: Arc::default(),
        }
    }

    fn fetch(&self) -> impl Fn(Vec<String>) -> Fetch + '_ {
        |scopes| {
            *self.scopes.lock() = scopes;
            let (asked, answers) = (Arc::clone(&self.asked), Arc::clone(&self.answers));
            let gate = Arc::clone(&self.gate);
            Fetch {
                asking: Box::pin(async move {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.expect("open").forget();
                    match answers.lock()(number) {
                        Ok(seconds) => Ok(Issued {
                            credential: named(number),
                            lifetime: Some(Duration::from_secs(seconds)),
                        }),
                        Err(blame) => Err(CredentialError {
                            blame,
                            reason: Arc::from("no"),
                            cause: None,
                        }),
                    }
                }),
                tasks: self.tasks.clone(),
                stop: CancellationToken::new(),
            }
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn get(&self, slot: &Arc<Slot>) -> Found {
        slot.get(self.fetch()).found().await
    }
}

fn named(number: usize) -> Credential {
    let value = HeaderValue::from_str(&number.to_string()).expect("a value");
    Credential::new(value)
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// Lets tasks do what they can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_at_once_ask_once() {
    let giver = Giver::new(|_| Ok(3600));
    let slot = Arc::<Slot>::default();
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        waiting.spawn(slot.get(giver.fetch()).found());
    }
    for found in waiting.join_all().await {
        assert_eq!(found.expect("a token"), named(0));
    }
    assert_eq!(giver.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asked_first_may_go_away() {
    let mut giver = Giver::new(|_| Ok(3600));
    giver.gate = Arc::new(Semaphore::new(0));
    let slot = Arc::<Slot>::default();
    let first = slot.get(giver.fetch());
    let second = tokio::spawn(slot.get(giver.fetch()).found());
    settle().await;
    drop(first);
    giver.gate.add_permits(1);
    let found = second.await.expect("no panic");
    assert_eq!(found.expect("a token"), named(0));
    assert_eq!(giver.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_expires_and_used_meanwhile() {
    let giver = Giver::new(|_| Ok(600));
    let slot = Arc::<Slot>::default();
    giver.get(&slot).await.expect("a token");
    pass(569).await;
    assert_eq!(giver.get(&slot).await.expect("a token"), named(0));
    settle().await;
    assert_eq!(giver.asked(), 1);
    pass(2).await;
    // The call does not wait for the next one.
    assert_eq!(giver.get(&slot).await.expect("a token"), named(0));
    settle().await;
    assert_eq!(giver.asked(), 2);
    assert_eq!(giver.get(&slot).await.expect("a token"), named(1));
}

#[tokio::test(start_paused = true)]
async fn a_short_token_is_renewed_when_a_tenth_is_left() {
    let giver = Giver::new(|_| Ok(10));
    let slot = Arc::<Slot>::default();
    giver.get(&slot).await.expect("a token");
    tokio::time::advance(Duration::from_millis(8900)).await;
    giver.get(&slot).await.expect("a token");
    settle().await;
    assert_eq!(giver.asked(), 1);
    tokio::time::advance(Duration::from_millis(200)).await;
    giver.get(&slot).await.expect("a token");
    settle().await;
    assert_eq!(giver.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_answers_the_token_goes_on_until_it_expires() {
    let giver = Giver::new(|number| match number {
        0 => Ok(100),
        _ => Err(Blame::Passing),
    });
    let slot = Arc::<Slot>::default();
    giver.get(&slot).await.expect("a token");
    pass(95).await;
    for _ in 0..50 {
        assert_eq!(giver.get(&slot).await.expect("the old one"), named(0));
        settle().await;
    }
    // It was asked, and left alone for a while then.
    assert_eq!(giver.asked(), 2);
    pass(6).await;
    let error = giver.get(&slot).await.expect_err("none");
    assert_eq!(error.blame, Blame::Passing);
    assert_eq!(giver.asked(), 3);
    for _ in 0..50 {
        giver.get(&slot).await.expect_err("none");
    }
    assert_eq!(giver.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_token_and_is_not_asked_for_again_at_once() {
    let giver = Giver::new(|number| match number {
        0 => Ok(100),
        1 => Err(Blame::Operator),
        _ => Ok(100),
    });
    let slot = Arc::<Slot>::default();
    giver.get(&slot).await.expect("a token");
    pass(95).await;
    giver.get(&slot).await.expect("the old one");
    settle().await;
    for _ in 0..50 {
        let error = giver.get(&slot).await.expect_err("none");
        assert_eq!(error.blame, Blame::Operator);
    }
    assert_eq!(giver.asked(), 2);
    pass(31).await;
    giver.get(&slot).await.expect("mended");
    assert_eq!(giver.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_mended_is_tried_at_once() {
    let giver = Giver::new(|number| match number {
        0 => Err(Blame::Operator),
        _ => Ok(100),
    });
    let slot = Arc::<Slot>::default();
    giver.get(&slot).await.expect_err("none");
    slot.forgive();
    giver.get(&slot).await.expect("a token");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_for_all_who_used_it() {
    let giver = Giver::new(|_| Ok(3600));
    let slot = Arc::<Slot>::default();
    let used = giver.get(&slot).await.expect("a token");
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let other = slot.renew(&used, giver.fetch()).expect("another");
        waiting.spawn(other.found());
    }
    for found in waiting.join_all().await {
        assert_eq!(found.expect("a token"), named(1));
    }
    assert_eq!(giver.asked(), 2);
    // That did not help, so nothing is asked for a while.
    assert!(slot.renew(&named(1), giver.fetch()).is_none());
    assert_eq!(giver.asked(), 2);
    pass(31).await;
    let other = slot.renew(&named(1), giver.fetch()).expect("another");
    assert_eq!(other.found().await.expect("a token"), named(2));
}

#[tokio::test(start_paused = true)]
async fn more_scopes_are_kept_and_their_refusal_takes_nothing() {
    let giver = Giver::new(|number| match number {
        1 => Err(Blame::Operator),
        _ => Ok(3600),
    });
    let slot = Arc::<Slot>::default();
    let used = giver.get(&slot).await.expect("a token");
    let wanted = || vec!["write".to_owned()];
    let refused = slot.widen(&used, wanted(), giver.fetch()).expect("asked");
    refused.found().await.expect_err("refused");
    assert_eq!(giver.get(&slot).await.expect("as before"), used);
    assert!(slot.widen(&used, wanted(), giver.fetch()).is_none());
    pass(31).await;
    let wider = slot.widen(&used, wanted(), giver.fetch()).expect("asked");
    assert_eq!(wider.found().await.expect("a token"), named(2));
    assert_eq!(*giver.scopes.lock(), ["write"]);
    // The next one has them too.
    let next = slot.renew(&named(2), giver.fetch()).expect("another");
    next.found().await.expect("a token");
    assert_eq!(*giver.scopes.lock(), ["write"]);
    assert!(slot.widen(&named(3), wanted(), giver.fetch()).is_none());
}
