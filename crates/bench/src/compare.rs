//! The run: starts the subjects, measures row after row, and reports.

use std::env;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Failure;
use crate::field::{Field, Pace};
use crate::report::results::Results;
use crate::report::{document, tables, targets};
use crate::rows::{Measure, ROWS, Row, Scale, peers};
use crate::run::Run;
use crate::subjects::Site;
use crate::subjects::other::{Given, Other};
use crate::subjects::setup::Kind;
use crate::{lists, memory, rate, startup};

/// Files and sockets that one process may have: 1,000 streams, and some hundred connections.
const OPEN_FILES: u64 = 16 * 1024;
/// Small calls of a quick run.
const QUICK_CALLS: u64 = 20;

/// What `compare` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Small calls to each subject in each round; of larger ones there are fewer in proportion.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    calls: u64,
    /// Rounds, each of which measures every subject.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=101))]
    rounds: u16,
    /// Measure these rows alone.
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = row_names())]
    only: Vec<String>,
    /// See only whether every row can be measured: few calls, one round, small lists.
    #[arg(long, conflicts_with_all = ["calls", "rounds"])]
    quick: bool,
    /// Measure one more gateway, which serves /mcp: in its command, {port} stands for the port to
    /// listen on, and {url} or {stdio} for the address or the command of the server behind it.
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<Given>,
    /// The program to measure; by default the one that was built beside this one.
    #[arg(long, value_name = "PATH")]
    switchboard: Option<PathBuf>,
    /// Write all that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables into this document, between its marks.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Fail if a target is not met, or was not measured.
    #[arg(long)]
    gate: bool,
}

fn row_names() -> clap::builder::PossibleValuesParser {
    ROWS.iter().map(|row| row.name).into()
}

/// Measures, prints the tables, and says whether the targets are met if that was asked for.
///
/// # Errors
/// If there is nothing to measure against, or a file cannot be written.
pub(crate) async fn run(options: &Options) -> Result<bool, Failure> {
    allow_open_files()?;
    let dir = tempfile::tempdir().map_err(Failure::at("no temporary folder"))?;
    let switchboard = match &options.switchboard {
        Some(path) => path.clone(),
        None => built_beside("switchboard")?,
    };
    let scale = Scale {
        calls: if options.quick {
            QUICK_CALLS
        } else {
            options.calls
        },
        rounds: if options.quick {
            1
        } else {
            options.rounds.into()
        },
        quick: options.quick,
    };
    let wanted =
        |row: &&Row| options.only.is_empty() || options.only.iter().any(|name| name == row.name);
    let rows: Vec<&'static Row> = ROWS.iter().filter(wanted).collect();
    // They take long to start, and a quick run is to show that our own things work.
    let others = if options.quick {
        Other::only(&options.peer).collect()
    } else {
        Other::all(&options.peer)
    };
    let mut run = Run {
        site: Site::open(dir.path(), &switchboard, others).await?,
        scale,
        results: Results::new(scale, &rows),
    };
    measure(&rows, &mut run).await;
    let Run {
        site, mut results, ..
    } = run;
    site.close().await;

    results.targets = targets::judge(&results);
    let tables = tables::all(&results);
    println!("{tables}");
    if let Some(file) = &options.json {
        fs::write(file, results.to_json()?).map_err(Failure::at("cannot write the JSON file"))?;
    }
    if let Some(file) = &options.markdown {
        document::rewrite(file, &tables)?;
    }
    let met = results.targets.iter().all(targets::Verdict::is_met);
    Ok(!options.gate || met)
}

/// The program of this name that was built together with this one.
///
/// # Errors
/// If this one cannot be found.
pub(crate) fn built_beside(name: &str) -> Result<PathBuf, Failure> {
    let this = env::current_exe().map_err(Failure::at("cannot find this program"))?;
    Ok(this.with_file_name(name))
}

/// Raises the limit of open files, which the subjects inherit, as far as it is needed and allowed.
fn allow_open_files() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let most = limit
        .maximum
        .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    let raised = limit.current.map_or(OPEN_FILES, |now| now.max(most));
    let limit = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, limit).map_err(Failure::at("cannot have more open files"))
}

/// Measures the rows group by group. The rows of one group are measured in the same rounds.
async fn measure(rows: &[&'static Row], run: &mut Run) {
    for rows in rows.chunk_by(|one, other| group(&one.measure) == group(&other.measure)) {
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        eprintln!("measuring {}", names.join(", "));
        match group(&rows[0].measure) {
            Group::Sessions => sessions(rows, run).await,
            Group::Single => {
                for row in rows {
                    single(row, run).await;
                }
            }
            _ => loads(rows, run).await,
        }
    }
}

/// What is measured together.
#[derive(PartialEq, Eq)]
enum Group {
    Calls,
    Results,
    Lists,
    Rate,
    Peers,
    Sessions,
    /// By itself.
    Single,
}

fn group(measure: &Measure) -> Group {
    match measure {
        Measure::Calls(_) => Group::Calls,
        Measure::Results(_) => Group::Results,
        Measure::List(_) => Group::Lists,
        Measure::Rate => Group::Rate,
        Measure::Peers(_) => Group::Peers,
        Measure::Sessions(_) => Group::Sessions,
        Measure::Streams(_) | Measure::SlowReader(_) | Measure::Quickstart | Measure::Start => {
            Group::Single
        }
    }
}

/// Rows that load subjects side by side.
async fn loads(rows: &[&'static Row], run: &mut Run) {
    let mut field = Field::default();
    for row in rows {
        let entered = match &row.measure {
            Measure::List(tools) => lists::enter(&mut field, row.name, *tools, run).await,
            Measure::Rate => rate::enter(&mut field, row.name, run).await,
            Measure::Calls(calls) | Measure::Results(calls) => {
                let kinds = calls.subjects;
                field
                    .enter_all(row.name, calls, kinds, Pace::Closed, run)
                    .await;
                Ok(())
            }
            Measure::Peers(transport) => {
                let calls = peers(*transport);
                let others = run.site.others();
                let fit = others.filter(|(_, other)| other.bridges(*transport));
                let kinds = fit.map(|(kind, _)| kind);
                let kinds: Vec<Kind> = kinds.chain([Kind::Switchboard]).collect();
                field
                    .enter_all(row.name, &calls, &kinds, Pace::Closed, run)
                    .await;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(failure) = entered {
            run.absent(row.name, Kind::Switchboard, &failure);
        }
    }
    field.measure(run.scale.rounds).await;
    field.close(run).await;
}

async fn sessions(rows: &[&'static Row], run: &mut Run) {
    let counts = rows.iter().filter_map(|row| match row.measure {
        Measure::Sessions(count) => Some((row.name, count)),
        _ => None,
    });
    let counts: Vec<_> = counts.collect();
    if let Err(failure) = memory::sessions(&counts, run).await {
        for row in rows {
            run.absent(row.name, Kind::Switchboard, &failure);
        }
    }
}

/// A row that is measured by itself.
async fn single(row: &'static Row, run: &mut Run) {
    let measured = match row.measure {
        Measure::Streams(count) => memory::streams(row.name, count, run).await,
        Measure::SlowReader(bytes) => memory::slow_reader(row.name, bytes, run).await,
        Measure::Quickstart => startup::quickstart(row.name, run).await,
        Measure::Start => startup::time(row.name, run).await,
        _ => Ok(()),
    };
    if let Err(failure) = measured {
        run.absent(row.name, Kind::Switchboard, &failure);
    }
}
