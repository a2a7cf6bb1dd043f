//! `mcpServers` as clients write it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;
use switchboard_backends::config::{BackendConfig, HttpKind, TransportConfig};

use super::super::{Loaded, load};
use super::{Place, data, repository, warnings};

fn variables(names: &[&str]) -> BTreeMap<String, String> {
    let pairs = names
        .iter()
        .map(|name| ((*name).to_owned(), format!("value-of-{name}")));
    pairs.collect()
}

#[track_caller]
fn load_data(name: &str, names: &[&str]) -> Loaded {
    let elsewhere = Path::new("/");
    load(&[data(name)], &variables(names), elsewhere).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A backend in one line.
fn line(backend: &BackendConfig) -> String {
    match &backend.transport {
        TransportConfig::Stdio {
            command,
            args,
            env,
            cwd,
        } => {
            let env: Vec<String> = env
                .iter()
                .map(|(name, value)| format!("{name}={}", value.expose_secret()))
                .collect();
            let cwd = cwd.as_ref().map(|cwd| format!(" in {}", cwd.display()));
            format!("{command} {args:?} {env:?}{}", cwd.unwrap_or_default())
        }
        TransportConfig::Http {
            url, headers, kind, ..
        } => {
            let headers: Vec<String> = headers
                .iter()
                .map(|(name, value)| {
                    assert!(value.is_sensitive());
                    format!("{name}: {}", value.to_str().unwrap())
                })
                .collect();
            format!("{url} {headers:?} {kind:?}")
        }
    }
}

#[track_caller]
fn transports(loaded: &Loaded, expected: &str) {
    let folder = data("workspace");
    let lines = loaded.config.backends.iter().map(|(name, backend)| {
        let line = line(backend).replace(folder.to_str().unwrap(), "WORKSPACE");
        format!("{name}: {line}")
    });
    let found = lines.collect::<Vec<_>>().join("\n");
    assert!(
        found == expected.trim(),
        "expected:\n{expected}\nfound:\n{found}"
    );
}

#[test]
fn claude_code() {
    let loaded = load_data("workspace/.claude/mcp.json", &["LIBRARY_KEY"]);
    transports(
        &loaded,
        r#"
disk: npx ["-y", "@modelcontextprotocol/server-filesystem", "WORKSPACE"] []
events: https://events.example.com/sse [] Sse
forge: https://forge.example.com/mcp/ [] StreamableHttp
library: npx ["-y", "@example/library-mcp"] ["LIBRARY_KEY=value-of-LIBRARY_KEY"]
own-api: node ["WORKSPACE/mcp/server.js"] ["MODE=development", "PORT=3000"]
"#,
    );
    assert_eq!(
        warnings(&loaded),
        "mcp.json:14: mcpServers.forge.oauth: has no effect yet"
    );
}

#[test]
fn cursor_with_comments_and_trailing_commas() {
    let names = [
        "LIBRARY_KEY",
        "CHAT_TOKEN",
        "CHAT_TEAM",
        "FORGE_TOKEN",
        "HOME",
    ];
    let loaded = load_data("workspace/.cursor/mcp.json", &names);
    transports(
        &loaded,
        r#"
chat: npx ["-y", "@example/chat-mcp"] ["CHAT_TEAM=value-of-CHAT_TEAM", "CHAT_TOKEN=value-of-CHAT_TOKEN"]
documents: npx ["-y", "@example/library-mcp"] ["LIBRARY_KEY=value-of-LIBRARY_KEY"]
forge-org: https://forge.example.com/mcp/ ["authorization: Bearer value-of-FORGE_TOKEN"] Auto
tools of ours: node ["WORKSPACE/tools/server.js"] ["HOME_OF=value-of-HOME", "ROOT=WORKSPACE"]
"#,
    );
    assert_eq!(
        loaded.config.backends["tools of ours"].prefix.as_deref(),
        Some("tools_of_ours")
    );
    assert_eq!(loaded.config.backends["chat"].prefix, None);
    assert_eq!(warnings(&loaded), "");
}

#[test]
fn gemini_cli() {
    let loaded = load_data(
        "workspace/.gemini/settings.json",
        &["LIBRARY_KEY", "DATABASE_URL", "STAGING_TOKEN"],
    );
    transports(
        &loaded,
        r#"
beside: ./run [] [] in WORKSPACE/.gemini/servers
database: npx ["-y", "@example/sql-mcp"] ["DATABASE_URL=value-of-DATABASE_URL"]
docs: npx ["-y", "@example/library-mcp"] ["LIBRARY_KEY=value-of-LIBRARY_KEY"]
figures: https://figures.example.com/mcp [] StreamableHttp
local: python ["-m", "local_server"] ["LOG_LEVEL=debug", "PYTHONPATH=WORKSPACE"] in WORKSPACE/servers
staging: https://staging.example.com/sse ["authorization: Bearer value-of-STAGING_TOKEN"] Auto
"#,
    );
    let figures = &loaded.config.backends["figures"];
    assert_eq!(figures.timeout, Duration::from_secs(45));
    assert_eq!(figures.include_tools, ["query_*", "list_*"]);
    assert_eq!(figures.exclude_tools, ["delete_*"]);
    assert!(loaded.config.backends["docs"].trust_annotations);
    assert!(!loaded.config.backends["database"].trust_annotations);
    assert_eq!(
        warnings(&loaded),
        "settings.json:24: mcpServers.figures.authProviderType: has no effect yet\n\
         settings.json:25: mcpServers.figures.oauth: has no effect yet"
    );
}

#[test]
fn antigravity() {
    let loaded = load_data("antigravity.json", &["FORGE_TOKEN"]);
    transports(
        &loaded,
        r#"
designs: https://designs.example.com/mcp [] Auto
forge-work: npx ["-y", "@example/forge-mcp", "--access-token", "value-of-FORGE_TOKEN"] []
warehouse: npx ["-y", "@example/warehouse-mcp"] []
"#,
    );
    assert_eq!(loaded.config.backends["designs"].exclude_tools, ["erase"]);
    assert_eq!(
        warnings(&loaded),
        "antigravity.json:10: mcpServers.old: is disabled, so this backend is left out"
    );
}

#[test]
fn remote_services() {
    let loaded = load_data("services.json", &["USERS_TOKEN", "PAYMENTS_TOKEN"]);
    transports(
        &loaded,
        r#"
payments: https://payments.example.com/mcp ["authorization: Bearer value-of-PAYMENTS_TOKEN"] Auto
users: https://users.example.com/mcp ["authorization: Bearer value-of-USERS_TOKEN", "x-service: assistant"] Auto
"#,
    );
    assert_eq!(
        loaded.config.backends["users"].timeout,
        Duration::from_secs(30)
    );
    assert_eq!(
        loaded.config.backends["payments"].timeout,
        Duration::from_millis(1500)
    );
    assert_eq!(
        warnings(&loaded),
        "services.json:7: mcpServers.users.retries: has no effect yet\n\
         services.json:13: mcpServers.payments.connectionPool: has no effect yet"
    );
}

/// The examples that users start from, where they are at hand.
#[test]
fn the_original_examples_load_unchanged() {
    let file = repository().join("../shared/seeds/003_b174c79e27e0ad12.txt");
    let Ok(text) = std::fs::read_to_string(file) else {
        return;
    };
    let (_, examples) = text
        .split_once("## Complete Multi-Server Examples")
        .unwrap();
    let (examples, _) = examples.split_once("\n## ").unwrap();
    let examples: Vec<&str> = examples
        .split("```json\n")
        .skip(1)
        .map(|block| block.split_once("```").unwrap().0)
        .collect();
    let expected = [
        (".claude/mcp.json", 5, 1),
        (".cursor/mcp.json", 7, 0),
        (".gemini/settings.json", 5, 2),
        ("antigravity/mcp_config.json", 6, 0),
        ("mcp.json", 6, 2),
    ];
    assert_eq!(examples.len(), expected.len());
    for (example, (file, backends, warnings)) in examples.iter().zip(expected) {
        let mut place = Place::new().file(file, example);
        // Every word of capitals after a dollar is a variable.
        for part in example.split('$').skip(1) {
            let part = part.trim_start_matches('{').trim_start_matches("env:");
            let name = part
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next();
            place = place.env(name.unwrap(), "set");
        }
        let loaded = place.load();
        assert_eq!(loaded.config.backends.len(), backends, "{file}");
        assert_eq!(
            loaded.warnings.len(),
            warnings,
            "{file}: {:?}",
            loaded.warnings
        );
    }
}

#[test]
fn the_workspace_is_the_folder_of_a_file_that_is_not_in_a_hidden_one() {
    let text = r#"{"mcpServers": {"a": {"command": "${workspaceFolder}/run"}}}"#;
    let place = Place::new().file("project/mcp.json", text);
    let TransportConfig::Stdio { command, .. } =
        place.load().config.backends.remove("a").unwrap().transport
    else {
        panic!("not a process");
    };
    assert_eq!(Path::new(&command), place.path().join("project/run"));
}

#[test]
fn own_settings_beside_mcp_servers_are_ignored_with_a_warning() {
    let text = r#"{
  "auth": { "api_keys": [] },
  "theme": "dark",
  "mcpServers": {}
}"#;
    let loaded = Place::new().file("mcp.json", text).load();
    assert!(loaded.config.auth.is_none());
    assert_eq!(
        warnings(&loaded),
        "mcp.json:2: auth: is ignored in a file with `mcpServers`: put it in a file of its own"
    );
}

