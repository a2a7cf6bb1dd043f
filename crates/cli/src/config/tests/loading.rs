//! Files, variables and the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::ExposeSecret;
use switchboard_backends::config::{BackendConfig, EraPin, HttpKind, TransportConfig};
use switchboard_policy::config::KeyDigest;
use switchboard_telemetry::LogFormat;

use super::super::{Keys, default_files, load, load_only};
use super::{BACKEND, Place, repository};

const DIGEST: &str = "1F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";

fn arguments(backend: &BackendConfig) -> &[String] {
    match &backend.transport {
        TransportConfig::Stdio { args, .. } => args,
        TransportConfig::Http { .. } => panic!("not a process"),
    }
}

#[test]
fn defaults() {
    let loaded = Place::new().file("switchboard.yaml", BACKEND).load();
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(
        config.server.ops_listen.unwrap().to_string(),
        "127.0.0.1:9464"
    );
    assert_eq!(config.server.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.server.max_connections, 10_000);
    assert_eq!(config.server.max_body_bytes, 4 << 20);
    assert_eq!(config.names.separator, "__");
    assert_eq!(config.names.max_length, 46);
    assert_eq!(config.telemetry.log.level, "info");
    let files = &config.backends["files"];
    assert_eq!(files.timeout, Duration::from_secs(60));
    assert_eq!(files.era, EraPin::Auto);
    assert_eq!(files.max_message_bytes, 16 << 20);
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.files, [PathBuf::from("switchboard.yaml")]);
}

#[test]
fn the_largest_message_is_a_size_or_a_number_of_bytes() {
    for written in ["65536", "64KiB", "64 KiB", "0.0625MiB"] {
        let text = format!("backends: {{ a: {{ command: npx, max_message_bytes: {written} }} }}\n");
        let config = Place::new().file("a.yaml", text).load().config;
        assert_eq!(config.backends["a"].max_message_bytes, 65_536, "{written}");
    }
}

#[test]
fn an_empty_file_is_a_configuration_without_backends() {
    for name in ["a.yaml", "a.toml", "a.json"] {
        let loaded = Place::new().file(name, "").load();
        assert!(loaded.config.backends.is_empty(), "{name}");
    }
}

const YAML: &str = r#"
server: { ops_listen: off, drain_timeout: 1m 30s, body_timeout: 0.5 }
auth:
  api_keys:
    - name: ci
      key_sha256: "1F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
      groups: [a, b]
backends:
  far:
    url: https://far.example.com/mcp
    headers: { Authorization: Bearer abc }
    transport: sse
    timeout: 5
    prefix: ""
telemetry: { log: { format: json }, traces: { sample_ratio: 0 } }
"#;

const TOML: &str = r#"
[server]
ops_listen = "off"
drain_timeout = "1m 30s"
body_timeout = 0.5
[[auth.api_keys]]
name = "ci"
key_sha256 = "1F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
groups = ["a", "b"]
[backends.far]
url = "https://far.example.com/mcp"
headers = { Authorization = "Bearer abc" }
transport = "sse"
timeout = 5
prefix = ""
[telemetry]
log.format = "json"
traces.sample_ratio = 0
"#;

const JSON: &str = r#"{
  "server": { "ops_listen": null, "drain_timeout": 90, "body_timeout": "500ms" },
  "auth": { "api_keys": [
    { "name": "ci", "groups": ["a", "b"], // of the build
      "key_sha256": "1F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08" },
  ] },
  "backends": { "far": {
    "url": "https://far.example.com/mcp", "headers": { "Authorization": "Bearer abc" },
    "transport": "sse", "timeout": 5.0, "prefix": ""
  } },
  "telemetry": { "log": { "format": "json" }, "traces": { "sample_ratio": 0.0 } }
}"#;

#[test]
fn three_formats_say_the_same() {
    for (name, text) in [
        ("a.yaml", YAML),
        ("a.toml", TOML),
        ("a.json", JSON),
        ("none", YAML),
        ("-", JSON),
    ] {
        let config = Place::new().file(name, text).load().config;
        assert_eq!(config.server.ops_listen, None, "{name}");
        assert_eq!(
            config.server.drain_timeout,
            Duration::from_secs(90),
            "{name}"
        );
        assert_eq!(
            config.server.body_timeout,
            Duration::from_millis(500),
            "{name}"
        );
        let key = &config.auth.unwrap().api_keys[0];
        let digest: KeyDigest = DIGEST.parse().unwrap();
        assert_eq!(key.key_sha256, digest.into(), "{name}");
        assert_eq!(key.groups, ["a", "b"], "{name}");
        let far = &config.backends["far"];
        assert_eq!(far.timeout, Duration::from_secs(5), "{name}");
        assert_eq!(far.prefix.as_deref(), Some(""), "{name}");
        let TransportConfig::Http { headers, kind, .. } = &far.transport else {
            panic!("not remote");
        };
        assert_eq!(*kind, HttpKind::Sse, "{name}");
        assert!(headers[0].1.is_sensitive(), "{name}");
        assert_eq!(config.telemetry.log.format, LogFormat::Json, "{name}");
        assert!(
            config.telemetry.traces.sample_ratio.abs() < f64::EPSILON,
            "{name}"
        );
    }
}

