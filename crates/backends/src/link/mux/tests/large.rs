//! Long answers, handed on while they arrive.

use std::future::poll_fn;

use switchboard_protocol::method::Method;
use tokio::task::JoinHandle;

use super::*;
use crate::link::MayArrive;
use crate::link::rest::Large;

const LIMIT: usize = 1024 * 1024;
/// More than is read before an answer is judged.
const LONG: usize = 300 * 1024;

fn channel() -> Channel {
    Channel::of_lines(LIMIT, ROOMY, |stop| async move {
        stop.cancelled().await;
        None
    })
}

impl Peer {
    /// Says the first half of a line; what is left of it.
    async fn begin<'l>(&mut self, line: &'l str) -> &'l str {
        let (beginning, rest) = line.split_at(line.len() / 2);
        let said = self.output.write_all(beginning.as_bytes());
        said.await.expect("written");
        rest
    }
}

/// A call that takes a large result while it arrives.
async fn ask(channel: &mut Channel, at_once: bool) -> (u64, JoinHandle<Result<Reply, LinkError>>) {
    let id = next_id();
    let mux = channel.mux.clone();
    let asking = tokio::spawn(async move {
        let arriving = MayArrive {
            method: Method::ToolsCall,
            at_once,
        };
        let out = Outgoing::for_test(id);
        mux.reply(out, Watch::deaf(), Some(arriving)).await
    });
    channel.peer.line().await;
    (id, asking)
}

async fn large(asking: JoinHandle<Result<Reply, LinkError>>) -> Large {
    match asking.await.expect("no panic") {
        Ok(Reply::Large(large)) => large,
        Ok(Reply::Whole(_)) => panic!("it came whole"),
        Err(error) => panic!("{error}"),
    }
}

async fn length_of_whole(asking: JoinHandle<Result<Reply, LinkError>>) -> usize {
    match asking.await.expect("no panic") {
        Ok(Reply::Whole(response)) => response.raw.len(),
        Ok(Reply::Large(_)) => panic!("it was handed on"),
        Err(error) => panic!("{error}"),
    }
}

fn text() -> String {
    format!(
        r#""result":{{"content":[{{"type":"text","text":"{}"}}]}}"#,
        "x".repeat(LONG)
    )
}

fn id_first(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},{}}}"#, text())
}

#[tokio::test]
async fn one_that_begins_with_its_id_is_there_before_its_end() {
    let mut channel = channel();
    let (id, asking) = ask(&mut channel, true).await;
    let line = id_first(id);
    let rest = channel.peer.begin(&line).await;
    let large = large(asking).await;
    assert!(line.as_bytes().starts_with(&large.beginning));
    channel.peer.say(rest).await;
    let other = Request::new(&channel.mux);
    channel.peer.answer(other.id).await;
    let whole = large.whole().await.expect("all of it");
    assert_eq!(whole.raw, line);
    other.expect_answer().await;
    channel.end().await;
}

#[tokio::test]
async fn what_nobody_takes_any_more_is_dropped_and_nobody_is_told() {
    let mut channel = channel();
    for _ in 0..3 {
        let (id, asking) = ask(&mut channel, true).await;
        let line = id_first(id);
        let rest = channel.peer.begin(&line).await;
        drop(large(asking).await);
        channel.peer.say(rest).await;
    }
    let other = Request::new(&channel.mux);
    assert_eq!(channel.peer.line().await, other.body);
    channel.peer.answer(other.id).await;
    other.expect_answer().await;
    assert_eq!(channel.ignored(IgnoredMessage::UnknownId), 0);
    channel.end().await;
}

#[tokio::test]
async fn others_come_whole() {
    let mut channel = channel();
    // The id is not known before the end.
    let (id, asking) = ask(&mut channel, true).await;
    let behind = format!(r#"{{"jsonrpc":"2.0",{},"id":{id}}}"#, text());
    channel.peer.say(&behind).await;
    assert_eq!(length_of_whole(asking).await, behind.len());
    // Who takes it takes his time.
    let (id, asking) = ask(&mut channel, false).await;
    let line = id_first(id);
    channel.peer.say(&line).await;
    assert_eq!(length_of_whole(asking).await, line.len());
    // What it is shows at its end.
    let (id, asking) = ask(&mut channel, true).await;
    let filling = "x".repeat(LONG);
    let other = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"other":"{filling}"}}}}"#);
    channel.peer.say(&other).await;
    assert_eq!(length_of_whole(asking).await, other.len());
    channel.end().await;
}

#[tokio::test]
async fn an_id_in_something_else_is_no_answers() {
    let mut channel = channel();
    let (own, asking) = ask(&mut channel, true).await;
    let (others, other) = ask(&mut channel, true).await;
    let result = text();
    let line = format!(r#"{{"trace":{{"id":{own}}},"jsonrpc":"2.0",{result},"id":{others}}}"#);
    channel.peer.say(&line).await;
    assert_eq!(length_of_whole(other).await, line.len());
    let line = id_first(own);
    channel.peer.say(&line).await;
    let whole = large(asking).await.whole().await.expect("its own");
    assert_eq!(whole.raw, line);
    channel.end().await;
}

#[tokio::test]
async fn the_end_of_the_channel_breaks_it_off_before_what_it_owned_is_gone() {
    let (gone, is_gone) = oneshot::channel::<()>();
    let mut channel = Channel::of_lines(LIMIT, ROOMY, |_| async move {
        let _ = is_gone.await;
        None
    });
    let (id, asking) = ask(&mut channel, true).await;
    channel.peer.begin(&id_first(id)).await;
    let mut large = large(asking).await;
    let mux = channel.mux.clone();
    let ending = tokio::spawn(async move { mux.shut_down().await });
    let broken = loop {
        match poll_fn(|context| large.rest.poll_chunk(context)).await {
            Ok(chunk) => assert!(!chunk.is_last),
            Err(error) => break error,
        }
    };
    assert!(matches!(broken, LinkError::Lost(_)), "{broken}");
    assert!(!ending.is_finished());
    let _ = gone.send(());
    channel.end().await;
}
