//! The files for deployment: that the tools which will read them take them, that they keep to what is
//! good practice, and that the configuration in them starts a gateway. Whether the containers run is
//! for `scripts/test-container`, which needs a container engine.

mod compose;
mod container;
mod kubernetes;
mod manifests;
mod practice;
mod references;
mod reload;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use switchboard_tests::tools;

/// What a program printed, if it succeeded.
#[track_caller]
fn output_of(command: &mut Command) -> String {
    let output = ended(command);
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn ended(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn in_repository(path: &str) -> PathBuf {
    tools::repository().join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `switchboard`, with nothing in its environment but what is added.
fn switchboard() -> Command {
    let mut command = Command::new(tools::program("switchboard"));
    command.env_clear();
    command
}

/// The items of a list; none where there is no list.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[track_caller]
fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("a text, not {value}"))
}

/// Whether an image is named with a version, so that the same is run tomorrow.
fn is_pinned(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name.split_once(':').map(|(_, tag)| tag);
    tag.is_some_and(|tag| tag.contains('.') && tag.contains(|c: char| c.is_ascii_digit()))
}
