//! `acting-server`: an MCP server of the modern era whose one tool, `act`, does to its machine what
//! it is told, and says how that went. Each evil is bounded: 1 GiB, 200 processes.

use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

/// The most memory that is taken, in MiB.
const MOST_MIB: usize = 1024;
/// The most processes that are started.
const MOST_PROCESSES: usize = 200;
/// The most descriptors that are opened.
const MOST_FILES: usize = 10_000;
/// The flag of a process that only stays.
const STAYS: &str = "--stays";

/// What can be done.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    /// Reads a file.
    Read(String),
    /// Writes a file of so many bytes.
    Write(String, usize),
    /// Writes a temporary file, and says where.
    WriteTemporary,
    /// Connects by TCP to this port of the machine.
    Connect(u16),
    /// Makes a socket for UDP.
    Udp,
    /// Connects to an abstract socket of this name.
    Abstract(String),
    /// Connects to a socket in the file system.
    Socket(String),
    /// Runs a command, and says with which code it ended and what it wrote to standard error.
    Run(Vec<String>),
    /// Starts so many processes, which stay.
    Fork(usize),
    /// Takes so much memory, in MiB, and keeps it.
    Allocate(usize),
    /// Opens so many descriptors.
    Open(usize),
    /// Says with which arguments it was started.
    Arguments,
    /// Reads a variable of its environment.
    Variable(String),
}

/// What is kept until the end.
#[derive(Default)]
struct Kept {
    memory: Vec<Vec<u8>>,
    children: Vec<Child>,
    files: Vec<File>,
}

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some(STAYS) {
        loop {
            std::thread::park();
        }
    }
    let mut kept = Kept::default();
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let Some(id) = message.get("id") else {
            continue;
        };
        let result = match message["method"].as_str() {
            Some("server/discover") => json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} },
                "ttlMs": 300_000,
                "cacheScope": "public",
            }),
            Some("tools/list") => json!({
                "tools": [{ "name": "act", "inputSchema": { "type": "object" } }],
                "ttlMs": 300_000,
                "cacheScope": "public",
            }),
            Some("tools/call") => called(&message["params"]["arguments"]["do"], &mut kept),
            _ => json!({}),
        };
        let mut response = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        response["result"]["resultType"] = json!("complete");
        let mut out = io::stdout().lock();
        writeln!(out, "{response}")?;
        out.flush()?;
    }
    Ok(())
}

fn called(act: &Value, kept: &mut Kept) -> Value {
    let done = match Act::deserialize(act) {
        Ok(act) => perform(act, kept).map_err(|error| error.to_string()),
        Err(error) => Err(format!("not an act: {error}")),
    };
    let content = match done {
        Ok(value) => json!({ "ok": true, "value": value }),
        Err(error) => json!({ "ok": false, "error": error }),
    };
    json!({
        "content": [{ "type": "text", "text": content.to_string() }],
        "structuredContent": content,
    })
}

fn perform(act: Act, kept: &mut Kept) -> io::Result<Value> {
    Ok(match act {
        Act::Read(path) => json!(String::from_utf8_lossy(&fs::read(path)?)),
        Act::Write(path, bytes) => {
            fs::write(&path, vec![b'.'; bytes.min(MOST_MIB << 20)])?;
            json!(path)
        }
        Act::WriteTemporary => {
            let path = std::env::temp_dir().join(format!("acting-{}", std::process::id()));
            fs::write(&path, "temporary")?;
            json!(path)
        }
        Act::Connect(port) => json!(TcpStream::connect(("127.0.0.1", port))?.peer_addr()?),
        Act::Udp => json!(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?),
        Act::Abstract(name) => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            Value::Null
        }
        Act::Socket(path) => {
            UnixStream::connect(path)?;
            Value::Null
        }
        Act::Run(command) => {
            let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
            let output = Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            json!({ "code": output.status.code(), "said": said })
        }
        Act::Fork(count) => fork(count, kept)?,
        Act::Allocate(mib) => {
            for _ in 0..mib.min(MOST_MIB) {
                // Not zero, so that it is really there.
                kept.memory.push(vec![1; 1 << 20]);
            }
            json!(mib)
        }
        Act::Open(count) => {
            for _ in 0..count.min(MOST_FILES) {
                kept.files.push(File::open("/dev/null")?);
            }
            json!(count)
        }
        Act::Arguments => json!(std::env::args().skip(1).collect::<Vec<_>>()),
        Act::Variable(name) => json!(std::env::var(name).ok()),
    })
}

/// Starts processes until that fails; the error says how many there are.
fn fork(count: usize, kept: &mut Kept) -> io::Result<Value> {
    for at in 0..count.min(MOST_PROCESSES) {
        let child = Command::new(std::env::current_exe()?)
            .arg(STAYS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("{at} started, then: {error}")))?;
        kept.children.push(child);
    }
    Ok(json!(count))
}
