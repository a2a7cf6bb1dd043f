//! The text of every kind of mistake.

use rcgen::generate_simple_self_signed;

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
    max_message_bytes: 16 mb
  far:
    url: "https://user:hunter2@ far/mcp"
    headers: { "Bad Name": x, Host: y, X-Ok: "a\nb" }
    transport: stdio
    include_tools: get_*
telemetry:
  log: { format: xml, level: inof }
  traces: { endpoint: collector, sample_ratio: 2 }
"#;
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:2: server.listen: `localhost` is not an address to listen on; expected an IP address and a port, such as `127.0.0.1:8080`
a.yaml:3: server.ops_listen: is `9464`; expected an IP address and a port, such as `127.0.0.1:9464`, or `off`
a.yaml:4: server.public_url: `mcp.example.com` is not a URL (relative URL without a base); expected an `http` or `https` address such as `https://mcp.example.com/mcp`
a.yaml:5: server.allowed_hosts[0]: `https://a.example.com` is not a host; expected a host as browsers send it, such as `mcp.example.com` or `10.0.0.7:8080`
a.yaml:5: server.allowed_hosts[1]: `*` is not a host; expected a host as browsers send it, such as `mcp.example.com` or `10.0.0.7:8080`
a.yaml:6: server.allowed_origins[0]: `https://A.example.com/` is not an origin; expected an origin as browsers send it, such as `https://app.example.com`: lower case, no path, no default port
a.yaml:6: server.allowed_origins[1]: `app.example.com` is not an origin; expected an origin as browsers send it, such as `https://app.example.com`: lower case, no path, no default port
a.yaml:7: server.drain_timeout: `2d` is longer than a day; expected a duration such as `30s` or `500ms`, or a number of seconds, at most a day
a.yaml:8: server.header_timeout: `0` is shorter than a millisecond; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
a.yaml:9: server.body_timeout: `quickly` is not a duration; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
a.yaml:10: server.idle_timeout: `-1` is not a duration; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
a.yaml:11: server.sealing_keys[0]: the value is a secret of 5 bytes, which is too short; expected a secret of at least 32 bytes, such as `openssl rand -base64 32` prints
a.yaml:12: server.max_connections: `0` is too small; expected a whole number of at least 1
a.yaml:13: server.max_body_bytes: is `1.5`; expected a size such as `512KiB` or `10MiB`, or a number of bytes, at least 1
a.yaml:16: auth.api_keys[0].name: the value is empty; expected text of at least one character
a.yaml:16: auth.api_keys[0].key_sha256: the value is not a SHA-256 digest; expected 64 hexadecimal digits, as `printf %s "$KEY" | sha256sum | cut -d' ' -f1` prints them
a.yaml:16: auth.api_keys[0].groups: is `ci`; expected a list: write it as `["…"]`
a.yaml:17: auth.api_keys[1]: has no `key_sha256`; expected one
a.yaml:17: auth.api_keys[1].name: is `3`; expected text of at least one character: put it in quotes
a.yaml:18: names.separator: `::` is not a separator; expected 1 to 8 of the characters `A-Z a-z 0-9 _ -`
a.yaml:18: names.max_length: `200` is too large; expected a whole number from 24 to 128
a.yaml:21: backends.files.command: is `7`; expected text of at least one character: put it in quotes
a.yaml:22: backends.files.args[1]: is a number; expected text: put it in quotes
a.yaml:22: backends.files.args[2]: is `true` or `false`; expected text: put it in quotes
a.yaml:23: backends.files.env.PORT: is a number; expected text: put it in quotes
a.yaml:23: backends.files.env."A=B": the key is not the name of a variable; expected a name without `=`
a.yaml:24: backends.files.era: is `moden`; expected one of `auto`, `modern`, `legacy`; did you mean `modern`?
a.yaml:25: backends.files.prefix: `a.b` is not a prefix of names; expected up to 64 of the characters `A-Z a-z 0-9 _ -`
a.yaml:26: backends.files.trust_annotations: is `yes`; expected `true` or `false`
a.yaml:27: backends.files.max_message_bytes: `16 mb` is not a size; expected a size such as `512KiB` or `16MiB`, or a number of bytes, at least 4096; did you mean `16MiB`?
a.yaml:29: backends.far.url: the value is not a URL (invalid international domain name); expected an `http` or `https` address such as `https://mcp.example.com/mcp`
a.yaml:30: backends.far.headers."Bad Name": the key is not the name of a header; expected the name of a header such as `Authorization`, none that the gateway sets itself
a.yaml:30: backends.far.headers.Host: the key is a header that the gateway writes itself; expected the name of a header such as `Authorization`, none that the gateway sets itself
a.yaml:30: backends.far.headers.X-Ok: the value has characters that a header can't hold; expected visible characters, spaces and tabs
a.yaml:31: backends.far.transport: is `stdio`; expected one of `auto`, `streamable_http`, `sse`
a.yaml:32: backends.far.include_tools: is `get_*`; expected a list: write it as `["…"]`
a.yaml:34: telemetry.log.format: is `xml`; expected one of `human`, `json`
a.yaml:34: telemetry.log.level: `inof` is not a log filter; expected a level (`error`, `warn`, `info`, `debug`, `trace`, `off`) or a filter such as `info,switchboard_backends=debug`
a.yaml:35: telemetry.traces.endpoint: `collector` is not a URL (relative URL without a base); expected an `http` or `https` address such as `https://mcp.example.com/mcp`
a.yaml:35: telemetry.traces.sample_ratio: `2` is too large; expected a number from 0.0 to 1.0
"#,
    );
}

