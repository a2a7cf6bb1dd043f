//! The `switchboard` command as a person uses it: what it prints, and how it ends.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchboard_tests::commands::{Ended, ended, switchboard};
use switchboard_tests::front::faulty;
use switchboard_tests::process::Server;
use switchboard_tests::tools;
use tempfile::TempDir;

mod calls;
mod connect;
mod files;
mod serving;

const OPS_OFF: (&str, &str) = ("SWITCHBOARD_SERVER__OPS_LISTEN", "off");
/// The longest name that clients are shown by default.
const MAX_NAME: usize = 46;

async fn run(arguments: &[&str]) -> Ended {
    ended(switchboard(arguments)).await
}

/// A folder with configuration files in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).expect("the folder is ours");
        file.to_str().expect("a path in UTF-8").to_owned()
    }
}

fn quickstart() -> PathBuf {
    tools::repository().join("config/quickstart.yaml")
}

/// Starts a gateway as the README says.
async fn serve(config: &Path) -> Server {
    let mut command = switchboard(&["serve", "--listen", "127.0.0.1:0", "-c"]);
    command.arg(config).envs([OPS_OFF]);
    Server::start(command).await
}

/// Three servers that work, of which two offer the same under the same names, and one with a long
/// prefix.
fn crowded() -> Value {
    let plain = || {
        let mut backend = faulty(&[]);
        backend["prefix"] = json!("");
        backend
    };
    json!({
        "one": plain(),
        "two": plain(),
        "three": {
            "command": tools::program("conformance-server"),
            "args": ["--stdio", "--era", "legacy"],
            "prefix": "a-prefix-that-is-rather-long",
        },
    })
}
