//! `tools/list`: all pages as Switchboard serves them, beside nginx with the same bytes in files.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::Failure;
use crate::client::Connection;
use crate::field::{Field, Load, Pace};
use crate::run::Run;
use crate::script::{Expected, Script, Target};
use crate::subjects::setup::{Behind, Kind, Setup};
use crate::wire::Era;

/// Connections that ask for lists.
const CONNECTIONS: usize = 16;
/// The most pages that are read.
const MAX_PAGES: usize = 100;
/// By so much a page may be shorter than the first one was, in bytes: by an id of fewer digits, and by what
/// the gateway says of a backend that was starting.
const MAY_BE_LESS: usize = 512;
/// One pass over the shortest list is made for so many of `--calls`, and fewer over longer ones.
const ONE_IN: u64 = 2;
/// Tools that are listed for each pass that is left out.
const TOOLS_PER_PASS: u64 = 200;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    result: Cursor<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cursor<'a> {
    #[serde(borrow)]
    next_cursor: Option<Cow<'a, str>>,
}

/// Puts the load of listing so many tools on Switchboard and on nginx.
///
/// # Errors
/// If Switchboard does not serve the list.
pub(crate) async fn enter(
    field: &mut Field,
    row: &'static str,
    tools: usize,
    run: &mut Run,
) -> Result<(), Failure> {
    let behind = run.scale.behind(Behind::USUAL.tools(tools));
    let setup = |kind| Setup::of(kind, behind);
    let passes = run.scale.calls / (ONE_IN + tools as u64 / TOOLS_PER_PASS);
    let load = |script| Load {
        row,
        script,
        connections: CONNECTIONS,
        calls: passes.max(1),
        pace: Pace::Closed,
    };

    let switchboard = field.subject(&run.site, setup(Kind::Switchboard)).await?;
    let (pages, script) = learn(&field.at(switchboard).target).await?;
    field.enter(switchboard, load(script));

    let nginx = run.site.start_files(setup(Kind::NginxFiles), &pages).await;
    match nginx {
        Ok((subject, script)) => {
            let nginx = field.add(subject);
            field.enter(nginx, load(script));
        }
        Err(failure) => run.absent(row, Kind::NginxFiles, &failure),
    }
    Ok(())
}

/// Reads all pages, and writes down how they are asked for.
async fn learn(target: &Target) -> Result<(Vec<Bytes>, Script), Failure> {
    let mut connection = Connection::open(target.address).await?;
    let mut pages = Vec::new();
    let mut steps = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut step = target.page(cursor.as_deref())?;
        let page = connection.ask_for_message(&step).await?;
        step.expected = Expected::Result(page.len().saturating_sub(MAY_BE_LESS));
        steps.push(step);
        let read: Page<'_> = serde_json::from_slice(&page).map_err(Failure::at("no page"))?;
        cursor = read.result.next_cursor.map(Cow::into_owned);
        pages.push(page);
        if cursor.is_none() {
            break;
        }
        if pages.len() >= MAX_PAGES {
            return Err(Failure(format!("more than {MAX_PAGES} pages")));
        }
    }
    let script = Script {
        era: Era::Modern,
        steps_per_call: steps.len(),
        steps: steps.into(),
    };
    Ok((pages, script))
}