#[test]
fn wrong_bounds_of_sessions_and_parked_calls_say_what_is_right() {
    let text = r#"server: { legacy: { max_sessions: 0, resume_grace: -1, http_sse: maybe } }
parked_calls: { timeout: 2h, max: lots }
backends:
  a: { url: "http://127.0.0.1:1/mcp", sessions: per_user, max_sessions_per_principal: -4, session_idle_timeout: 2d }
"#;
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:1: server.legacy.max_sessions: `0` is too small; expected a whole number of at least 1
a.yaml:1: server.legacy.resume_grace: `-1` is not a duration; expected a duration such as `30s` or `500ms`, or a number of seconds, at most a day
a.yaml:1: server.legacy.http_sse: is `maybe`; expected `true` or `false`
a.yaml:2: parked_calls.timeout: `2h` is longer than an hour; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to an hour
a.yaml:2: parked_calls.max: is `lots`; expected a whole number of at least 1
a.yaml:4: backends.a.sessions: is `per_user`; expected one of `shared`, `per_principal`, `per_client`
a.yaml:4: backends.a.max_sessions_per_principal: `-4` is too small; expected a whole number of at least 1
a.yaml:4: backends.a.session_idle_timeout: `2d` is longer than a day; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
"#,
    );
}

#[test]
fn an_admin_api_that_nobody_could_use_or_that_has_no_place() {
    let without = "server:\n  admin_listen: 127.0.0.1:8081\n";
    Place::new().file("a.yaml", without).fails_with(
        r#"
a.yaml:2: server.admin_listen: without keys nobody could use the admin API at 127.0.0.1:8081, so it is not opened; expected an `admin` section with `api_keys`, or no `admin_listen`
"#,
    );
    let digest = "de4275e478bbf76c6f76bf15cfde3bbadfc1f3d9b098a6ed630c05e28471968b";
    let taken = format!(
        "server:\n  listen: 127.0.0.1:8081\nadmin: {{ api_keys: [{{ name: ops, key_sha256: \"{digest}\" }}] }}\n"
    );
    Place::new().file("a.yaml", &taken).fails_with(
        r#"
a.yaml:1: server.admin_listen: 127.0.0.1:8081 is taken by `server.listen`; expected another port, or `off`
"#,
    );
}

