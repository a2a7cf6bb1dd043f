//! The text of every kind of mistake.

use super::super::load;
use super::{BACKEND, Place};

#[test]
fn a_value_of_the_wrong_type_or_form() {
    let text = r#"server:
  listen: localhost
  ops_listen: 9464
  public_url: mcp.example.com
  allowed_hosts: [https://a.example.com, "*"]
  allowed_origins: [https://A.example.com/, app.example.com]
  drain_timeout: 2d
  header_timeout: 0
  body_timeout: quickly
  idle_timeout: -1
  sealing_keys: [short]
  max_connections: 0
  max_body_bytes: 1.5
auth:
  api_keys:
    - { name: "", key_sha256: abc, groups: ci }
    - { name: 3 }
names: { separator: "::", max_length: 200 }
backends:
  files:
    command: 7
    args: [-p, 8080, true]
    env: { PORT: 3000, "A=B": x }
    era: moden
    prefix: a.b
    trust_annotations: "yes"
    max_message_bytes: 16 MiB
  far:
    url: "https://user:hunter2@ far/mcp"
    headers: { "Bad Name": x, Host: y, X-Ok: "a\nb" }
    transport: stdio
    include_tools: get_*
telemetry:
  log: { format: xml, level: "info,=" }
  traces: { endpoint: collector, sample_ratio: 2 }
"#;
    Place::new().file("a.yaml", text).fails_with("");
}

#[test]
fn keys_that_are_unknown_or_not_built_yet() {
    let text = r#"[server]
lisen = "127.0.0.1:1"
"drain-timeout" = "1s"
admin_listen = "127.0.0.1:8081"
cluster = { advertise = "http://10.0.0.7:8082" }
[backends.files]
command = "npx"
argz = []
instances = 2
start = "lazy"
sessions = "shared"
[backends.search]
endpoints = []
balance = "round_robin"
[backends."a b"]
command = "x"
[backend.x]
[admin]
[[fallbacks]]
[profiles]
[zzz]
"#;
    Place::new().file("a.toml", text).fails_with("");
}

#[test]
fn parts_that_do_not_fit_together() {
    let text = r#"server: { listen: 0.0.0.0:8080 }
backends:
  none: { timeout: 3s }
  both: { command: a, url: http://b/ }
  local:
    command: a
    headers: {}
    transport: sse
  remote:
    url: http://b/
    args: []
    env: {}
    cwd: /
  a: { command: a, prefix: c }
  b:
    command: b
    prefix: c
  c: { command: c }
  plain: { command: c, prefix: "" }
  bare: { command: c, prefix: "" }
"#;
    Place::new().file("a.yaml", text).fails_with("");
}

#[test]
fn authentication_that_admits_nobody_or_anybody() {
    let with = |auth: &str| Place::new().file("a.yaml", format!("{BACKEND}auth:{auth}\n"));
    with("").fails_with("");
    with(" { api_keys: [] }").fails_with("");
    with(" {}").fails_with("");
    let key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    with(&format!(
        "\n  api_keys:\n    - {{ name: a, key_sha256: {key} }}\n    - name: a\n      key_sha256: {key}"
    ))
    .fails_with("");
}

#[test]
fn variables_that_stand_for_nothing() {
    let text = r#"backends:
  files:
    command: "${PROGRAM}"
    cwd: "${file:missing.txt}"
    args:
      - "${env:ONE}"
      - "${TWO"
      - "${a:b}"
      - "${1x}"
      - "${}"
      - "$PLAIN is text here"
    timeout: ${PATIENCE}
    max_message_bytes: ${SIZE}
server:
  sealing_keys: ["${KEY}"]
"#;
    Place::new()
        .file("a.yaml", text)
        .env("PATIENCE", "forever-and-a-day")
        .env("SIZE", "12")
        .env("KEY", "tooshort")
        .fails_with("");
}

#[test]
fn overrides_in_the_environment() {
    Place::new()
        .file("a.yaml", BACKEND)
        .env("SWITCHBOARD_SERVER__LISTEN", "here")
        .env("SWITCHBOARD_SERVR__LISTEN", "127.0.0.1:1")
        .env("SWITCHBOARD_SERVER__MAX_CONNECTIONS", "many")
        .env("SWITCHBOARD_SERVER__ALLOWED_HOSTS", "a.example.com")
        .fails_with("");
}

#[test]
fn syntax() {
    Place::new()
        .file(
            "a.yaml",
            "server:\n  listen: 127.0.0.1:1\n drain_timeout: 3s\n",
        )
        .file("b.toml", "[server]\nlisten = 127.0.0.1:1\n[server]\n")
        .file(
            "c.json",
            "{\n  \"server\": {\n    \"listen\": \"127.0.0.1:1\"\n    \"x\": 1\n  }\n}",
        )
        .file("d.yaml", b"server:\n  \xff\n")
        .file("e.yaml", "- a\n")
        .file("f.yaml", "a: 1\n---\nb: 2\n")
        .file("g.json", "{\"a\": }")
        .file("h.json", "[".repeat(100_000))
        .file("i.yaml", "[".repeat(100_000))
        .file("j.toml", format!("a = {}", "[".repeat(100_000)))
        .file("k.yaml", "server: !secret x\n")
        .file("l.yaml", "? [a]\n: b\n")
        .file("m.json", r#"{"server": {"listen": 5}}"#)
        .fails_with("");
}

#[test]
fn aliases_that_would_fill_the_memory() {
    let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(8);
        text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    Place::new().file("a.yaml", text).fails_with("");
    Place::new().file("a.yaml", "a: &a [*a]\n").fails_with("");
}

#[test]
fn duplicate_keys() {
    Place::new()
        .file(
            "a.yaml",
            "server:\n  listen: 127.0.0.1:1\n  listen: 127.0.0.1:2\nbackends: {}\nbackends: {}\n",
        )
        .file(
            "b.toml",
            "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n",
        )
        .file(
            "c.json",
            "{ \"backends\": { \"a\": { \"command\": \"x\" },\n  \"a\": { \"command\": \"y\" } } }",
        )
        .fails_with("");
}

#[test]
fn files_that_are_not_there() {
    Place::new()
        .file("a.yaml", "servr: {}")
        .other_file("folder/x", "")
        .file("big.yaml", vec![b'#'; 5 << 20])
        .fails_with("");
    let place = Place::new();
    let missing = ["missing.yaml".into(), "/".into()];
    let errors = load(&missing, &place.env, place.path()).unwrap_err();
    assert_eq!(errors.to_string(), "");
}

#[test]
fn errors_for_machines() {
    let place = Place::new()
        .file("a.yaml", "server:\n  lisen: 1\n")
        .env("SWITCHBOARD_X__Y", "1");
    let errors = load(&place.sources, &place.env, place.path()).unwrap_err();
    assert_eq!(
        serde_json::to_value(&errors).unwrap(),
        serde_json::json!([
            { "file": "a.yaml", "line": 2, "key": "server.lisen", "message": errors.0[0].message },
            { "file": "SWITCHBOARD_X__Y", "line": null, "key": "x", "message": errors.0[1].message },
        ])
    );
}

#[test]
fn a_mistake_in_one_part_hides_none_in_another_and_invents_none() {
    let text = r#"server: { listen: 0.0.0.0:8080 }
auth: { api_keys: [{ name: a, key_sha256: wrong }] }
backends:
  a: { command: 3, timeout: never }
  b: { command: x, url: http://y/, timeout: never }
  c: { command: "${GONE}" }
"#;
    Place::new().file("a.yaml", text).fails_with("");
}