#[test]
fn later_files_are_laid_over_earlier_ones() {
    let config = Place::new()
        .file(
            "a.yaml",
            "backends: { files: { command: npx, args: [a, b], timeout: 5s } }",
        )
        .file(
            "b.toml",
            "[backends.files]\nargs = [\"c\"]\n[backends.more]\nurl = \"http://more/\"",
        )
        .file("c.json", r#"{"mcpServers": {"third": {"command": "x"}}}"#)
        .load()
        .config;
    assert_eq!(arguments(&config.backends["files"]), ["c"]);
    assert_eq!(config.backends["files"].timeout, Duration::from_secs(5));
    assert_eq!(config.backends.len(), 3);
}

#[test]
fn the_environment_overrides_files() {
    let config = Place::new()
        .file(
            "a.yaml",
            "server: { listen: 127.0.0.1:1 }\nbackends: { My-Files: { command: npx } }",
        )
        .env("SWITCHBOARD_SERVER__LISTEN", "127.0.0.1:2")
        .env("SWITCHBOARD_SERVER__MAX_CONNECTIONS", "7")
        .env(
            "SWITCHBOARD_SERVER__ALLOWED_HOSTS",
            "[a.example.com, 'b.example.com:1']",
        )
        .env("SWITCHBOARD_BACKENDS__MY_FILES__TIMEOUT", "3")
        .env("SWITCHBOARD_BACKENDS__MY_FILES__TRUST_ANNOTATIONS", "true")
        .env("SWITCHBOARD_BACKENDS__NEW__COMMAND", "42")
        .env("SWITCHBOARD_NAMES__SEPARATOR", "-")
        .env("SWITCHBOARD_KEY", "no key of ours")
        .env("SWITCHBOARD_PORT_8080_TCP", "tcp://10.0.0.1:8080")
        .load()
        .config;
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.max_connections, 7);
    assert_eq!(
        config.server.allowed_hosts,
        ["a.example.com", "b.example.com:1"]
    );
    assert_eq!(config.backends["My-Files"].timeout, Duration::from_secs(3));
    assert!(config.backends["My-Files"].trust_annotations);
    assert!(matches!(&config.backends["new"].transport,
        TransportConfig::Stdio { command, .. } if command == "42"));
    assert_eq!(config.names.separator, "-");
}