#[test]
fn keys_that_are_unknown_and_values_that_are_wrong() {
    let text = r#"[server]
lisen = "127.0.0.1:1"
"drain-timeout" = "1s"
admin_listen = "127.0.0.1:8081"
clustre = { advertise = "http://10.0.0.7:8082" }
[backends.files]
command = "npx"
argz = []
instances = 65
start = "lasy"
sessions = "per_user"
max_sessions = 0
[backends.search]
url = "http://127.0.0.1:1"
balance = "round_robin"
[backends."a b"]
command = "x"
[backend.x]
[admin]
[profiles]
[zzz]
"#;
    Place::new().file("a.toml", text).fails_with(
        r#"
a.toml:2: server.lisen: is not a known key; did you mean `listen`?
a.toml:3: server.drain-timeout: is not a known key; did you mean `drain_timeout`?
a.toml:5: server.clustre: is not a known key; did you mean `cluster`?
a.toml:8: backends.files.argz: is not a known key; did you mean `args`?
a.toml:9: backends.files.instances: `65` is too large; expected a whole number from 1 to 64
a.toml:10: backends.files.start: is `lasy`; expected one of `eager`, `lazy`; did you mean `lazy`?
a.toml:11: backends.files.sessions: is `per_user`; expected one of `shared`, `per_principal`, `per_client`
a.toml:12: backends.files.max_sessions: `0` is too small; expected a whole number of at least 1
a.toml:16: backends."a b": the key is not the name of a backend; expected 1 to 64 of the characters `A-Z a-z 0-9 _ -`
a.toml:18: backend: is not a known key; did you mean `backends`?
a.toml:19: admin: `api_keys` is empty, so nobody could call; expected at least one key, or no such section at all
a.toml:21: zzz: is not a known key; expected one of `access`, `admin`, `audit`, `auth`, `backends`, `budgets`, `cache`, `costs`, `equivalents`, `fallbacks`, `heartbeat`, `kept_results`, `limits`, `names`, `parked_calls`, `profiles`, `redaction`, `result_caps`, `server`, `store`, `telemetry`
"#,
    );
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
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:1: server.listen: without an `auth` section everyone who reaches 0.0.0.0:8080 could call every backend; expected a loopback address such as 127.0.0.1:8080, or an `auth` section with `api_keys`, `jwt` or `mtls`
a.yaml:3: backends.none: has neither `command` nor `url` nor `endpoints`; expected `command` for a local process or `url` for a remote server
a.yaml:4: backends.both: has more than one of `command`, `url` and `endpoints`; expected one of them: a backend is one server
a.yaml:5: backends.local: has `headers`, `transport`, which would have no effect beside `command`; expected them beside `url`
a.yaml:9: backends.remote: has `args`, `env`, `cwd`, which would have no effect beside `url`; expected them beside `command`
a.yaml:17: backends.b.prefix: `c` is the prefix of `a` too, so their names could not be told apart; expected a prefix that no other backend has
a.yaml:18: backends.c.prefix: `c` is the prefix of `b` too, so their names could not be told apart; expected a prefix that no other backend has
"#,
    );
}

