//! Small calls at one rate for all: half of what Switchboard answers at most.

use crate::Failure;
use crate::field::{Field, Pace};
use crate::load::{Clients, LOAD_LIMIT};
use crate::report::results::median;
use crate::rows::RATE;
use crate::run::Run;
use crate::subjects::Subject;
use crate::subjects::setup::{Kind, Setup};
use crate::wire::Era;

/// Connections of the closed loop that finds the rate.
const CONNECTIONS: usize = 16;
/// Loads that it is found with, after one that warms up.
const LOADS: usize = 3;

/// Finds the rate, and puts calls at it on all subjects.
///
/// # Errors
/// If Switchboard, whose rate it is, cannot be measured.
pub(crate) async fn enter(
    field: &mut Field,
    row: &'static str,
    run: &mut Run,
) -> Result<(), Failure> {
    let setup = Setup {
        workers: RATE.workers,
        ..Setup::of(Kind::Switchboard, run.scale.behind(RATE.behind))
    };
    let switchboard = field.subject(&run.site, setup).await?;
    let rate = most(field.at(switchboard), run.scale.calls).await? / 2.0;
    run.results.figure(row, "rate", "calls/s", vec![rate]);
    let pace = Pace::Rate(rate);
    field.enter_all(row, &RATE, RATE.subjects, pace, run).await;
    Ok(())
}

/// How many small calls are answered in a second, closed loop.
async fn most(subject: &Subject, calls: u64) -> Result<f64, Failure> {
    let Subject { target, names, .. } = subject;
    let script = target.calls(Era::Modern, names, RATE.argument_bytes, 0)?;
    let mut clients = Clients::new(target.clone(), script, CONNECTIONS);
    clients.connect().await?;
    clients.closed_loop(calls, LOAD_LIMIT).await?;
    let mut rates = Vec::new();
    for _ in 0..LOADS {
        let loaded = clients.closed_loop(calls, LOAD_LIMIT).await?;
        rates.push(calls as f64 / loaded.elapsed.as_secs_f64());
    }
    Ok(median(rates))
}
