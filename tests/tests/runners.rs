//! Local servers that a runner fetches: pinned, fetched beforehand, and their containers removed. The
//! runners are scripts that write down how they are called.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use switchboard_tests::commands::{Ended, ended, switchboard};
use switchboard_tests::front::Front;
use switchboard_tests::process::Server;
use switchboard_tests::tools;
use switchboard_tests::waiting::until;
use tempfile::TempDir;
use tokio::process::Command;

/// A folder with runners, what they were called with, and a configuration.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir(place.path("containers")).expect("the folder is ours");
        let server = tools::program("faulty-server");
        let server = server.display();
        let fetch =
            "case \" $* \" in *' python --version '*|*' node --version '*) fetch; exit 0;; esac";
        place.script("npx", &format!("{fetch}\nexec {server}"));
        place.script("npm", "cat \"$here/npm.answer\"");
        place.script(
            "uvx",
            &format!("{fetch}\ncase \" $* \" in *' -c '*) cat \"$here/uvx.answer\"; exit 0;; esac\nexec {server}"),
        );
        // A container outlives whoever started it, as a real one does.
        let docker = format!(
            "case \"$1\" in\n\
             pull) fetch ;;\n\
             image) cat \"$here/docker.answer\" ;;\n\
             rm) rm \"$here/containers/$4\" ;;\n\
             run) name=\"${{2#--name=}}\"; echo > \"$here/containers/$name\"; {server}; exit $? ;;\n\
             esac"
        );
        place.script("docker", &docker);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the folder is ours");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A runner: it writes down its name and arguments. `fetch` fails if there is a file `broken`.
    fn script(&self, name: &str, body: &str) {
        let here = self.0.path().display();
        let text = format!(
            "#!/bin/sh\nhere='{here}'\nprintf '%s\\n' \"{name} $*\" >> \"$here/calls\"\n\
             fetch() {{ if [ -e \"$here/broken\" ]; then echo \"error: no such package for $KEY\" >&2; \
             echo 'see the log' >&2; exit 1; fi; }}\n{body}\n"
        );
        self.write(name, &text);
        let path = self.path(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the file is ours");
    }

    /// A backend whose runner is one of these.
    fn backend(&self, command: &str, args: &[&str]) -> Value {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        json!({
            "command": command,
            "args": args,
            "env": { "PATH": path, "KEY": "hunter2-hunter2" },
        })
    }

    fn configure(&self, backends: &Value) {
        let config = json!({ "backends": backends });
        self.write("switchboard.json", &format!("{config:#}"));
    }

    fn calls(&self) -> Vec<String> {
        self.read("calls").lines().map(str::to_owned).collect()
    }

    fn containers(&self) -> usize {
        fs::read_dir(self.path("containers")).map_or(0, Iterator::count)
    }

    async fn check(&self, options: &[&str]) -> Ended {
        let mut command = switchboard(&["check", "-c"]);
        command.arg(self.path("switchboard.json")).args(options);
        ended(command).await
    }

    async fn serve(&self) -> Server {
        let mut command = Command::new(tools::program("switchboard"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "-c"])
            .arg(self.path("switchboard.json"))
            .env("SWITCHBOARD_SERVER__OPS_LISTEN", "off");
        Server::start(command).await
    }
}

fn digest() -> String {
    format!("sha256:{}", "b".repeat(64))
}

/// A backend of each kind of runner, without versions, and what the runners answer.
fn one_of_each(place: &Place) -> Value {
    place.write(
        "npm.answer",
        r#"{ "version": "1.2.3", "dist-tags.latest": "1.2.3" }"#,
    );
    place.write("uvx.answer", "2026.1.14\n");
    let digests = json!([format!("mcp/fetch@{}", digest())]);
    place.write("docker.answer", &digests.to_string());
    json!({
        "a": place.backend("npx", &["-y", "@scope/pkg", "--flag"]),
        "b": place.backend("uvx", &["pkg>=1"]),
        "c": place.backend("docker", &["run", "-i", "--rm", "mcp/fetch:1"]),
    })
}