#[test]
fn a_certificate_that_cannot_be_used_is_a_mistake_and_so_are_equal_listeners() {
    let pair = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = |server: &str| {
        Place::new()
            .file("a.yaml", format!("{BACKEND}server:\n{server}"))
            .other_file("cert.pem", pair.cert.pem())
            .other_file("key.pem", pair.signing_key.serialize_pem())
            .other_file("other.pem", other.signing_key.serialize_pem())
    };
    place("  tls: { cert: cert.pem, key: key.pem }\n").load();
    place("  tls:\n    cert: cert.pem\n    key: other.pem\n").fails_with(
        r#"
a.yaml:5: server.tls.key: does not fit the certificate of `server.tls.cert`; expected the private key that it was made for
"#,
    );
    place("  tls:\n    key: key.pem\n    cert: key.pem\n").fails_with(
        r#"
a.yaml:5: server.tls.cert: the file has no certificate in it, but a private key: is it that of `server.tls.key`? expected a file in PEM with a `CERTIFICATE` and those that vouch for it
"#,
    );
    place("  tls:\n    cert: gone.pem\n    key: key.pem\n").fails_with(
        r#"
a.yaml:4: server.tls.cert: the file cannot be read: entity not found; expected a file in PEM with a `CERTIFICATE` and those that vouch for it
"#,
    );
    place("  tls:\n    cert: cert.pem\n  listen: 127.0.0.1:81\n  ops_listen: 127.0.0.1:81\n").fails_with(
        r#"
a.yaml:3: server.tls.key: is missing; expected the file of the private key
a.yaml:6: server.ops_listen: 127.0.0.1:81 is taken by `server.listen`; expected another port, or `off`
"#,
    );
    place("  listen: 127.0.0.1:0\n  ops_listen: 127.0.0.1:0\n").load();
}

#[test]
fn authentication_that_admits_nobody_or_anybody() {
    let with = |auth: &str| Place::new().file("a.yaml", format!("{BACKEND}auth:{auth}\n"));
    with("").fails_with(
        r#"
a.yaml:2: auth: has no value; expected a table of keys
"#,
    );
    with(" { api_keys: [] }").fails_with(
        r#"
a.yaml:2: auth: there is no key in `api_keys`, no issuer in `jwt` and no `mtls`, so nobody could call; expected at least one of these, or no such section at all
"#,
    );
    with(" {}").fails_with(
        r#"
a.yaml:2: auth: there is no key in `api_keys`, no issuer in `jwt` and no `mtls`, so nobody could call; expected at least one of these, or no such section at all
"#,
    );
    let key = "1f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    with(&format!(
        "\n  api_keys:\n    - {{ name: a, key_sha256: {key} }}\n    - name: a\n      key_sha256: {key}"
    ))
    .fails_with(
        r#"
a.yaml:5: auth.api_keys[1].name: is the same as that of auth.api_keys[0]; expected a different one for each
a.yaml:6: auth.api_keys[1].key_sha256: is the same as that of auth.api_keys[0]; expected a different one for each
"#,
    );
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
        .fails_with(
        r#"
a.yaml:3: backends.files.command: the environment variable `PROGRAM` is not set; expected a value for it, or a default as in `${PROGRAM:-default}`
a.yaml:4: backends.files.cwd: the file `missing.txt` can't be read: No such file or directory
a.yaml:6: backends.files.args[0]: the environment variable `ONE` is not set; expected a value for it, or a default as in `${ONE:-default}`
a.yaml:7: backends.files.args[1]: has `${` without `}`; write `$$` for a dollar
a.yaml:8: backends.files.args[2]: has `${a:b}`; expected `${NAME}`, `${NAME:-default}`, `${env:NAME}`, `${file:PATH}` or `${switchboard:exe}`
a.yaml:9: backends.files.args[3]: has `1x` as the name of a variable; expected letters, digits and `_`, or `$$` for a dollar
a.yaml:10: backends.files.args[4]: has `` as the name of a variable; expected letters, digits and `_`, or `$$` for a dollar
a.yaml:12: backends.files.timeout: the value is not a duration; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
a.yaml:13: backends.files.max_message_bytes: the value is too small; expected a size such as `512KiB` or `16MiB`, or a number of bytes, at least 4096
a.yaml:15: server.sealing_keys[0]: the value is a secret of 8 bytes, which is too short; expected a secret of at least 32 bytes, such as `openssl rand -base64 32` prints
"#,
    );
}

