//! The same servers as a process that is spoken to in lines.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

use super::fake::Fake;
use super::prepared::{Prepared, Reply};
use crate::Failure;

/// How much is read or written at once, in bytes.
const BUFFER: usize = 64 * 1024;

/// Answers each line until standard input ends. Blocks the thread: a server of lines needs no
/// runtime, and what it costs is to be seen in the gateway alone.
///
/// # Errors
/// If standard input or output breaks.
pub(crate) fn serve(fake: Fake) -> Result<(), Failure> {
    let prepared = Prepared::new(fake);
    let mut input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    let mut output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        // The longest line is that of the client that started this process.
        let read = input.read_until(b'\n', &mut line);
        if read.map_err(Failure::at("cannot read standard input"))? == 0 {
            return Ok(());
        }
        if let Reply::Message { parts, .. } = prepared.answer(&line) {
            let written = parts.iter().try_for_each(|part| output.write_all(part));
            written
                .and_then(|()| output.write_all(b"\n"))
                .map_err(Failure::at("cannot write standard output"))?;
        }
        // What came together is answered together.
        if input.buffer().is_empty() {
            output
                .flush()
                .map_err(Failure::at("cannot write standard output"))?;
        }
    }
}
