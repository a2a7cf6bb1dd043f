//! The start of the gateway: how long it takes, and what it holds afterwards.

use std::fs;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::accounting::rss;
use crate::client::Connection;
use crate::process::Process;
use crate::run::Run;
use crate::script::Target;
use crate::subjects::setup::{Behind, Kind, Setup};

/// The configuration that a newcomer starts with.
const QUICKSTART: &str = include_str!("../../../config/quickstart.yaml");
/// Both of its servers, as they show in a list of tools.
const QUICKSTART_TOOLS: [&str; 2] = ["\"notes__", "\"toolbox__"];
/// The longest that the start may take.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_secs(1);
/// How often the list of tools is asked for.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Starts Switchboard before an HTTP backend once a round, and measures the time from before its
/// process is started to the first answered call, which is tried for every millisecond.
///
/// # Errors
/// If it does not start.
pub(crate) async fn time(row: &'static str, run: &mut Run) -> Result<(), Failure> {
    let setup = Setup::of(Kind::Switchboard, Behind::USUAL);
    let mut times = Vec::new();
    for _ in 0..run.scale.rounds {
        let subject = run.site.start(setup).await?;
        times.push(subject.started_in.as_secs_f64() * 1e3);
        subject.stop().await;
    }
    run.results
        .figure(row, "start to first answered call", "ms", times);
    Ok(())
}

/// Starts the quickstart's configuration, and measures what the gateway's process holds once both
/// servers are listed.
///
/// # Errors
/// If they are not within 60 s.
pub(crate) async fn quickstart(row: &'static str, run: &mut Run) -> Result<(), Failure> {
    let place = run.site.place()?;
    let config = place.dir.join("quickstart.yaml");
    fs::write(&config, QUICKSTART).map_err(Failure::at("cannot write its configuration"))?;
    let mut command = Command::new(run.site.switchboard());
    command
        .args(["serve", "-c"])
        .arg(&config)
        .env("SWITCHBOARD_SERVER__LISTEN", place.listen.to_string())
        .env("SWITCHBOARD_SERVER__OPS_LISTEN", place.ops.to_string());
    let mut process = Process::start(command, &place.dir.join("log"))?;
    let target = Target::new(place.listen, crate::wire::PATH.to_owned());
    let start = Instant::now();
    while !lists_both(&target).await {
        if let Some(ended) = process.ended() {
            return Err(ended);
        }
        if start.elapsed() > START_LIMIT {
            let words = process.last_words();
            return Err(Failure(format!(
                "not listed within {START_LIMIT:?}: {words}"
            )));
        }
        sleep(ASK_EVERY).await;
    }
    sleep(SETTLE).await;
    let held = rss(process.pid()).ok_or_else(|| Failure("it has ended".to_owned()))?;
    let held = held as f64 / (1024.0 * 1024.0);
    run.results.figure(row, "RSS", "MiB", vec![held]);
    process.stop().await;
    Ok(())
}

async fn lists_both(target: &Target) -> bool {
    let listed = async {
        let step = target.page(None)?;
        let mut connection = Connection::open(target.address).await?;
        connection.ask_for_message(&step).await
    };
    let Ok(Ok(page)) = timeout(START_LIMIT, listed).await else {
        return false;
    };
    let page = String::from_utf8_lossy(&page);
    QUICKSTART_TOOLS.iter().all(|tool| page.contains(tool))
}
