//! What happens to the ill servers, and when.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::sleep;

use crate::fault::{FaultServer, Schedule};

/// How long a server stays as it is, in milliseconds.
const SPELL_MS: std::ops::Range<u64> = 100..1000;

/// Lets the servers go wrong for so long; afterwards all of them are well.
pub(super) async fn storm(servers: &[FaultServer], seed: u64, time: Duration) {
    let end = Instant::now() + time;
    let mut random = Rng::with_seed(seed);
    let each = servers
        .iter()
        .map(|server| spells(server, random.fork(), end));
    futures_util::future::join_all(each).await;
}

async fn spells(server: &FaultServer, mut random: Rng, end: Instant) {
    while Instant::now() < end {
        let schedule = |random: &mut Rng, percent, everywhere| {
            Some(Schedule::new(random.u64(..), percent, everywhere))
        };
        match random.u8(0..10) {
            0..2 => server.set_schedule(None),
            2..6 => {
                let percent = random.u8(10..=60);
                server.set_schedule(schedule(&mut random, percent, false));
            }
            6 | 7 => {
                let percent = random.u8(10..=100);
                server.set_schedule(schedule(&mut random, percent, true));
            }
            _ => server.go_down().await,
        }
        let spell = Duration::from_millis(random.u64(SPELL_MS));
        sleep(spell.min(end.saturating_duration_since(Instant::now()))).await;
        server.come_up().await;
    }
    server.set_schedule(None);
    // As after a restart: what hangs in it would hang for ever.
    server.go_down().await;
    server.come_up().await;
}