#[test]
fn variables_in_texts() {
    let text = r#"
server: { max_connections: "${COUNT}" }
backends:
  files:
    command: "${switchboard:exe}"
    cwd: sub/folder
    trust_annotations: ${TRUST}
    env: { SECRET: "${file:secret.txt}" }
    args:
      - "${A}-${env:B}-${MISSING:-c}-${EMPTY:-d}-${EMPTY}"
      - "$$A $A a$ ${MISSING:-${A}}"
      - '${MISSING:-{"a": {}}}'
"#;
    let place = Place::new()
        .file("conf/a.yaml", text)
        .other_file("conf/secret.txt", "s3cret\n")
        .env("A", "1")
        .env("B", "$A")
        .env("COUNT", "12")
        .env("EMPTY", "")
        .env("TRUST", "true");
    let config = place.load().config;
    let files = &config.backends["files"];
    assert_eq!(config.server.max_connections, 12);
    assert!(files.trust_annotations);
    assert_eq!(
        arguments(files),
        ["1-$A-c-d-", "$A $A a$ 1", r#"{"a": {}}"#]
    );
    let TransportConfig::Stdio {
        command, env, cwd, ..
    } = &files.transport
    else {
        panic!("not a process");
    };
    assert_eq!(Path::new(command), std::env::current_exe().unwrap());
    assert_eq!(env["SECRET"].expose_secret(), "s3cret");
    assert_eq!(cwd.as_deref(), Some(&*place.path().join("conf/sub/folder")));
}

#[test]
fn a_variable_whose_value_is_in_a_file() {
    let text = r#"
backends:
  files:
    command: npx
    args: ["${TOKEN}", "${TOKEN:-none}", "${OTHER:-none}", "${EMPTY:-none}", "${UNNAMED:-none}"]
    env: { SECRET: "${file:secret}" }
"#;
    let place = Place::new()
        .file("conf/a.yaml", text)
        .other_file("conf/token", "s3cret\n")
        .other_file("conf/secret", "of a file")
        .other_file("conf/empty", "\n")
        .env("TOKEN_FILE", "token")
        // Its own value counts.
        .env("OTHER", "given")
        .env("OTHER_FILE", "is not there")
        .env("EMPTY_FILE", "empty")
        .env("UNNAMED_FILE", "");
    let loaded = place.load();
    assert_eq!(
        arguments(&loaded.config.backends["files"]),
        ["s3cret", "s3cret", "given", "none", "none"]
    );
    let conf = place.path().join("conf");
    let watched = loaded.watched();
    for file in ["secret", "token", "empty"] {
        assert!(watched.contains(&conf.join(file)), "{file}: {watched:?}");
    }
}

#[test]
fn a_file_with_the_value_of_a_variable_that_is_not_there() {
    Place::new()
        .file(
            "a.yaml",
            "backends: { a: { command: \"${TOKEN:-npx}\" } }\n",
        )
        .env("TOKEN_FILE", "missing")
        .fails_with(
            "a.yaml:1: backends.a.command: the file `missing` can't be read: No such file or \
             directory, as `TOKEN_FILE` says",
        );
}

#[test]
fn yaml_anchors_and_scalars() {
    let text = r#"
backends:
  a: &base { command: npx, args: [yes, "off", 'null', !!str 12] }
  b: *base
"#;
    let loaded = Place::new().file("a.yaml", text).load();
    assert_eq!(
        arguments(&loaded.config.backends["a"]),
        ["yes", "off", "null", "12"]
    );
    assert_eq!(
        arguments(&loaded.config.backends["b"]),
        ["yes", "off", "null", "12"]
    );
}

#[test]
fn the_search_path() {
    let mut place = Place::new().other_file("switchboard.toml", "[names]\nmax_length = 30");
    assert_eq!(place.load().config.names.max_length, 30);
    place = place.other_file("switchboard.yaml", "names: { max_length: 31 }");
    assert_eq!(place.load().config.names.max_length, 31);

    let home = Place::new().other_file(".config/switchboard/switchboard.json", "{}");
    let home = home.path().to_str().unwrap().to_owned();
    let empty = Place::new().env("HOME", &home);
    let found = default_files(&empty.env, empty.path());
    assert_eq!(
        found[3],
        Path::new(&home).join(".config/switchboard/switchboard.yaml")
    );
    assert_eq!(found[6], Path::new("/etc/switchboard/switchboard.yaml"));
    let configured = empty.env("XDG_CONFIG_HOME", "/elsewhere");
    let found = default_files(&configured.env, configured.path());
    assert_eq!(
        found[3],
        Path::new("/elsewhere/switchboard/switchboard.yaml")
    );
}

#[test]
fn a_part_loads_without_the_secrets_of_others() {
    let text = r#"
        server: { listen: 0.0.0.0:80, admin_listen: 127.0.0.1:9999, sealing_keys: ["${NOT_SET}"] }
        admin: { api_keys: [{ name: ops, key_sha256: "${NOT_SET_EITHER}" }] }
        backends: { files: { url: "${NOR_THIS}" } }
    "#;
    let place = Place::new().file("a.yaml", text);
    let only: Keys<'_> = &[&["server", "admin_listen"]];
    let part = |place: &Place| load_only(&place.sources, &place.env, place.path(), only);
    let loaded = part(&place).unwrap_or_else(|errors| panic!("{errors}"));
    let address = loaded.config.server.admin_listen.address();
    assert_eq!(address, Some("127.0.0.1:9999".parse().unwrap()));
    assert!(loaded.config.backends.is_empty());
    let sections = ["admin", "backends", "server"].map(str::to_owned);
    assert_eq!(loaded.sections, sections.into());

    let place = place.env("SWITCHBOARD_SERVER__ADMIN_LISTEN", "127.0.0.1:9998");
    let loaded = part(&place).unwrap_or_else(|errors| panic!("{errors}"));
    let address = loaded.config.server.admin_listen.address();
    assert_eq!(address, Some("127.0.0.1:9998".parse().unwrap()));

    let place = Place::new().file("a.yaml", "server: { admin_listen: \"${NOT_SET}\" }");
    let errors = part(&place).unwrap_err().to_string();
    assert!(errors.contains("NOT_SET"), "{errors}");
}

#[test]
fn the_examples_of_the_repository_load() {
    let place = Place::new()
        .env("CI_KEY_SHA256", DIGEST)
        .env("DEV_KEY_SHA256", &DIGEST.replace('9', "8"))
        .env("CI_NEXT_KEY_SHA256", &DIGEST.replace('9', "7"))
        .env("ROBOT_KEY_SHA256", &DIGEST.replace('9', "6"))
        .env("ADMIN_KEY_SHA256", &DIGEST.replace('9', "5"))
        .env("AGENTS_KEY_SHA256", &DIGEST.replace('9', "4"))
        .env("TEAM_KEY_SHA256", &DIGEST.replace('9', "3"))
        .env("REDIS_URL", "redis://:a-password@redis:6379/0")
        .env("OIDC_ISSUER", "https://id.example.com/realms/team")
        .env("TRACKER_URL", "https://tracker.example.com/mcp")
        .env("TRACKER_CLIENT_SECRET", "a-secret-of-the-tracker")
        .env("GITHUB_TOKEN", "token")
        .env("SEALING_KEY", "0123456789abcdef0123456789abcdef");
    let files = [
        ("quickstart", 2),
        ("team", 6),
        ("production", 2),
        ("resilient", 3),
    ];
    for (name, backends) in files {
        let file = repository().join(format!("config/{name}.yaml"));
        let loaded = load(&[file], &place.env, place.path());
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.config.backends.len(), backends, "{name}");
        assert!(loaded.warnings.is_empty(), "{name}");
    }
}