#[test]
fn fields_of_the_other_transport_and_of_the_future_have_no_effect() {
    let text = r#"{ "mcpServers": {
  "a": { "url": "http://a/mcp", "env": {}, "type": "http" },
  "b": { "command": "b", "headers": {} },
  "c": { "command": "c", "shinyNewThing": 1 },
  "d": { "httpUrl": "http://d/mcp", "type": "http" }
} }"#;
    let loaded = Place::new().file("mcp.json", text).load();
    assert_eq!(
        warnings(&loaded),
        "mcp.json:2: mcpServers.a.env: has no effect without `command`\n\
         mcp.json:3: mcpServers.b.headers: has no effect beside `command`\n\
         mcp.json:4: mcpServers.c.shinyNewThing: is not a known field, so it has no effect"
    );
    let TransportConfig::Http { kind, .. } = &loaded.config.backends["d"].transport else {
        panic!("not remote");
    };
    assert_eq!(*kind, HttpKind::StreamableHttp);
}

#[test]
fn every_mistake_in_a_clients_file_is_named_in_its_own_words() {
    let text = r#"{
  "mcpServers": {
    "a": {
      "comand": "npx",
      "args": "-y",
      "includeTools": "query"
    },
    "b": { "command": "b", "timeout": "soon", "type": "http" },
    "c": { "type": "stdio", "url": "http://c/mcp" },
    "d": { "url": "http://d/mcp", "httpUrl": "http://d/mcp" },
    "e": { "command": "$E_COMMAND", "env": { "TOKEN": "${E_TOKEN}" } },
    "my server": { "command": "f" },
    "my_server": { "command": "g", "trust": "yes" },
    "h": 3,
    "i": { "url": "ftp://i", "type": "ws", "headers": { "Mcp-Session-Id": "x" } }
  }
}"#;
    Place::new().file("mcp.json", text).fails_with(
        r#"
mcp.json:4: mcpServers.a.comand: is not a known field; did you mean `command`?
mcp.json:6: mcpServers.a.includeTools: is `query`; expected a list: write it as `["…"]`
mcp.json:8: mcpServers.b.timeout: is not a number; expected a number of milliseconds
mcp.json:8: mcpServers.b.type: does not fit `command`; expected `stdio`, or no `type`
mcp.json:9: mcpServers.c.type: is `stdio`, but there is no `command`; expected one, or `http` or `sse`
mcp.json:10: mcpServers.d.httpUrl: stands beside `url`, which means the same; expected one of them
mcp.json:11: mcpServers.e.command: the environment variable `E_COMMAND` is not set; expected a value for it, or a default as in `${E_COMMAND:-default}`
mcp.json:11: mcpServers.e.env.TOKEN: the environment variable `E_TOKEN` is not set; expected a value for it, or a default as in `${E_TOKEN:-default}`
mcp.json:13: mcpServers.my_server.trust: is `yes`; expected `true` or `false`
mcp.json:13: mcpServers.my_server.prefix: `my_server` is the prefix of `my server` too, so their names could not be told apart; expected a prefix that no other backend has
mcp.json:14: mcpServers.h: is `3`; expected a table of keys
mcp.json:15: mcpServers.i.type: is no transport of a remote server; expected `http` or `sse`
mcp.json:15: mcpServers.i.url: `ftp://i` is not an http or https URL; expected an `http` or `https` address such as `https://mcp.example.com/mcp`
mcp.json:15: mcpServers.i.headers.Mcp-Session-Id: the key is a header that the gateway writes itself; expected the name of a header such as `Authorization`, none that the gateway sets itself
"#,
    );
}
