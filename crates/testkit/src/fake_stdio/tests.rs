use std::time::Duration;

use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Options, serve};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// A running server and the client's ends of its pipes.
struct Running {
    input: WriteHalf<DuplexStream>,
    output: BufReader<ReadHalf<DuplexStream>>,
    ended: JoinHandle<u8>,
}

impl Running {
    fn start(flags: &[&str]) -> Self {
        let arguments = ["faulty-server"].iter().chain(flags);
        let options = Arguments::parse_from(arguments).options;
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (read, write) = tokio::io::split(theirs);
        let (output, input) = tokio::io::split(ours);
        Self {
            input,
            output: BufReader::new(output),
            ended: tokio::spawn(serve(options, read, write)),
        }
    }

    async fn say(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
    }

    async fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        self.say(&call).await;
    }

    async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let reading = self.output.read_until(b'\n', &mut line);
        timeout(Duration::from_secs(10), reading)
            .await
            .expect("a line in time")
            .unwrap();
        line
    }

    async fn message(&mut self) -> Value {
        serde_json::from_slice(&self.line().await).unwrap()
    }

    async fn exit_code(self) -> u8 {
        timeout(Duration::from_secs(10), self.ended)
            .await
            .expect("an end in time")
            .unwrap()
    }
}

#[tokio::test]
async fn answers_and_ends_with_its_input() {
    let mut server = Running::start(&["--label", "a"]);
    server.call(1, "echo", json!({ "x": [1] })).await;
    let answer = server.message().await;
    let content = &answer["result"]["structuredContent"];
    assert_eq!(content["arguments"], json!({ "x": [1] }));
    assert_eq!(content["server"]["label"], "a");
    server.input.shutdown().await.unwrap();
    assert_eq!(server.exit_code().await, 0);
}

#[tokio::test]
async fn noise_surrounds_a_whole_answer() {
    let mut server = Running::start(&[
        "--banner",
        "--half-message",
        "--invalid-utf8",
        "--unknown-ids",
        "--duplicate-answers",
    ]);
    server.call(7, "echo", json!({})).await;
    let mut lines = Vec::new();
    for _ in 0..12 {
        lines.push(server.line().await);
    }
    let whole = |line: &&Vec<u8>| {
        serde_json::from_slice::<Value>(line).is_ok_and(|message| message["id"] == 7)
    };
    assert_eq!(lines.iter().filter(whole).count(), 2);
    assert!(lines.iter().any(|line| line.contains(&0xff)));
    assert!(lines.iter().any(|line| line.starts_with(b"Welcome")));
}

#[tokio::test]
async fn a_cancelled_call_is_not_answered() {
    let mut server = Running::start(&[]);
    server.call(1, "delay", json!({ "ms": 300 })).await;
    let params = json!({ "requestId": 1 });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    server.say(&cancel).await;
    server.call(2, "delay", json!({ "ms": 400 })).await;
    assert_eq!(server.message().await["id"], 2);
}

#[tokio::test]
async fn a_legacy_server_waits_for_the_replies_to_its_questions() {
    let mut server = Running::start(&["--era", "legacy", "--asks"]);
    server.call(1, "echo", json!({})).await;
    for method in super::QUESTIONS {
        let question = server.message().await;
        assert_eq!(question["method"], method);
        let error = json!({ "code": -32601, "message": "no" });
        let reply = json!({ "jsonrpc": "2.0", "id": question["id"], "error": error });
        server.say(&reply).await;
    }
    let answer = server.message().await;
    let replies = &answer["result"]["structuredContent"]["server"]["replies"];
    assert_eq!(replies.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn faults_end_the_process_with_their_codes() {
    assert_eq!(Running::start(&["--exit-at-start"]).exit_code().await, 3);
    assert_eq!(Running::start(&["--crash-loop", "10"]).exit_code().await, 4);
    let mut server = Running::start(&["--exit-on-call", "9"]);
    server.call(1, "echo", json!({})).await;
    assert_eq!(server.exit_code().await, 9);
    let mut server = Running::start(&[]);
    server.call(1, "exit", json!({ "code": 5 })).await;
    assert_eq!(server.exit_code().await, 5);
}

#[tokio::test]
async fn faults_hold_as_long_as_their_file_is_there() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let flags = ["--exit-at-start", "--while-exists", &path];
    assert_eq!(Running::start(&flags).exit_code().await, 3);
    file.close().unwrap();
    let mut server = Running::start(&flags);
    server.call(1, "echo", json!({})).await;
    assert_eq!(server.message().await["id"], 1);
}

#[tokio::test]
async fn an_endless_line_goes_on_for_as_long_as_it_is_read() {
    let mut server = Running::start(&["--endless-line"]);
    server.call(1, "hang", json!({})).await;
    let mut read = 0;
    while read < 4 << 20 {
        let part = server.output.fill_buf().await.unwrap();
        assert!(!part.contains(&b'\n'));
        let length = part.len();
        read += length;
        server.output.consume(length);
    }
}