#[tokio::test]
async fn what_is_not_pinned_is_warned_about_at_its_line() {
    let place = Place::new();
    let mut backends = one_of_each(&place);
    backends["d"] = place.backend("npx", &["-y", "pkg@1.0.0"]);
    backends["e"] = place.backend("docker", &["run", "mcp/fetch@sha256:x"]);
    backends["f"] = place.backend(
        "npx",
        &["git+https://user:hunter2-hunter2@example.com/a.git"],
    );
    place.configure(&backends);
    let checked = place.check(&[]).await;
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let file = place.path("switchboard.json");
    let config = place.read("switchboard.json");
    let warned = |backend: &str, message: &str| {
        let begins = config
            .find(&format!("\"{backend}\": {{"))
            .expect("a backend");
        let args = begins + config[begins..].find("\"args\"").expect("arguments");
        let line = config[..args].lines().count();
        let expected = format!(
            "warning: {}:{line}: backends.{backend}.args: {message}",
            file.display()
        );
        assert!(
            checked.stdout.contains(&expected),
            "{expected}: {checked:#?}"
        );
    };
    warned(
        "a",
        "`npx @scope/pkg` runs whatever version is the newest; write `@scope/pkg@1.2.3`, or have it pinned: `switchboard check --connect --pin`",
    );
    warned(
        "b",
        "`uvx pkg>=1` runs whatever version is the newest; write `pkg==1.2.3`",
    );
    warned(
        "c",
        "`docker run mcp/fetch:1` is pinned by half: a tag can be moved",
    );
    warned(
        "f",
        "the address of `npx` leads to whatever the repository holds",
    );
    assert_eq!(
        checked.stdout.matches("warning: ").count(),
        4,
        "{checked:#?}"
    );
    assert!(
        checked
            .stdout
            .contains("c: its container is no process below the gateway")
    );
    assert!(!checked.stdout.contains("hunter2"), "{checked:#?}");
    assert_eq!(place.calls(), [""; 0], "nothing is started");

    let report = place.check(&["--format", "json"]).await;
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    let pins: Vec<_> = report["runners"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(pins.len(), 5, "{report:#}");
    let first =
        json!({ "backend": "a", "runner": "npx", "package": "@scope/pkg", "pinned": "open" });
    assert_eq!(*pins[0], first);
}

#[tokio::test]
async fn versions_are_asked_for_locked_and_started() {
    let place = Place::new();
    let backends = one_of_each(&place);
    place.configure(&backends);
    let checked = place.check(&["--connect", "--pin", "--warm"]).await;
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let lock = place.read("switchboard.lock");
    for entry in [
        "version = 1\n",
        "[npm]\n\"@scope/pkg\" = \"1.2.3\"\n",
        "[pypi]\n\"pkg>=1\" = \"2026.1.14\"\n",
        &format!("[images]\n\"mcp/fetch:1\" = \"{}\"\n", digest()),
    ] {
        assert!(lock.contains(entry), "{entry} is not in {lock}");
    }
    assert!(
        checked
            .stdout
            .contains("a: `npx @scope/pkg` is 1.2.3, pinned by switchboard.lock"),
        "{checked:#?}"
    );
    assert!(!checked.stdout.contains("warning"), "{checked:#?}");
    let calls = place.calls();
    for call in [
        "npm view --json -- @scope/pkg version dist-tags.latest",
        "npx -y --package=@scope/pkg@1.2.3 --yes -- node --version",
        "npx -y @scope/pkg@1.2.3 --flag",
        "uvx --from pkg@2026.1.14 python --version",
        "uvx pkg@2026.1.14",
        "docker pull mcp/fetch:1",
        &format!("docker pull mcp/fetch@{}", digest()),
    ] {
        assert!(
            calls.iter().any(|found| found == call),
            "{call}: {calls:#?}"
        );
    }
    let warmed = calls
        .iter()
        .position(|call| call.contains("node --version"));
    let started = calls.iter().position(|call| call.ends_with("--flag"));
    assert!(warmed < started, "{calls:#?}");

    place.write("calls", "");
    let server = place.serve().await;
    until("all are started", async || {
        let calls = place.calls();
        let run = format!("-i --rm mcp/fetch@{}", digest());
        let are_started = ["npx -y @scope/pkg@1.2.3 --flag", "uvx pkg@2026.1.14"]
            .iter()
            .all(|call| calls.iter().any(|found| found == call));
        (are_started && calls.iter().any(|found| found.ends_with(&run))).then_some(())
    })
    .await;
    assert!(
        !server.output().contains("nothing says which version"),
        "{}",
        server.output()
    );
    assert!(server.stop().await.success());
    assert_eq!(place.containers(), 0, "{:#?}", place.calls());
}

#[tokio::test]
async fn a_lock_that_does_not_fit_is_not_used_and_a_broken_one_is_refused() {
    let place = Place::new();
    place.configure(&json!({ "a": place.backend("npx", &["-y", "pkg@2"]) }));
    place.write(
        "switchboard.lock",
        "version = 1\n[npm]\n\"pkg@1\" = \"1.9.0\"\n",
    );
    let checked = place.check(&[]).await;
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let lock = place.path("switchboard.lock");
    let stale = format!(
        "warning: {}: `pkg@1` fits no backend any more, so it has no effect",
        lock.display()
    );
    assert!(checked.stdout.contains(&stale), "{checked:#?}");
    assert!(
        checked.stdout.contains("`npx pkg@2` runs whatever version"),
        "{checked:#?}"
    );

    let server = place.serve().await;
    let output = until("both lines", async || {
        let output = server.output();
        output
            .contains("switchboard.lock has entries")
            .then_some(output)
    })
    .await;
    let open = "nothing says which version of these local servers is run: a";
    assert_eq!(output.matches(open).count(), 1, "{output}");
    until("it is started", async || {
        place
            .calls()
            .contains(&"npx -y pkg@2".to_owned())
            .then_some(())
    })
    .await;
    assert!(server.stop().await.success());

    place.write(
        "switchboard.lock",
        "version = 1\n[npm]\n\"pkg@2\" = \"2.0.0 --evil\"\n",
    );
    let checked = place.check(&[]).await;
    assert_eq!(checked.code, Some(2), "{checked:#?}");
    assert!(
        checked.stdout.contains("`pkg@2` has no exact version"),
        "{checked:#?}"
    );
}

#[tokio::test]
async fn nothing_but_a_version_is_locked() {
    let place = Place::new();
    let evil = [
        "1.0.0; rm -rf",
        "--x",
        "1.0.0\n2.0.0",
        "latest",
        "1.0.0 --x",
        "",
    ];
    for text in evil {
        let backends = one_of_each(&place);
        place.configure(&backends);
        let answer = json!({ "version": text, "dist-tags.latest": text });
        place.write("npm.answer", &answer.to_string());
        place.write("uvx.answer", text);
        place.write(
            "docker.answer",
            &json!([format!("mcp/fetch@{text}")]).to_string(),
        );
        let checked = place.check(&["--connect", "--pin"]).await;
        assert_eq!(checked.code, Some(1), "{checked:#?}");
        for backend in ["a", "b", "c"] {
            let refused = format!("{backend}: the version of ");
            assert!(checked.stderr.contains(&refused), "{checked:#?}");
        }
        assert_eq!(
            checked
                .stderr
                .matches("the answer is not a version")
                .count(),
            3,
            "{checked:#?}"
        );
        assert!(!place.path("switchboard.lock").exists());
    }
    assert!(
        !place
            .calls()
            .iter()
            .any(|call| call.starts_with("docker run"))
    );
}

#[tokio::test]
async fn a_cache_that_cannot_be_filled_is_told_without_secrets() {
    let place = Place::new();
    let mut backends = one_of_each(&place);
    backends["d"] = place.backend("bunx", &["pkg@1.0.0"]);
    place.configure(&backends);
    place.write("broken", "");
    let checked = place.check(&["--connect", "--warm"]).await;
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    for (backend, shown) in [("a", "npx @scope/pkg"), ("b", "uvx pkg>=1")] {
        let failed = format!("{backend}: `{shown}` is not fetched: ");
        let line = checked.stderr.lines().find(|line| line.contains(&failed));
        let line = line.unwrap_or_else(|| panic!("{failed}: {checked:#?}"));
        assert!(
            line.contains("ended with exit code 1: error: no such package for [redacted]"),
            "{line}"
        );
    }
    // The image is on this machine already.
    assert!(
        checked
            .stdout
            .contains("the image that is on this machine will be used"),
        "{checked:#?}"
    );
    assert!(
        checked
            .stdout
            .contains("d: `bunx pkg@1.0.0` is not fetched beforehand"),
        "{checked:#?}"
    );
    assert!(!format!("{checked:?}").contains("hunter2"), "{checked:#?}");
    let misused = place.check(&["--warm"]).await;
    assert_eq!(misused.code, Some(2), "{misused:#?}");
}

/// Waits for a container, and returns its name.
async fn container(place: &Place) -> String {
    until("a container", async || {
        let mut entries = fs::read_dir(place.path("containers")).ok()?;
        let entry = entries.next()?.ok()?;
        Some(entry.file_name().to_string_lossy().into_owned())
    })
    .await
}

#[tokio::test]
async fn a_container_is_removed_when_its_backend_ends_or_the_gateway_is_killed() {
    let place = Place::new();
    let backends = json!({ "my_tools": place.backend("docker", &["run", "-i", "mcp/fetch"]) });
    let front = Front::of(backends.clone()).await;
    front.gateway.wait_for_backends().await;
    let name = container(&place).await;
    assert!(name.starts_with("switchboard-my_tools-"), "{name}");
    front.gateway.stop().await;
    assert_eq!(place.containers(), 0);
    let removed = format!("docker rm --force -- {name}");
    assert!(place.calls().contains(&removed), "{:#?}", place.calls());

    let front = Front::of(backends).await;
    front.gateway.wait_for_backends().await;
    let other = container(&place).await;
    assert_ne!(name, other);
    let gateway = front.gateway.server().id().expect("a running gateway");
    let gateway = i32::try_from(gateway).ok().and_then(Pid::from_raw);
    kill_process(gateway.expect("a process"), Signal::KILL).expect("it runs");
    until("no container", async || {
        (place.containers() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_container_with_a_name_of_its_own_is_removed_unless_it_was_refused() {
    let place = Place::new();
    let run = ["run", "--name=mine", "-i", "mcp/fetch"];
    let front = Front::of(json!({ "a": place.backend("docker", &run) })).await;
    front.gateway.wait_for_backends().await;
    assert_eq!(container(&place).await, "mine");
    front.gateway.stop().await;
    assert_eq!(place.containers(), 0);
    assert!(
        place
            .calls()
            .contains(&"docker rm --force -- mine".to_owned())
    );

    // The name is another container's.
    place.write("containers/mine", "");
    place.write("calls", "");
    place.script(
        "docker",
        "[ \"$1\" = run ] && exit 125\nrm \"$here/containers/$4\"",
    );
    let front = Front::of(json!({ "a": place.backend("docker", &run) })).await;
    until("it was refused twice", async || {
        (place.calls().len() >= 2).then_some(())
    })
    .await;
    front.gateway.stop().await;
    assert_eq!(place.containers(), 1);
    assert!(
        !place.calls().iter().any(|call| call.contains(" rm ")),
        "{:#?}",
        place.calls()
    );
}

#[tokio::test]
async fn a_removal_that_hangs_is_ended() {
    let place = Place::new();
    let server = tools::program("faulty-server");
    let hang = format!(
        "case \"$1\" in\nrm) trap '' TERM; while :; do sleep 1; done ;;\nrun) {}; exit $? ;;\nesac",
        server.display()
    );
    place.script("docker", &hang);
    let backend = place.backend("docker", &["run", "-i", "mcp/fetch"]);
    let front = Front::of(json!({ "a": backend })).await;
    front.gateway.wait_for_backends().await;
    let here = place.path("docker").display().to_string();
    front.gateway.stop().await;
    assert!(
        place
            .calls()
            .iter()
            .any(|call| call.starts_with("docker rm --force -- "))
    );
    until("nothing of it is left", async || {
        running(&here).is_empty().then_some(())
    })
    .await;
}

/// The processes that have this among their arguments.
fn running(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("processes");
    entries
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let arguments =
                fs::read(Path::new("/proc").join(id.to_string()).join("cmdline")).ok()?;
            String::from_utf8_lossy(&arguments)
                .contains(text)
                .then_some(id)
        })
        .collect()
}
