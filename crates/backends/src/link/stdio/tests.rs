use std::collections::VecDeque;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::ReadBuf;
use tokio::process::Command;

use super::*;

/// Small, so that tests reach it, and large enough that the ends of an oversize line are kept
/// whole.
const LIMIT: usize = 2 * KEPT;

/// What a process writes, in the pieces in which it comes.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What a reader finds, with as much of an oversize line as is always kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Message(Vec<u8>),
    /// The head of a line whose end has not come yet.
    Begun(Vec<u8>),
    Oversize {
        head: Vec<u8>,
        tail: Vec<u8>,
    },
}

fn message(text: impl AsRef<[u8]>) -> Found {
    Found::Message(text.as_ref().to_vec())
}

/// Everything in `pieces`, and how the stream ended.
async fn read(pieces: &[&[u8]]) -> (Vec<Found>, Result<(), String>) {
    let pieces = pieces.iter().filter(|piece| !piece.is_empty());
    let mut reader = LineReader::new(Pieces(pieces.map(|piece| piece.to_vec()).collect()), LIMIT);
    let mut found = Vec::new();
    loop {
        match reader.read().await {
            Ok(None) => return (found, Ok(())),
            Err(error) => return (found, Err(error)),
            Ok(Some(Incoming::Message(line))) => found.push(Found::Message(line.to_vec())),
            Ok(Some(Incoming::Oversize { head, tail: None })) => {
                found.push(Found::Begun(head.to_vec()));
            }
            Ok(Some(Incoming::Oversize {
                head,
                tail: Some(tail),
            })) => found.push(Found::Oversize {
                head: head.to_vec(),
                tail: tail[tail.len() - KEPT..].to_vec(),
            }),
            Ok(Some(Incoming::Beginning { .. })) => panic!("longer than the limit"),
        }
    }
}

