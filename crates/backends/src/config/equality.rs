//! When two configurations of a backend are the same: then a reload leaves it alone.

use secrecy::ExposeSecret;

use super::TransportConfig;

// By hand, since a secret has no equality of its own: what is compared by accident may be printed by
// accident. Nobody who could measure how long this takes chooses what is compared.
impl PartialEq for TransportConfig {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Stdio {
                    command,
                    args,
                    env,
                    cwd,
                },
                Self::Stdio {
                    command: other_command,
                    args: other_args,
                    env: other_env,
                    cwd: other_cwd,
                },
            ) => {
                command == other_command
                    && args == other_args
                    && cwd == other_cwd
                    && env.len() == other_env.len()
                    && env.iter().all(|(name, value)| {
                        let other = other_env.get(name);
                        other.is_some_and(|other| other.expose_secret() == value.expose_secret())
                    })
            }
            (
                Self::Http {
                    url,
                    headers,
                    kind,
                    address,
                },
                Self::Http {
                    url: other_url,
                    headers: other_headers,
                    kind: other_kind,
                    address: other_address,
                },
            ) => {
                url == other_url
                    && headers == other_headers
                    && kind == other_kind
                    && address == other_address
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::BackendConfig;

    fn config(text: &str) -> BackendConfig {
        serde_json::from_str(text).expect("valid")
    }

    #[test]
    fn configurations_differ_in_anything_that_is_written_secrets_included() {
        let all = [
            r#"{"command": "server"}"#,
            r#"{"command": "server", "args": ["-v"]}"#,
            r#"{"command": "server", "cwd": "/"}"#,
            r#"{"command": "server", "env": {"KEY": "one"}}"#,
            r#"{"command": "server", "env": {"KEY": "two"}}"#,
            r#"{"command": "server", "env": {"OTHER": "two"}}"#,
            r#"{"command": "server", "timeout": "5s"}"#,
            r#"{"command": "server", "limits": {"cpu": 1}}"#,
            r#"{"command": "server", "sandbox": {}}"#,
            r#"{"command": "server", "prefix": ""}"#,
            r#"{"url": "http://127.0.0.1/mcp"}"#,
            r#"{"url": "http://127.0.0.1/mcp", "headers": {"Authorization": "one"}}"#,
            r#"{"url": "http://127.0.0.1/mcp", "headers": {"Authorization": "two"}}"#,
            r#"{"url": "http://127.0.0.1/mcp", "transport": "sse"}"#,
        ];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                let same = config(one) == config(other);
                assert_eq!(same, at == other_at, "{one} and {other}");
            }
        }
    }
}