#[test]
fn overrides_in_the_environment() {
    Place::new()
        .file("a.yaml", BACKEND)
        .env("SWITCHBOARD_SERVER__LISTEN", "here")
        .env("SWITCHBOARD_SERVR__LISTEN", "127.0.0.1:1")
        .env("SWITCHBOARD_SERVER__MAX_CONNECTIONS", "many")
        .env("SWITCHBOARD_SERVER__ALLOWED_HOSTS", "a.example.com")
        .fails_with(
        r#"
SWITCHBOARD_SERVER__ALLOWED_HOSTS: server.allowed_hosts: is text; expected a list: write it as `["…"]`
SWITCHBOARD_SERVER__LISTEN: server.listen: the value is not an address to listen on; expected an IP address and a port, such as `127.0.0.1:8080`
SWITCHBOARD_SERVER__MAX_CONNECTIONS: server.max_connections: is text; expected a whole number of at least 1
SWITCHBOARD_SERVR__LISTEN: servr: is not a known key; did you mean `server`?
"#,
    );
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
        .fails_with(
            r#"
a.yaml:3: is not YAML: while parsing a block mapping, did not find expected key
b.toml:2: is not TOML: invalid float, expected nothing
b.toml:3: is not TOML: duplicate key
c.json:3: is not JSON: Expected comma
d.yaml:2: is not UTF-8; expected a text file in UTF-8
e.yaml:1: is not a table of keys; expected keys such as `server` and `backends`
f.yaml:2: begins a second document; expected one document in a file
g.json:1: is not JSON: Unexpected close brace
h.json:1: is not JSON: Maximum nesting depth exceeded
i.yaml:1: is not YAML: recursion limit exceeded
j.toml:1: is not TOML: cannot recurse further; max recursion depth met
j.toml:1: is not TOML: unclosed array, expected `]`
k.yaml:1: has the tag `!secret`; expected no tag but `!!str`
l.yaml:1: has a list or a table as a key; expected text
m.json:1: server.listen: is `5`; expected an IP address and a port, such as `127.0.0.1:8080`
"#,
        );
}

#[test]
fn aliases_that_would_fill_the_memory() {
    let mut text = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(8);
        text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:6: is too large; expected at most 100000 values in a file
"#,
    );
    Place::new().file("a.yaml", "a: &a [*a]\n").fails_with(
        r#"
a.yaml:1: is an alias of something that it is itself a part of
"#,
    );
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
        .fails_with(
            r#"
a.yaml:3: server.listen: is here a second time, after line 2; expected every key once
a.yaml:5: backends: is here a second time, after line 4; expected every key once
b.toml:3: is not TOML: duplicate key
c.json:2: backends.a: is here a second time, after line 1; expected every key once
"#,
        );
}

#[test]
fn files_that_are_not_there() {
    Place::new()
        .file("a.yaml", "servr: {}")
        .other_file("folder/x", "")
        .file("big.yaml", vec![b'#'; 5 << 20])
        .fails_with(
            r#"
a.yaml:1: servr: is not a known key; did you mean `server`?
big.yaml: is too large; expected at most 4 MiB
"#,
        );
    let place = Place::new();
    let missing = ["missing.yaml".into(), "/".into()];
    let errors = load(&missing, &place.env, place.path()).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "missing.yaml: can't be read: No such file or directory\n\
         /: can't be read: Is a directory"
    );
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
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:2: auth.api_keys[0].key_sha256: the value is not a SHA-256 digest; expected 64 hexadecimal digits, as `printf %s "$KEY" | sha256sum | cut -d' ' -f1` prints them
a.yaml:4: backends.a.command: is `3`; expected text of at least one character: put it in quotes
a.yaml:4: backends.a.timeout: `never` is not a duration; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
a.yaml:5: backends.b.timeout: `never` is not a duration; expected a duration such as `30s` or `500ms`, or a number of seconds, from 1 ms to a day
a.yaml:5: backends.b: has more than one of `command`, `url` and `endpoints`; expected one of them: a backend is one server
a.yaml:6: backends.c.command: the environment variable `GONE` is not set; expected a value for it, or a default as in `${GONE:-default}`
"#,
    );
}

