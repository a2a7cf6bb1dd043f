//! What the gateway holds: beside idle sessions, for open streams, and for a reader that is slow.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::accounting::{CpuTime, forget_peak, peak_rss, rss};
use crate::client::{Client, Connection};
use crate::load::{Clients, LOAD_LIMIT};
use crate::run::Run;
use crate::script::{Script, Target};
use crate::subjects::Subject;
use crate::subjects::setup::{Behind, Kind, Setup};
use crate::wire::{Era, SESSION};

const MIB: f64 = 1024.0 * 1024.0;
/// Connections of the calls beside idle sessions.
const CONNECTIONS: usize = 16;
/// The longest that opening all sessions or streams may take.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
/// How long memory is given to settle.
const SETTLE: Duration = Duration::from_millis(500);
/// How much a slow reader takes at once, in bytes.
const SIP: usize = 64 * 1024;
/// How much a slow reader takes in a second, in bytes.
const READ_RATE: f64 = 10.0 * MIB;

fn bare(behind: Behind) -> Setup {
    Setup::of(Kind::Switchboard, behind)
}

fn held(subject: &Subject) -> Result<f64, Failure> {
    rss(subject.pid())
        .map(|bytes| bytes as f64)
        .ok_or_else(|| Failure("it has ended".to_owned()))
}

/// Opens more and more idle legacy sessions, and measures at each of these rows' counts what the
/// gateway holds and what a small call costs.
///
/// # Errors
/// If a session or a call is refused.
pub(crate) async fn sessions(rows: &[(&'static str, usize)], run: &mut Run) -> Result<(), Failure> {
    let subject = run
        .site
        .start(bare(run.scale.behind(Behind::USUAL)))
        .await?;
    let script = subject.target.calls(Era::Modern, &subject.names, 5, 200)?;
    let mut clients = Clients::new(subject.target.clone(), script, CONNECTIONS);
    clients.connect().await?;
    clients.closed_loop(run.scale.calls, LOAD_LIMIT).await?;
    sleep(SETTLE).await;
    let before = held(&subject)?;
    let mut open = 0;
    for (row, count) in rows {
        let count = run.scale.count(*count);
        let opening = open_sessions(&subject.target, count.saturating_sub(open));
        timeout(OPEN_LIMIT, opening)
            .await
            .map_err(Failure::at("the sessions are not open"))??;
        open = open.max(count);
        sleep(SETTLE).await;
        let added = (held(&subject)? - before) / MIB;
        run.results.figure(row, "RSS added", "MiB", vec![added]);
        let mut costs = Vec::new();
        for _ in 0..run.scale.rounds {
            let start = CpuTime::read(subject.pid());
            clients.closed_loop(run.scale.calls, LOAD_LIMIT).await?;
            let used = CpuTime::read(subject.pid()).since(&start).subject;
            costs.push(used.as_secs_f64() * 1e6 / run.scale.calls as f64);
        }
        run.results.figure(row, "CPU", "µs/call", costs);
    }
    subject.stop().await;
    Ok(())
}

/// Begins so many sessions on one connection, and leaves them.
async fn open_sessions(target: &Target, count: usize) -> Result<(), Failure> {
    let initialize = target.initialize()?;
    let mut connection = Connection::open(target.address).await?;
    for _ in 0..count {
        let response = connection.stream(&initialize).await?;
        let session = response.headers().get(SESSION).cloned();
        if session.is_none() {
            return Err(Failure(format!("no session: {}", response.status())));
        }
        let read = response.into_body().collect().await;
        read.map_err(Failure::at("an answer broke off"))?;
        connection
            .notify(&target.initialized(session.as_ref())?)
            .await?;
    }
    Ok(())
}

/// Opens `subscriptions/listen` streams, each on a connection of its own, and measures what the
/// gateway holds for each.
///
/// # Errors
/// If one is refused.
pub(crate) async fn streams(row: &'static str, count: usize, run: &mut Run) -> Result<(), Failure> {
    let count = run.scale.count(count);
    let subject = run
        .site
        .start(bare(run.scale.behind(Behind::USUAL)))
        .await?;
    sleep(SETTLE).await;
    let before = held(&subject)?;
    let open = timeout(OPEN_LIMIT, open_streams(&subject.target, count))
        .await
        .map_err(Failure::at("the streams are not open"))??;
    sleep(SETTLE).await;
    let each = (held(&subject)? - before) / 1024.0 / count as f64;
    drop(open);
    run.results.figure(row, "RSS per stream", "KiB", vec![each]);
    subject.stop().await;
    Ok(())
}

/// So many streams of which the first event has come. They end when they are dropped.
async fn open_streams(target: &Target, count: usize) -> Result<Vec<impl Sized>, Failure> {
    let listen = target.listen()?;
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = Connection::open(target.address).await?;
        let response = connection.stream(&listen).await?;
        if !response.status().is_success() {
            return Err(Failure(format!("no stream: {}", response.status())));
        }
        let mut body = response.into_body();
        let first = body.frame().await;
        if first.is_none_or(|frame| frame.is_err()) {
            return Err(Failure("a stream ended at once".to_owned()));
        }
        open.push((connection, body));
    }
    Ok(open)
}

/// Reads one large result at 10 MiB/s, and measures what the gateway holds meanwhile beyond what it
/// held before.
///
/// # Errors
/// If the result does not come whole.
pub(crate) async fn slow_reader(
    row: &'static str,
    bytes: usize,
    run: &mut Run,
) -> Result<(), Failure> {
    let bytes = run.scale.count(bytes);
    let subject = run.site.start(bare(Behind::USUAL.result(bytes))).await?;
    // What a small message makes it hold is there before.
    let listed = Script {
        era: Era::Modern,
        steps: [subject.target.page(None)?].into(),
        steps_per_call: 1,
    };
    let mut client = Client::open(&subject.target, &listed).await?;
    for number in 0..100 {
        client.call(number).await?;
    }
    forget_peak(subject.pid());
    let before = held(&subject)?;
    let read = timeout(LOAD_LIMIT, read_slowly(&subject.target, bytes));
    read.await
        .map_err(Failure::at("the result does not end"))??;
    let most = peak_rss(subject.pid()).ok_or_else(|| Failure("it has ended".to_owned()))?;
    let added = (most as f64 - before) / MIB;
    run.results.figure(row, "RSS added", "MiB", vec![added]);
    subject.stop().await;
    Ok(())
}

/// Makes one call and takes its answer a sip at a time, over a socket that buffers little.
async fn read_slowly(target: &Target, bytes: usize) -> Result<(), Failure> {
    let socket = TcpSocket::new_v4().map_err(Failure::at("no socket"))?;
    socket
        .set_recv_buffer_size(SIP as u32)
        .map_err(Failure::at("cannot set the buffer"))?;
    let mut stream = socket
        .connect(target.address)
        .await
        .map_err(Failure::at("cannot connect"))?;
    stream
        .write_all(&target.one_call_as_text(Era::Modern)?)
        .await
        .map_err(Failure::at("cannot ask"))?;
    let start = Instant::now();
    let mut sip = vec![0; SIP];
    let mut taken = 0;
    while taken < bytes {
        let read = stream.read(&mut sip).await;
        let read = read.map_err(Failure::at("the answer broke off"))?;
        if read == 0 {
            return Err(Failure(format!("the answer ended after {taken} bytes")));
        }
        taken += read;
        let due = Duration::from_secs_f64(taken as f64 / READ_RATE);
        sleep(due.saturating_sub(start.elapsed())).await;
    }
    Ok(())
}
