//! The run: starts the subjects, loads each in turn for several rounds, and reports.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::Failure;
use crate::load::Load;
use crate::report::{Absent, Report, Round, Settings, Summary};
use crate::subject::{Kind, Site, Subject};

/// The longest that one load may take.
const LOAD_LIMIT: Duration = Duration::from_secs(120);
/// The warm-up is this part of a round's calls.
const WARM_UP_PART: u64 = 4;

/// What `compare` can be told.
#[derive(Args)]
pub(crate) struct Options {
    /// Calls to each subject in each round.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    calls: u64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Rounds, each of which measures every subject.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=101))]
    rounds: u16,
    /// The program to measure; by default the one that was built beside this one.
    #[arg(long, value_name = "PATH")]
    switchboard: Option<PathBuf>,
    /// Write all that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if Switchboard takes more CPU per call than this many times nginx's, or if one of
    /// them was not measured.
    #[arg(long, value_name = "RATIO")]
    max_ratio: Option<f64>,
}

/// A subject and what came of it.
struct Course {
    subject: Subject,
    rounds: Vec<Round>,
    failure: Option<Failure>,
}

/// Measures, prints the table, and says whether the ratio asked for was kept.
///
/// # Errors
/// If there is nothing to measure against, or the report cannot be written.
pub(crate) async fn run(options: &Options) -> Result<bool, Failure> {
    if cfg!(debug_assertions) {
        eprintln!("This is a debug build: its numbers say nothing. Run it with --release.");
    }
    let dir = tempfile::tempdir().map_err(Failure::at("no temporary folder"))?;
    let switchboard = match &options.switchboard {
        Some(path) => path.clone(),
        None => env::current_exe()
            .map_err(Failure::at("cannot find this program"))?
            .with_file_name("switchboard"),
    };
    let site = Site {
        dir: dir.path(),
        switchboard: &switchboard,
    };
    let load = Load {
        calls: options.calls,
        connections: usize::from(options.connections),
        limit: LOAD_LIMIT,
    };

    let (mut courses, mut absent) = start_all(&site).await?;
    measure(&mut courses, load, options.rounds).await;

    let mut summaries = Vec::new();
    for course in courses {
        let kind = course.subject.kind;
        match course.failure {
            Some(failure) => absent.push(Absent::new(kind, &failure)),
            None => summaries.push(Summary::new(kind, course.rounds, course.subject.peak_rss())),
        }
        course.subject.stop().await;
    }
    let settings = Settings {
        calls: options.calls,
        connections: options.connections,
        rounds: options.rounds,
    };
    let report = Report::new(settings, summaries, absent);
    print!("{report}");
    if let Some(file) = &options.json {
        fs::write(file, report.to_json()?).map_err(Failure::at("cannot write the JSON file"))?;
    }
    Ok(options.max_ratio.is_none_or(|limit| keeps(&report, limit)))
}

/// Starts the backend, which is also a subject, and then everything that stands before it.
async fn start_all(site: &Site<'_>) -> Result<(Vec<Course>, Vec<Absent>), Failure> {
    let mut courses = Vec::new();
    let mut absent = Vec::new();
    let mut backend = None;
    for kind in Kind::ALL {
        match site.start(kind, backend).await {
            Ok(subject) => {
                backend.get_or_insert(subject.address);
                courses.push(Course {
                    subject,
                    rounds: Vec::new(),
                    failure: None,
                });
            }
            Err(failure) if kind == Kind::Direct => return Err(failure),
            Err(failure) => absent.push(Absent::new(kind, &failure)),
        }
    }
    Ok((courses, absent))
}

/// Warms every subject up, and measures each once a round, beginning with another one each time,
/// so that whatever else the machine does falls on all of them.
async fn measure(courses: &mut [Course], load: Load, rounds: u16) {
    let warm_up = Load {
        calls: load.calls.div_ceil(WARM_UP_PART),
        ..load
    };
    for course in courses.iter_mut() {
        let failure = warm_up.run(course.subject.address).await.err();
        course.failure = failure.map(|failure| course.subject.explain(failure));
    }
    for _ in 0..rounds {
        for course in courses.iter_mut().filter(|course| course.failure.is_none()) {
            match one_round(&course.subject, load).await {
                Ok(round) => course.rounds.push(round),
                Err(failure) => course.failure = Some(course.subject.explain(failure)),
            }
        }
        courses.rotate_left(1);
    }
    courses.sort_by_key(|course| {
        Kind::ALL
            .iter()
            .position(|kind| *kind == course.subject.kind)
    });
}

async fn one_round(subject: &Subject, load: Load) -> Result<Round, Failure> {
    let before = subject.cpu_time();
    let loaded = load.run(subject.address).await?;
    let (own, children) = subject.cpu_since(&before);
    Ok(Round::new(load.calls, own, children, &loaded))
}

fn keeps(report: &Report, limit: f64) -> bool {
    match report.ratio_to_nginx(Kind::Switchboard) {
        Some(ratio) if ratio <= limit => {
            println!("Switchboard takes {ratio:.2} × nginx, within {limit} ×.");
            true
        }
        Some(ratio) => {
            println!("Switchboard takes {ratio:.2} × nginx, MORE than {limit} ×.");
            false
        }
        None => {
            println!("Switchboard and nginx were not both measured.");
            false
        }
    }
}