/// An answer that is `length` bytes long, with its id in front or behind.
fn answer(id_first: bool, length: usize) -> Vec<u8> {
    let (before, after) = if id_first {
        (r#"{"jsonrpc":"2.0","id":7,"result":{"text":""#, r#""}}"#)
    } else {
        (r#"{"jsonrpc":"2.0","result":{"text":""#, r#""},"id":7}"#)
    };
    let filling = "x".repeat(length - before.len() - after.len());
    [before, &filling, after].concat().into_bytes()
}

#[tokio::test]
async fn every_line_is_a_message_but_empty_ones() {
    let (found, end) = read(&[b"Server v1 listening\n\n \t\r\n{\"a\":1}\r\n", b"{}", b"\n"]).await;
    assert_eq!(
        found,
        [
            message("Server v1 listening"),
            message("{\"a\":1}\r"),
            message("{}")
        ]
    );
    assert_eq!(end, Ok(()));
}

#[tokio::test]
async fn a_line_without_its_end_is_no_message() {
    let (found, end) = read(&[b"{}\n{\"cut\":"]).await;
    assert_eq!(found, [message("{}")]);
    assert_eq!(end, Ok(()));
}

#[tokio::test]
async fn invalid_utf8_spoils_only_its_line() {
    let (found, _) = read(&[b"\xff\xfe\x00\n{\"a\":\"\xc3", b"\xa9\"}\n"]).await;
    assert_eq!(found, [message(b"\xff\xfe\x00"), message("{\"a\":\"é\"}")]);
}

#[tokio::test]
async fn the_limit_is_the_longest_line() {
    let longest = answer(true, LIMIT);
    let (found, _) = read(&[&longest, b"\n"]).await;
    assert_eq!(found, [message(&longest)]);

    let longer = answer(true, LIMIT + 1);
    let oversize = Found::Oversize {
        head: longer[..KEPT].to_vec(),
        tail: longer[longer.len() - KEPT..].to_vec(),
    };
    let (found, _) = read(&[&longer, b"\n"]).await;
    assert_eq!(
        found,
        [Found::Begun(longer[..KEPT].to_vec()), oversize.clone()]
    );
    // With its end in the same piece there is no beginning to be told of.
    let (found, _) = read(&[&longer[..LIMIT], &[&longer[LIMIT..], b"\n"].concat()]).await;
    assert_eq!(found, [oversize]);
}

#[tokio::test]
async fn an_oversize_line_is_told_early_and_again_at_its_end() {
    for id_first in [true, false] {
        let line = answer(id_first, 3 * LIMIT);
        let (found, end) = read(&[&line, b"\n{\"next\":1}\n"]).await;
        assert_eq!(
            found,
            [
                Found::Begun(line[..KEPT].to_vec()),
                Found::Oversize {
                    head: line[..KEPT].to_vec(),
                    tail: line[line.len() - KEPT..].to_vec(),
                },
                message("{\"next\":1}"),
            ]
        );
        assert_eq!(end, Ok(()));
    }
}

#[tokio::test]
async fn a_line_without_end_is_given_up_in_bounded_memory() {
    let mut reader = LineReader::new(tokio::io::repeat(b'x'), LIMIT);
    reader.endless = 64 * LIMIT as u64;
    let begun = reader.read().await;
    assert!(matches!(
        begun,
        Ok(Some(Incoming::Oversize { tail: None, .. }))
    ));
    let error = reader.read().await.err().expect("given up");
    assert_eq!(error, "the server writes a line without end");
    assert!(reader.buffer.capacity() <= KEPT + 2 * LONG_PIECE);
}

#[tokio::test]
async fn what_is_given_away_of_a_line_without_end_is_bounded() {
    let limit = 2 * MAX_HELD;
    let mut reader = LineReader::new(tokio::io::repeat(b'x'), limit);
    reader.endless = 4 * limit as u64;
    let beginning = reader.read().await;
    assert!(matches!(beginning, Ok(Some(Incoming::Beginning { .. }))));
    let mut given_away = 0;
    let error = loop {
        match reader.read_part().await {
            Ok(part) => given_away += part.expect("more").data.len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error, "the server writes a line without end");
    assert!(given_away <= reader.endless + 2 * LONG_PIECE as u64);
}

#[tokio::test]
async fn a_beginning_that_is_taken_back_is_not_copied() {
    let line = [b'x'; 2 * MAX_HELD];
    let mut reader = LineReader::new(Pieces([line.to_vec()].into()), 4 * MAX_HELD);
    let Ok(Some(Incoming::Beginning { text, .. })) = reader.read().await else {
        panic!("no beginning");
    };
    let memory = text.as_ptr();
    reader.take_back(text);
    assert_eq!(reader.buffer.as_ptr(), memory);
}

#[tokio::test]
async fn the_room_of_an_oversize_line_is_given_back() {
    let limit = 1024 * 1024;
    let input = tokio::io::repeat(b'x').take(64 * limit as u64);
    let input = input.chain(&b"\n{}\n"[..]);
    let mut reader = LineReader::new(input, limit);
    let Ok(Some(Incoming::Beginning {
        text: beginning, ..
    })) = reader.read().await
    else {
        panic!("no beginning");
    };
    reader.take_back(beginning);
    for _ in 0..2 {
        let oversize = reader.read().await;
        assert!(matches!(oversize, Ok(Some(Incoming::Oversize { .. }))));
        assert!(reader.buffer.capacity() <= KEPT + 2 * LONG_PIECE);
    }
    let next = reader.read().await;
    assert!(matches!(next, Ok(Some(Incoming::Message(line))) if line == "{}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_long_line_is_the_same_in_parts_and_whole(
        lengths in proptest::collection::vec(0_usize..3 * MAX_HELD, 1..5),
        piece in 1_usize..2 * MAX_HELD,
        taken_back in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let lines: Vec<String> = lengths.iter().map(|length| format!("{{{}}}", "x".repeat(*length))).collect();
        let text = lines.join("\n") + "\n";
        let pieces = text.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
        let mut reader = LineReader::new(Pieces(pieces), 4 * MAX_HELD);
        let mut taken_back = taken_back.into_iter();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(async {
            let mut found = Vec::new();
            while let Some(incoming) = reader.read().await.expect("sound") {
                match incoming {
                    Incoming::Message(line) => found.push(line.to_vec()),
                    Incoming::Beginning { text: beginning, limit } => {
                        assert_eq!(limit, 4 * MAX_HELD);
                        assert!(beginning.len() > MAX_HELD);
                        if taken_back.next() == Some(true) {
                            reader.take_back(beginning);
                            continue;
                        }
                        let mut line = beginning.to_vec();
                        loop {
                            let part = reader.read_part().await.expect("sound").expect("its end");
                            line.extend_from_slice(&part.data);
                            if part.is_last {
                                break;
                            }
                        }
                        found.push(line);
                    }
                    Incoming::Oversize { .. } => panic!("within the limit"),
                }
            }
            found
        });
        let lines: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
        prop_assert_eq!(found, lines);
    }
}

#[tokio::test]
async fn what_was_never_read_is_known() {
    let (output, mut input) = tokio::net::unix::pipe::pipe().expect("a pipe");
    let mut writer = LineWriter::new(output, |pipe| ioctl_fionread(pipe).ok());
    assert!(!writer.is_read());
    writer.write("{}".into()).await.expect("written");
    writer.write("{}".into()).await.expect("written");
    assert!(!writer.is_read());
    input.read_u8().await.expect("read");
    assert!(writer.is_read());
    drop(input);
    assert!(writer.is_read());
    assert!(writer.write("{}".into()).await.is_err());
}

#[tokio::test]
async fn what_was_not_read_before_the_end_is_known_behind_it() {
    let (output, input) = tokio::net::unix::pipe::pipe().expect("a pipe");
    let mut writer = LineWriter::new(output, |pipe| ioctl_fionread(pipe).ok());
    writer.write("{}".into()).await.expect("written");
    drop(input);
    assert!(!writer.is_read());
}

#[tokio::test]
async fn long_lines_that_end_are_not_one_without_end() {
    let line = [answer(false, 4 * LIMIT), b"\n".to_vec()].concat();
    let (found, end) = read(&[&line, &line, &line, b"{}\n"]).await;
    assert_eq!(found.last(), Some(&message("{}")));
    assert_eq!(end, Ok(()));
}

#[tokio::test]
async fn a_message_is_written_as_one_line() {
    let mut echo = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("cat");
    let mut writer = LineWriter::new(echo.stdin.take().expect("piped"), |_| None);
    let mut reader = LineReader::new(echo.stdout.take().expect("piped"), LIMIT);
    for (text, line) in [
        ("{\"a\":1}", "{\"a\":1}"),
        ("{\r\n  \"a\": 1\n}", "{    \"a\": 1 }"),
    ] {
        writer.write(text.into()).await.expect("written");
        let read = reader.read().await.expect("read");
        assert!(matches!(read, Some(Incoming::Message(read)) if read == line));
    }
    drop(writer);
    assert!(matches!(reader.read().await, Ok(None)));
}

proptest! {
    #[test]
    fn it_does_not_matter_in_which_pieces_lines_come(
        lines in proptest::collection::vec(
            prop_oneof![
                3 => "[ -~\u{e9}]{0,40}".prop_map(String::into_bytes),
                1 => proptest::collection::vec(any::<u8>(), 0..40),
                1 => (any::<bool>(), LIMIT - 2..3 * LIMIT).prop_map(|(id_first, length)| answer(id_first, length)),
            ],
            0..5,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = lines.iter().flat_map(|line| [&line[..], b"\n"].concat()).collect::<Vec<u8>>();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (mut found, end) = runtime.block_on(read(&pieces));
        prop_assert_eq!(end, Ok(()));
        found.retain(|found| !matches!(found, Found::Begun(_)));

        let expected: Vec<Found> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
            .map(|line| match line.len() > LIMIT {
                true => Found::Oversize {
                    head: line[..KEPT].to_vec(),
                    tail: line[line.len() - KEPT..].to_vec(),
                },
                false => message(line),
            })
            .collect();
        prop_assert_eq!(found, expected);
    }
}
