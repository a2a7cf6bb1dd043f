//! What a whole tree uses, where no control group counts it.

use std::fs;
use std::path::Path;

use rustix::process::Pid;

use crate::children::children_of;
use crate::confinement::Sampled;
use crate::lifeline::Limit;

/// The most processes that are looked at: beyond, the tree is over any limit that can be set.
const MOST: usize = 100_000;

/// The limit that the tree below these processes is over, if there is one.
pub(crate) fn over(limits: Sampled, roots: Vec<Pid>) -> Option<Limit> {
    if limits.is_nothing() {
        return None;
    }
    let mut found = roots;
    let (mut at, mut memory, mut threads) = (0, 0u64, 0u64);
    while let Some(process) = found.get(at).copied() {
        at += 1;
        let folder = format!("/proc/{}", process.as_raw_nonzero());
        memory = memory.saturating_add(own_memory(Path::new(&folder)));
        threads = threads.saturating_add(count_threads(Path::new(&folder)));
        if limits.memory.is_some_and(|most| memory > most) {
            return Some(Limit::Memory);
        }
        if limits.processes.is_some_and(|most| threads > most) {
            return Some(Limit::Processes);
        }
        if found.len() < MOST {
            found.extend(children_of(process));
        }
    }
    None
}

/// What a process holds that is no file's, in bytes: a library is not counted once for each, memory
/// that it shares with others is.
fn own_memory(folder: &Path) -> u64 {
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    let of = |line: &str| {
        let rest = line
            .strip_prefix("RssAnon:")
            .or_else(|| line.strip_prefix("RssShmem:"))?;
        let kib: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib.saturating_mul(1024))
    };
    status.lines().filter_map(of).sum()
}

fn count_threads(folder: &Path) -> u64 {
    let threads = fs::read_dir(folder.join("task")).into_iter().flatten();
    u64::try_from(threads.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn limits(memory: Option<u64>, processes: Option<u64>) -> Sampled {
        Sampled { memory, processes }
    }

    #[test]
    fn a_tree_is_counted_as_a_whole() {
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "sleep 60 & a=$!; sleep 60 & echo there; read end; kill $a $!",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut said = std::io::BufReader::new(shell.stdout.take().expect("its output"));
        std::io::BufRead::read_line(&mut said, &mut String::new()).expect("both sleep");
        let root = Pid::from_child(&shell);
        let over = |memory, processes| over(limits(memory, processes), vec![root]);
        assert_eq!(over(None, None), None);
        assert_eq!(over(Some(1 << 40), Some(3)), None);
        assert_eq!(over(None, Some(2)), Some(Limit::Processes));
        assert_eq!(over(Some(1), Some(3)), Some(Limit::Memory));
        let mut input = shell.stdin.take().expect("its input");
        input.write_all(b"end\n").expect("it reads");
        shell.wait().expect("it ends");
        // What is gone uses nothing.
        assert_eq!(over(Some(1), Some(1)), None);
    }
}
