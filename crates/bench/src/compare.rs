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
use crate::rows::{Measure, ROWS, Row, Scale};
use crate::subjects::Site;
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
    let site = Site::open(dir.path(), &switchboard).await?;
    let wanted =
        |row: &&Row| options.only.is_empty() || options.only.iter().any(|name| name == row.name);
    let rows: Vec<&'static Row> = ROWS.iter().filter(wanted).collect();
    let mut results = Results::new(scale, &rows);
    measure(&rows, (&site, scale), &mut results).await;
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
async fn measure(rows: &[&'static Row], on: (&Site, Scale), results: &mut Results) {
    let same_group = |one: &&Row, other: &&Row| group(&one.measure) == group(&other.measure);
    for rows in rows.chunk_by(same_group) {
        eprintln!("measuring {}", names(rows));
        match rows[0].measure {
            Measure::Sessions(_) => sessions(rows, on, results).await,
            Measure::Streams(_) | Measure::SlowReader(_) | Measure::Quickstart | Measure::Start => {
                for row in rows {
                    figure(row, on, results).await;
                }
            }
            _ => loads(rows, on, results).await,
        }
    }
}

/// A number for each group of rows.
fn group(measure: &Measure) -> u8 {
    match measure {
        Measure::Calls(_) => 0,
        Measure::Results(_) => 1,
        Measure::List(_) => 2,
        Measure::Rate => 3,
        Measure::Peers(_) => 4,
        Measure::Sessions(_) => 5,
        Measure::Streams(_) | Measure::SlowReader(_) | Measure::Quickstart | Measure::Start => 6,
    }
}

fn names(rows: &[&'static Row]) -> String {
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.join(", ")
}

/// Rows that load subjects side by side.
async fn loads(rows: &[&'static Row], on: (&Site, Scale), results: &mut Results) {
    let mut field = Field::default();
    for row in rows {
        let entered = match &row.measure {
            Measure::Calls(calls) | Measure::Results(calls) => {
                let entry = (row.name, calls);
                field.enter_all(entry, Pace::Closed, on, results).await;
                Ok(())
            }
            Measure::List(tools) => lists::enter(&mut field, row.name, *tools, on, results).await,
            Measure::Rate => rate::enter(&mut field, row.name, on, results).await,
            Measure::Peers(transport) => {
                let calls = crate::rows::peers(*transport);
                let entry = (row.name, &calls);
                field.enter_all(entry, Pace::Closed, on, results).await;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(failure) = entered {
            results.absent(row.name, "all", &failure);
        }
    }
    field.measure(on.1.rounds).await;
    field.close(on.0, results).await;
}

async fn sessions(rows: &[&'static Row], on: (&Site, Scale), results: &mut Results) {
    let counts: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.measure {
            Measure::Sessions(count) => Some((row.name, count)),
            _ => None,
        })
        .collect();
    if let Err(failure) = memory::sessions(&counts, on, results).await {
        results.absent(rows[0].name, "all", &failure);
    }
}

async fn figure(row: &'static Row, on: (&Site, Scale), results: &mut Results) {
    let measured = match row.measure {
        Measure::Streams(count) => memory::streams(row.name, count, on, results).await,
        Measure::SlowReader(bytes) => memory::slow_reader(row.name, bytes, on, results).await,
        Measure::Quickstart => startup::quickstart(row.name, on.0, results).await,
        Measure::Start => startup::time(row.name, on, results).await,
        _ => Ok(()),
    };
    if let Err(failure) = measured {
        results.absent(row.name, "all", &failure);
    }
}