#[test]
fn a_mistake_deep_in_a_backend_is_one_mistake_at_its_key() {
    let text = r#"backends:
  a:
    endpoints:
      - url: http://a/
      - url: "${GONE}"
        weight: 3
    health:
      path: healthz
"#;
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:5: backends.a.endpoints[1].url: the environment variable `GONE` is not set; expected a value for it, or a default as in `${GONE:-default}`
a.yaml:8: backends.a.health.path: `healthz` is not a path; expected a path of the server's, such as `/healthz`
"#,
    );
}

#[test]
fn a_sandbox_may_not_let_its_server_change_the_configuration() {
    let text = r#"backends:
  a:
    command: x
    sandbox:
      write: ["data", "."]
  b:
    command: x
    sandbox: { write: ["data"] }
"#;
    let errors = Place::new().file("a.yaml", text).errors();
    assert_eq!(
        errors,
        "a.yaml:5: backends.a.sandbox.write: lets the server change `FOLDER/a.yaml`, which decides what \
         the gateway does outside of the sandbox; expected folders without files of the configuration"
    );
}

#[test]
fn what_is_valid_and_hardly_meant_is_a_warning() {
    let text = r#"backends:
  a:
    endpoints:
      - { url: "http://a/", weight: 3 }
      - { url: "http://b/" }
    balance: round_robin
    timeout: 3000
    connect_timeout: 999
"#;
    let loaded = Place::new().file("a.yaml", text).load();
    assert_eq!(
        super::warnings(&loaded),
        "a.yaml:4: backends.a.endpoints[0].weight: has no effect with `balance: round_robin`; \
         expected 1, or another `balance` such as `weighted`\n\
         a.yaml:7: backends.a.timeout: is 50m, since a number without a unit counts seconds; \
         write `3s` or `3000ms` if that is meant, else `50m`"
    );
}

#[test]
fn a_slip_in_the_name_of_a_section_is_one_mistake() {
    let text = "server: { listen: 0.0.0.0:80 }\nauht: { api_keys: [] }\n";
    Place::new().file("a.yaml", text).fails_with(
        r#"
a.yaml:2: auht: is not a known key; did you mean `auth`?
"#,
    );
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_others_checked() {
    Place::new()
        .file(
            "a.yaml",
            "server: { listen: 0.0.0.0:80, max_connections: no }",
        )
        .file("b.yaml", "auth: [")
        .fails_with(
            r#"
a.yaml:1: server.max_connections: is `no`; expected a whole number of at least 1
b.yaml:2: is not YAML: while parsing a node, did not find expected node content
"#,
        );
}

#[test]
fn no_file_at_all() {
    if std::path::Path::new("/etc/switchboard").exists() {
        return;
    }
    Place::new().fails_with(
        r#"
switchboard.yaml: there is no configuration; expected `-c FILE`, or one of FOLDER/switchboard.yaml, FOLDER/switchboard.toml, FOLDER/switchboard.json, /etc/switchboard/switchboard.yaml, /etc/switchboard/switchboard.toml, /etc/switchboard/switchboard.json
"#,
    );
}

#[test]
fn a_slip_beside_the_right_key_hides_nothing() {
    let text = "auht: { api_keys: [] }\nserver:\n  listen: 0.0.0.0:80\n  ops_lisen: off\n";
    let client = r#"{"mcpServers": {"a": {"comand": "x", "command": "x", "url": "http://x/"}}}"#;
    let errors = Place::new()
        .file("a.yaml", text)
        .file("b.json", client)
        .errors();
    assert!(
        errors.contains("b.json:1: mcpServers.a: has more than one of `command`, `url`"),
        "{errors}"
    );
    assert!(!errors.contains("without an `auth`"), "{errors}");

    let text = "server:\n  listen: 0.0.0.0:80\n  lisen: 1\n";
    let errors = Place::new().file("a.yaml", text).errors();
    assert!(
        errors.contains("a.yaml:2: server.listen: without an `auth` section"),
        "{errors}"
    );
}
