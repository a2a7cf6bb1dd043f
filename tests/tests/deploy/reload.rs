//! A ConfigMap and a Secret that change under a gateway: mounted as the kubelet mounts them, by links
//! that it exchanges, they are in force without a restart.

use std::fs::{create_dir_all, remove_dir_all, rename, write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use switchboard_tests::keys::{digest_of, key_of};
use switchboard_tests::process::Server;
use switchboard_tests::tools;
use switchboard_tests::waiting::{PATIENCE, until};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// A projected volume: a configuration, and a Secret with the digest of a key.
struct Volume {
    folder: TempDir,
    version: u32,
}

impl Volume {
    fn new(prefix: &str, key: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut volume = Self { folder, version: 0 };
        volume.fill(prefix, key);
        for name in ["switchboard.json", "secrets"] {
            symlink(format!("..data/{name}"), volume.at(name)).expect("the folder is ours");
        }
        volume
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts other files in the place of those that are there, all at once.
    fn fill(&mut self, prefix: &str, key: &str) {
        let old = self.at(&format!("..{}", self.version));
        self.version += 1;
        let new = format!("..{}", self.version);
        create_dir_all(self.at(&new).join("secrets")).expect("the folder is ours");
        let program = tools::program("switchboard");
        let config = json!({
            "server": { "listen": "127.0.0.1:0", "ops_listen": "off" },
            "auth": { "api_keys": [{ "name": "team", "key_sha256": "${TEAM_KEY_SHA256}" }] },
            "backends": {
                "toolbox": { "command": program, "args": ["example-server", "toolbox"], "prefix": prefix },
            },
        });
        write(self.at(&new).join("switchboard.json"), config.to_string())
            .expect("the folder is ours");
        let digest = digest_of(&key_of(key)) + "\n";
        write(self.at(&new).join("secrets/team"), digest).expect("the folder is ours");
        symlink(&new, self.at("..data_tmp")).expect("the folder is ours");
        rename(self.at("..data_tmp"), self.at("..data")).expect("the folder is ours");
        let _ = remove_dir_all(old);
    }
}

/// The tools that somebody with this key sees; none if he is refused.
async fn tools_of(server: &Server, key: &str) -> Option<String> {
    let mut command = Command::new(tools::program("switchboard"));
    command
        .args(["tools", "--url", server.url()])
        .env("SWITCHBOARD_API_KEY", key_of(key))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("an end in time")
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said)
}

#[tokio::test]
async fn a_configmap_and_a_secret_that_change_are_taken_up() {
    let mut volume = Volume::new("old", "first");
    let mut command = Command::new(tools::program("switchboard"));
    command
        .arg("serve")
        .arg("-c")
        .arg(volume.at("switchboard.json"))
        .env("TEAM_KEY_SHA256_FILE", volume.at("secrets/team"));
    let server = Server::start(command).await;
    until("the first tools", async || {
        tools_of(&server, "first")
            .await
            .filter(|tools| tools.contains("old__calculate"))
    })
    .await;
    assert_eq!(tools_of(&server, "second").await, None);

    // The Secret alone.
    volume.fill("old", "second");
    until("the second key", async || tools_of(&server, "second").await).await;
    assert_eq!(tools_of(&server, "first").await, None);

    // The ConfigMap alone.
    volume.fill("new", "second");
    until("the new configuration", async || {
        tools_of(&server, "second")
            .await
            .filter(|tools| tools.contains("new__calculate"))
    })
    .await;
    assert!(server.stop().await.success());
}
