//! Small calls at one rate for all: half of what Switchboard answers at most.

use crate::Failure;
use crate::field::{Field, Pace};
use crate::load::{Clients, LOAD_LIMIT};
use crate::report::results::{Results, median};
use crate::rows::{RATE, Scale};
use crate::subjects::Site;
use crate::subjects::setup::{Kind, Setup};
use crate::wire::Era;

/// Connections of the closed loop that finds the rate.
const CONNECTIONS: usize = 16;
/// Loads that it is found with, after the first, which warms up.
const LOADS: usize = 3;

/// Finds the rate, and enters all subjects at it.
///
/// # Errors
/// If Switchboard, whose rate it is, cannot be measured.
pub(crate) async fn enter(
    field: &mut Field,
    row: &'static str,
    (site, scale): (&Site, Scale),
    results: &mut Results,
) -> Result<(), Failure> {
    let setup = Setup {
        kind: Kind::Switchboard,
        behind: scale.behind(RATE.behind),
    };
    let switchboard = field.subject(site, setup).await?;
    let subject = field.at(switchboard);
    let script = subject
        .target
        .calls(Era::Modern, &subject.names, RATE.argument_bytes, 0)?;
    let mut clients = Clients::new(subject.target.clone(), script, CONNECTIONS);
    clients.connect().await?;
    let mut most = Vec::new();
    for load in 0..=LOADS {
        let loaded = clients.closed_loop(scale.calls, LOAD_LIMIT).await?;
        if load > 0 {
            most.push(scale.calls as f64 / loaded.elapsed.as_secs_f64());
        }
    }
    let rate = median(most) / 2.0;
    results.figure(row, "all", "rate", "calls/s", vec![rate]);
    field
        .enter_all((row, &RATE), Pace::Rate(rate), (site, scale), results)
        .await;
    Ok(())
}
