//! A server in a sandbox: what it was not given it does not get, and what it was given it does.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use serde_json::{Value, json};
use switchboard_testkit::client::Client;
use switchboard_tests::front::Front;
use switchboard_tests::process::Server;
use switchboard_tests::waiting::until;
use switchboard_tests::{servers, tools};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::acting::{WITHOUT, act, acting, checked, front, front_without, held_by, is_refusal};

/// A folder with a file that may be read, one that may be changed, and one that is nobody's.
struct Files {
    _folder: tempfile::TempDir,
    read: PathBuf,
    write: PathBuf,
    secret: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [read, write, secret] = ["read", "write", "secret"].map(|name| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).expect("the folder is ours");
            std::fs::write(path.join("file"), name).expect("the folder is ours");
            path
        });
        Self {
            _folder: folder,
            read,
            write,
            secret,
        }
    }

    fn sandbox(&self) -> Value {
        json!({ "read": [self.read], "write": [self.write] })
    }
}

#[tokio::test]
async fn files_that_are_not_named_are_neither_read_nor_written() {
    let files = Files::new();
    let keys = json!({ "sandbox": files.sandbox(), "cwd": files.read });
    let front = front(&keys).await;
    let read = async |file: PathBuf| act(&front, json!({ "read": file })).await;
    let write = async |file: PathBuf| act(&front, json!({ "write": [file, 1] })).await;
    assert_eq!(read(files.read.join("file")).await, Ok(json!("read")));
    assert!(write(files.write.join("new")).await.is_ok());
    assert_eq!(read(files.write.join("new")).await, Ok(json!(".")));
    if held_by("sandbox.files", &keys).await.is_some() {
        let own = front.gateway.server().id().expect("a gateway");
        for file in [
            files.secret.join("file"),
            "/etc/shadow".into(),
            // What the gateway was given: it has the keys of all servers.
            format!("/proc/{own}/environ").into(),
        ] {
            let done = read(file.clone()).await;
            assert!(is_refusal(&done), "{}: {done:?}", file.display());
        }
        for file in [
            files.secret.join("new"),
            files.secret.join("file"),
            files.read.join("new"),
            files.read.join("file"),
            "/tmp/switchboard-sandbox-test".into(),
        ] {
            let done = write(file.clone()).await;
            assert!(is_refusal(&done), "{}: {done:?}", file.display());
        }
        let shell = json!({ "run": ["sh", "-c", format!("cat {}/file", files.secret.display())] });
        let done = act(&front, shell).await.expect("a shell runs");
        assert_ne!(done["code"], 0, "what it starts is in it too: {done}");
    }
    assert_eq!(
        std::fs::read_to_string(files.secret.join("file")).expect("there"),
        "secret"
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn its_temporary_files_are_its_own_and_go_with_it() {
    let front = front(&json!({ "sandbox": {} })).await;
    let written = act(&front, json!("write_temporary"))
        .await
        .expect("written");
    let written = PathBuf::from(written.as_str().expect("a path"));
    assert!(written.exists());
    assert_ne!(written.parent(), Some(std::env::temp_dir().as_path()));
    front.gateway.stop().await;
    assert!(!written.parent().expect("a folder").exists());

    let front = self::front(&json!({ "sandbox": { "tmp": "shared" } })).await;
    let written = act(&front, json!("write_temporary"))
        .await
        .expect("written");
    let written = PathBuf::from(written.as_str().expect("a path"));
    assert_eq!(written.parent(), Some(std::env::temp_dir().as_path()));
    front.gateway.stop().await;
    std::fs::remove_file(written).expect("it stays");
}

#[tokio::test]
async fn without_a_network_nobody_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    let _listens = UnixListener::bind(&socket).expect("a socket");
    let acts = [
        json!({ "connect": port }),
        json!("udp"),
        json!({ "socket": socket }),
    ];
    let open = json!({ "sandbox": { "network": "all", "read": [folder.path()], "write": [folder.path()] } });
    let front = front(&open).await;
    for doing in &acts {
        let done = act(&front, doing.clone()).await;
        assert!(done.is_ok(), "{doing}: {done:?}");
    }
    front.gateway.stop().await;

    let closed = json!({ "sandbox": {} });
    let front = self::front(&closed).await;
    if held_by("sandbox.network", &closed).await.is_some() {
        for doing in &acts {
            let done = act(&front, doing.clone()).await;
            assert!(is_refusal(&done), "{doing}: {done:?}");
        }
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn of_the_network_only_the_named_ports_are_reached_and_by_tcp_alone() {
    let named = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let (named, other) = (port(&named), port(&other));
    let keys = json!({ "sandbox": { "network": { "tcp_ports": [named, 53] } } });
    let front = front(&keys).await;
    assert!(act(&front, json!({ "connect": named })).await.is_ok());
    assert_eq!(
        act(&front, json!({ "variable": "RES_OPTIONS" })).await,
        Ok(json!("use-vc"))
    );
    if held_by("sandbox.network", &keys).await.is_some() {
        for doing in [json!({ "connect": other }), json!("udp")] {
            let done = act(&front, doing.clone()).await;
            assert!(is_refusal(&done), "{doing}: {done:?}");
        }
    }
    front.gateway.stop().await;
}

#[tokio::test]
async fn abstract_sockets_of_others_are_not_reached_where_the_kernel_sees_them() {
    let name = format!("switchboard-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listens = UnixListener::bind_addr(&address).expect("a socket");
    let keys = json!({ "sandbox": { "network": "all" } });
    let (report, _) = checked("", &acting(&keys)).await;
    let is_held = report["processes"][0]["sandbox"]["measures"]
        .to_string()
        .contains("\"signals\"");
    let front = front(&keys).await;
    let done = act(&front, json!({ "abstract": name })).await;
    assert_eq!(is_refusal(&done), is_held, "{done:?}");
    let own = front.gateway.server().id().expect("a gateway");
    // A signal that would change nothing.
    let signal = json!({ "run": ["sh", "-c", format!("kill -0 {own}")] });
    let done = act(&front, signal).await.expect("a shell runs");
    assert_eq!(done["code"] != 0, is_held, "{done}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_dangerous_few_of_the_system_calls_are_refused_and_privileges_do_not_grow() {
    let keys = json!({ "sandbox": { "network": "all" } });
    let front = front(&keys).await;
    let status = act(&front, json!({ "read": "/proc/self/status" })).await;
    let status = status.expect("read").to_string();
    assert!(status.contains("NoNewPrivs:\\t1"), "{status}");
    // Of root's capabilities those over its own files and processes.
    let effective = status
        .split("CapEff:\\t")
        .nth(1)
        .and_then(|rest| rest.split('\\').next());
    let effective = u64::from_str_radix(effective.expect("capabilities"), 16);
    assert_eq!(effective.map(|bits| bits & !0xfb), Ok(0), "{status}");
    if held_by("sandbox.system_calls", &keys).await.is_some() {
        assert!(status.contains("Seccomp:\\t2"), "{status}");
        for command in [
            &["unshare", "--user", "true"][..],
            &["unshare", "--net", "true"],
            &["mount", "-t", "tmpfs", "none", "/mnt"],
        ] {
            let done = act(&front, json!({ "run": command }))
                .await
                .expect("it runs");
            assert_ne!(done["code"], 0, "{command:?}: {done}");
        }
    }
    front.gateway.stop().await;
    // Without a sandbox nothing is taken away.
    let front = self::front(&json!({})).await;
    let status = act(&front, json!({ "read": "/proc/self/status" })).await;
    assert!(
        status
            .expect("read")
            .to_string()
            .contains("NoNewPrivs:\\t0")
    );
    front.gateway.stop().await;
}

#[tokio::test]
async fn on_a_lesser_machine_it_runs_with_a_warning_or_not_at_all_if_that_is_required() {
    let files = Files::new();
    let secret = files.secret.join("file");
    let keys = json!({ "sandbox": files.sandbox() });
    let front = front_without("landlock,seccomp", &keys).await;
    assert_eq!(
        act(&front, json!({ "read": secret })).await,
        Ok(json!("secret"))
    );
    let output = front.gateway.server().output();
    for key in ["sandbox.files", "sandbox.network", "sandbox.system_calls"] {
        let warned = |line: &str| line.contains("WARN") && line.contains(key);
        assert!(output.lines().any(warned), "{key} in {output}");
    }
    front.gateway.stop().await;

    let mut sandbox = files.sandbox();
    sandbox["require"] = json!(true);
    let config = json!({ "backends": { "a": acting(&json!({ "sandbox": sandbox })) } });
    let without = (WITHOUT, "landlock");
    let front = Front::start_with(config, &[without]).await;
    let missing = until("a reason", async || {
        let missing = front.missing().await.remove("a")?;
        (missing["reason"] != "it has not answered yet").then_some(missing)
    })
    .await;
    assert_eq!(missing["state"], "unavailable");
    let reason = missing["reason"].as_str().expect("a reason");
    assert!(reason.contains("this machine cannot hold"), "{reason}");
    assert!(reason.contains("no Landlock"), "{reason}");
    front.gateway.stop().await;
}

#[tokio::test]
async fn real_servers_run_in_the_sandbox_of_their_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("graph.json");
    let sandbox = |mut backend: Value, sandbox: Value| {
        backend["sandbox"] = sandbox;
        backend
    };
    let packages = tools::cache().join("npm/node_modules");
    let front = Front::of(json!({
        "memory": sandbox(servers::memory(&file), json!({
            "presets": ["node"], "read": [packages], "write": [folder.path()],
        })),
        "time": sandbox(servers::time(), json!({ "presets": ["python"] })),
    }))
    .await;
    front.gateway.wait_for_backends().await;
    let entities = json!({ "entities": [
        { "name": "Tea", "entityType": "drink", "observations": ["is at five"] },
    ] });
    let answer = front.client.call("memory__create_entities", entities).await;
    assert_ne!(answer.result()["isError"], true, "{}", answer.raw);
    let written = std::fs::read_to_string(&file).expect("written");
    assert!(written.contains("Tea"), "{written}");
    let zone = json!({ "timezone": "UTC" });
    let answer = front.client.call("time__get_current_time", zone).await;
    assert!(answer.raw.contains("UTC"), "{}", answer.raw);
    front.gateway.stop().await;
}

#[tokio::test]
async fn the_quickstarts_servers_work_inside_the_sandbox() {
    let config = tools::repository().join("config/sandboxed.yaml");
    let mut command = Command::new(tools::program("switchboard"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "-c"])
        .arg(&config)
        .env("SWITCHBOARD_SERVER__OPS_LISTEN", "off");
    let server = Server::start(command).await;
    let client = Client::new(server.url());
    for (tool, arguments, expected) in [
        (
            "toolbox__calculate",
            json!({ "expression": "2 * (3 + 4)" }),
            "14",
        ),
        (
            "notes__add_note",
            json!({ "title": "Tea", "text": "is at five" }),
            "Tea",
        ),
        ("notes__list_notes", json!({}), "Tea"),
    ] {
        until(tool, async || {
            let answer = client.call(tool, arguments.clone()).await;
            answer.raw.contains(expected).then_some(())
        })
        .await;
    }
    assert!(server.stop().await.success());
}