#[test]
fn the_examples_of_the_page_about_authentication_load() {
    let page = std::fs::read_to_string(repository().join("docs/authentication.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 7, "{}", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (name, text) in [
        ("cert.pem", pair.cert.pem()),
        ("clients.pem", pair.cert.pem()),
        ("key.pem", pair.signing_key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for block in blocks {
        let text = block.replace("/etc/switchboard", folder.path().to_str().unwrap());
        let loaded = Place::new()
            .file("a.yaml", &text)
            .env("CI_KEY_SHA256", DIGEST)
            .env("AGENTS_KEY_SHA256", &DIGEST.replace('8', "7"))
            .env("AGENTS_NEXT_KEY_SHA256", &DIGEST.replace('8', "6"))
            .load();
        assert!(loaded.config.auth.is_some(), "{block}");
    }
}

#[test]
fn the_examples_of_the_page_about_the_facade_load() {
    let page = std::fs::read_to_string(repository().join("docs/facade.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let loaded = Place::new()
            .file("a.yaml", block)
            .env("SEALING_KEY", "WQ0q5Uq3b1cLrVq2mZ8tHk4nYx7sJd9e")
            .env("CLIENT_SECRET", "the-secret-of-the-client")
            .load();
        let shown = format!("{loaded:?}");
        assert!(!shown.contains("the-secret-of-the-client"), "{shown}");
        assert!(loaded.config.auth.unwrap().facade.is_some(), "{block}");
    }
}

#[test]
fn a_facade_that_could_not_work_is_refused() {
    let with = |facade: &str| {
        let jwt = "auth:\n  jwt: [{ issuer: \"https://id.example.com\" }]\n  facade: ";
        let text = format!("{jwt}{{ {facade} }}\n");
        let place = Place::new().file("a.yaml", &text);
        place.errors()
    };
    let client = "client_id: a, client_secret: b";
    for (facade, problem) in [
        (
            format!("issuer: \"https://other.example.com\", {client}"),
            "`facade.issuer` is",
        ),
        (
            format!("issuer: \"https://id.example.com\", {client}, scopes: [email]"),
            "lacks `openid`",
        ),
        (
            format!("issuer: \"https://id.example.com\", {client}, session_lifetime: 2d"),
            "auth.facade.session_lifetime",
        ),
        (
            format!("issuer: \"https://id.example.com\", {client}, access_token_lifetime: 2h"),
            "auth.facade.access_token_lifetime",
        ),
        (
            format!(
                "issuer: \"https://id.example.com\", {client}, allowed_redirects: [\"javascript:x\"]"
            ),
            "auth.facade.allowed_redirects",
        ),
        (
            "issuer: \"https://id.example.com\", client_id: a".to_owned(),
            "client_secret",
        ),
    ] {
        let errors = with(&facade);
        assert!(errors.contains(problem), "{facade}: {errors}");
    }
}

#[test]
fn no_secret_is_shown_when_a_configuration_is() {
    let text = r#"
server: { sealing_keys: ["${KEY}"] }
backends:
  a: { command: npx, env: { TOKEN: "${TOKEN}" } }
  b: { url: "http://b/mcp", headers: { Authorization: "Bearer ${TOKEN}" } }
"#;
    let loaded = Place::new()
        .file("a.yaml", text)
        .env("KEY", "a sealing key of thirty-two bytes")
        .env("TOKEN", "tok-123")
        .load();
    let shown = format!("{loaded:?}");
    assert!(
        !shown.contains("tok-123") && !shown.contains("thirty"),
        "{shown}"
    );
}
