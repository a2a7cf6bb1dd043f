//! Waiting for what comes true, never for a time to pass.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until this is so, looking each millisecond: for what holds only a moment, or costs nothing to
/// look at.
///
/// # Panics
///
/// If that takes longer than [`PATIENCE`].
pub async fn soon(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never came true: {what}"));
}

/// Waits until there is something.
///
/// # Panics
///
/// If that takes longer than [`PATIENCE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
