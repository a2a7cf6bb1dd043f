//! The pages under `docs/`: reads their examples, runs their commands, and compares what these print with
//! what a page shows.
//!
//! Blocks of `console` have commands, each after `$ ` and perhaps on several lines that end with a
//! backslash, and below each what it prints. A line of that has to be among those that are really
//! printed, in the order of the page; digits and spaces do not count, `…` stands for anything, and a line
//! that is nothing else is skipped.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::tools;

const PATIENCE: Duration = Duration::from_secs(120);

/// A command and what it prints.
#[derive(Debug)]
pub struct Step {
    /// What is typed, without the `$`.
    pub command: String,
    /// The lines below it.
    pub printed: Vec<String>,
}

/// The text of a page, by its name: `team.md`.
///
/// # Panics
///
/// If there is no such page.
pub fn page(name: &str) -> String {
    std::fs::read_to_string(tools::repository().join("docs").join(name)).expect("the page")
}

/// The sections of a page: title, and text.
///
/// # Panics
///
/// If there is a title without a text.
pub fn sections(page: &str) -> Vec<(&str, &str)> {
    let sections = page.split("\n## ").skip(1);
    sections
        .map(|section| section.split_once('\n').expect("a title"))
        .collect()
}

/// The blocks of one language, without what is around them.
pub fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

/// The commands of a section, and what it shows that they print.
///
/// # Panics
///
/// If a block does not begin with a command.
pub fn steps(section: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks(section, "console") {
        let mut goes_on = false;
        for line in block.lines() {
            let first = line.strip_prefix("$ ");
            if let Some(command) = first.or(goes_on.then_some(line)) {
                if first.is_some() {
                    steps.push(Step {
                        command: String::new(),
                        printed: Vec::new(),
                    });
                }
                let step = steps.last_mut().expect("a step was begun");
                goes_on = command.ends_with('\\');
                step.command.push_str(command);
                step.command.push('\n');
            } else {
                let step = steps.last_mut().expect("a command before what it prints");
                step.printed.push(line.to_owned());
            }
        }
    }
    steps
}

/// Runs a command in the folder of the repository, with the programs of the workspace in `PATH`, and returns
/// all that it prints.
///
/// # Panics
///
/// If it has not ended after two minutes, or prints what is no text.
pub async fn run(command: &str, variables: &[(String, String)]) -> String {
    let program = tools::program("switchboard");
    let folder = program.parent().expect("it lies in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .current_dir(tools::repository())
        .env("PATH", format!("{}:{path}", folder.display()))
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output).await.expect("an end in time");
    String::from_utf8(output.expect("a shell").stdout).expect("text")
}

/// Checks that what the page shows of a command is there.
///
/// # Panics
///
/// If a line is not.
pub fn compare(step: &Step, output: &str) {
    let printed: Vec<String> = output.lines().map(plain).collect();
    let mut rest = printed.iter();
    for line in &step.printed {
        let expected = plain(line);
        assert!(
            rest.any(|line| fits(&expected, line)),
            "`{line}` is not what this prints:\n{}\n{output}",
            step.command
        );
    }
}

/// A line without digits and with single spaces.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let digits = word.chars().filter(|c| !c.is_ascii_digit());
        digits.collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

fn fits(expected: &str, line: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default().trim_end()) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = part.trim().is_empty();
        let Some(at) = rest.find(part.trim()) else {
            return false;
        };
        rest = &rest[at + part.trim().len()..];
    }
    is_open || rest.trim().is_empty()
}
